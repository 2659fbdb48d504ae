"""Other readers see every image, key and label of a baked directory."""

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

from fdsl import Spec, open_directory
from fdsl.dataset.plan import image_key, image_names, plan_shards

N_IMAGES = {"train": 60, "validation": 15}


class Sample(NamedTuple):
    """An image, its key and its label."""

    key: str
    label: int
    image: npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def rendered(baked: Path, spec: Spec) -> dict[str, list[Sample]]:
    """The images of each split in the order of its shards, rendered again."""
    dataset = open_directory(baked).dataset
    samples: dict[str, list[Sample]] = {"train": [], "validation": []}
    for shard in plan_shards(spec):
        for category, instance in image_names(spec, shard):
            key = image_key(category, instance)
            samples[shard.split].append(Sample(key, category, dataset.image(category, instance)))
    return samples


def tars(baked: Path, split: str) -> list[str]:
    return [str(path) for path in sorted(baked.glob(f"{split}-*.tar"))]


@pytest.fixture(params=N_IMAGES)
def split(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def assert_equal(samples: list[Sample], expected: list[Sample]) -> None:
    assert [sample[:2] for sample in samples] == [sample[:2] for sample in expected]
    for one, other in zip(samples, expected, strict=True):
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
def test_webdataset(decoder: str, baked: Path, split: str, rendered: dict[str, list[Sample]]) -> None:
    dataset = webdataset.WebDataset(tars(baked, split), shardshuffle=False).decode(decoder)
    samples = []
    for sample in dataset:
        assert type(sample["cls"]) is int
        image = sample["png"].convert("L") if decoder == "pil" else sample["png"]
        image = np.asarray(image)
        if decoder == "rgb8":
            assert image.shape == (64, 64, 3)
            assert (image == image[:, :, :1]).all()
            image = image[:, :, 0]
        samples.append(Sample(sample["__key__"], sample["cls"], image))
    assert len(samples) == N_IMAGES[split]
    assert_equal(samples, rendered[split])


@pytest.mark.usefixtures("unclosed_files")
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_example_in_the_card_runs(
    baked: Path, rendered: dict[str, list[Sample]], monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (baked / "README.md").read_text().split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(baked)
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["label"] == rendered["train"][0].label
    np.testing.assert_array_equal(np.asarray(names["image"].convert("L")), rendered["train"][0].image)
    assert sum(1 for _ in names["dataset"]) == N_IMAGES["train"]


def read_tars(baked: Path, split: str) -> dict[str, bytes]:
    files = {}
    for path in tars(baked, split):
        with tarfile.open(path, "r:") as tar:
            for info in tar:
                file = tar.extractfile(info)
                assert file is not None
                files[info.name] = file.read()
    return files


def test_tarfile(baked: Path, split: str, rendered: dict[str, list[Sample]]) -> None:
    files = read_tars(baked, split)
    samples = rendered[split]
    assert list(files) == [f"{sample.key}.{ending}" for sample in samples for ending in ("png", "cls")]
    assert [files[f"{sample.key}.cls"] for sample in samples] == [b"%d" % sample.label for sample in samples]


def test_gnu_tar(baked: Path, split: str, tmp_path: Path) -> None:
    for path in tars(baked, split):
        process = subprocess.run(
            ["tar", "xvf", path, "-C", tmp_path], env={**os.environ, "LC_ALL": "C"}, capture_output=True, check=True
        )
        assert process.stderr == b""
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == read_tars(baked, split)


def test_pil(baked: Path, spec: Spec, split: str, rendered: dict[str, list[Sample]]) -> None:
    files = read_tars(baked, split)
    mode = {1: "1", 8: "L"}[spec.family_module.BIT_DEPTH]
    for sample in rendered[split]:
        with PIL.Image.open(io.BytesIO(files[f"{sample.key}.png"])) as image:
            image.verify()
        with PIL.Image.open(io.BytesIO(files[f"{sample.key}.png"])) as image:
            assert (image.format, image.mode, image.size) == ("PNG", mode, (64, 64))
            np.testing.assert_array_equal(np.asarray(image.convert("L")), sample.image)


@pytest.mark.parametrize("flag", [cv2.IMREAD_UNCHANGED, cv2.IMREAD_GRAYSCALE, cv2.IMREAD_COLOR])
def test_opencv(flag: int, baked: Path, split: str, rendered: dict[str, list[Sample]]) -> None:
    files = read_tars(baked, split)
    for sample in rendered[split]:
        image = cv2.imdecode(np.frombuffer(files[f"{sample.key}.png"], dtype=np.uint8), flag)
        expected = np.dstack([sample.image] * 3) if flag == cv2.IMREAD_COLOR else sample.image
        np.testing.assert_array_equal(image, expected)


def test_pyarrow_reads_every_table(baked: Path, spec: Spec) -> None:
    files = {str(path.relative_to(baked)): pq.read_table(path) for path in baked.rglob("*.parquet")}
    shards = plan_shards(spec)
    assert {name: table.num_rows for name, table in files.items()} == {
        "categories.parquet": 5,
        "shards.parquet": 12,
        **{f"samples/{shard.name}.parquet": shard.n_samples for shard in shards},
    }
    for shard in shards:
        names = [Path(name).stem for name in read_tars(baked, shard.name.rsplit("-", 1)[0]) if name.endswith(".png")]
        assert files[f"samples/{shard.name}.parquet"]["key"].to_pylist() == names[shard.start : shard.stop]


def test_pyarrow_reads_all_samples_as_one_table(baked: Path, spec: Spec) -> None:
    table = pq.read_table(baked / "samples")
    assert table.num_rows == len(set(table["key"].to_pylist())) == 75
    assert table.schema.names == ["key", "category", "instance", *spec.family_module.VARIANT_SCHEMA.names]


LOAD_WITH_DATASETS = """
import hashlib, io, json, sys
sys.path = [folder for folder in sys.path if not folder.endswith("without")]  # pandas is hidden there
import datasets
import numpy as np

def rows(dataset):
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
types = [
    [type(splits[name].features["cls"]).__name__, splits[name].features["cls"].names, next(iter(splits[name]))["png"].mode]
    for way, splits in loaded.items() if way != "data_files"
    for name in splits
]
print(json.dumps(types))
print(json.dumps({way: {split: rows(splits[split]) for split in splits} for way, splits in loaded.items()}))
"""


@pytest.mark.slow
def test_hugging_face_datasets(baked: Path, rendered: dict[str, list[Sample]], tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-c", LOAD_WITH_DATASETS, baked],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    expected = {
        split: [[sample.key, sample.label, hashlib.sha256(sample.image.tobytes()).hexdigest()] for sample in samples]
        for split, samples in rendered.items()
    }
    types, read = process.stdout.splitlines()
    assert json.loads(types) == 4 * [["ClassLabel", ["0", "1", "2", "3", "4"], "L"]]
    assert json.loads(read) == dict.fromkeys(("data_files", "directory", "streaming"), expected)
