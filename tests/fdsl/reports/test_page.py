"""The page of a report in a browser: it renders, turns pages, enlarges images, and reports no error."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fdsl
from tests.processes import PATIENCE_S
from tests.shards.conftest import small_spec

pytestmark = pytest.mark.slow

CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
SCHEMES = ("light", "dark")
WIDTHS_PX = (1280, 390)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with twenty categories, so three pages."""
    path = tmp_path_factory.mktemp("report") / "page.html"
    path.write_text(fdsl.report(small_spec("rcdb", categories=20), instances=8))
    return path


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    """Chromium without a window."""
    webdriver = pytest.importorskip("selenium.webdriver")
    if not CHROMIUM or not DRIVER:
        pytest.skip("chromium and chromedriver are not here: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield browser
    browser.quit()


@pytest.fixture
def browser(driver: Any, file: Path) -> Iterator[Any]:
    """The page, opened; it must not have logged anything in the end."""
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    driver.get(file.as_uri())
    yield driver
    assert driver.get_log("browser") == []


def visible_rows(browser: Any) -> list[str]:
    """Return the titles of the rows of the contact sheet that are seen."""
    titles: list[str] = browser.execute_script(
        "return [...document.querySelectorAll('#sheet .row')].filter(row => row.offsetHeight)"
        ".map(row => row.querySelector('h3').textContent)"
    )
    return titles


def press(browser: Any, *keys: str) -> None:
    """Press keys, one after another, wherever the focus is."""
    for key in keys:
        browser.switch_to.active_element.send_keys(key)


def until(browser: Any, condition: Callable[[], bool]) -> None:
    """Wait for a condition; fail if it does not come."""
    waiting = pytest.importorskip("selenium.webdriver.support.ui")
    waiting.WebDriverWait(browser, PATIENCE_S, poll_frequency=0.02).until(lambda _: condition())


def find(browser: Any, selector: str) -> Any:
    return browser.find_element("css selector", selector)


def test_pages_turn(browser: Any) -> None:
    first, second, third = ([f"Category {k}" for k in range(*ends)] for ends in ((0, 8), (8, 16), (16, 20)))
    assert visible_rows(browser) == first
    assert not find(browser, "#previous").is_enabled()
    find(browser, "#next").click()
    assert visible_rows(browser) == second
    find(browser, "#next").click()
    assert visible_rows(browser) == third
    assert find(browser, "#page").text == "page 3 of 3"
    assert not find(browser, "#next").is_enabled()
    find(browser, "#previous").click()
    assert visible_rows(browser) == second


def test_keys_turn_pages_and_keep_the_focus(browser: Any) -> None:
    browser.execute_script("document.querySelector('#sheet button').focus()")
    press(browser, "\ue014")  # right
    assert visible_rows(browser)[0] == "Category 8"
    assert browser.switch_to.active_element.text.startswith("000008_")
    press(browser, "\ue012")  # left
    assert visible_rows(browser)[0] == "Category 0"


def test_an_image_is_enlarged_by_keyboard(browser: Any) -> None:
    button = find(browser, "#sheet .picture")
    button.send_keys("\ue007")  # enter
    image = find(browser, "#viewer img")
    assert find(browser, "#viewer").is_displayed()
    assert find(browser, "#viewer-key").text == button.text
    assert "vertices" in find(browser, "#viewer-facts").text
    assert image.size["width"] > 2 * button.size["width"]
    assert image.get_property("naturalWidth") == 64
    press(browser, *8 * ["\ue014"])  # to the next category
    assert find(browser, "#viewer-key").text.startswith("000001_")
    press(browser, "\ue00c")  # escape
    assert not find(browser, "#viewer").is_displayed()
    until(browser, lambda: browser.switch_to.active_element.text.startswith("000001_"))  # the event `close` comes later


def test_images_grow_with_the_slider(browser: Any) -> None:
    before = find(browser, "#sheet .picture").size["width"]
    slider = find(browser, "#size")
    slider.send_keys("\ue010")  # end
    assert find(browser, "#sheet .picture").size["width"] > 1.4 * before
    assert visible_rows(browser)[0] == "Category 0"


@pytest.mark.parametrize("width_px", WIDTHS_PX)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_page_fits_and_is_legible(browser: Any, width_px: int, scheme: str) -> None:
    """No sideways scrolling, all images decode, and text has a contrast of 4.5 or more on its ground."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    size = {"width": width_px, "height": 900, "deviceScaleFactor": 1, "mobile": width_px < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.refresh()
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width_px + 1
    assert browser.execute_async_script(
        "const images = [...document.querySelectorAll('.picture img')], done = arguments[0];"
        "Promise.all(images.map(image => (image.loading = 'eager', image.decode())))"
        ".then(() => done(true), () => done(false))"
    )
    assert min(browser.execute_script(CONTRASTS)) >= 4.5


CONTRASTS = """
const colours = (text) => text.match(/[\\d.]+/g).map(Number);
const light = (rgb) => rgb.slice(0, 3).map((x) => x / 255).map((x) => x <= .04045 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4)
  .reduce((sum, x, k) => sum + x * [.2126, .7152, .0722][k], 0);
const ground = (element) => {
  const found = colours(getComputedStyle(element).backgroundColor);
  return found.length === 3 || found[3] ? found : ground(element.parentElement);
};
return ["h1", "nav a", "dt", "dd", ".note", "figcaption", "figure svg text", ".picture span", "#page", "footer"]
  .map((selector) => document.querySelector(selector)).map((element) => {
    const style = getComputedStyle(element), colour = element.closest("svg") ? style.fill : style.color;
    const [low, high] = [light(colours(colour)), light(ground(element))].sort((a, b) => a - b);
    return (high + .05) / (low + .05);
  });
"""
"""Contrast of some texts, as WCAG 2 defines it."""
