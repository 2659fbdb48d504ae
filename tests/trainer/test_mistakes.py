"""What goes wrong is told in one line, once."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import augment  # noqa: F401 makes torchvision ready
import pretrain
import torch

from tests.trainer.conftest import picture, write_dataset, write_split
from tests.trainer.runs import LITTLE, PRETRAIN, assert_told, command, run


def no_shards(folder: Path) -> list[object]:
    shutil.rmtree(folder)
    folder.mkdir()
    return []


def truncated(folder: Path) -> list[object]:
    os.truncate(folder / "train-000002.tar", 9000)
    return []


def sizes_of_another(folder: Path) -> list[object]:
    info = json.loads((folder / "_info.json").read_text())
    info["shardlist"] = [{"url": "train-000001.tar", "nsamples": 7, "filesize": 512}]
    (folder / "_info.json").write_text(json.dumps(info))
    return []


def tars_of_another(folder: Path) -> list[object]:
    """Put another dataset's tars in the place of all: as many samples, with the same labels."""
    info = json.loads((folder / "_info.json").read_text())
    info["shardlist"] = [
        {"url": tar.name, "md5sum": hashlib.md5(tar.read_bytes()).hexdigest()} for tar in folder.glob("*.tar")
    ]
    (folder / "_info.json").write_text(json.dumps(info))
    write_split(folder, "train", info["splits"]["train"]["shard_lengths"], first=1_000)
    return []


HARMS: dict[str, Callable[[Path], list[object]]] = {
    "has no _info.json": no_shards,
    "train-000002.tar` holds 3 samples; _info.json says 23": truncated,
    "is no model of timm": lambda folder: ["--model", "deit_huge"],
    "`--device` (=cuda): no GPU": lambda folder: ["--device", "cuda"],
    "has no split 'test'; it has train, validation": lambda folder: ["--val-split", "test"],
    "`--size` (=31) does not suit `--model` (=test_vit): Input height (31)": lambda folder: ["--size", "31"],
    "`batch` (=0) must be at least 1": lambda folder: ["--batch", "0"],
    "argument --log-every: (=0) must be a whole number, at least 1": lambda folder: ["--log-every", "0"],
    "argument --workers: (=-1) must be a whole number, at least 0": lambda folder: ["--workers", "-1"],
    "`randaugment` (=foo) must be as timm has it": lambda folder: ["--randaugment", "foo"],
    "`warmup` (=1000) must be at most `epochs`": lambda folder: ["--warmup", "1000"],
    "`lr` (=nan) must be at least 0, and finite": lambda folder: ["--lr", "nan"],
    "bytes; _info.json says": sizes_of_another,
    "it is damaged, or another dataset's": tars_of_another,
    "`--out` (=/proc/nowhere) cannot be written": lambda folder: ["--out", "/proc/nowhere"],
    "`--config` (=nowhere.yaml) does not exist": lambda folder: ["--config", "nowhere.yaml"],
}


@pytest.mark.parametrize("reason", HARMS)
def test_bad_input_is_one_line(reason: str, small: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small, tmp_path / "data"))
    extra = HARMS[reason](folder)
    if reason.startswith("`--device`") and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert_told(run("--data", folder, "--out", tmp_path / "run", *LITTLE, *extra), reason)


def test_an_image_that_a_loader_worker_cannot_decode_is_one_line(small: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small, tmp_path / "data"))
    path = folder / "train-000000.tar"
    content = bytearray(path.read_bytes())
    content[512 + 60 : 512 + 200] = bytes(140)
    path.write_bytes(content)
    done = run("--data", folder, "--out", tmp_path / "run", *LITTLE, processes=2)
    assert_told(done, "train-000000.tar`: the image at byte 512 cannot be decoded: ")


