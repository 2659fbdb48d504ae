"""Real readers on baked directories: each sees every image, key and label."""

from __future__ import annotations

import gc
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import PIL.Image
import pyarrow.parquet as pq
import pytest
import webdataset

from shards import Spec, render
from shards.directory import open_directory
from shards.plan import plan_shards, samples_of

N_IMAGES = {"train": 60, "validation": 15}


class Sample(NamedTuple):
    """One image as the spec promises it."""

    key: str
    label: int
    image: npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def promised(baked: Path, spec: Spec) -> dict[str, list[Sample]]:
    """Each split's images in the order of its shards, rendered anew."""
    table = pq.read_table(baked / "categories.parquet")
    samples: dict[str, list[Sample]] = {"train": [], "validation": []}
    for shard in plan_shards(spec):
        for c, i in zip(*map(np.ndarray.tolist, samples_of(spec, shard)), strict=True):
            samples[shard.split].append(Sample(f"{c:06}_{i:06}", c, render(spec, table, c, i)))
    return samples


def tars(baked: Path, split: str) -> list[str]:
    return [str(path) for path in sorted(baked.glob(f"{split}-*.tar"))]


@pytest.fixture(params=N_IMAGES)
def split(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def assert_same(found: list[Sample], expected: list[Sample]) -> None:
    assert [(each.key, each.label) for each in found] == [(each.key, each.label) for each in expected]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.image, other.image, err_msg=one.key)


@pytest.fixture
def unclosed_files() -> Iterator[None]:
    """webdataset leaves the last file it reads to the garbage collector."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "unclosed file", ResourceWarning)
        yield
        gc.collect()


@pytest.mark.usefixtures("unclosed_files")
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.parametrize("decoder", ["pil", "l8", "rgb8"])
def test_webdataset(decoder: str, baked: Path, split: str, promised: dict[str, list[Sample]]) -> None:
    dataset = webdataset.WebDataset(tars(baked, split), shardshuffle=False).decode(decoder)
    found = []
    for sample in dataset:
        assert type(sample["cls"]) is int
        image = sample["png"].convert("L") if decoder == "pil" else sample["png"]
        image = np.asarray(image)
        if decoder == "rgb8":
            assert image.shape == (64, 64, 3)
            assert (image == image[:, :, :1]).all()
            image = image[:, :, 0]
        found.append(Sample(sample["__key__"], sample["cls"], image))
    assert len(found) == N_IMAGES[split]
    assert_same(found, promised[split])


@pytest.mark.usefixtures("unclosed_files")
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_the_cards_example_runs(
    baked: Path, promised: dict[str, list[Sample]], monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (baked / "README.md").read_text().split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(baked)
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["label"] == promised["train"][0].label
    np.testing.assert_array_equal(np.asarray(names["image"].convert("L")), promised["train"][0].image)
    assert sum(1 for _ in names["dataset"]) == N_IMAGES["train"]


def read_tars(baked: Path, split: str) -> dict[str, bytes]:
    found = {}
    for path in tars(baked, split):
        with tarfile.open(path, "r:") as tar:
            for info in tar:
                file = tar.extractfile(info)
                assert file is not None
                found[info.name] = file.read()
    return found


def test_pythons_tarfile(baked: Path, split: str, promised: dict[str, list[Sample]]) -> None:
    files = read_tars(baked, split)
    assert list(files) == [f"{each.key}.{ending}" for each in promised[split] for ending in ("png", "cls")]
    assert [files[f"{each.key}.cls"] for each in promised[split]] == [b"%d" % each.label for each in promised[split]]


def test_gnu_tar(baked: Path, split: str, tmp_path: Path) -> None:
    for path in tars(baked, split):
        done = subprocess.run(
            ["tar", "xvf", path, "-C", tmp_path], env={**os.environ, "LC_ALL": "C"}, capture_output=True, check=True
        )
        assert done.stderr == b""
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == read_tars(baked, split)


def test_pil(baked: Path, split: str, promised: dict[str, list[Sample]]) -> None:
    files = read_tars(baked, split)
    mode = {"exfractal": "1", "rcdb": "L"}[baked.name]
    for each in promised[split]:
        with PIL.Image.open(io.BytesIO(files[f"{each.key}.png"])) as image:
            image.verify()
        with PIL.Image.open(io.BytesIO(files[f"{each.key}.png"])) as image:
            assert (image.format, image.mode, image.size) == ("PNG", mode, (64, 64))
            np.testing.assert_array_equal(np.asarray(image.convert("L")), each.image)


@pytest.mark.parametrize("flag", [cv2.IMREAD_UNCHANGED, cv2.IMREAD_GRAYSCALE, cv2.IMREAD_COLOR])
def test_opencv(flag: int, baked: Path, split: str, promised: dict[str, list[Sample]]) -> None:
    files = read_tars(baked, split)
    for each in promised[split]:
        image = cv2.imdecode(np.frombuffer(files[f"{each.key}.png"], dtype=np.uint8), flag)
        expected = np.dstack([each.image] * 3) if flag == cv2.IMREAD_COLOR else each.image
        np.testing.assert_array_equal(image, expected)


def test_pyarrow_reads_every_parquet(baked: Path, spec: Spec) -> None:
    files = {str(path.relative_to(baked)): pq.read_table(path) for path in baked.rglob("*.parquet")}
    shards = plan_shards(spec)
    assert {name: table.num_rows for name, table in files.items()} == {
        "categories.parquet": 5,
        "shards.parquet": 12,
        **{f"samples/{shard.name}.parquet": shard.samples for shard in shards},
    }
    for shard in shards:
        names = [Path(name).stem for name in read_tars(baked, shard.name.rsplit("-", 1)[0]) if name.endswith(".png")]
        assert files[f"samples/{shard.name}.parquet"]["key"].to_pylist() == names[shard.start : shard.stop]


def test_pyarrow_reads_all_samples_as_one_table(baked: Path) -> None:
    table = pq.read_table(baked / "samples")
    assert table.num_rows == len(set(table["key"].to_pylist())) == 75
    assert table.schema.names == ["key", "category", "instance", *open_directory(baked).spec.rules.DRAWN_SCHEMA.names]


LOAD_WITH_DATASETS = """
import hashlib, io, json, sys
import datasets
import numpy as np

