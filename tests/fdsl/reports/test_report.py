"""The report is one page that holds everything, of a spec and of a baked directory."""

from __future__ import annotations

import base64
import re
import shlex
import shutil
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

import fdsl
from fdsl import InputError, Spec
from fdsl.dataset.plan import plan_shards
from fdsl.reports.document import card_facts
from fdsl.reports.stored import bake_rates, read_stored
from shards.directory import open_directory
from shards.layout import receipt_file, samples_file, shard_files
from tests.commands import refused, succeeded
from tests.daemons import empty_place
from tests.shards.conftest import SERIAL, small_mapping, small_spec

VOID = {"meta", "link", "br", "img", "input", "path", "use"}


class Page(HTMLParser):
    """Checks that elements nest, and collects what the tests look at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.images: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        values = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if "id" in values:
            self.ids.append(str(values["id"]))
        self.addresses += [str(values[key]) for key in ("src", "href", "xlink:href") if key in values]
        if tag == "img" and "src" in values:
            self.images.append((str(values["alt"]), str(values["src"])))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element without content."""
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        """Check that the element that ends is the innermost one."""
        assert tag in VOID or self.open.pop() == tag


@pytest.fixture(scope="module")
def page(baked: Path) -> str:
    return fdsl.report(baked, instances=3)


def test_page_needs_nothing_else(page: str) -> None:
    """Every address is a place on the page or data."""
    parsed = Page(page)
    assert parsed.images
    assert all(address.startswith(("#", "data:")) for address in parsed.addresses)
    assert not re.search(r"@import|url\((?!#)", page)
    anchors = {address[1:] for address in parsed.addresses if address.startswith("#")}
    assert anchors <= set(parsed.ids)
    assert len(set(parsed.ids)) == len(parsed.ids)


def test_pictures_are_the_images(page: str, baked: Path) -> None:
    dataset = open_directory(baked).dataset
    for alt, source in Page(page).images:
        category, instance = map(int, alt.removeprefix("Image ").split("_"))
        content = np.frombuffer(base64.b64decode(source.partition(",")[2]), dtype=np.uint8)
        decoded, image = cv2.imdecode(content, cv2.IMREAD_GRAYSCALE), dataset.image(category, instance)
        assert decoded is not None
        if source.startswith("data:image/png"):
            assert np.array_equal(decoded, image)
        else:
            assert np.abs(decoded.astype(float) - image).mean() < 16


def test_page_says_what_it_shows(page: str, baked: Path, spec: Spec) -> None:
    text = " ".join(re.sub(r"<[^>]*>", " ", page).split())
    assert open_directory(baked).dataset.hash in text
    assert (
        "15 images were rendered from the formula for this page: 3 of each of 5 categories, drawn with seed 0." in text
    )
    assert "the tables of all 75 baked images" in text
    for name in (
        *spec.family_module.VARIANT_SCHEMA.names,
        "Ink, % of the pixels",
        "PNG file, bytes",
        "Shards of train",
    ):
        assert name in text
    assert "75 values" in text


def test_spec_without_a_bake_has_no_shards() -> None:
    page, again = (fdsl.report(small_spec("rcdb"), categories=2, instances=2, seed=5) for _ in range(2))
    assert page == again
    text = " ".join(re.sub(r"<[^>]*>", " ", page).split())
    assert (
        "4 images were rendered from the formula for this page: 2 of each of 2 categories of 5, drawn with seed 5."
        in text
    )
    assert "no: this page is made from the formula alone" in text
    assert "id=shards" not in page.replace('"', "")
    assert len(Page(page).images) >= 4


