"""Stock timm and Hugging Face datasets read a bake."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import timm
import torch
from timm.data import create_dataset, create_loader

from tests.trainer.conftest import ROOT

fdsl = pytest.importorskip("fdsl", reason="the toolkit is not installed here")


def baked(family: str, folder: Path) -> Path:
    spec = {
        "name": "tiny", "family": family, "categories": 4, "instances": {"train": 16, "validation": 4},
        "image": {"size": 32}, "shards": {"samples": 16},
    }  # fmt: skip
    fdsl.bake(fdsl.parse_spec(spec), folder, executor=fdsl.LocalExecutor(1))
    return folder


@pytest.mark.parametrize("family", ["exfractal", "rcdb"])
def test_timms_loader_reads_a_baked_directory(family: str, tmp_path: Path) -> None:
    folder = baked(family, tmp_path / "baked")
    net = timm.create_model("test_vit", num_classes=4, img_size=32)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    for split, n, is_training in (("train", 64, True), ("validation", 16, False)):
        dataset = create_dataset("wds/tiny", root=str(folder), split=split, is_training=is_training, batch_size=8)
        images = create_loader(
            dataset, input_size=(3, 32, 32), batch_size=8, is_training=is_training, num_workers=1, use_prefetcher=False,
            persistent_workers=False,
        )  # fmt: skip
        seen = 0
        for x, labels in images:
            seen += len(x)
            assert x.shape[1:] == (3, 32, 32)
            assert set(labels.tolist()) <= {0, 1, 2, 3}
            if is_training:
                loss = torch.nn.functional.cross_entropy(net(x), labels)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                assert torch.isfinite(loss)
        assert seen == n


def test_the_readmes_hugging_face_lines_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    baked("rcdb", tmp_path / "data" / "ex1k")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"(?<=^```python\n).*?(?=^```$)", (ROOT / "trainer" / "README.md").read_text(), re.M | re.S)
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    exec(code.replace("    ...\n", "    seen.append((images, labels))\n"), {"seen": seen})
    ((images, labels),) = seen
    assert images.shape == (64, 3, 32, 32)
    assert sorted(labels.tolist()) == sorted([0, 1, 2, 3] * 16)
    assert 0 < images.mean() < 1


def test_the_trainer_imports_nothing_of_the_toolkit() -> None:
    ours = {"primitives", "exfractal", "rcdb", "shards", "fdsl", "cli"}
    for path in (ROOT / "trainer").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not ours & {name.split(".")[0] for name in names}, path