def told(dataset):
    return [
        (row["__key__"], row["cls"], hashlib.sha256(np.asarray(row["png"].convert("L")).tobytes()).hexdigest())
        for row in dataset
    ]

directory = sys.argv[1]
files = {"train": f"{directory}/train-*.tar", "validation": f"{directory}/validation-*.tar"}
loaded = {
    "data_files": datasets.load_dataset("webdataset", data_files=files),
    "directory": datasets.load_dataset(directory),
    "streaming": datasets.load_dataset(directory, streaming=True),
}
print(json.dumps({how: {split: told(one[split]) for split in one} for how, one in loaded.items()}))
"""


@pytest.fixture(scope="module")
def by_datasets(baked: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, list[list[Any]]]]:
    """(key, label, hash of the pixels) of each image, as Hugging Face `datasets` sees the directory, in three ways."""
    answer = subprocess.run(
        [sys.executable, "-c", LOAD_WITH_DATASETS, baked],
        env={
            **os.environ,
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_OFFLINE": "1",
            "HF_HOME": str(tmp_path_factory.mktemp("hf")),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    found: dict[str, dict[str, list[list[Any]]]] = json.loads(answer.stdout)
    return found


@pytest.mark.parametrize("how", ["data_files", "directory", "streaming"])
def test_hugging_face_datasets(
    how: str, by_datasets: dict[str, dict[str, list[list[Any]]]], promised: dict[str, list[Sample]]
) -> None:
    assert by_datasets[how] == {
        split: [[each.key, each.label, hashlib.sha256(each.image.tobytes()).hexdigest()] for each in samples]
        for split, samples in promised.items()
    }
