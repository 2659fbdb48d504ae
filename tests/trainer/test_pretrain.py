"""Whole runs: they learn, and go on after a kill to the same losses."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import augment  # noqa: F401 makes torchvision ready
import timm
import torch

from augment import EvalTransform, OnDevice
from data import Shards
from images import collate
from info import read_split
from tars import indexed, mapped

from tests.trainer.conftest import write_dataset
from tests.trainer.runs import FINETUNE, FULL, LITTLE, PRETRAIN, START, assert_told, command, curve, records, run
from tests.trainer.test_stream import served


def test_it_learns_on_two_processes_and_leaves_all_that_it_promises(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = run("--data", small, "--out", out, "--epochs", "12", *LITTLE, "--model", "test_resnet", processes=2)
    assert done.returncode == 0, done.stderr
    (*_, last) = records(out, "validation")
    assert last["top1"] > 60
    assert last["top5"] == 100
    assert {"best.pt", "curves.png", "last.pt", "log.jsonl", "model.safetensors", "tensorboard"} <= {
        path.name for path in out.iterdir()
    }
    there = timm.create_model("test_resnet", num_classes=4, checkpoint_path=str(out / "model.safetensors"))
    content = torch.load(out / "last.pt", weights_only=True)
    trained = content["state_dict"]
    assert {"optimizer", "scheduler", "scaler", "epoch", "update", "recipe", "what"} <= content.keys()
    assert content["scheduler"]["t_initial"] == content["update"] == 12 * 8
    assert all(torch.equal(value, trained[name]) for name, value in there.state_dict().items())
    split = read_split(small, "validation")
    images = Shards(split, mapped(indexed(split, tmp_path)), EvalTransform(32, 0.9), 0)
    pixels, labels = collate([images[i] for i in range(images.n)])
    seen = there.eval()(OnDevice(4, torch.device("cpu"), 0, 0, 0, 0).normalised(pixels))
    assert torch.nn.functional.cross_entropy(seen, labels).item() == pytest.approx(last["loss"], rel=1e-4)
    assert "img/s  waiting for data" in done.stderr


@pytest.mark.parametrize("processes", [1, 2])
def test_killed_and_resumed_it_goes_on_to_the_same_losses(processes: int, small: Path, tmp_path: Path) -> None:
    arguments = ["--data", small, "--epochs", "3", "--save-every", "3", *FULL]
    whole, out = tmp_path / "whole", tmp_path / "cut"
    assert run(*arguments, "--out", whole, processes=processes).returncode == 0
    process = subprocess.Popen(
        command(*arguments, "--out", out, processes=processes),
        env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    end = time.monotonic() + 120
    while not (out / "log.jsonl").exists() or len(curve(out)) < (5 if processes == 1 else 4):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    at = torch.load(out / "last.pt", weights_only=True)["update"]
    assert 0 < at < len(curve(whole))
    refused = run(*arguments, "--out", out, processes=processes)
    assert refused.returncode != 0
    assert "holds a run; give --resume" in refused.stderr
    done = run(*arguments, "--out", out, "--resume", processes=processes)
    assert done.returncode == 0, done.stderr
    assert curve(out) == curve(whole)
    assert records(out, "validation") == records(whole, "validation")
    one, other = (torch.load(each / "last.pt", weights_only=True) for each in (out, whole))
    assert all(torch.equal(value, other["state_dict"][name]) for name, value in one["state_dict"].items())


def test_a_directory_is_one_runs_as_long_as_it_goes_on(small: Path, tmp_path: Path) -> None:
    arguments = ["--data", small, "--out", tmp_path, "--epochs", "1000", *LITTLE]
    process = subprocess.Popen(command(*arguments), stderr=subprocess.DEVNULL)
    try:
        while not (tmp_path / "log.jsonl").exists():
            assert process.poll() is None
            time.sleep(0.005)
        assert_told(run(*arguments, "--resume"), "is another run's, which goes on")
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(("processes", "log_every"), [(1, 1000), (2, 1), (2, 1000)])
def test_asked_to_stop_it_saves_and_goes_on(processes: int, log_every: int, small: Path, tmp_path: Path) -> None:
    """One process at its next update, several at their next line, which may be an epoch's end, validated when it goes on."""
    arguments = ["--data", small, "--epochs", "4", "--save-every", "0", *LITTLE, "--log-every", log_every]
    whole, out = tmp_path / "whole", tmp_path / "cut"
    process = subprocess.Popen(
        command(*arguments, "--out", out, processes=processes),
        env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    end = time.monotonic() + 120
    while not (out / "log.jsonl").exists() or not records(out, "train"):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.005)
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    at = torch.load(out / "last.pt", weights_only=True)["update"]
    told = f"pretrain: stopped after update {at:,}, which is saved; the same command with --resume goes on"
    assert said.splitlines().count(told) == 1
    assert records(out, "train")[-1]["update"] == at
    if log_every == 1000:
        assert processes == 1 or at % 8 == 0
        assert run(*arguments, "--out", out, "--resume", processes=processes).returncode == 0
        assert run(*arguments, "--out", whole, processes=processes).returncode == 0
        assert [each for each in curve(out) if each[0] != at or at % 15 == 0 or processes == 2] == curve(whole)
        assert records(out, "validation") == records(whole, "validation")


