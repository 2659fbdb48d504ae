"""Baking: the same bytes however it is done, rows that describe their images, and finished shards that are never lost."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from fdsl import (
    Dataset,
    InputError,
    LocalExecutor,
    Spec,
    bake,
    open_directory,
    parse_spec,
    repair,
    search_categories,
    verify,
)
from fdsl.dataset.categories import table_sha256
from fdsl.dataset.families import FAMILIES
from fdsl.dataset.plan import plan_shards
from shards import baking, png
from shards.events import Advanced, Event, Finished, ItemFailed, Started
from shards.executors.contract import Done, Item, Outcomes, Result
from shards.stores.contract import Store, write_content
from tests.processes import PATIENCE_S
from tests.shards.conftest import SERIAL, dead_pid, members, shards_of, small_mapping, small_spec, snapshot
from tests.shards.disk import OnDisk

INDEX_FILES = {"README.md", "_info.json", "shards.parquet"}
ALONE = LocalExecutor(1)
"""Bakes in this process."""


def all_members(out: Path) -> dict[str, bytes]:
    return {name: payload for path in out.glob("*.tar") for name, payload in members(path).items()}


def pixels(payload: bytes) -> npt.NDArray[np.uint8]:
    image = cv2.imdecode(np.frombuffer(payload, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    assert image is not None
    return image.astype(np.uint8)


BAKE_AT_ONCE = """
import json, os, sys
from fdsl import InputError, LocalExecutor, bake, load_spec
reader, writer = os.pipe()
for file, shards in json.loads(sys.argv[2]):
    if not os.fork():
        os.close(writer)
        os.read(reader, 1)  # until the parent has started all
        try:
            bake(load_spec(file), sys.argv[1], executor=LocalExecutor(1), shards=shards)
            message = ""
        except InputError as error:
            message = str(error)
        os.write(1, (json.dumps([file, message]) + "\\n").encode())  # in one piece
        os._exit(0)
os.close(writer)
try:
    while True:
        os.wait()
except ChildProcessError:
    pass
