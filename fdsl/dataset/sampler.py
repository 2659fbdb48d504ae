"""Which items each process trains on, step by step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from fdsl.dataset.plan import permute
from fdsl.primitives.errors import InputError
from fdsl.primitives.streams import PLAN, Stream, domain
from fdsl.primitives.validation import check_whole_number, shown

_DOMAIN = domain(0, PLAN)
"""No family has the number 0."""

_MAX_STEP = 2**62


@dataclass(eq=False)
class BatchSampler:
    """Batches of positions for one process, of one epoch per iteration.

    An epoch is a permutation of all positions, computed from (seed, epoch) and never stored. Each step takes the next `batch`
    of them, and each rank an equal part in order. So what a step trains on depends on neither ranks nor loader workers. The
    last `n_images % batch` positions of an epoch are left out, others in each epoch.

    An iteration goes on at `step`, to the end of its epoch.

    Attributes
    ----------
    n_images : number of items of the dataset
    batch : images of a step over all ranks; a multiple of `n_ranks`
    rank : 0 .. n_ranks - 1; number of this process
    n_ranks : number of processes
    seed : 0 .. 2**64 - 1
    step : steps given out since training began. A DataLoader with workers asks for several in advance.

    Raises
    ------
    InputError
        An attribute is wrong.
    """

    n_images: int
    batch: int
    rank: int = 0
    n_ranks: int = 1
    seed: int = 0
    step: int = 0

    def __post_init__(self) -> None:
        check_whole_number("n_images", self.n_images, 1)
        check_whole_number("batch", self.batch, 1, self.n_images)
        check_whole_number("n_ranks", self.n_ranks, 1)
        check_whole_number("rank", self.rank, 0, self.n_ranks - 1)
        check_whole_number("seed", self.seed, 0, 2**64 - 1)
        check_whole_number("step", self.step, 0, _MAX_STEP)
        if self.batch % self.n_ranks:
            raise InputError(f"`batch` (={self.batch:,}) must be a multiple of `n_ranks` (={self.n_ranks:,})")

    def __len__(self) -> int:
        """Return the number of steps of an epoch."""
        return self.n_images // self.batch

    @property
    def epoch(self) -> int:
        """Epoch of the next step."""
        return self.step // len(self)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield this rank's positions, step by step, until the epoch ends."""
        epoch = self.epoch
        while self.epoch == epoch:
            self.step += 1
            yield self.positions(self.step - 1)

    def positions(self, step: int) -> list[int]:
        """Return the positions of this rank in a step.

        Steps are counted since training began.
        """
        epoch, k = divmod(step, len(self))
        n_own = self.batch // self.n_ranks
        first = k * self.batch + self.rank * n_own
        own = np.arange(first, first + n_own, dtype=np.uint64)
        positions: list[int] = permute(own, self.n_images, Stream(self.seed, _DOMAIN, 0, epoch)).tolist()
        return positions

    def state_dict(self, step: int | None = None) -> dict[str, int]:
        """Return the state after some steps, the same on every rank.

        Parameters
        ----------
        step : steps that training has done; by default those given out, which are more if a DataLoader has workers
        """
        return {
            "n_images": self.n_images,
            "batch": self.batch,
            "seed": self.seed,
            "step": self.step if step is None else step,
        }

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on after the steps of a state.

        Raises
        ------
        InputError
            The state is of another number of images, batch or seed, or is damaged.
        """
        for name in ("n_images", "batch", "seed"):
            if state.get(name) != getattr(self, name):
                raise InputError(
                    f"`{name}` (={getattr(self, name)}) must be {shown(state.get(name))}, as in the state that is loaded"
                )
        check_whole_number("step", state.get("step"), 0, _MAX_STEP)
        self.step = state["step"]
