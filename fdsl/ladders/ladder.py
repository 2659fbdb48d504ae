"""The ladder file: all settings of an experiment."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from fdsl.dataset.sources import MAX_YAML_BYTES, parse_yaml, read_yaml
from fdsl.dataset.spec import Spec, parse_spec
from fdsl.primitives.errors import InputError
from fdsl.primitives.reading import read_bounded
from fdsl.primitives.validation import Model, matching, parse, refusal, shown, suggestion

SCRATCH = "scratch"
"""The arm without pre-training. Its probe is one of a frozen random network."""

Name = Annotated[
    str, AfterValidator(matching(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}", "1 to 40 letters, digits, `.`, `_`, `-`"))
]
MAX_COUNT = 10**9
Count = Annotated[int, Field(ge=1, le=MAX_COUNT)]
Rate = Annotated[float, Field(gt=0, le=100)]

OURS = (
    "checkpoint", "classes", "data", "epochs", "out", "resume", "seed", "train_split", "val_every", "val_split", "warmup",
)  # fmt: skip
"""Options of the trainer that a ladder sets itself."""


def _parse_recipe(recipe: dict[str, Any]) -> dict[str, Any]:
    """Refuse OURS; spell each option one way, so that it overrides itself."""
    for key in recipe:
        if key.replace("-", "_") in OURS:
            raise refusal(f"a recipe may not set `{key}`: the ladder sets it, see images_seen and seeds")
    return {key.replace("-", "_"): value for key, value in recipe.items()}


def _listed(value: object) -> object:
    """Convert a list, or a single value, to a tuple."""
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _refuse_equal(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Refuse equal values, whose runs would share a folder."""
    if len({*values}) < len(values):
        raise ValueError("must differ from each other")
    return values


def _check_option(value: object) -> object:
    """Refuse what is no value of an option."""
    if not isinstance(value, bool | int | float | str) or (isinstance(value, float) and not math.isfinite(value)):
        raise PydanticCustomError("option", "must be a number, text, true or false")
    return value


def _check_labels(value: object) -> object:
    """Refuse what is no number of labels."""
    if value != "all" and (type(value) is not int or not 1 <= value <= MAX_COUNT):
        raise PydanticCustomError("labels", "must be a whole number of at least 1, or `all`")
    return value


Option = Annotated[bool | int | float | str, BeforeValidator(_check_option)]
Labels = Annotated[int | Literal["all"], BeforeValidator(_check_labels)]
Recipe = Annotated[dict[Name, Option], AfterValidator(_parse_recipe)]
"""Options of the trainer, `batch: 64` for `--batch 64`."""

Value = TypeVar("Value")
Several = Annotated[
    tuple[Value, ...], BeforeValidator(_listed), Field(min_length=1, max_length=20), AfterValidator(_refuse_equal)
]


class Training(Model):
    """How long and how to train.

    Attributes
    ----------
    images_seen : 1 .. 10**9; images that the training takes in all, rounded to whole epochs; at least one epoch's
    recipe : options of the trainer
    """

    images_seen: Count
    recipe: Recipe = Field(default_factory=dict)


class Transfer(Training):
    """How to train on a target.

    Attributes
    ----------
    rates : peak learning rates to try; the best on held-out training images of seed 0 is taken for all seeds. The schedule
        begins at a tenth and ends at a hundredth of it.
    """

    rates: Several[Rate]

    @model_validator(mode="after")
    def _leave_rates_alone(self) -> Transfer:
        for key in ("lr", "warmup_lr", "min_lr"):
            if key in self.recipe:
                raise refusal(f"a recipe of `transfer` may not set `{key}`: `rates` do")
        return self


class Rung(Model):
    """A dataset to pre-train on: changes of the ladder's own.

    Attributes
    ----------
    spec : keys of the spec that differ. A mapping changes only its own keys; another `family` drops the base's `params`.
    images_seen : instead of that of `pretrain`
    recipe : options of the trainer that differ
    shuffled : give every image the label of another one, as a control
    """

    spec: dict[str, Any] = Field(default_factory=dict)
    images_seen: Count | None = None
    recipe: Recipe = Field(default_factory=dict)
    shuffled: bool = False


class Target(Model):
    """Real images to train on afterwards.

    Attributes
    ----------
    data : directory with IDX files, or with a folder per split and in it a folder per class
    train, test : names of its splits
    labels : training images of each class; `all` is all that are not held out
    held : training images of each class that are held out, to choose the learning rate
    """

    data: str
    train: Name = "train"
    test: Name = "test"
    labels: Several[Labels]
    held: Count = 100


