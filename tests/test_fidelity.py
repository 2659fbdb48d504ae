"""The datasets are the published ones: pictures equal a plain transcription's, random numbers follow the published laws.

Seeds are fixed. A statistic may be 4 standard deviations from its mean, which chance exceeds once in 15,000 seeds.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks.measures import Agreement
from tests.fidelity import __main__ as command
from tests.fidelity import distributions, pictures, plots
from tests.fidelity.distributions import Sample, real_numbers, segments_law, whole_numbers
from tests.fidelity.pictures import Equality

ROOT = Path(__file__).parents[1]
N = 20_000


def assert_fits(samples: list[Sample]) -> None:
    misfits = {sample.quantity: sample.misfit for sample in samples}
    assert max(map(abs, misfits.values())) < 4, misfits


def test_contours_match_pixel_for_pixel() -> None:
    assert pictures.equality(pictures.draw_contours(20, 1)) == Equality(20, 20)


def test_fractals_match_pixel_for_pixel() -> None:
    assert pictures.compare_fractals(pictures.draw_fractals(10, 2))[0] == Equality(20, 20)


def test_diverging_weights_are_replaced_alike() -> None:
    """The first weight of instance 11 diverges."""
    assert pictures.compare_fractals(pictures.draw_fractals(1, 12, seed=340))[0] == Equality(12, 12)


def test_fractals_look_alike_with_other_points() -> None:
    agreements = pictures.agreements(pictures.compare_fractals(pictures.draw_fractals(30, 1))[1])
    assert len(agreements) == 6
    assert all(agreement.is_same for agreement in agreements), agreements


def test_changed_pictures_are_noticed() -> None:
    drawn = list(pictures.draw_fractals(20, 1))
    turned = [picture._replace(ours=np.rot90(picture.ours)) for picture in drawn]
    lower = [picture._replace(ours=np.roll(picture.ours, 1, axis=0)) for picture in drawn]
    for changed, quantity in ((turned, "coverage, %"), (lower, "centroid y, px")):
        same, pairs = pictures.compare_fractals(changed)
        assert same.n_equal == 0
        assert quantity in {agreement.quantity for agreement in pictures.agreements(pairs) if not agreement.is_same}


def test_features_of_a_small_picture() -> None:
    image, near, far = np.zeros((3, 10, 10), dtype=np.uint8)
    image[2:4, 5:9], near[4, 4:10], far[9, 0] = 255, 255, 255
    assert list(pictures.features(image).values()) == [8.0, 6.5, 2.5, 4.0, 2.0]
    assert [pictures.coverage(image, other) for other in (image, near, far)] == [100.0, 50.0, 0.0]


def test_candidates_follow_the_laws() -> None:
    assert_fits(distributions.candidates(N))


def test_viewpoints_and_weights_are_uniform() -> None:
    assert_fits(distributions.viewpoints(N))


def test_contour_categories_follow_the_laws() -> None:
    samples = distributions.categories(N)
    assert_fits(samples)
    (segments,) = (sample for sample in samples if sample.quantity == "segments of an image")
    assert abs(segments.values.mean() - 7100) < 0.05 * 7100
    assert abs(segments.law.mean - 7100) < 0.01 * 7100


def test_contour_images_follow_the_laws() -> None:
    assert_fits(distributions.contour_images(100, 45))


def test_candidates_are_accepted_as_often_as_published() -> None:
    """The bound is 4 standard errors. docs/fidelity.md has the transcription's share."""
    ours = distributions.accepted_by_us(12_000)
    assert abs(ours.percent - 1.2) < 4 * ours.percent_error < 0.5


def test_wrong_laws_are_noticed() -> None:
    maps, coefficients = distributions.candidates(N)
    vertices, *_ = distributions.categories(N)
    wrong = [
        Sample("maps", whole_numbers(2, 8), maps.values),
        Sample("maps", whole_numbers(2, 6), maps.values),
        Sample("coefficients", real_numbers(-1.01, 1.01), coefficients.values),
        Sample("vertices", whole_numbers(3, 200), vertices.values),
    ]
    assert min(sample.misfit for sample in wrong) > 4


def test_law_of_a_product_is_exact() -> None:
    law = segments_law(whole_numbers(300, 301), whole_numbers(2, 3))
    assert law.mean == pytest.approx(300.5 * 2.5)
    assert law.weights.tolist() == [0, 0, 4, *[0] * (len(law.weights) - 3)]


def test_differences_are_named() -> None:
    sample = Sample("maps", whole_numbers(2, 8), distributions.candidates(N)[0].values)
    few, many = (distributions.Accepted(1000, np.array([2, 3] * n)) for n in (5, 50))
    for names, measured in (
        (["images"], ({"images": Equality(10, 9)}, [], {}, {"ours": many, "transcription": many})),
        (["fill rate"], ({}, [Agreement("fill rate", 2.0, 1.0, 4.1)], {}, {"ours": many, "transcription": many})),
        (["maps"], ({}, [], {"ExFractalDB": [sample]}, {"ours": many, "transcription": many})),
        (["accepted"], ({}, [], {}, {"ours": few, "transcription": many})),
        ([], ({"images": Equality(10, 10)}, [], {}, {"ours": many, "transcription": many})),
    ):
        assert command.differing(*measured) == names


@pytest.mark.slow
def test_command_fills_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The published library, which needs a C compiler, is left out."""
    monkeypatch.setattr(command, "noise_equality", lambda n: Equality(n, n))
    page = tmp_path / "fidelity.md"
    page.write_text(re.sub(r"(```text \w+\n).*?```", r"\1```", (ROOT / "docs" / "fidelity.md").read_text(), flags=re.S))
    sizes = command.Sizes((20, 1), (8, 1), 1, 12_000, 1_000, 4000, 4000, (100, 45))
    assert command.main(sizes, tmp_path) == 0
    for row in ("fill rate, %", "vertices", "standard errors apart"):
        assert page.read_text().count(f"\n  {row} ") == 1
    assert "all as published" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"fidelity.md", *plots.FILES}