"""


def bake_at_once(out: Path, *calls: tuple[Path, str | None]) -> list[tuple[str, str]]:
    """Bake in several processes that begin together; return the spec and the refusal, or "", of each."""
    arguments = json.dumps([(str(file), shards) for file, shards in calls])
    done = subprocess.run(
        [sys.executable, "-c", BAKE_AT_ONCE, out, arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(results) == len(calls), done.stderr
    return [(file, message) for file, message in results]


class BackwardExecutor:
    """Runs each task twice, from the last item to the first."""

    def run(self, task: Callable[[Item], Result], items: Iterable[Item]) -> Outcomes[Item, Result]:
        """Yield the outcome of each item."""
        for item in reversed(list(items)):
            task(item)
            yield Done(item, task(item))


# The same bytes


@pytest.mark.slow
def test_workers_do_not_change_bytes(spec: Spec, baked: Path, tmp_path: Path) -> None:
    done = bake(spec, tmp_path / "out", executor=LocalExecutor(2))
    assert snapshot(tmp_path / "out") == snapshot(baked)
    assert (done.n_images, done.n_shards, done.n_found, done.n_missing, done.failures) == (75, 12, 0, 0, {})


def test_order_of_tasks_does_not_change_bytes(spec: Spec, baked: Path, tmp_path: Path) -> None:
    bake(spec, tmp_path / "out", categories=search_categories(spec).table, executor=BackwardExecutor())
    assert snapshot(tmp_path / "out") == snapshot(baked)


def test_directory_has_the_documented_layout(baked: Path) -> None:
    names = [shard.name for shard in plan_shards(open_directory(baked).spec)]
    assert len(names) == 12
    assert set(snapshot(baked)) == {
        "spec.yaml", "categories.parquet", "samples", "receipts", *INDEX_FILES,
        *(f"{name}.tar" for name in names),
        *(f"samples/{name}.parquet" for name in names),
        *(f"receipts/{name}.json" for name in names),
    }  # fmt: skip


def test_resume_gives_the_same_bytes(copy: OnDisk, baked: Path) -> None:
    out = copy.path
    hidden = f".{dead_pid()}@{socket.gethostname()}.tmp"  # as version 0.1 named them
    (out / "train-000000.tar").unlink()
    (out / "samples/train-000001.parquet").unlink()
    (out / "receipts/train-000002.json").unlink()
    os.truncate(out / "train-000003.tar", 5000)
    (out / "receipts/train-000004.json").write_text('{"shard": "train-0')
    for name in ("train-000005.tar", "samples/train-000005.parquet", "receipts/train-000005.json"):
        (out / name).rename((out / name).with_name(f".{Path(name).name}{hidden}"))
    for name in INDEX_FILES:
        (out / name).unlink()
    events: list[Event] = []
    done = bake(copy.spec, out, executor=ALONE, listener=events.append)
    assert (done.n_shards, done.n_found, done.n_missing) == (6, 6, 0)
    assert snapshot(out) == snapshot(baked)
    assert events[0] == Started("bake", copy.spec.name, "images", 75, 75 - done.n_images)
    assert events[1:-1] == [Advanced(shards_of(copy)[f"train-00000{k}"].n_samples, f"train-00000{k}") for k in range(6)]
    assert events[-1] == Finished("bake")


def test_complete_directory_is_not_touched(copy: OnDisk, baked: Path) -> None:
    times = {path: path.stat().st_mtime_ns for path in copy.path.rglob("*.tar")}
    done = bake(copy.spec, copy.path, executor=ALONE)
    assert (done.n_images, done.n_shards, done.n_found, done.n_missing) == (0, 0, 12, 0)
    assert snapshot(copy.path) == snapshot(baked)
    assert {path: path.stat().st_mtime_ns for path in times} == times


@pytest.mark.parametrize("begun", ["folder", "folders", "spec", "spec and categories"])
def test_begun_directory_is_resumed(begun: str, spec: Spec, baked: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    if begun != "folder":
        for name in ("samples", "receipts"):
            (out / name).mkdir()
    if "categories" in begun:
        shutil.copy(baked / "categories.parquet", out)
    if "spec" in begun:
        shutil.copy(baked / "spec.yaml", out)
    bake(spec, out, executor=ALONE)
    assert snapshot(out) == snapshot(baked)


def test_last_slice_writes_the_index(spec: Spec, baked: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    n_missing = 12
    for split, shards, n_shards in (
        ("all", "8:11", 3),
        ("train", "0:2", 2),
        ("validation", "2:", 1),
        ("train", "1:5", 3),
        ("all", "5:8", 3),
    ):
        assert not INDEX_FILES & set(snapshot(out) if out.exists() else ())
        done = bake(spec, out, executor=ALONE, split=split, shards=shards)
        n_missing -= n_shards
        assert (done.n_shards, done.n_missing) == (n_shards, n_missing)
    assert snapshot(out) == snapshot(baked)


@pytest.mark.slow
def test_two_processes_share_a_directory(spec: Spec, baked: Path, tmp_path: Path) -> None:
    file, out = tmp_path / "spec.yaml", tmp_path / "out"
    file.write_text(yaml.safe_dump(spec.to_mapping()))
    assert bake_at_once(out, (file, "6:12"), (file, "0:6")) == [(str(file), "")] * 2
    assert snapshot(out) == snapshot(baked)


@pytest.mark.slow
def test_relative_directory_is_the_callers(
    spec: Spec, baked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers keep the working directory that they were started in."""
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        bake(spec, "out", executor=LocalExecutor(2))
        assert snapshot(tmp_path / name / "out") == snapshot(baked)
    (tmp_path / "other" / "out" / "train-000000.tar").write_bytes(b"")
    assert verify("out", executor=LocalExecutor(2)).problems != ()
    monkeypatch.chdir(tmp_path / "one")
    assert verify("out", executor=LocalExecutor(2)).problems == ()


@pytest.mark.slow
def test_one_of_two_datasets_is_refused(spec: Spec, tmp_path: Path) -> None:
    out = tmp_path / "out"
    specs = {str(tmp_path / f"{name}.yaml"): spec.replace(name=name) for name in ("one", "other")}
    for file, named in specs.items():
        Path(file).write_text(yaml.safe_dump(named.to_mapping()))
    results = bake_at_once(out, *((Path(file), None) for file in [*specs] * 2))
    winners = {file for file, message in results if not message}
    assert len(winners) == 1, results
    for _, message in results:
        assert not message or "holds another dataset: `name`" in message or "is being baked by" in message
    bake(specs[winners.pop()], tmp_path / "alone", executor=ALONE)
    assert snapshot(out) == snapshot(tmp_path / "alone")


