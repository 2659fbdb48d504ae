"""Whole runs learn, and resume to the same losses."""

from __future__ import annotations

import shutil
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image

from tests.trainer import runs
from tests.trainer.conftest import write_dataset
from tests.trainer.runs import FULL, LITTLE, command, curve, error_of, kill_when, records, run, start, train
from tests.trainer.test_stream import CURL, served
from trainer.data import Shards
from trainer.images import EvalTransform, OnDevice, collate
from trainer.info import read_split
from trainer.recipe import FinetuneOptions, Recipe
from trainer.tars import build_index


def test_two_processes_learn_and_export(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = run("--data", small, "--out", out, "--epochs", "12", *LITTLE, "--model", "test_resnet", processes=2)
    assert done.returncode == 0, done.stderr
    (*_, last) = records(out, "validation")
    assert last["top1"] > 60
    assert "top5" not in last  # of four classes
    names = {path.name for path in out.iterdir()}
    assert {"best.pt", "curves.png", "last.pt", "log.jsonl", "model.safetensors", "tensorboard"} <= names
    net = timm.create_model("test_resnet", num_classes=4, checkpoint_path=str(out / "model.safetensors"))
    content = torch.load(out / "last.pt", weights_only=True)
    assert {"optimizer", "scaler", "epoch", "update", "recipe", "dataset"} <= content.keys()
    assert content["update"] == 12 * 8
    assert all(torch.equal(value, content["state_dict"][name]) for name, value in net.state_dict().items())
    split, r = read_split(str(small), "validation"), Recipe(size=32)
    images = Shards(split, build_index(split, tmp_path), EvalTransform(r), 0)
    pixels, labels = collate([images[i] for i in range(images.n)])
    output = net.eval()(OnDevice(r, 4, torch.device("cpu")).normalized(pixels))
    assert torch.nn.functional.cross_entropy(output, labels).item() == pytest.approx(last["loss"], rel=1e-4)
    assert "images_per_s" in done.stderr


def assert_same(out: Path, whole: Path) -> None:
    """The same losses, scores and weights."""
    assert curve(out) == curve(whole)
    assert records(out, "validation") == records(whole, "validation")
    one, other = (torch.load(path / "last.pt", weights_only=True) for path in (out, whole))
    assert all(torch.equal(value, other["state_dict"][name]) for name, value in one["state_dict"].items())


def saved(out: Path) -> int:
    update: int = torch.load(out / "last.pt", weights_only=True)["update"]
    return update


def finish(*arguments: object, processes: int) -> None:
    """Train to the end; one process in this one."""
    if processes == 1:
        assert train(*arguments) == 0
    else:
        done = run(*arguments, processes=processes)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("processes", "number"), [(1, signal.SIGINT), (2, signal.SIGTERM)])
def test_stopped_and_killed_runs_resume_alike(processes: int, number: int, small: Path, tmp_path: Path) -> None:
    arguments = ["--data", small, "--epochs", str(3 * processes), "--save-every", "3", *FULL]
    whole, out = tmp_path / "whole", tmp_path / "cut"
    finish(*arguments, "--out", whole, processes=processes)
    process = start(command(*arguments, "--out", out, processes=processes))
    while not records(out, "train"):
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(number)
    _, text = process.communicate()
    if processes == 1:
        assert process.returncode == 128 + number
    stopped = saved(out)
    assert text.count(f"trainer: stopped after update {stopped:,}; continue with --resume") == 1
    assert stopped < len(curve(whole))
    assert "holds a run; give --resume" in error_of(*arguments, "--out", out)
    process = start(command(*arguments, "--out", out, "--resume", processes=processes))
    kill_when(process, lambda: curve(out)[-1][0] > saved(out) > stopped)
    assert stopped < saved(out) < len(curve(whole))
    finish(*arguments, "--out", out, "--resume", processes=processes)
    assert_same(out, whole)


