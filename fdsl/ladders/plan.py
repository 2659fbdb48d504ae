"""The runs of a ladder, as commands of the trainer."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

from fdsl.ladders.ladder import SCRATCH, Labels, Ladder, Recipe, Training
from fdsl.primitives.errors import InputError

_WARMUP = 0.05
"""Share of a training that is linear warmup; published are 5 of 300 and 5 of 90 epochs."""

Sizes = Mapping[tuple[str, Labels], int]
"""Number of images to train on, by target and number of labels of a class."""


class Cell(NamedTuple):
    """A cell of the results: all but the seed."""

    kind: str
    model: str
    arm: str
    target: str
    labels: Labels

    def search_path(self, rate: float) -> str:
        """Return the folder of the run that tries a learning rate."""
        return f"{'/'.join(map(str, self))}/rate-{rate}"

    def trial_path(self, seed: int) -> str:
        """Return the folder of a run on the test split."""
        return f"{'/'.join(map(str, self))}/seed-{seed}"


@dataclass(frozen=True)
class Run:
    """One run of the trainer.

    Attributes
    ----------
    path : folder of its results, below that of the ladder, where all its commands are run
    module : trainer.pretrain or trainer.finetune
    flags : its options, without those of the folder
    keeps_weights : whether a later run needs the weights
    """

    path: str
    module: str
    flags: tuple[str, ...]
    keeps_weights: bool = False

    @property
    def arguments(self) -> tuple[str, ...]:
        """What follows `python` on the command line.

        With -P, nothing is imported from the folder of the results.
        """
        return ("-P", "-m", self.module, *self.flags, "--out", self.path, "--resume")

    @property
    def command(self) -> str:
        """The command, as a shell reads it."""
        return shlex.join(("python", *self.arguments))


def pretrainings(ladder: Ladder) -> Iterator[Run]:
    """Yield the pre-training of each model on each rung."""
    for model, rung, seed in product(ladder.models, ladder.rungs, range(ladder.seeds)):
        changes = ladder.rungs[rung]
        hook = "fdsl.ladders.shuffled" if changes.shuffled else "fdsl"
        recipe = {**ladder.pretrain.recipe, **ladder.models[model], **changes.recipe}
        training = Training(images_seen=ladder.images_seen(rung), recipe=recipe)
        flags = _flags(training, f"{hook}:{data_path(rung)}", ladder.spec_of(rung).n_images("train"), seed)
        yield Run(pretrain_path(model, rung, seed), "trainer.pretrain", flags, keeps_weights=True)


def data_path(rung: str) -> str:
    """Return the file of a rung's spec."""
    return f"data/{rung}.yaml"


def pretrain_path(model: str, rung: str, seed: int) -> str:
    """Return the folder of a pre-training."""
    return f"pretrain/{model}/{rung}/seed-{seed}"


def cells(ladder: Ladder) -> Iterator[Cell]:
    """Yield the cells of the results, scratch first.

    A mistake in a recipe shows before the pre-trainings, in their first run.
    """
    for arm, kind, model, name in product(ladder.arms, ladder.transfer, ladder.models, ladder.targets):
        for labels in ladder.targets[name].labels:
            yield Cell(kind, model, arm, name, labels)


def searches(ladder: Ladder, cell: Cell, sizes: Sizes) -> list[Run]:
    """Return a run for each learning rate.

    They are measured on the held-out images of seed 0.
    """
    rates = ladder.transfer[cell.kind].rates
    return [_transfer(ladder, cell, sizes, 0, rate, "held", cell.search_path(rate)) for rate in rates]


def trials(ladder: Ladder, cell: Cell, sizes: Sizes, rate: float) -> list[Run]:
    """Return the run of each seed, measured on the test split."""
    seeds = range(ladder.seeds)
    return [_transfer(ladder, cell, sizes, seed, rate, "test", cell.trial_path(seed)) for seed in seeds]


def _transfer(ladder: Ladder, cell: Cell, sizes: Sizes, seed: int, rate: float, split: str, path: str) -> Run:
    transfer = ladder.transfer[cell.kind]
    rates: Recipe = {"lr": rate, "warmup_lr": rate / 10, "min_lr": rate / 100}
    recipe = {**transfer.recipe, **ladder.models[cell.model], **rates}
    data = f"targets/{cell.target}/{cell.labels}/seed-{seed}"
    training = Training(images_seen=transfer.images_seen, recipe=recipe)
    flags = (*_flags(training, data, sizes[cell.target, cell.labels], seed), "--val-split", split)
    if cell.arm == SCRATCH:
        return Run(path, "trainer.pretrain", flags)
    weights = f"{pretrain_path(cell.model, cell.arm, seed)}/model.safetensors"
    return Run(path, "trainer.finetune", (*flags, "--checkpoint", weights))


def _flags(training: Training, data: str, n_images: int, seed: int) -> tuple[str, ...]:
    """Return the options of a training of whole epochs."""
    if n_images > training.images_seen:
        raise InputError(
            f"`images_seen` (={training.images_seen:,}) must be at least the {n_images:,} images of {data}; raise it"
        )
    epochs = round(training.images_seen / n_images)
    schedule = {"epochs": epochs, "warmup": _WARMUP * epochs, "val_every": epochs, "seed": seed}
    flags = ["--data", data]
    for key, value in {**training.recipe, **schedule}.items():
        flag = key.replace("_", "-")
        flags += [f"--{'' if value else 'no-'}{flag}"] if isinstance(value, bool) else [f"--{flag}", _text(value)]
    return tuple(flags)


def _text(value: float | str) -> str:
    """Return a value without the rounding errors of a tenth of it."""
    return f"{value:.12g}" if isinstance(value, float) else str(value)