def test_table_of_another_family_is_refused(spec: Spec, baked: Path) -> None:
    table = pq.read_table(baked / "categories.parquet")
    for other in FAMILIES.keys() - {spec.family}:
        with pytest.raises(InputError, match=f"holds categories of {spec.family}"):
            Dataset(small_spec(other), table)


def fail_at_image_18(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Let the encoder fail once, in the third shard."""
    encode, n_calls = png.encode, 0

    def fail_once(image: npt.NDArray[np.uint8], bit_depth: int) -> bytes:
        nonlocal n_calls
        n_calls += 1
        if n_calls == 18:
            raise error
        return encode(image, bit_depth)

    monkeypatch.setattr(png, "encode", fail_once)


def test_full_disk_ends_the_bake(spec: Spec, baked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_at_image_18(monkeypatch, OSError(28, "No space left on device"))
    with pytest.raises(OSError, match="No space left"):
        bake(spec, tmp_path / "out", executor=ALONE)
    kept = snapshot(tmp_path / "out")
    assert kept.items() <= snapshot(baked).items()
    assert [name for name in kept if name.endswith(".tar")] == ["train-000000.tar", "train-000001.tar"]
    bake(spec, tmp_path / "out", executor=ALONE)
    assert snapshot(tmp_path / "out") == snapshot(baked)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (InputError("the formula is broken"), "the formula is broken"),
        (KeyError(), "KeyError"),
        (OSError(28, "No space left", "/scratch/x"), "[Errno 28] No space left: '/scratch/x'"),
    ],
)
def test_failed_shard_does_not_end_the_bake(
    error: Exception, reason: str, spec: Spec, baked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_at_image_18(monkeypatch, error)
    events: list[Event] = []
    done = bake(spec, tmp_path / "out", executor=ALONE, listener=events.append)
    assert done.failures == {"train-000002": reason}
    assert ItemFailed("train-000002", reason) in events
    assert (done.n_shards, done.n_found, done.n_missing) == (11, 0, 1)
    kept = snapshot(tmp_path / "out")
    assert kept.pop("receipts/train-000002.failed")
    assert kept.items() <= snapshot(baked).items()
    assert snapshot(baked).keys() - kept.keys() == {
        "train-000002.tar", "samples/train-000002.parquet", "receipts/train-000002.json", *INDEX_FILES,
    }  # fmt: skip
    done = bake(spec, tmp_path / "out", executor=ALONE)
    assert (done.n_shards, done.failures) == (1, {})
    assert snapshot(tmp_path / "out") == snapshot(baked)


class _Elsewhere:
    """An executor of which one worker has a folder of its own under the same path."""

    def run(self, task: Callable[[Item], Result], items: Iterable[Item]) -> Outcomes[Item, Result]:
        for item in items:
            is_lost = getattr(item, "name", None) == "train-000003"
            yield Done(item, None if is_lost else task(item))  # type: ignore[arg-type]


def test_shard_baked_elsewhere_is_reported(spec: Spec, baked: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    message = rf"^`out` \(={out}\): train-000003 was baked but is not there: a worker has another folder of this name"
    with pytest.raises(InputError, match=message):
        bake(spec, out, executor=_Elsewhere())
    assert bake(spec, out, executor=ALONE).n_shards == 1
    shutil.rmtree(out / "receipts")
    with pytest.raises(InputError, match=message):
        repair(out, executor=_Elsewhere())
    assert not (out / "receipts" / "train-000003.json").exists()


def test_receipt_is_written_last(spec: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    receipts = []

    def spy(store: Store, name: str, content: bytes) -> None:
        if name.startswith("receipts/"):
            receipt = json.loads(content)
            out = tmp_path / "out"
            assert hashlib.sha256((out / receipt["shard"]).read_bytes()).hexdigest() == receipt["sha256"]
            assert (out / "samples" / f"{Path(name).stem}.parquet").is_file()
            receipts.append(receipt["shard"])
        write_content(store, name, content)

    monkeypatch.setattr(baking, "write_content", spy)
    bake(spec, tmp_path / "out", executor=ALONE)
    assert len(receipts) == 12


# The images

VARIANTS: dict[str, dict[str, Any]] = {
    **{family: small_mapping(family) for family in FAMILIES},
    "ring": small_mapping("exfractal", params={"points": 500, "viewpoint": "ring"}),
    "unweighted": small_mapping("exfractal", params={"points": 500, "weight_range": 0}),
    "one label": small_mapping("rcdb", params={"label": ["vertices"], "vertices": [3, 40], "contours": [1, 9]}),
    "broken": small_mapping("rcdb", params={"vertices": [3, 40], "contours": [5, 9], "broken": 0.3}),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_row_describes_its_image(name: str, tmp_path: Path) -> None:
    """Each image, rendered alone from its row's name, has the pixels in the tar and the numbers in the row."""
    spec = parse_spec(VARIANTS[name])
    out = tmp_path / "out"
    bake(spec, out, executor=ALONE)
    dataset = Dataset(spec, pq.read_table(out / "categories.parquet"))
    images = set()
    for shard in shards_of(open_directory(out)):
        files = members(out / f"{shard}.tar")
        rows = pq.read_table(out / "samples" / f"{shard}.parquet").to_pylist()
        assert [f"{row['key']}.png" for row in rows] == list(files)[::2]
        for row in rows:
            category, instance = row["category"], row["instance"]
            ((image, variant),) = dataset.images([(category, instance)])
            np.testing.assert_array_equal(image, pixels(files[f"{row['key']}.png"]))
            assert {name: row[name] for name in spec.family_module.VARIANT_SCHEMA.names} == variant._asdict()  # type: ignore[attr-defined]
            assert row["key"] == f"{category:06}_{instance:06}"
            assert files[f"{row['key']}.cls"] == str(category).encode()
            images.add(image.tobytes())
    assert len(images) == 75, "two images of the dataset are the same"


def test_one_image_can_be_rendered_alone(baked: Path, spec: Spec) -> None:
    dataset = Dataset(spec, pq.read_table(baked / "categories.parquet"))
    files = all_members(baked)
    assert len(files) == 150
    for category, instance in ((0, 0), (4, 11), (2, 12), (3, 14)):
        image = dataset.image(category, instance)
        assert (image.shape, image.dtype) == ((64, 64), np.uint8)
        np.testing.assert_array_equal(image, pixels(files[f"{category:06}_{instance:06}.png"]))


def test_images_depend_on_nothing_around_them(family: str, baked: Path, tmp_path: Path) -> None:
    larger = small_spec(
        family,
        categories=6,
        instances={"train": 12, "validation": 4},
        shards={"samples": 16, "order": "by-category"},
        name="another-name",
    )
    bake(larger, tmp_path / "out", executor=ALONE)
    assert all_members(baked).items() < all_members(tmp_path / "out").items()


def test_image_depends_on_its_split(family: str, baked: Path) -> None:
    table = pq.read_table(baked / "categories.parquet")
    longer = small_spec(family, instances={"train": 13, "validation": 3})
    in_train, in_validation = Dataset(longer, table), Dataset(small_spec(family), table)
    for category in range(5):
        assert (in_train.image(category, 12) != in_validation.image(category, 12)).any()


def test_another_seed_gives_other_images(family: str, baked: Path, tmp_path: Path) -> None:
    bake(small_spec(family, seed=8), tmp_path / "out", executor=ALONE)
    one, other = all_members(baked), all_members(tmp_path / "out")
    assert one.keys() == other.keys()
    assert not any(one[name] == other[name] for name in one if name.endswith(".png"))


# The categories


def test_given_table_is_used(spec: Spec, baked: Path, other_table: pa.Table, tmp_path: Path) -> None:
    out = tmp_path / "out"
    bake(spec, out, categories=other_table, executor=ALONE)
    assert pq.read_table(out / "categories.parquet").equals(other_table.slice(0, 5))
    image = Dataset(spec, other_table).image(4, 14)
    np.testing.assert_array_equal(image, pixels(all_members(out)["000004_000014.png"]))
    assert snapshot(out)["train-000000.tar"] != snapshot(baked)["train-000000.tar"]
    (out / "train-000000.tar").unlink()
    kept = snapshot(out)
    bake(spec, out, executor=ALONE)
    assert kept.items() < snapshot(out).items(), "a resumed bake uses the directory's own table"
    assert not verify(out, executor=ALONE).problems


def test_given_table_equal_to_the_sampled_one(spec: Spec, baked: Path, tmp_path: Path) -> None:
    bake(spec, tmp_path / "out", categories=search_categories(spec).table, executor=ALONE)
    assert snapshot(tmp_path / "out") == snapshot(baked)


def test_resume_refuses_another_table(copy: OnDisk, other_table: pa.Table, baked: Path) -> None:
    with pytest.raises(InputError, match="holds another dataset: the categories differ; name another"):
        bake(copy.spec, copy.path, categories=other_table, executor=ALONE)
    assert snapshot(copy.path) == snapshot(baked)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shards": "12:13"}, r"`shards` \(=12:13\) must be A:B with A < B <= 12"),
        ({"shards": 5}, r"`shards` \(=5\) must be A:B"),
        ({"split": "test"}, r"`split` \(='test'\) must be one of train, validation, all"),
    ],
)
def test_bad_selection_makes_nothing(options: dict[str, Any], message: str, spec: Spec, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        bake(spec, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_baked_spec_names_its_versions(baked: Path) -> None:
    record = yaml.safe_load((baked / "spec.yaml").read_text())["baked"]
    assert set(record) == {"fdsl", "format", "categories_sha256", "hash", "made_with"}
    assert record["made_with"]["numba"] == numba.__version__
    assert record["made_with"]["platform"] == f"{platform.system()} {platform.machine()}"
    assert record["categories_sha256"] == table_sha256(pq.read_table(baked / "categories.parquet"))


def test_samples_have_the_types_of_the_family(baked: Path, spec: Spec) -> None:
    expected = spec.family_module.VARIANT_SCHEMA
    for path in (baked / "samples").iterdir():
        schema = pq.read_schema(path)
        assert schema.names == ["key", "category", "instance", *expected.names]
        assert [schema.field(field.name).type for field in expected] == expected.types


def test_name_of_a_preset_is_not_a_spec(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^`spec` \(='rcdb-1k'\) must be a Spec; `load_spec` returns one$"):
        bake("rcdb-1k", tmp_path / "out")  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_lost_spec_is_named(copy: OnDisk) -> None:
    (copy.path / "spec.yaml").unlink()
    with pytest.raises(InputError, match=r"has lost its spec\.yaml; restore it: "):
        bake(copy.spec, copy.path)


def test_signals_wait_while_kernels_compile(spec: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception in one of LLVM's callbacks would be lost, and Ctrl-C with it."""
    blocked: list[set[signal.Signals]] = []

    def compile_kernels() -> None:
        blocked.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))

    monkeypatch.setattr(spec.family_module, "compile_kernels", compile_kernels)
    out = tmp_path / "out"
    bake(spec, out, executor=SERIAL)
    verify(out, executor=SERIAL, rerender=1)
    assert len(blocked) == 3  # search, bake, verify
    assert all({signal.SIGINT, signal.SIGTERM} <= mask for mask in blocked)
    assert not {signal.SIGINT, signal.SIGTERM} & signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_done_shard_is_not_baked_again(copy: OnDisk) -> None:
    """A task may run twice, and a late one may find its shard in use."""
    shard = shards_of(copy)["train-000003"]
    files = (copy.tar(shard), copy.samples(shard), copy.receipt(shard))
    before = [file.stat().st_ino for file in files]
    assert baking.bake_shard(copy, shard) == copy.read_receipt(shard)
    assert [file.stat().st_ino for file in files] == before, "a file that is written again is another one"
    files[0].unlink()
    baking.bake_shard(copy, shard)
    assert [file.exists() for file in files] == [True, True, True]


@pytest.mark.slow
def test_memory_does_not_hold_the_tar(tmp_path: Path) -> None:
    """A worker keeps the parameters of a shard's images, not the images."""
    peaks, sizes = [], []
    for n_images in (5, 1000, 4000):  # the first compiles
        spec = small_spec("exfractal", instances={"train": n_images // 5}, shards={"samples": n_images})
        table, out = search_categories(spec).table, tmp_path / str(n_images)
        tracemalloc.start()
        assert bake(spec, out, categories=table, executor=SERIAL).n_shards == 1
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        sizes.append((out / "train-000000.tar").stat().st_size)
    assert peaks[2] - peaks[1] < 1000 * (4000 - 1000) < sizes[2] - sizes[1]
