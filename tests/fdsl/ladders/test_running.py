"""Running a ladder: what is run, skipped, resumed, and refused. The trainer is a stub; tests/trainer has the real one."""

from __future__ import annotations

import json
import os
import select
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from fdsl import InputError
from fdsl.ladders import running
from fdsl.ladders.ladder import Ladder, parse_ladder
from fdsl.ladders.plan import Cell, cells, pretrainings, searches, trials
from fdsl.ladders.running import RESULT, best_rate, prepare, read_result, run_ladder
from shards.events import Advanced, Event, Started
from tests.fdsl.ladders.conftest import small_mapping

ROOT = Path(__file__).parents[3]
SIZES = {("tiny", 2): 6}


def started(out: Path) -> list[str]:
    """The runs of the trainer, in order."""
    return (out / "started.txt").read_text().splitlines()


def flags(command: str) -> dict[str, str]:
    """The options of a command, and whether it freezes."""
    words = shlex.split(command)[4:]
    pairs = [word for word in words if word not in ("--freeze", "--resume")]
    return {**dict(zip(pairs[::2], pairs[1::2], strict=True)), "frozen": str("--freeze" in words)}


def test_pretraining_sees_as_many_images(ladder: Ladder) -> None:
    runs = list(pretrainings(ladder))
    assert [run.path for run in runs] == ["pretrain/vit/plain/seed-0", "pretrain/vit/shuffled/seed-0"]
    assert flags(runs[1].command) == {
        "--data": "fdsl.ladders.shuffled:data/shuffled.yaml", "--batch": "5", "--model": "test_vit", "--size": "32",
        "--epochs": "2", "--warmup": "0.1", "--val-every": "2", "--seed": "0", "--out": "pretrain/vit/shuffled/seed-0",
        "frozen": "False",
    }  # fmt: skip
    assert flags(runs[0].command)["--data"] == "fdsl:data/plain.yaml"
    assert all(run.keeps_weights for run in runs)


def test_arms_differ_in_their_weights_only(ladder: Ladder) -> None:
    scratch, plain, _ = (trials(ladder, cell, SIZES, 0.003)[0] for cell in cells(ladder))
    one, other = flags(scratch.command), flags(plain.command)
    assert (scratch.module, plain.module) == ("trainer.pretrain", "trainer.finetune")
    assert other.pop("--checkpoint") == "pretrain/vit/plain/seed-0/model.safetensors"
    assert one.pop("--out") == "finetune/vit/scratch/tiny/2/seed-0"
    assert other.pop("--out") == "finetune/vit/plain/tiny/2/seed-0"
    assert one == other == {
        "--data": "targets/tiny/2/seed-0", "--val-split": "test", "--lr": "0.003", "--warmup-lr": "0.0003",
        "--min-lr": "3e-05",
        "--model": "test_vit", "--size": "32", "--epochs": "10", "--warmup": "0.5", "--val-every": "10", "--seed": "0",
        "frozen": "True",
    }  # fmt: skip


def test_larger_targets_need_more_images_seen(ladder: Ladder) -> None:
    cell = next(iter(cells(ladder)))
    with pytest.raises(
        InputError, match=r"`images_seen` \(=60\) must be at least the 61 images of targets/tiny/2/seed-0"
    ):
        searches(ladder, cell, {("tiny", 2): 61})


def test_search_uses_held_out_images(ladder: Ladder) -> None:
    for cell in cells(ladder):
        for run in searches(ladder, cell, SIZES):
            assert (flags(run.command)["--val-split"], flags(run.command)["--seed"]) == ("held", "0")


def test_ladder_runs_once(ladder: Ladder, stub: Path) -> None:
    events: list[Event] = []
    run_ladder(ladder, stub, 2, events.append)
    paths = started(stub)
    assert len(paths) == len(set(paths)) == 11
    assert all(path.startswith("finetune/vit/scratch") for path in paths[:2])
    assert events[0] == Started("train", "out", "runs", 11, 0)
    assert sorted(event.item for event in events if isinstance(event, Advanced)) == sorted(paths)
    result = read_result(stub / "finetune" / "vit" / "plain" / "tiny" / "2" / "seed-0")
    assert result == 40 + 10 + 5
    assert list(stub.glob("**/*.pt")) == []
    assert len(list(stub.glob("**/*.safetensors"))) == 2

    run_ladder(ladder, stub, 1, events.append)
    assert started(stub) == paths
    assert events[-2] == Started("train", "out", "runs", 11, 11)


