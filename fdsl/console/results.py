"""Lines that a command prints about its result."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from fdsl.console.progress import count, duration, format_rate
from fdsl.dataset.dataset import Dataset
from fdsl.dataset.live import N_PIXELS, LiveDataset, pixels_sha256
from fdsl.dataset.plan import plan_shards
from fdsl.dataset.spec import FORMAT, Spec
from fdsl.primitives.errors import encodable, one_line
from fdsl.reports.estimate import Estimate
from shards.baking import Baked
from shards.layout import SPEC, tar_file
from shards.problems import Kind, summary
from shards.repairing import Repaired
from shards.shipping import Shipped
from shards.status import Status
from shards.verifying import Verified

_N_NAMES = 8


def first_names(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - _N_NAMES:,} more" if len(names) > _N_NAMES else ""
    return ", ".join(names[:_N_NAMES]) + more


def plan_lines(spec: Spec, cost: Estimate, n_workers: int) -> Iterator[str]:
    """Yield the size and cost of a bake."""
    yield f"{spec.name}: {spec.family}, {count(spec.categories, 'category')}, {spec.size_px} px"
    for split, n_images in cost.n_images.items():
        if n_images:
            yield f"{split:11}{n_images:12,} images in {count(cost.n_shards[split], 'shard')}"
    n_images, n_shards = sum(cost.n_images.values()), sum(cost.n_shards.values())
    n_busy = min(n_workers, n_shards)
    time = duration(cost.core_seconds * -(-n_shards // n_busy) / n_shards)  # the last shards may leave workers idle
    yield f"files      {cost.n_files:12,} in all"
    yield f"size       {cost.n_bytes / 1e9:12,.2f} GB, {cost.n_bytes / n_images:,.0f} bytes per image (estimated)"
    yield f"CPU time   {cost.core_seconds / 3600:12,.2f} core-hours on cores like these (estimated)"
    yield f"time       {time:>12} with {count(n_busy, 'worker')} on idle cores (estimated)"
    yield f"memory     {cost.worker_bytes / 1e9:12,.2f} GB per worker (peak of this process, which did the same work)"
    if cost.acceptance < 1:
        yield f"accepted   {cost.acceptance:12.2%} of category candidates (estimated)"


def dataset_lines(dataset: Dataset) -> Iterator[str]:
    """Yield the hashes that tell datasets apart."""
    live = LiveDataset(dataset)
    yield f"{dataset.spec.name}: {dataset.spec.family}, {count(dataset.spec.categories, 'category')}"
    yield from _hash_lines(dataset.hash, pixels_sha256(live, N_PIXELS), len(live))


def _hash_lines(dataset_hash: str, pixels: str, n_images: int) -> Iterator[str]:
    yield f"hash   {dataset_hash}"
    yield f"pixels {pixels} of the first {min(N_PIXELS, n_images):,} images of train"


def image_lines(source: str, live: LiveDataset, position: int) -> Iterator[str]:
    """Yield an image's place, parameters and Python code."""
    where = f"epoch {live.epoch}, which is in no shard"
    if not live.epoch:
        shard = next(shard for shard in plan_shards(live.dataset.spec, live.split) if position < shard.stop)
        where = f"sample {position - shard.start:,} of {shard.n_samples:,} in {tar_file(shard)}, counted from 0"
    yield f"{live.key(position)}: {live.dataset.spec.name}, {where}"
    units = live.dataset.spec.family_module.UNITS
    for name, value in live.parameters(position).items():
        rows = value if isinstance(value, list) and isinstance(value[0], list) else [value]
        unit = f" {units[name]}" if name in units else ""
        yield from (f"  {'' if k else name:12} {json.dumps(row)}{unit}" for k, row in enumerate(rows))
    epoch = f", epoch={live.epoch}" if live.epoch else ""
    yield "import fdsl"
    yield f"dataset = fdsl.open({source!r}, split={live.split!r}{epoch})"
    yield f"image, label = dataset[{position}]"


def status_lines(out: Path | str, status: Status) -> Iterator[str]:
    """Yield how far a bake is, and the next step."""
    n_done = status.n_shards - len(status.missing)
    yield f"{status.name}: {n_done:,} of {count(status.n_shards, 'shard')} in {out}"
    yield f"images     {status.n_images_done:12,} of {status.n_images:,}, {status.n_bytes_done / 1e9:,.2f} GB here"
    if status.removed_to is not None:
        yield f"shipped    {count(status.n_removed, 'shard'):>12} to {status.removed_to}, removed here"
    if status.images_per_s is not None:
        yield f"rate       {format_rate(status.images_per_s):>12} images/s by all machines, over the last 10 min of work"
    if status.idle_s is not None:
        yield f"last shard {duration(status.idle_s):>12} ago"
    if status.missing and status.seconds_left is not None:
        yield f"time left  {duration(status.seconds_left):>12} at this rate"
    for name, reason in status.failures.items():
        yield f"failed     {name}: {one_line(reason)}"
    if status.is_complete:
        yield f"complete; next: fdsl verify {shlex.quote(str(out))}"
    elif not status.missing:
        yield "the index is missing; run the bake again"


def status_json(status: Status, indent: int | None) -> list[str]:
    """Return the progress of a bake as JSON.

    One line if `indent` is None.
    """
    return json.dumps({**asdict(status), "seconds_left": status.seconds_left}, indent=indent).splitlines()