def test_a_process_that_is_killed_in_the_midst_is_one_line(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = subprocess.Popen(
        command("--data", small, "--out", out, *LITTLE, "--epochs", "1000", processes=2),
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (out / "log.jsonl").exists():
        time.sleep(0.1)
    ranks = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True).stdout.split()
    os.kill(int(ranks[-1]), signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    *progress, line = said.splitlines()
    assert process.returncode == 1
    assert line.startswith("start: process ")
    assert "was ended by SIGKILL" in line
    assert all(each.startswith("epoch ") for each in progress), said


def test_what_nobody_thought_of_ends_the_run_with_its_traceback(small: Path, tmp_path: Path) -> None:
    """Raised while loader workers run: they are not waited for."""
    code = (
        f"import sys; sys.path.insert(0, {str(PRETRAIN.parent)!r}); import pretrain\n"
        "def surprise(*arguments): raise LookupError('surprise')\n"
        "pretrain.OnDevice.__call__ = surprise; pretrain.run()"
    )
    arguments = ["--data", small, "--out", tmp_path / "run", *LITTLE]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "LookupError: surprise"


def test_too_little_memory_is_one_line(small: Path, tmp_path: Path) -> None:
    """The process is allowed 200 MB more than it has when it makes a model of 350 MB."""
    code = (
        f"import resource, sys; sys.path.insert(0, {str(PRETRAIN.parent)!r}); import pretrain\n"
        "make = pretrain.build_model\n"
        "def limited(*arguments):\n"
        "    used = 4096 * int(open('/proc/self/statm').read().split()[0])\n"
        "    resource.setrlimit(resource.RLIMIT_AS, (used + 200_000_000, -1))\n"
        "    return make(*arguments)\n"
        "pretrain.build_model = limited; sys.argv[0] = 'pretrain'; pretrain.run()"
    )
    arguments = [
        "--data",
        small,
        "--out",
        tmp_path / "run",
        *LITTLE,
        "--model",
        "vit_base_patch16_224",
        "--workers",
        "0",
    ]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )
    assert_told(done, "this machine has too little memory: halve --batch and double --accumulate")


def test_a_port_that_is_taken_is_one_line(small: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        place = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(taken.getsockname()[1])}
        done = subprocess.run(
            command("--data", small, "--out", tmp_path / "run", *LITTLE),
            env={**os.environ, **place}, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    assert_told(done, f"the processes cannot meet at 127.0.0.1:{place['MASTER_PORT']}: ")
    assert "give --standalone" in done.stderr


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory"), "halve --batch and double --accumulate"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), "give fewer --workers"),
        (OSError(28, "No space left on device", "runs/last.pt"), "No space left on device: 'runs/last.pt'"),
        (KeyboardInterrupt(), "--resume goes on from the last checkpoint"),
    ],
)
def test_what_happens_in_the_midst_is_one_line(
    raised: BaseException, told: str, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Raised where the model is made, for this machine has no GPU to fill."""

    def stop(*arguments: object) -> None:
        raise raised

    def say(message: str) -> None:
        raise SystemExit(message)

    monkeypatch.setattr(pretrain, "build_model", stop)
    monkeypatch.setattr(pretrain, "fail", say)
    arguments = ["pretrain", "--data", small, "--out", tmp_path / "run", *LITTLE]
    monkeypatch.setattr(sys, "argv", list(map(str, arguments)))
    with pytest.raises(SystemExit, match=told):
        pretrain.run()


@pytest.mark.parametrize("amp", ["none", "fp16"])
def test_a_loss_that_is_no_number_ends_the_run(amp: str, small: Path, tmp_path: Path) -> None:
    done = run("--data", small, "--out", tmp_path / "run", "--epochs", "2", *LITTLE, "--lr", "1e9", "--amp", amp)
    assert_told(done, "begin anew with a lower --lr, a longer --warmup, or --clip 1")
    assert "the loss is nan at update " in done.stderr or "the loss is inf at update " in done.stderr


def test_a_number_that_yaml_takes_for_text_is_told(small: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("lr: 1e-3")
    done = run("--data", small, "--out", tmp_path / "run", "--config", tmp_path / "recipe.yaml")
    assert_told(done, "`lr` (='1e-3') must be a number; 1e-3 is text in YAML, 1.0e-3 a number")


def test_splits_with_other_classes_are_refused(tmp_path: Path) -> None:
    for split, names in (("train", "abc"), ("validation", "abd")):
        for name in names:
            (tmp_path / split / name).mkdir(parents=True)
            (tmp_path / split / name / "0.png").write_bytes(picture(0, 0))
    done = run("--data", tmp_path, "--out", tmp_path / "run", *LITTLE)
    assert_told(done, "the splits' folders have other classes: c, d")


def test_two_processes_are_told_once(small: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small, tmp_path / "data"))
    truncated(folder)
    done = run("--data", folder, "--out", tmp_path / "run", *LITTLE, processes=2)
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("pretrain: ")]
    assert "train-000002.tar` holds 3 samples" in line


def test_another_dataset_or_recipe_is_not_gone_on_with(small: Path, tmp_path: Path) -> None:
    """Nor is one with another number of classes."""
    out = tmp_path / "run"
    assert run("--data", small, "--out", out, "--epochs", "1", *LITTLE).returncode == 0
    other = write_dataset(tmp_path / "other", [16], [4])
    assert_told(
        run("--data", other, "--out", out, "--epochs", "1", *LITTLE, "--resume"),
        "cannot be gone on with: its dataset is ",
    )
    more = write_dataset(tmp_path / "more", [16], [4], n_classes=5)
    assert_told(
        run("--data", more, "--out", out, "--epochs", "1", *LITTLE, "--resume"),
        "cannot be gone on with: its number of classes is 4, and here it is 5",
    )
    again = run("--data", small, "--out", out, "--epochs", "2", *LITTLE, "--resume")
    assert_told(again, "cannot be gone on with: its `epochs` is 1, and here it is 2")