class Ladder(Model):
    """An experiment: pre-train on each rung, then train on each target.

    Every combination of model, arm, kind of transfer, target, number of labels and seed is one run. An arm is a rung, or
    `scratch`: no pre-training. The same number of images and the same search over learning rates serves all arms.

    Attributes
    ----------
    spec : keys of the base spec; rungs change it
    rungs : datasets to pre-train on, by name
    models : options of the trainer that name each model
    pretrain : how to pre-train
    transfer : kinds of training on a target, such as fine-tuning and a linear probe (`freeze: true`)
    targets : real images
    seeds : 1 .. 100; seed s decides the pre-training, the labelled images and the training of all arms alike
    """

    spec: dict[str, Any]
    rungs: dict[Name, Rung] = Field(min_length=1, max_length=100)
    models: dict[Name, Recipe] = Field(min_length=1, max_length=20)
    pretrain: Training
    transfer: dict[Name, Transfer] = Field(min_length=1, max_length=10)
    targets: dict[Name, Target] = Field(min_length=1, max_length=20)
    seeds: int = Field(3, ge=1, le=100)

    @model_validator(mode="after")
    def _check_names(self) -> Ladder:
        if SCRATCH in self.rungs:
            raise refusal(f"`rungs` may not have the name `{SCRATCH}`: every ladder has that arm")
        for name in {*self.transfer} & {"data", "pretrain", "targets"}:
            raise refusal(f"`transfer` may not have the name `{name}`: a folder of the ladder has it")
        return self

    @property
    def arms(self) -> tuple[str, ...]:
        """`scratch` and the rungs, in order."""
        return (SCRATCH, *self.rungs)

    def images_seen(self, rung: str) -> int:
        """Return how many images a pre-training takes in all."""
        return self.rungs[rung].images_seen or self.pretrain.images_seen

    def spec_of(self, rung: str) -> Spec:
        """Return the spec of a rung.

        Raises InputError if it is wrong.
        """
        changes = self.rungs[rung].spec
        base = {key: value for key, value in self.spec.items() if key != "params" or "family" not in changes}
        for key, value in changes.items():
            both = isinstance(value, dict) and isinstance(base.get(key), dict)
            base[key] = {**base[key], **value} if both else value
        try:
            spec = parse_spec({"name": rung.lower(), **base})
        except InputError as error:
            raise InputError(f"rung `{rung}`: {error}") from None
        if not spec.instances.validation:
            raise InputError(
                f"rung `{rung}`: `instances.validation` (=0) must be at least 1, to watch the pre-training"
            )
        if (n_images := spec.n_images("train")) > (n_seen := self.images_seen(rung)):
            raise InputError(
                f"rung `{rung}`: `images_seen` (={n_seen:,}) must be at least the {n_images:,} images of an epoch; lower"
                " `instances.train`"
            )
        return spec


def parse_ladder(mapping: object) -> Ladder:
    """Return the ladder that a mapping describes.

    Raises
    ------
    InputError
        The first key or value that is wrong, also in the spec of a rung.
    """
    ladder = parse(Ladder, mapping, "the ladder")
    for rung in ladder.rungs:
        ladder.spec_of(rung)
    return ladder


def shipped() -> dict[str, str]:
    """Return the YAML text of every shipped ladder by its name."""
    folder = Path(__file__).with_name("presets")
    paths = sorted(folder.glob("*.yaml"), key=lambda path: path.stem)
    return {path.stem: read_bounded(path, MAX_YAML_BYTES).decode() for path in paths}


def load_ladder(ladder: str) -> Ladder:
    """Return a shipped ladder, or that of a YAML file.

    Its key `base` names another one, whose keys it overrides.

    Raises
    ------
    InputError
        No such ladder or file, not YAML, or a wrong key or value.
    """
    mapping = _read("ladder", ladder, Path())
    try:
        if isinstance(mapping, dict) and "base" in mapping:
            base = _read("base", mapping.pop("base"), Path(ladder).parent)
            if isinstance(base, dict) and "base" in base:
                raise InputError(
                    f"`base` (={shown(base['base'])}) may not stand in a base: copy its keys into one file"
                )
            mapping = {**base, **mapping} if isinstance(base, dict) else base
        return parse_ladder(mapping)
    except InputError as error:
        raise InputError(f"{ladder}: {error}") from None


def _read(key: str, ladder: object, folder: Path) -> object:
    """Return the content of a shipped ladder or a file.

    The file is looked for in a folder, then in the working directory. Errors name `key`.
    """
    texts = shipped()
    if isinstance(ladder, str):
        if ladder in texts:
            return parse_yaml(texts[ladder].encode(), ladder)
        for path in (folder / ladder, Path(ladder)):
            if path.is_file():
                return read_yaml(path)
    hint = suggestion(str(ladder), texts, "shipped: {}")
    raise InputError(f"`{key}` (={shown(ladder)}) is neither a shipped ladder nor a file; {hint}")
