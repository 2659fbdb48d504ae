"""Mistakes are one line; unexpected errors are tracebacks."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch

from tests.trainer.conftest import ROOT, edit_info, picture
from tests.trainer.runs import LITTLE, assert_one_line, command, error_of, records, run, start


def test_too_large_batch_is_one_line(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr("trainer.learner.Learner.learn", fail)
    rule = "`--batch` (=8) is too large for the device's memory; lower it, and raise --accumulate as much"
    assert error_of("--data", small, "--out", tmp_path / "run", *LITTLE) == rule


def no_shards(folder: Path) -> list[object]:
    shutil.rmtree(folder)
    folder.mkdir()
    return []


def undecodable(folder: Path) -> list[object]:
    path = folder / "train-000000.tar"
    content = bytearray(path.read_bytes())
    content[512 + 60 : 512 + 200] = bytes(140)
    path.write_bytes(content)
    edit_info(
        folder,
        splits={
            "train": {"filenames": ["train-000000.tar"], "shard_lengths": [40], "num_samples": 40},
            "validation": {"filenames": ["validation-000000.tar"], "shard_lengths": [12], "num_samples": 12},
        },
    )
    return []


HARMS: dict[str, Callable[[Path], list[object]]] = {
    "has neither _info.json nor a folder train; is its bake complete?": no_shards,
    "train-000000.tar`: the image at byte 512 cannot be decoded: ": undecodable,
}


@pytest.mark.parametrize("rule", HARMS)
def test_a_damaged_dataset_is_reported_once(rule: str, small: Path, tmp_path: Path) -> None:
    """By one of two ranks, beside torchrun's own report."""
    folder = Path(shutil.copytree(small, tmp_path / "data"))
    extra = HARMS[rule](folder)
    done = run("--data", folder, "--out", tmp_path / "run", *LITTLE, *extra, processes=2)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("trainer: ")]
    assert rule in line


def test_an_undecodable_image_is_one_line(small: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small, tmp_path / "data"))
    undecodable(folder)
    done = run("--data", folder, "--out", tmp_path / "run", *LITTLE)
    assert done.returncode == 1
    assert_one_line(done.stderr, "train-000000.tar`: the image at byte 512 cannot be decoded: ")


@pytest.mark.parametrize(
    ("flags", "rule"),
    [
        (["--model", "deit_huge"], "`--model` (=deit_huge) cannot be built: "),
        (["--out", "/proc/nowhere"], "/proc/nowhere"),
    ],
)
def test_a_wrong_flag_is_one_line(flags: list[str], rule: str, small: Path, tmp_path: Path) -> None:
    done = run("--data", small, "--out", tmp_path / "run", *LITTLE, *flags)
    assert done.returncode == 1
    assert_one_line(done.stderr, rule)


@pytest.mark.parametrize("amp", ["none", "fp16"])
def test_infinite_losses_end_the_run(amp: str, small: Path, tmp_path: Path) -> None:
    error = error_of("--data", small, "--out", tmp_path, "--epochs", "2", *LITTLE, "--lr", "1e9", "--amp", amp)
    assert error.startswith(("the loss is nan at update ", "the loss is inf at update "))
    assert error.endswith("; lower --lr, or give --clip 1")


def test_weights_that_are_lost_are_not_exported(small: Path, tmp_path: Path) -> None:
    """The only update's loss is finite, the next not."""
    flags = ["--epochs", "1", *LITTLE, "--lr", "1e30", "--warmup", "0", "--batch", "120"]
    error = error_of("--data", small, "--out", tmp_path, *flags)
    assert error == "the validation loss is nan at update 1; lower --lr, or give --clip 1"
    assert not (tmp_path / "model.safetensors").exists()
    assert not (tmp_path / "best.pt").exists()


def test_folders_with_different_classes_are_refused(tmp_path: Path) -> None:
    for split, names in (("train", "abc"), ("validation", "abd")):
        for name in names:
            (tmp_path / split / name).mkdir(parents=True)
            (tmp_path / split / name / "0.png").write_bytes(picture(0, 0))
    error = error_of("--data", tmp_path, "--out", tmp_path / "run", *LITTLE)
    assert error == "the folders of the two splits have different classes: c, d"


def test_an_unexpected_error_is_a_traceback(small: Path, tmp_path: Path) -> None:
    """It ends the process although loader workers run."""
    code = (
        "from trainer import learner, pretrain\n"
        "def surprise(*arguments): raise LookupError('surprise')\n"
        "learner.OnDevice.__call__ = surprise; pretrain.main()"
    )
    arguments = ["--data", small, "--out", tmp_path / "run", *LITTLE]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "LookupError: surprise"


def test_a_killed_rank_ends_the_run(small: Path, tmp_path: Path) -> None:
    """torchrun names it, and ends the other rank."""
    process = start(command("--data", small, "--out", tmp_path, *LITTLE, "--epochs", "100000", processes=2))
    while not records(tmp_path, "train"):
        assert process.poll() is None
    psutil.Process(process.pid).children()[-1].send_signal(signal.SIGKILL)
    _, text = process.communicate()
    assert process.returncode == 1
    assert "Signal 9 (SIGKILL)" in text
