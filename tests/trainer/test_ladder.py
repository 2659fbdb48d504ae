"""The runs of a ladder, by the real trainer in this process. How the toolkit starts them is tested with a stub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer.runs import records, train
from trainer.recipe import FinetuneOptions, Options

pytest.importorskip("fdsl", reason="the toolkit is not installed here")

from fdsl.ladders.ladder import parse_ladder
from fdsl.ladders.plan import Run, cells, pretrainings, searches, trials
from fdsl.ladders.report import read_results, report_lines
from fdsl.ladders.running import best_rate, prepare, write_result

PLAIN = {
    "repeats": 1,
    "randaugment": "",
    "mixup": 0.0,
    "cutmix": 0.0,
    "erasing": 0.0,
    "drop_path": 0.0,
    "device": "cpu",
}
LADDER: dict[str, Any] = {
    "spec": {"family": "exfractal", "categories": 2, "instances": {"train": 4, "validation": 1}, "image": {"size": 32}},
    "rungs": {"shuffled": {"shuffled": True, "spec": {"params": {"points": 100}}}},
    "models": {"vit": {"model": "test_vit", "size": 32}},
    "pretrain": {"images_seen": 16, "recipe": {**PLAIN, "batch": 4}},
    "transfer": {
        "finetune": {"images_seen": 80, "rates": [0.003], "recipe": {**PLAIN, "batch": 8}},
        "probe": {"images_seen": 80, "rates": [0.03], "recipe": {**PLAIN, "batch": 8, "freeze": True}},
    },
    "targets": {"bars": {"data": "bars", "labels": [4], "held": 4}},
    "seeds": 1,
}
"""One rung, 4 updates of pre-training and 10 of transfer."""


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write an IDX file of bytes."""
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">u4").tobytes()
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def write_bars(folder: Path) -> None:
    """Write a target of bright bars; a bar's position is the label."""
    folder.mkdir()
    for split, n in (("train", 16), ("test", 8)):
        labels = np.arange(n) % 2
        images = np.random.default_rng(n).integers(0, 60, (n, 28, 28))
        for image, label in zip(images, labels, strict=True):
            image[:, 14 * label : 14 * label + 14] += 150
        write_idx(folder / f"{split}-images-idx3-ubyte", images)
        write_idx(folder / f"{split}-labels-idx1-ubyte", labels)


def run(out: Path, one: Run) -> None:
    """Run in this process, as the command says."""
    options = FinetuneOptions if one.module == "trainer.finetune" else Options
    assert train(*one.arguments[3:], options=options) == 0
    write_result(out, one)


@pytest.mark.slow
def test_every_run_of_a_ladder_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_bars(tmp_path / "bars")
    monkeypatch.chdir(tmp_path)
    ladder, out = parse_ladder(LADDER), tmp_path / "out"
    sizes = prepare(ladder, out)
    monkeypatch.chdir(out)
    for one in pretrainings(ladder):
        run(out, one)
    for cell in cells(ladder):
        for one in searches(ladder, cell, sizes):
            run(out, one)
        rate = best_rate(ladder, out, cell)
        assert rate
        for one in trials(ladder, cell, sizes, rate):
            run(out, one)
            assert len(records(out / one.path, "train")) == 10
    results = read_results(out)
    assert len(results.runs) == 1 + 2 * 2 * 2
    assert all(0 <= top1 <= 100 for scores in results.top1.values() for top1 in scores.values())
    assert max(top1 for scores in results.top1.values() for top1 in scores.values()) > 75
    assert len(list(report_lines(results))) == 1 + 2 * (3 + 2 + 2)