def baked_lines(out: Path | str, result: Baked, rate: float) -> Iterator[str]:
    """Yield what a bake did, and the next step."""
    if result.n_found:
        yield f"{out}: {count(result.n_found, 'shard')} already baked, skipped"
    yield from (f"note: {note}" for note in result.notes)
    if result.n_shards:
        images, shards = count(result.n_images, "image"), count(result.n_shards, "shard")
        yield f"{out}: baked {images} in {shards}, {format_rate(rate)} images/s"
    if result.failures:
        return
    if result.n_missing:
        yield f"{count(result.n_missing, 'shard')} missing; the same command without --shards, --part and --split bakes them"
    else:
        yield f"the dataset is complete; next: fdsl verify {shlex.quote(str(out))}"


def failure_line(out: Path | str, failures: dict[str, str]) -> str:
    """Return one line on the shards that failed."""
    name, reason = next(iter(failures.items()))
    more = f" and {count(len(failures) - 1, 'other shard')}" if len(failures) > 1 else ""
    return f"{out}: {name}{more} failed: {reason}; finished shards are kept"


def shipped_lines(destination: str, result: Shipped, follow: bool) -> Iterator[str]:
    """Yield what was sent, and the next step."""
    if result.n_found:
        yield f"{destination}: {count(result.n_found, 'shard')} already there, skipped"
    if result.n_shards:
        yield f"{destination}: sent {count(result.n_shards, 'shard')}, {result.n_bytes / 1e9:,.2f} GB"
    if result.is_complete:
        yield f"{destination} is complete; next: fdsl urls {shlex.quote(destination)}"
    elif not result.failures:
        missing = count(result.n_missing, "shard") if result.n_missing else "the index"
        step = "" if follow else "; run the same command after the bake, or with --follow"
        yield f"{destination} misses {missing}, not baked yet{step}"


def missing_line(out: Path | str, missing: Sequence[str]) -> str:
    """Return one line on shards that all rounds have left."""
    place = shlex.quote(str(out))
    return (
        f"{out}: {count(len(missing), 'shard')} missing and no --rounds left: {first_names(missing)};"
        f" `fdsl status {place}` and the log files say why"
    )


def verified_lines(out: Path | str, result: Verified, seed: int) -> Iterator[str]:
    """Yield notes and problems, or that all is right."""
    for note in result.notes:
        yield f"note: {note}"
    yield from summary(result.problems)
    if result.n_rerendered:
        yield f"rendered {count(result.n_rerendered, 'image')} again, selected by --seed {seed}"
    if not result.problems:
        yield f"{out}: {count(result.n_images, 'image')} in {count(result.n_shards, 'shard')} are correct"
    if result.pixels_sha256:
        yield from _hash_lines(result.hash, result.pixels_sha256, result.n_train)


def verified_json(result: Verified, seed: int) -> list[str]:
    """Return the lines of a verification's result as JSON."""
    record = {
        "problems": [{key: encodable(text) for key, text in problem._asdict().items()} for problem in result.problems],
        "notes": result.notes,
        "shards": result.n_shards,
        "images": result.n_images,
        "rerendered": result.n_rerendered,
        "seed": seed if result.n_rerendered else None,
        "hash": result.hash,
        "pixels_sha256": result.pixels_sha256,
    }
    return json.dumps(record, indent=1).splitlines()


def next_step(out: Path | str, result: Verified, rerender: int, seed: int, shards: str | None, split: str) -> str:
    """Return the number of problems and the command that removes them.

    If shards are only unbaked, as after an interruption, that is a bake; SPEC is a file, so not in a remote store.
    """
    n_problems = count(len(result.problems), "problem")
    if all(problem.kind == Kind.FOREIGN for problem in result.problems):
        return f"{out}: {n_problems}; move or delete these files: they may be your own"
    if result.format != FORMAT:
        return (
            f"{out}: {n_problems}; format {result.format} cannot be repaired; bake the same SPEC into a new directory"
        )
    if isinstance(out, Path) and all(problem.kind == Kind.UNBAKED for problem in result.problems):
        words = ["fdsl", "bake", shlex.quote(str(out / SPEC)), "-o", shlex.quote(str(out))]
    else:
        words = ["fdsl", "repair", shlex.quote(str(out))]
        words += ["--rerender", str(rerender), "--seed", str(seed)] if rerender else []
    words += ["--shards", shards] if shards else []
    words += ["--split", split] if split != "all" else []
    return f"{out}: {n_problems}; next: {' '.join(words)}"


def repaired_lines(out: Path | str, result: Repaired, dry_run: bool) -> Iterator[str]:
    """Yield the problems, and what was or would be done."""
    yield from summary(result.problems)
    baked = [f"{shard.name}.tar" for shard in result.baked]
    written = [*(["categories.parquet"] if result.restored_categories else []), *baked]
    written += ["the index"] if result.wrote_index else []
    if result.deleted:
        yield f"{out}: {'would delete' if dry_run else 'deleted'} {first_names(result.deleted)}"
    if written:
        yield f"{out}: {'would write' if dry_run else 'wrote'} {first_names(written)}"
    if baked and result.other_versions:
        yield f"note: these shards are baked with other versions than the rest: {result.other_versions}"
    if dry_run and result.restored_categories:
        yield f"{out}: would then check the shards"
    if not result.problems:
        yield f"{out}: nothing to repair"