@pytest.mark.skipif(not shutil.which("curl"), reason="webdataset opens http:// with curl, which is not here")
def test_from_a_url_it_learns_and_goes_on_to_the_same_losses(small: Path, tmp_path: Path) -> None:
    with served(small) as (url, _):
        arguments = ["--data", url, *FULL, "--workers", "2", "--save-every", "3", "--epochs", "2"]
        whole, out = tmp_path / "whole", tmp_path / "cut"
        done = run(*arguments, "--out", whole, processes=2)
        assert done.returncode == 0, done.stderr
        process = subprocess.Popen(
            command(*arguments, "--out", out, processes=2),
            env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        while not (out / "last.pt").exists():
            assert process.poll() is None
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert run(*arguments, "--out", out, "--resume", processes=2).returncode == 0
        assert curve(out) == curve(whole)
        assert records(out, "validation") == records(whole, "validation")
        other = run(*arguments, "--out", out, "--resume", "--workers", "1", processes=2)
        assert "its number of loader workers is 2, and here it is 1" in other.stderr


def test_two_machines_train_as_two_processes_of_one_do(tmp_path: Path) -> None:
    """Two launchers that meet at a port, here of one machine; and one shard for all of their four loader workers."""
    data = write_dataset(tmp_path / "data", [50], [9])
    arguments = ["--data", f"pipe:cat {data}/{{}}", "--epochs", "2", *FULL, "--workers", "2"]
    one, two = tmp_path / "one", tmp_path / "two"
    assert run(*arguments, "--out", one, processes=2).returncode == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    start = ["--nnodes", "2", "--master-addr", "127.0.0.1", "--master-port", port]
    machines = [
        subprocess.Popen(
            [sys.executable, str(START), *start, "--node-rank", str(rank), str(PRETRAIN), *map(str, arguments),
             "--out", str(two)],
            env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    said = [machine.communicate(timeout=120)[1] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], said
    assert curve(two) == curve(one)
    assert records(two, "validation") == records(one, "validation")


def test_the_number_of_loader_workers_changes_nothing(small: Path, tmp_path: Path) -> None:
    curves = []
    for workers in ("0", "2"):
        out = tmp_path / workers
        assert run("--data", small, "--out", out, "--epochs", "1", *FULL, "--workers", workers).returncode == 0
        curves.append(curve(out))
    assert curves[0] == curves[1]


def test_bf16_and_learning_rates(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = run(
        "--data",
        small,
        "--out",
        out,
        "--epochs",
        "2",
        *LITTLE,
        "--amp",
        "bf16",
        "--lr-scale-batch",
        "16",
    )
    assert done.returncode == 0, done.stderr
    rates = [each["lr"] for each in records(out, "train")]
    assert rates[0] == 0.0003
    assert max(rates) == pytest.approx(0.0003 + 0.0012 * 14 / 15)
    assert rates[-1] < max(rates) / 20


@pytest.mark.parametrize("option", [["--channels-last"], ["--amp", "fp16"], ["--compile"]])
def test_options_for_speed_train(option: list[str], small: Path, tmp_path: Path) -> None:
    if option == ["--compile"] and not shutil.which("g++"):
        pytest.skip("torch.compile needs a C++ compiler on a CPU, which is not here")
    arguments = ["--data", small, "--out", tmp_path / "run", "--epochs", "2", *LITTLE, *option]
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    first, *_, last = curve(tmp_path / "run")
    assert last[1] < first[1]
    scaler = torch.load(tmp_path / "run" / "last.pt", weights_only=True)["scaler"]
    assert ("scale" in scaler) == ("fp16" in option)


def test_fp16_goes_on_with_its_scaler_to_the_same_losses(small: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    arguments = [
        "--data",
        small,
        "--epochs",
        "2",
        "--keep-every",
        "1",
        *FULL[: FULL.index("--keep-every")],
        "--amp",
        "fp16",
    ]
    assert run(*arguments, "--out", whole).returncode == 0
    out.mkdir()
    shutil.copy(whole / "epoch-0001.pt", out / "last.pt")
    assert run(*arguments, "--out", out, "--resume").returncode == 0
    assert curve(out) == curve(whole)[len(curve(whole)) // 2 :]
    one, other = (torch.load(each / "last.pt", weights_only=True)["scaler"] for each in (out, whole))
    assert one == other
    assert (one["scale"], one["_growth_tracker"]) != (2.0**16, 0)


def test_fine_tuning_takes_the_trunk_and_a_new_head(small: Path, tmp_path: Path) -> None:
    out, folders = tmp_path / "run", tmp_path / "folders"
    assert run("--data", small, "--out", out, "--epochs", "1", *LITTLE).returncode == 0
    from PIL import Image

    for split, name in ((split, name) for split in ("train", "val") for name in ("a", "b", "c")):
        (folders / split / name).mkdir(parents=True)
        for k in range(4):
            Image.new("RGB", (40, 36), (60 * "abc".index(name), 10 * k, 99)).save(folders / split / name / f"{k}.png")
    no_model = LITTLE[2:]
    done = run(
        "--checkpoint", out / "last.pt", "--data", folders, "--val-split", "val", "--out", tmp_path / "tuned",
        "--epochs", "1", *no_model, program=FINETUNE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = torch.load(tmp_path / "tuned" / "last.pt", weights_only=True)
    assert (found["arch"], found["n_classes"], found["state_dict"]["head.weight"].shape[0]) == ("test_vit", 3, 3)
    other = run(
        "--checkpoint", out / "last.pt", "--data", folders, "--val-split", "val", "--out", tmp_path / "other",
        "--epochs", "1", *no_model, "--model", "test_vit2", program=FINETUNE,
    )  # fmt: skip
    assert_told(other, "is of another architecture: ", FINETUNE)
    (tmp_path / "recipe.yaml").write_text("model: test_vit2")
    other = run(
        "--checkpoint", out / "last.pt", "--data", folders, "--val-split", "val", "--out", tmp_path / "third",
        "--epochs", "1", *no_model, "--config", tmp_path / "recipe.yaml", program=FINETUNE,
    )  # fmt: skip
    assert_told(other, "is of another architecture: ", FINETUNE)