def test_each_run_has_one_thread_and_gpu(ladder: Ladder, stub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    run_ladder(ladder, stub, 2)
    environments = [json.loads(path.read_text()) for path in stub.glob("**/environment.json")]
    assert {each["OMP_NUM_THREADS"] for each in environments} == {"1"}
    assert {each["CUDA_VISIBLE_DEVICES"] for each in environments} == {"3", "5"}


def test_more_seeds_keep_the_others(ladder: Ladder, stub: Path, target: Path) -> None:
    run_ladder(ladder, stub)
    n_before = len(started(stub))
    run_ladder(parse_ladder({**small_mapping(target), "seeds": 2}), stub)
    new = started(stub)[n_before:]
    assert len(new) == 2 + 3
    assert all(path.endswith("seed-1") for path in new)


def test_another_ladder_is_refused(ladder: Ladder, stub: Path, target: Path) -> None:
    prepare(ladder, stub)
    other = {**small_mapping(target), "pretrain": {"images_seen": 30}}
    with pytest.raises(InputError, match=r"holds another ladder: `pretrain.images_seen` is 20 there and 30 here"):
        run_ladder(parse_ladder(other), stub)


@pytest.mark.parametrize(
    ("key", "wrong", "message"),
    [
        ("targets", {"tiny": {"data": "nowhere", "labels": 2}}, "target `tiny`: `nowhere` has no split 'train'"),
        ("targets", {"tiny": {"labels": 10}}, "target `tiny`: class 0 has 12 training images, fewer than"),
        (
            "transfer",
            {"finetune": {"images_seen": 5, "rates": 0.1}},
            "`images_seen` (=5) must be at least the 6 images",
        ),
    ],
)
def test_mistakes_leave_nothing(key: str, wrong: Any, message: str, stub: Path, target: Path) -> None:
    """The mended ladder would be another one."""
    mapping = small_mapping(target)
    for name in wrong:
        mapping[key][name] = {**mapping[key][name], **wrong[name]}
    with pytest.raises(InputError) as caught:
        run_ladder(parse_ladder(mapping), stub)
    assert message in str(caught.value)
    assert not stub.exists()


@pytest.mark.parametrize("name", ["torch", "timm"])
def test_missing_packages_name_the_extra(
    name: str, ladder: Ladder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "find_spec", lambda package: None if package == name else running)
    with pytest.raises(InputError, match=rf"the package {name} is missing, .*; install fdsl with its extra `train`"):
        run_ladder(ladder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("harm", "reason"), [("broken", "the loss is nan"), ("killed", "killed by signal 9")])
def test_failed_run_stops_and_resumes(harm: str, reason: str, ladder: Ladder, stub: Path) -> None:
    failing = "pretrain/vit/shuffled/seed-0"
    (stub / failing).mkdir(parents=True)
    (stub / failing / "stderr.txt").symlink_to(stub.parent / "other")
    (stub.parent / "other").write_text("of someone else")
    (stub / harm).write_text(failing)
    with pytest.raises(InputError, match=f"{failing} failed: {reason}; finished runs are kept"):
        run_ladder(ladder, stub)
    n_done = len(list(stub.glob(f"**/{RESULT}")))
    assert 0 < n_done < 11
    (stub / harm).unlink()
    run_ladder(ladder, stub)
    assert len(started(stub)) == 11 + 1
    assert (stub.parent / "other").read_text() == "of someone else"
    assert (stub / failing / "stderr.txt").read_text() == ""


def test_stop_ends_the_live_runs(ladder: Ladder, stub: Path) -> None:
    """This would wait for ever otherwise."""
    endless = "finetune/vit/scratch/tiny/2/rate-0.001"
    stub.mkdir()
    (stub / "endless").write_text(endless)

    def interrupt(event: Event) -> None:
        if isinstance(event, Advanced):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_ladder(ladder, stub, 2, interrupt)
    assert read_result(stub / endless) is None
    (stub / "endless").unlink()
    run_ladder(ladder, stub, 2)
    assert read_result(stub / endless) is not None


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent ended")
def test_killed_command_leaves_no_training(stub: Path, target: Path) -> None:
    """A training holds the pipe open while it lives."""
    training = "import signal\nfile = open('alive', 'w')\nprint('.', end='', file=file, flush=True)\n"
    training += "signal.alarm(90)\nsignal.pause()"
    (stub.parent / "stub" / "trainer" / "pretrain.py").write_text(training)
    (stub.parent / "mine.yaml").write_text(yaml.safe_dump(small_mapping(target)))
    stub.mkdir()
    os.mkfifo(stub / "alive")
    alive = os.open(stub / "alive", os.O_RDONLY | os.O_NONBLOCK)
    words = ["ladder", "run", stub.parent / "mine.yaml", "-o", stub]
    with subprocess.Popen([sys.executable, "-c", "import cli; cli.main()", *words], cwd=ROOT) as command:
        read = [os.read(alive, 1) for _ in select.select([alive], [], [], 60)[0]]
        command.kill()
    read += [os.read(alive, 1) for _ in select.select([alive], [], [], 60)[0]]
    os.close(alive)
    assert read == [b".", b""]


def test_leftovers_of_finished_runs_are_deleted(ladder: Ladder, stub: Path) -> None:
    """As if the command was killed right after a result."""
    run_ladder(ladder, stub)
    pretrained, search = stub / "pretrain/vit/plain/seed-0", stub / "finetune/vit/plain/tiny/2/rate-0.001"
    for folder in (pretrained, search):
        for name in ("last.pt", "model.safetensors"):
            (folder / name).write_text("")
    run_ladder(ladder, stub)
    assert [path.name for path in pretrained.glob("*.*") if path.suffix in (".pt", ".safetensors")] == [
        "model.safetensors"
    ]
    assert not (search / "last.pt").exists()
    assert not (search / "model.safetensors").exists()


def test_best_rate_is_the_lowest_of_equals(ladder: Ladder, stub: Path) -> None:
    cell = Cell("finetune", "vit", "plain", "tiny", 2)
    assert best_rate(ladder, stub, cell) is None
    for rate, top1 in ((0.001, 50.0), (0.003, 50.0)):
        folder = stub / cell.search_path(rate)
        folder.mkdir(parents=True)
        (folder / RESULT).write_text(f'{{"top1": {top1}}}')
    assert best_rate(ladder, stub, cell) == 0.001


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"top1": []}', '{"top1": NaN}', f'{{"top1": 1{400 * "0"}}}'])
def test_damaged_results_are_named(content: str, tmp_path: Path) -> None:
    (tmp_path / RESULT).write_text(content)
    with pytest.raises(InputError, match=r"is not a readable result: .* delete it to run again"):
        read_result(tmp_path)
