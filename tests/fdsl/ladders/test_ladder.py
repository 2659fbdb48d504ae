"""Ladder files: what they mean, and what is refused."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from fdsl import InputError
from fdsl.ladders.ladder import Ladder, load_ladder, parse_ladder, shipped
from fdsl.ladders.plan import pretrainings
from tests.fdsl.ladders.conftest import small_mapping


def n_images(ladder: Ladder, data: str) -> int:
    """The training images of the rung that `--data` names."""
    return ladder.spec_of(Path(data.partition(":")[2]).stem).n_images("train")


def test_rungs_change_the_base_spec(target: Path) -> None:
    mapping = small_mapping(target)
    mapping["rungs"] = {
        "more": {"spec": {"categories": 7, "params": {"maps": [3, 3]}}},
        "other": {"spec": {"family": "rcdb", "instances": {"train": 9}}},
    }
    mapping["pretrain"] = {"images_seen": 28}
    ladder = parse_ladder(mapping)
    more, other = ladder.spec_of("more"), ladder.spec_of("other")
    assert (more.categories, more.params.model_dump()["points"], more.params.model_dump()["maps"]) == (7, 100, (3, 3))
    assert (other.family, other.instances.train, other.instances.validation) == ("rcdb", 9, 1)


def test_recipes_override_options_of_either_spelling(target: Path) -> None:
    mapping = small_mapping(target)
    mapping["pretrain"]["recipe"] = {"crop-scale": 0.5}
    mapping["models"]["vit"]["crop_scale"] = 0.25
    mapping["rungs"] = {"plain": {"recipe": {"crop-scale": 0.1234567}}}
    (run,) = pretrainings(parse_ladder(mapping))
    assert [value for flag, value in pairwise(run.flags) if flag == "--crop-scale"] == ["0.1234567"]


def test_every_ladder_has_an_arm_from_scratch(ladder: Ladder) -> None:
    assert ladder.arms == ("scratch", "plain", "shuffled")


@pytest.mark.parametrize("name", shipped())
def test_shipped_ladders_are_valid(name: str) -> None:
    ladder = load_ladder(name)
    assert ladder.seeds >= 3
    assert any(rung.shuffled for rung in ladder.rungs.values())
    assert any(kind.recipe.get("freeze") for kind in ladder.transfer.values())
    assert shipped()[name].startswith("# ")
    runs = [run.flags for run in pretrainings(ladder)]
    seen = {
        int(flags[flags.index("--epochs") + 1]) * n_images(ladder, flags[flags.index("--data") + 1]) for flags in runs
    }
    assert seen == {ladder.images_seen(rung) for rung in ladder.rungs}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("seeds", 0, "`seeds` (=0) must be at least 1"),
        ("arms", 1, "`arms` (=1) is not a key of the ladder; "),
        ("rungs", {}, "`rungs` (={}) must have 1 or more entries"),
        ("rungs", {"scratch": {}}, "`rungs` may not have the name `scratch`: every ladder has that arm"),
        ("rungs", {"a/b": {}}, "must be 1 to 40 letters, digits, `.`, `_`, `-`"),
        ("rungs", {"a": {"spec": {"categories": 0}}}, "rung `a`: `categories` (=0) must be at least 1"),
        ("rungs", {"a": {"spec": {"instances": {"validation": 0}}}}, "rung `a`: `instances.validation` (=0) must be"),
        ("rungs", {"a": {"images_seen": 7}}, "rung `a`: `images_seen` (=7) must be at least the 8 images of an epoch"),
        ("models", {"a": {"seed": 3}}, "a recipe may not set `seed`: the ladder sets it"),
        ("models", {"a": {"val-split": "x"}}, "a recipe may not set `val-split`: the ladder sets it"),
        ("transfer", {"a": {"images_seen": 1, "rates": []}}, "must have 1 or more entries"),
        ("transfer", {"a": {"images_seen": 1, "rates": [1.0], "recipe": {"lr": 1.0}}}, "may not set `lr`: `rates` do"),
        ("transfer", {"a": {"images_seen": 1, "rates": [1.0], "recipe": {"min-lr": 1.0}}}, "may not set `min_lr`"),
        ("transfer", {"a": {"images_seen": 1, "rates": [1.0, 1.0]}}, "(=[1.0, 1.0]) must differ from each other"),
        ("transfer", {"data": {"images_seen": 1, "rates": [1.0]}}, "`transfer` may not have the name `data`"),
        ("transfer", {"targets": {"images_seen": 1, "rates": [1.0]}}, "`transfer` may not have the name `targets`"),
        ("targets", {"a": {"data": ".", "labels": ["some"]}}, "`targets.a.labels.0` (='some') must be a whole number of"),
        ("targets", {"a": {"data": ".", "labels": 0}}, "(=0) must be a whole number of at least 1, or `all`"),
        ("models", {"a": {"batch": [1]}}, "`models.a.batch` (=[1]) must be a number, text, true or false"),
        ("models", {"a": {"mixup": math.nan}}, "`models.a.mixup` (=nan) must be a number, text, true or false"),
        ("targets", {"a": {"data": ".", "labels": [1], "train": "**"}}, "`targets.a.train` (='**') must be 1 to 40"),
        ("targets", {"a": {"data": ".", "labels": [1], "train": ""}}, "`targets.a.train` (='') must be 1 to 40"),
        ("targets", {"a": {"data": ".", "labels": [1], "test": "../x"}}, "`targets.a.test` (='../x') must be 1 to 40"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(key: str, value: Any, message: str, target: Path) -> None:
    with pytest.raises(InputError) as caught:
        parse_ladder({**small_mapping(target), key: value})
    assert message in str(caught.value)


def test_base_is_beside_its_ladder(tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ladders").mkdir()
    mine, more, most = (tmp_path / "ladders" / f"{name}.yaml" for name in ("mine", "more", "most"))
    mine.write_text(yaml.safe_dump(small_mapping(target)))
    more.write_text("base: mine.yaml\nseeds: 5")
    most.write_text("base: more.yaml\nseeds: 6")
    assert load_ladder(str(more)).seeds == 5
    with pytest.raises(InputError, match=r"most\.yaml: `base` \(='mine\.yaml'\) may not stand in a base: copy"):
        load_ladder(str(most))
    monkeypatch.chdir(tmp_path)
    more.write_text("base: ladders/mine.yaml\nseeds: 7")
    assert load_ladder("ladders/more.yaml").seeds == 7


def test_one_value_is_a_list_of_one(target: Path) -> None:
    mapping = small_mapping(target)
    mapping["targets"]["tiny"]["labels"], mapping["transfer"]["finetune"]["rates"] = 2, 0.003
    ladder = parse_ladder(mapping)
    assert (ladder.targets["tiny"].labels, ladder.transfer["finetune"].rates) == ((2,), (0.003,))


def test_files_and_names_are_loaded(tmp_path: Path, target: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(small_mapping(target)))
    assert load_ladder(str(path)) == parse_ladder(small_mapping(target))
    (tmp_path / "more.yaml").write_text(f"base: {path}\nseeds: 5")
    assert load_ladder(str(tmp_path / "more.yaml")) == parse_ladder({**small_mapping(target), "seeds": 5})
    (tmp_path / "more.yaml").write_text("base: [1]")
    with pytest.raises(InputError, match=r"more\.yaml: `base` \(=\[1\]\) is neither"):
        load_ladder(str(tmp_path / "more.yaml"))
    path.write_text("seeds: [")
    with pytest.raises(InputError, match=r"mine\.yaml` is not YAML"):
        load_ladder(str(path))
    with pytest.raises(InputError, match=r"`ladder` \(='tranfer'\) is neither .* did you mean `transfer`\?"):
        load_ladder("tranfer")
