"""The report: means, spreads, paired differences, and the commands."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import cv2
import pytest

from fdsl import InputError
from fdsl.ladders.ladder import Ladder, parse_ladder
from fdsl.ladders.plan import Cell, cells, pretrainings, searches, trials
from fdsl.ladders.report import gains, mean_and_spread, read_results, write_report
from fdsl.ladders.running import RESULT, prepare
from fdsl.ladders.targets import count_train
from tests.fdsl.ladders.conftest import small_mapping


@pytest.fixture
def ladder(target: Path) -> Ladder:
    """A ladder of two seeds."""
    return parse_ladder({**small_mapping(target), "seeds": 2})


def put(out: Path, path: str, top1: float) -> None:
    """Write a run's result."""
    (out / path).mkdir(parents=True, exist_ok=True)
    (out / path / RESULT).write_text(f'{{"command": "touch harm", "top1": {top1}}}')


def test_table_has_means_and_paired_gains(ladder: Ladder, stub: Path) -> None:
    prepare(ladder, stub)
    scratch, plain, shuffled = (cell for cell in cells(ladder))
    for seed, (one, other) in enumerate([(40.0, 44.0), (50.0, 52.0)]):
        put(stub, scratch.trial_path(seed), one)
        put(stub, plain.trial_path(seed), other)
        put(stub, f"pretrain/vit/plain/seed-{seed}", 10.0)
    put(stub, shuffled.trial_path(1), 49.0)
    for cell in (scratch, plain, shuffled):
        for rate in (0.001, 0.003):
            put(stub, cell.search_path(rate), 1000 * rate)
    lines = write_report(stub)
    picture = cv2.imread(str(stub / "report.png"), cv2.IMREAD_GRAYSCALE)
    assert picture is not None
    assert picture.std() > 10
    assert lines[2:] == [
        "**finetune of vit on tiny**",
        "",
        "| pre-trained on | own top-1 | 2 labels | gain |",
        "|---|---|---|---|",
        "| scratch |  | 45.0 ± 7.1 * |  |",
        "| plain | 10.0 ± 0.0 | 48.0 ± 5.7 * | +3.0 ± 1.0 |",
        "| shuffled |  | 49.0 * | -1.0 |",
    ]
    assert (stub / "report.md").read_text().startswith("\n".join(lines))


def test_commands_come_from_the_ladder(ladder: Ladder, stub: Path) -> None:
    sizes = prepare(ladder, stub)
    scratch = next(cells(ladder))
    pretraining, *_ = pretrainings(ladder)
    runs = [pretraining, *searches(ladder, scratch, sizes), *trials(ladder, scratch, sizes, 0.001)]
    for run in runs:
        put(stub, run.path, 10.0)
    write_report(stub)
    commands = (stub / "commands.sh").read_text().splitlines()
    assert commands == ["set -e", "export OMP_NUM_THREADS=1", *(run.command for run in runs)]
    assert all(command.startswith("python -P -m trainer.") for command in commands[2:])


def test_links_to_moved_images_count(tmp_path: Path) -> None:
    for path in ("train/a/0.png", "train/a/1.png", "train/b/0.png"):
        (tmp_path / "2" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "2" / path).symlink_to(tmp_path / "moved")
    assert count_train(tmp_path / "2") == 3
    with pytest.raises(InputError, match="has no training images"):
        count_train(tmp_path / "all")


def test_differences_are_paired_by_seed(ladder: Ladder, stub: Path) -> None:
    prepare(ladder, stub)
    for arm, rate in product(("scratch", "plain"), (0.001, 0.003)):
        put(stub, f"finetune/vit/{arm}/tiny/2/rate-{rate}", 1.0)
    put(stub, "finetune/vit/scratch/tiny/2/seed-1", 50.0)
    put(stub, "finetune/vit/plain/tiny/2/seed-0", 70.0)
    put(stub, "finetune/vit/plain/tiny/2/seed-1", 52.0)
    cell = Cell("finetune", "vit", "plain", "tiny", 2)
    assert gains(read_results(stub), cell) == [2.0]


def test_one_value_has_no_spread() -> None:
    assert (mean_and_spread([]), mean_and_spread([3.0]), mean_and_spread([3.0, 5.0])) == ("", "3.0", "4.0 ± 1.4")


def test_nothing_to_report_is_one_line(ladder: Ladder, stub: Path) -> None:
    with pytest.raises(InputError, match=r"holds no ladder\.yaml; `fdsl ladder run LADDER -o .*` makes one"):
        write_report(stub)
    prepare(ladder, stub)
    with pytest.raises(InputError, match="has no measurement yet; resume it with `fdsl ladder run`"):
        write_report(stub)
