"""Loaders take a live dataset as it is: the lines of docs/formula.md, and every item once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from tests.trainer.conftest import ROOT

fdsl = pytest.importorskip("fdsl", reason="the toolkit is not installed here")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the user's cache and the working directory out of the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def small(family: str, **options: Any) -> Any:
    """Open 48 small images of 4 categories."""
    instances = fdsl.Instances(train=12, validation=2)
    spec = fdsl.Spec(name="tiny", family=family, categories=4, instances=instances, image=fdsl.ImageFormat(size=32))
    return fdsl.open(spec, **options)


def block_of(word: str) -> str:
    """Return the Python block of the page that holds a word."""
    (code,) = (
        code
        for code in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "formula.md").read_text(), re.DOTALL)
        if word in code
    )
    return str(code)


def run(code: str) -> dict[str, Any]:
    """Run a block; return its names."""
    names: dict[str, Any] = {"__name__": "block"}
    exec(code, names)
    return names


@pytest.fixture(params=["exfractal", "rcdb"])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize(("n_workers", "method"), [(0, None), (2, "fork"), (2, "spawn")])
def test_loader_gives_every_item_once(n_workers: int, method: str | None, family: str) -> None:
    dataset = small(family, epoch=1)
    loader: Any = DataLoader(dataset, batch_size=10, num_workers=n_workers, multiprocessing_context=method)
    batches = list(loader)
    images, labels = (torch.cat([batch[k] for batch in batches]) for k in range(2))
    assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
    expected = dataset.__getitems__(range(48))
    assert np.array_equal(images.numpy(), np.stack([image for image, _ in expected]))
    assert labels.tolist() == [label for _, label in expected]


def test_views_and_targets_are_collated() -> None:
    dataset = small("rcdb", views=2, targets=("perlin", "vertices"))
    images, labels, targets = next(iter(DataLoader(dataset, batch_size=5)))
    assert (images.shape, labels.shape) == ((5, 2, 32, 32), (5,))
    assert {name: value.shape for name, value in targets.items()} == {"perlin": (5, 2), "vertices": (5, 2)}
    _, _, single = next(iter(DataLoader(small("rcdb", targets=("perlin", "vertices")), batch_size=5)))
    assert single["vertices"].tolist() == targets["vertices"][:, 0].tolist()
    assert single["perlin"].dtype == torch.float64


@pytest.mark.parametrize("n_workers", [0, 2])
def test_sampler_gives_the_same_steps_to_any_ranks(n_workers: int) -> None:
    dataset = small("rcdb")

    def steps(n_ranks: int, start: int) -> list[list[int]]:
        """Return a checksum of each image, step by step, over all ranks."""
        loaders = [
            DataLoader(
                dataset,
                batch_sampler=fdsl.BatchSampler(48, 12, rank, n_ranks, seed=3, step=start),
                num_workers=n_workers,
            )
            for rank in range(n_ranks)
        ]
        return [
            [int(image.long().sum()) for images, _ in parts for image in images] for parts in zip(*loaders, strict=True)
        ]

    whole = steps(1, 0)
    assert len(whole) == 4
    assert steps(2, 1) == steps(3, 1) == whole[1:]


def test_pages_sampler_lines_run() -> None:
    names = run(block_of("BatchSampler"))
    assert names["checkpoint"]["step"] == 3
    assert names["images"].shape == (1000, 224, 224)
    assert names["labels"].tolist() == [
        int(names["dataset"].key(position)[:6]) for position in names["resumed"].positions(3)
    ]


def test_pages_torch_lines_run() -> None:
    names = run(block_of("batch_size=64"))
    assert (names["images"].shape, names["images"].dtype) == ((64, 512, 512), torch.uint8)
    assert names["labels"].shape == (64,)


def test_pages_timm_lines_run() -> None:
    names = run(block_of("create_loader"))
    assert names["images"].shape == (16, 3, 224, 224)
    assert names["images"].std() > 0
    assert set(names["labels"].tolist()) <= set(range(100))


def test_lightning_trains_on_it() -> None:
    lightning = pytest.importorskip("pytorch_lightning", reason="Lightning is not installed here")

    class Model(lightning.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(32 * 32, 4)

        def training_step(self, batch: Any, k: int) -> torch.Tensor:
            images, labels = batch
            return torch.nn.functional.cross_entropy(self.layer(images.flatten(1) / 255), labels)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    trainer = lightning.Trainer(
        accelerator="cpu", max_steps=3, logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    trainer.fit(Model(), DataLoader(small("rcdb"), batch_size=8, shuffle=True))
    assert trainer.global_step == 3


def test_pages_hugging_face_lines_run() -> None:
    pytest.importorskip("transformers", reason="transformers is not installed here")
    pytest.importorskip("accelerate", reason="accelerate is not installed here")
    trainer = run(block_of("from transformers import"))["trainer"]
    assert trainer.state.global_step == 2


def test_pages_dali_lines_run() -> None:
    pytest.importorskip("nvidia.dali", reason="DALI is not installed here")
    names = run(block_of("external_source"))
    assert len(names["images"]) == 16
    for k in range(16):
        image, label = names["dataset"][k]
        assert np.array_equal(np.asarray(names["images"][k])[:, :, 0], image)
        assert np.asarray(names["labels"][k]).tolist() == [label]