def test_resume_validates_after_an_epochs_end(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["--data", small, "--epochs", "2", *LITTLE]
    whole, out = tmp_path / "whole", tmp_path / "cut"
    assert train(*arguments, "--out", whole) == 0
    stop_at(15, monkeypatch, *arguments, "--out", out)
    assert records(out, "validation") == []
    assert train(*arguments, "--out", out, "--resume") == 0
    assert_same(out, whole)


def stop_at(update: int, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    """Train in this process until an update."""
    with monkeypatch.context() as patch:
        updates = iter(range(1, 100))
        patch.setattr("trainer.ranks.Ranks.any", lambda ranks, flag: next(updates) == update)
        assert train(*arguments) == 128 + signal.SIGTERM


def assert_near(out: Path, whole: Path) -> None:
    """The same losses, but for the order of sums."""
    assert [update for update, _ in curve(out)] == [update for update, _ in curve(whole)]
    for kind in ("train", "validation"):
        one, other = ([record["loss"] for record in records(path, kind)] for path in (out, whole))
        assert one == pytest.approx(other, rel=1e-3)


@pytest.mark.slow
def test_one_process_goes_on_for_two(small: Path, tmp_path: Path) -> None:
    """With as many images per update and all of the published augmentation."""
    arguments, (whole, out) = ["--data", small, "--epochs", "2", *FULL], (tmp_path / "whole", tmp_path / "cut")
    assert train(*arguments, "--out", whole) == 0
    done = run(*arguments, "--accumulate", "1", "--out", out, processes=2)
    assert done.returncode == 0, done.stderr
    assert_near(out, whole)
    shutil.copy(out / "epoch-0001.pt", out / "last.pt")
    assert "has images_per_update 16, not 8; keep" in error_of(
        *arguments, "--accumulate", "1", "--out", out, "--resume"
    )
    assert train(*arguments, "--out", out, "--resume") == 0
    assert_near(out, whole)


@pytest.mark.slow
def test_larger_batches_go_on_for_more_steps(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same images in each update, augmented alike; mixing would be drawn for other batches."""
    arguments, (whole, out) = ["--data", small, "--epochs", "2", *LITTLE], (tmp_path / "whole", tmp_path / "cut")
    arguments += ["--repeats", "3", "--crop-scale", "0.08", "--randaugment", "rand-m9-mstd0.5-inc1"]
    assert train(*arguments, "--out", whole, "--batch", "16") == 0
    stop_at(5, monkeypatch, *arguments, "--out", out, "--accumulate", "2")
    assert train(*arguments, "--out", out, "--batch", "16", "--resume") == 0
    assert_near(out, whole)


@pytest.mark.slow
def test_stream_takes_other_processes_between_epochs(small: Path, tmp_path: Path) -> None:
    arguments, out = ["--data", f"pipe:cat {small}/{{}}", "--epochs", "2", *FULL], tmp_path / "run"
    assert train(*arguments, "--save-every", "3", "--out", out) == 0
    other = ["--batch", "4", "--accumulate", "4", "--out", out, "--resume"]
    shutil.copy(out / "epoch-0001.pt", out / "last.pt")
    assert train(*arguments, *other) == 0
    assert [update for update, _ in curve(out)] == list(range(1, 17))


def test_checkpoints_are_written_at_validations(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[str] = []
    monkeypatch.setattr(
        "trainer.checkpoint.save", lambda path, content: saved.append(f"{path.name} {content['epoch']}")
    )
    assert train("--data", small, *LITTLE, "--epochs", 3, "--val-every", 2, "--out", tmp_path / "a") == 0
    assert [name for name in saved if name.startswith("last.pt")] == ["last.pt 2", "last.pt 3"]


@CURL
def test_two_machines_resume_from_a_url(small: Path, tmp_path: Path) -> None:
    """Two torchruns, to the losses of one."""
    with served(small) as (url, _), socket.socket() as free:
        arguments = ["--data", url, *FULL, "--workers", "2", "--save-every", "3", "--epochs", "2"]
        whole, out = tmp_path / "whole", tmp_path / "cut"
        done = run(*arguments, "--out", whole, processes=2)
        assert done.returncode == 0, done.stderr
        kill_when(start(command(*arguments, "--out", out, processes=2)), lambda: (out / "last.pt").exists())
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
        free.close()
        meeting = [*runs.TORCHRUN, "--nnodes", "2", "--master-addr", "127.0.0.1", "--master-port", port]
        tail = ["-m", "trainer.pretrain", *map(str, arguments), "--out", str(out), "--resume"]
        machines = [start([*meeting, "--node-rank", str(rank), *tail]) for rank in range(2)]
        texts = [machine.communicate()[1] for machine in machines]
        assert [machine.returncode for machine in machines] == [0, 0], texts
    assert_same(out, whole)


def test_the_number_of_workers_changes_nothing(small: Path, tmp_path: Path) -> None:
    arguments = ["--data", small, "--epochs", "1", *FULL]
    assert train(*arguments, "--out", tmp_path / "0") == 0
    assert run(*arguments, "--out", tmp_path / "2", "--workers", "2").returncode == 0
    assert_same(tmp_path / "0", tmp_path / "2")


def test_learning_rates_warm_up_and_fall(small: Path, tmp_path: Path) -> None:
    flags = ["--epochs", "2", *LITTLE, "--amp", "bf16"]
    assert train("--data", small, "--out", tmp_path, *flags) == 0
    rates = [record["lr"] for record in records(tmp_path, "train")]
    assert rates[0] == 0.0003
    assert max(rates) == pytest.approx(0.0003 + 0.0027 * 14 / 15)
    assert rates[-1] < max(rates) / 20


@pytest.mark.parametrize("option", [["--channels-last"], ["--amp", "fp16"], ["--compile"]])
def test_options_for_speed_train(option: list[str], small: Path, tmp_path: Path) -> None:
    if option == ["--compile"] and not shutil.which("g++"):
        pytest.skip("torch.compile needs a C++ compiler on a CPU")
    assert train("--data", small, "--out", tmp_path, "--epochs", "2", *LITTLE, *option) == 0
    first, *_, last = curve(tmp_path)
    assert last[1] < first[1]
    scaler = torch.load(tmp_path / "last.pt", weights_only=True)["scaler"]
    assert ("scale" in scaler) == ("fp16" in option)


def test_fp16_resumes_with_its_scaler(small: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    arguments = ["--data", small, "--epochs", "2", *FULL, "--amp", "fp16"]
    assert train(*arguments, "--out", whole) == 0
    out.mkdir()
    shutil.copy(whole / "epoch-0001.pt", out / "last.pt")
    assert train(*arguments, "--out", out, "--resume") == 0
    assert curve(out) == curve(whole)[len(curve(whole)) // 2 :]
    assert records(out, "validation") == records(whole, "validation")
    one, other = (torch.load(path / "last.pt", weights_only=True)["scaler"] for path in (out, whole))
    assert one == other
    assert (one["scale"], one["_growth_tracker"]) != (2.0**16, 0)


def test_another_dataset_or_recipe_does_not_resume(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert train("--data", small, "--out", out, "--epochs", "1", *LITTLE) == 0
    others: list[tuple[Callable[[], Path], str, str]] = [
        (lambda: write_dataset(tmp_path / "other", [16], [4]), "1", "has dataset "),
        (lambda: write_dataset(tmp_path / "more", [16], [4], n_classes=5), "1", "`"),
        (lambda: small, "2", "has epochs 1, not 2"),
    ]
    for data, epochs, rule in others:
        error = error_of("--data", data(), "--out", out, "--epochs", epochs, *LITTLE, "--resume")
        assert rule in error
        assert "resume it unchanged, or give another --out" in error


def test_a_finished_run_resumes_to_its_end(small: Path, tmp_path: Path) -> None:
    arguments = ["--data", small, "--out", tmp_path, "--epochs", "1", *LITTLE]
    assert train(*arguments) == 0
    before = (tmp_path / "log.jsonl").read_text()
    (tmp_path / "model.safetensors").unlink()
    assert train(*arguments, "--resume") == 0
    assert (tmp_path / "log.jsonl").read_text() == before
    assert (tmp_path / "model.safetensors").exists()


def test_fine_tuning_on_folders(small: Path, tmp_path: Path) -> None:
    out, folders = tmp_path / "run", tmp_path / "folders"
    assert train("--data", small, "--out", out, "--epochs", "1", *LITTLE, "--ema", "0.5") == 0
    for split, name in ((split, name) for split in ("train", "val") for name in ("a", "b", "c")):
        (folders / split / name).mkdir(parents=True)
        for k in range(4):
            Image.new("RGB", (40, 36), (60 * "abc".index(name), 10 * k, 99)).save(folders / split / name / f"{k}.png")
    arguments = ["--data", folders, "--val-split", "val", "--epochs", "1", *LITTLE[2:]]
    for name in ("last.pt", "model.safetensors"):
        tuned = tmp_path / f"tuned-{name}"
        assert train("--checkpoint", out / name, "--out", tuned, *arguments, options=FinetuneOptions) == 0
        content = torch.load(tuned / "last.pt", weights_only=True)
        assert (content["arch"], content["n_classes"], len(content["state_dict"]["head.weight"])) == ("test_vit", 3, 3)
    assert curve(tmp_path / "tuned-last.pt") == curve(tmp_path / "tuned-model.safetensors")
    (tmp_path / "recipe.yaml").write_text("model: test_vit2")
    for flags in (["--model", "test_vit2"], ["--config", tmp_path / "recipe.yaml"]):
        tuning = ["--checkpoint", out / "last.pt", "--out", tmp_path / "other", *arguments, *flags]
        error = error_of(*tuning, options=FinetuneOptions)
        assert "is of another architecture than test_vit2" in error or "size mismatch" in error