def test_unfinished_bake_is_shown(baked: Path, tmp_path: Path, spec: Spec) -> None:
    out = Path(shutil.copytree(baked, tmp_path / "out"))
    shard = plan_shards(spec)[-1]
    for name in shard_files(shard):
        (out / name).unlink()
    directory = open_directory(out)
    stored = read_stored(directory)
    assert (stored.n_shards, stored.n_done, stored.n_images_done) == (12, 11, 70)
    assert {histogram.n for histogram in stored.parameters.values()} == {70}
    assert {split: histogram.n for split, histogram in stored.tar_bytes.items()} == {"train": 9, "validation": 2}
    assert dict(card_facts(directory.dataset, stored))["Baked"] == "11 of 12 shards, 70 images"
    for one in plan_shards(spec)[:-1]:
        (out / receipt_file(one)).unlink()
    assert read_stored(directory).n_done == 0


@pytest.mark.parametrize("harm", ["missing", "cut", "other"])
def test_damaged_table_is_one_line(harm: str, baked: Path, tmp_path: Path, spec: Spec) -> None:
    out = Path(shutil.copytree(baked, tmp_path / "out"))
    first, *_, last = (out / samples_file(shard) for shard in plan_shards(spec))
    if harm == "missing":
        first.unlink()
        first.symlink_to("nowhere")
    elif harm == "cut":
        first.write_bytes(first.read_bytes()[:-9])
    else:
        first.write_bytes(last.read_bytes())
    with pytest.raises(InputError, match=r"`fdsl verify .*` lists what is wrong$"):
        read_stored(open_directory(out))


def test_removed_shards_are_reported_where_they_are(baked: Path, tmp_path: Path, spec: Spec) -> None:
    """They would count as not baked."""
    out = Path(shutil.copytree(baked, tmp_path / "out"))
    (out / "shipped.txt").write_text("there\n")
    assert read_stored(open_directory(out)).n_done == 12
    (out / samples_file(plan_shards(spec)[0])).unlink()
    with pytest.raises(InputError, match="has 1 shards only at there; `fdsl report there` reads them"):
        read_stored(open_directory(out))


@pytest.mark.slow
def test_dataset_in_a_bucket_is_read(
    baked: Path, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = empty_place("s3", request, tmp_path, monkeypatch)
    fdsl.ship(baked, place, executor=SERIAL)
    there, here = read_stored(open_directory(place)), read_stored(open_directory(baked))
    assert there.n_images_done == 75
    for name, histogram in here.parameters.items():
        assert np.array_equal(there.parameters[name].counts, histogram.counts)
    assert "12 shards" in fdsl.report(place, instances=1)


def test_rates_count_images_by_time(spec: Spec) -> None:
    shards = plan_shards(spec, "validation")[:3]  # of 5 images
    rates = bake_rates(shards, [100.0, 110.0, 104.0])
    assert rates is not None
    assert rates.edges.tolist() == [0.0, 10.0]
    assert rates.images_per_s.tolist() == [1.0]
    assert bake_rates(shards[:1], [5.0]) is None
    assert bake_rates(shards, [5.0, 5.0, 5.0]) is None
    assert bake_rates([], []) is None


def test_command_writes_the_page(tmp_path: Path) -> None:
    """A file name cannot break out of the page."""
    name = "a <b> & 'c' \".yaml"
    (tmp_path / name).write_text(yaml.safe_dump(small_mapping("rcdb")))
    line = succeeded("report", name, "-o", "page.html", "--instances", 2, "--categories", 3, "-q", cwd=tmp_path)
    assert re.fullmatch(r"page\.html: \d\.\d MB\n", line)
    page = (tmp_path / "page.html").read_text()
    Page(page)
    assert "<b>" not in page
    assert f"fdsl show {shlex.quote(name)}" in unescape(page)


def test_command_refuses_other_endings(tmp_path: Path) -> None:
    assert "'page.htm' must end in .html" in refused("report", "rcdb-1k", "-o", "page.htm", cwd=tmp_path, status=2)


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_missing_package_is_named(package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for module in ("fdsl.reports.document", "fdsl.reports.charts"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    line = refused("report", "quickstart-rcdb", "-o", "page.html", cwd=tmp_path)
    assert line.startswith(
        f"fdsl: a report needs the package {package}; install fdsl with its extra `report`, such as pip"
    )
    assert list(tmp_path.iterdir()) == []
