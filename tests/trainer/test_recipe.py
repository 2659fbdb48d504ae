"""Recipes from files and flags, and their mistakes."""

from __future__ import annotations

import sys
from pathlib import Path
from unittest import mock

import pytest

from trainer import recipe
from trainer.errors import InputError
from trainer.recipe import RECIPES, FinetuneOptions, Options, Recipe, parse

BASE = ["--data", "data", "--out", "out"]


def parsed(*arguments: object) -> tuple[Recipe, Options]:
    with mock.patch.object(sys, "argv", ["train", *BASE, *map(str, arguments)]):
        return parse(Options, "pretrain", "")


def test_flags_override_the_file(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("epochs: 7\nbatch: 3\nlr: 1e-2\nchannels_last: true\n")
    r, _ = parsed("--config", tmp_path / "r.yaml", "--batch", "5", "--compile", "--warmup", "2")
    assert (r.epochs, r.batch, r.lr, r.compile, r.mixup) == (7, 5, 0.01, True, 0.8)
    assert r.channels_last
    assert not parsed("--no-channels-last", "--config", tmp_path / "r.yaml")[0].channels_last
    assert "model" not in r.model_fields_set


def test_every_field_has_a_flag_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed("--help")
    text = capsys.readouterr().out
    for schema in (Recipe, Options):
        for name, field in schema.model_fields.items():
            assert f"--{name.replace('_', '-')}" in text
            assert field.description
    assert "checkpoint" in FinetuneOptions.model_fields


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.yaml")))
def test_recipes_are_found_by_name(name: str) -> None:
    assert parsed("--config", name)[0].epochs in (4, 90, 300)


@pytest.mark.parametrize("size", ["1k", "21k"])
@pytest.mark.parametrize("model", ["t", "b"])
def test_both_families_have_the_same_recipes(size: str, model: str) -> None:
    rcdb, exfractal = (parsed("--config", f"{family}-{size}-vit-{model}")[0] for family in ("rcdb", "exfractaldb"))
    assert rcdb == exfractal
    published = (rcdb.lr, rcdb.warmup, rcdb.mixup, rcdb.cutmix, rcdb.erasing, rcdb.repeats, rcdb.weight_decay)
    assert published == (1e-3, 5.0, 0.8, 1.0, 0.25, 3, 0.05)


MISTAKES = {
    "epoch: 3": "recipe: `epoch` (='3'): Extra inputs are not permitted",
    "batch: 0": "recipe: `batch` (='0'): Input should be greater than or equal to 1",
    "batch: true": "recipe: `batch` (='True'): Input should be a valid integer",
    "amp: fp8": "recipe: `amp` (='fp8'): Input should be 'none', 'bf16' or 'fp16'",
    "lr: .nan": "recipe: `lr` (='nan'): Input should be a finite number",
    "warmup: 1000": "recipe: `warmup` (=1000) must be at most `epochs` (=300)",
    "mixup: [1]": "recipe: `mixup` (='[1]'): Input should be a valid number",
    "a: b: c": "r.yaml` is not a YAML file of keys and values: mapping values are not allowed here",
    "- 1": "r.yaml` is not a YAML file of keys and values: ",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_recipes_mistake_is_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        parsed("--config", tmp_path / "r.yaml")
    assert MISTAKES[text] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_mistakes_in_flags_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for flags, rule in (
        (["--log-every", "0"], r"options: `log_every` \(='0'\): Input should be greater than or equal to 1"),
        (["--batch", "x"], r"recipe: `batch` \(='x'\): Input should be a valid integer"),
        (["--amp", "x"], r"recipe: `amp` \(='x'\): Input should be 'none', 'bf16' or 'fp16'"),
    ):
        with pytest.raises(InputError, match=rule):
            parsed(*flags)
    with pytest.raises(SystemExit):
        parsed("--epoch", "3")
    assert "unrecognized arguments: --epoch 3" in capsys.readouterr().err


def test_a_missing_recipe_is_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"recipes/nowhere\.yaml"):
        parsed("--config", "nowhere")


V1, OTHER = "4:cpu,cpuacct:/a/b\n", "3:cpuset:/a/b\n"


@pytest.mark.parametrize(
    ("groups", "quotas", "n_cores"),
    [
        ("0::/a/b\n", {}, 8),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000"}, 8),
        ("0::/a/b\n", {"a/b/cpu.max": "300000 100000"}, 3),
        ("0::/a/b\n", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "300000 100000"}, 2),
        ("0::/a/b\n", {"cpu.max": "250000 100000", "a/b/cpu.max": "max 100000"}, 2),
        ("0::/a/b\n", {"a/b/cpu.max": "50000 100000"}, 0),
        ("0::/../host\n", {"cpu.max": "300000 100000"}, 3),
        (V1, {"cpu/a/b/cpu.cfs_quota_us": "300000", "cpu/a/b/cpu.cfs_period_us": "100000"}, 3),
        (V1, {"cpu/a/cpu.cfs_quota_us": "50000", "cpu/a/cpu.cfs_period_us": "25000"}, 2),
        (V1, {"cpu/a/b/cpu.cfs_quota_us": "-1", "cpu/a/b/cpu.cfs_period_us": "100000"}, 8),
        (OTHER, {"cpu/a/b/cpu.cfs_quota_us": "300000", "cpu/a/b/cpu.cfs_period_us": "100000"}, 8),
        (OTHER + V1, {"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ("", {"cpu.max": "100000 100000"}, 8),
    ],
)
def test_the_tightest_cgroup_counts(
    groups: str, quotas: dict[str, str], n_cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe.os, "sched_getaffinity", lambda process: set(range(8)))
    for name, content in quotas.items():
        (tmp_path / "mount" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mount" / name).write_text(content + "\n")
    (tmp_path / "groups").write_text(groups)
    assert recipe.free_cores(tmp_path / "groups", tmp_path / "mount") == n_cores
    assert recipe.free_cores(tmp_path / "none", tmp_path / "mount") == 8


def test_workers_default_to_free_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    one = recipe.free_cores()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(one))
    assert recipe.free_cores() == 1
