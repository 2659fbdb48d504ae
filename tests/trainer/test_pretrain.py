"""Whole runs: they learn, go on after a kill to the same losses, and say in one line what is wrong."""

from __future__ import annotations

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
from typing import Any

import pytest
import augment  # noqa: F401 makes torchvision ready
import pretrain
import timm
import torch

from augment import EvalTransform, OnDevice
from data import Shards
from images import collate
from info import read_split
from tars import indexed, mapped

from tests.trainer.conftest import ROOT, picture, write_dataset
from tests.trainer.test_stream import served

PRETRAIN, FINETUNE = ROOT / "trainer" / "pretrain.py", ROOT / "trainer" / "finetune.py"
LITTLE = [
    "--model", "test_vit", "--size", "32", "--batch", "8", "--warmup", "1", "--lr", "0.003", "--warmup-lr", "0.0003",
    "--log-every", "1", "--workers", "1", "--device", "cpu", "--repeats", "1", "--randaugment", "", "--crop-scale", "0.9",
    "--mixup", "0", "--cutmix", "0", "--erasing", "0", "--drop-path", "0",
]  # fmt: skip
FULL = [*LITTLE[: LITTLE.index("--repeats")], "--ema", "0.9", "--clip", "1.0", "--accumulate", "2", "--keep-every", "1"]
"""All of the published augmentation, and the options."""


def command(*arguments: object, processes: int = 1, program: Path = PRETRAIN) -> list[str]:
    start = [sys.executable]
    if processes > 1:
        start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return [*start, str(program), *map(str, arguments)]


def run(*arguments: object, processes: int = 1, program: Path = PRETRAIN) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments, processes=processes, program=program),
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def records(out: Path, kind: str) -> list[dict[str, Any]]:
    return [each for line in (out / "log.jsonl").read_text().splitlines() if (each := json.loads(line))["kind"] == kind]


def curve(out: Path) -> list[tuple[int, float]]:
    return [(each["update"], each["loss"]) for each in records(out, "train")]


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


@pytest.mark.parametrize(("processes", "log_every"), [(1, 1000), (2, 1)])
def test_asked_to_stop_it_saves_and_goes_on(processes: int, log_every: int, small: Path, tmp_path: Path) -> None:
    """With rare log lines it stops at an epoch's end, whose validation is then made when it goes on."""
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
    assert process.returncode != 0
    at = torch.load(out / "last.pt", weights_only=True)["update"]
    told = f"pretrain: stopped after update {at:,}, which is saved; the same command with --resume goes on"
    assert said.splitlines().count(told) == 1
    assert records(out, "train")[-1]["update"] == at
    if processes == 1:
        assert at % 15 == 0
        assert run(*arguments, "--out", out, "--resume").returncode == 0
        assert run(*arguments, "--out", whole).returncode == 0
        assert curve(out) == curve(whole)
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
        place = f"127.0.0.1:{free.getsockname()[1]}"
    start = ["--nnodes", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", place, "--rdzv-id", "1"]
    machines = [
        subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", *start, "--local-addr", "127.0.0.1",
             str(PRETRAIN), *map(str, arguments), "--out", str(two)],
            env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(2)
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


def assert_told(done: subprocess.CompletedProcess[str], reason: str, program: Path = PRETRAIN) -> None:
    """Exit 1 and one line, no traceback."""
    assert done.returncode != 0
    assert "Traceback" not in done.stderr, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith(f"{program.stem}: ")]
    assert reason in line


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


HARMS: dict[str, Callable[[Path], list[object]]] = {
    "has no _info.json": no_shards,
    "train-000002.tar` holds 3 samples; _info.json says 23": truncated,
    "is no model of timm": lambda folder: ["--model", "deit_huge"],
    "`--device` (=cuda): no GPU": lambda folder: ["--device", "cuda"],
    "has no split 'test'; it has train, validation": lambda folder: ["--val-split", "test"],
    "`batch` (=0) must be at least 1": lambda folder: ["--batch", "0"],
    "argument --log-every: (=0) must be a whole number, at least 1": lambda folder: ["--log-every", "0"],
    "argument --workers: (=-1) must be a whole number, at least 0": lambda folder: ["--workers", "-1"],
    "`randaugment` (=foo) must be as timm has it": lambda folder: ["--randaugment", "foo"],
    "`warmup` (=1000) must be at most `epochs`": lambda folder: ["--warmup", "1000"],
    "`lr` (=nan) must be at least 0, and finite": lambda folder: ["--lr", "nan"],
    "bytes; _info.json says": sizes_of_another,
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
    assert done.returncode != 0
    assert "exitcode  : -9" not in done.stderr, "torchrun had to kill the other process"
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("pretrain: ")]
    assert "train-000000.tar`: the image at byte 512 cannot be decoded: " in line


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
    assert "give torchrun --standalone" in done.stderr


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
