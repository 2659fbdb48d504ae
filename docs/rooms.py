"""Draws the two pictures of the architecture page.

rooms.svg: a row per layer, as tests/test_structure.py checks them, with the modules of each folder.
path.svg: what each step makes of one image of a quick start.
"""

from __future__ import annotations

import base64
import textwrap
from collections.abc import Sequence
from html import escape
from pathlib import Path

import cv2
import numpy as np

import fdsl
from fdsl.dataset.live import find_image
from fdsl.dataset.plan import plan_shards
from fdsl.dataset.sources import preset_text
from shards.layout import tar_file
from tests.test_structure import LAYERS, SOURCES

DOCS = Path(__file__).parent
WIDTH, GAP, PAD, LINE = 960, 8, 10, 15
"""px: width of a picture, space around a box and within it, height of a line."""
CHAR = 6.7
"""px: width of a character of the modules' font, at most."""
FILLS = ("#dbeafe", "#e0f2fe", "#dcfce7", "#fef9c3", "#ffedd5", "#fee2e2")
SPEC, CATEGORY, INSTANCE = "quickstart-rcdb", 1, 3


def text(x: float, y: float, words: str, style: str = "") -> str:
    """Return a line of text."""
    return f'<text x="{x:.0f}" y="{y:.0f}" class="{style}">{escape(words)}</text>'


def box(x: float, y: float, width: float, height: float, fill: str) -> str:
    """Return a filled box."""
    return f'<rect x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{height:.0f}" rx="6" fill="{fill}"/>'


def picture(height: float, parts: Sequence[str], title: str) -> str:
    """Return an SVG file.

    It has its own background, so that it can be read on a dark page.
    """
    style = "text{font:11px ui-monospace,monospace;fill:#1e293b}.b{font-weight:bold;font-size:13px}.g{fill:#64748b}"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img">',
            f"<title>{title}</title><style>{style}</style>",
            box(0, 0, WIDTH, height, "#ffffff"),
            *parts,
            "</svg>\n",
        ]
    )


def layer_of(module: str) -> int:
    """Return the number of a module's layer.

    That of the longest matching name; -1 if it has none.
    """
    names = [(len(name), k) for k, layer in enumerate(LAYERS) for name in layer if f"{module}.".startswith(f"{name}.")]
    return max(names)[1] if names else -1


def folders() -> list[dict[str, list[str]]]:
    """Return the modules of every folder, by layer."""
    rows: list[dict[str, list[str]]] = [{} for _ in LAYERS]
    for path in SOURCES:
        module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        if (k := layer_of(module)) >= 0:
            folder = "cli.py" if module == "cli" else f"{Path(path).parent}/"
            modules = rows[k].setdefault(folder, [])
            modules += [] if path.endswith("__init__.py") or module == "cli" else [Path(path).stem]
    return rows


def rooms() -> str:
    """Return the picture of folders and layers."""
    parts, y = [text(GAP, 18, "Each row imports only itself and the rows below it.", "g")], 26.0
    for row, fill in zip(folders(), (FILLS * 2)[: len(LAYERS)], strict=True):
        weights = [max(14, len(" ".join(modules)) ** 0.5 * 4, len(folder) + 2) for folder, modules in row.items()]
        widths = [(WIDTH - GAP * (len(row) + 1)) * weight / sum(weights) for weight in weights]
        lines = [
            textwrap.wrap("  ".join(sorted(modules)), int((width - 2 * PAD) / CHAR))
            for modules, width in zip(row.values(), widths, strict=True)
        ]
        height, x = LINE * max(map(len, lines)) + LINE + 2 * PAD, float(GAP)
        for folder, width, words in zip(row, widths, lines, strict=True):
            parts += [box(x, y, width, height, fill), text(x + PAD, y + PAD + 10, folder, "b")]
            parts += [text(x + PAD, y + PAD + 12 + LINE * (k + 1), line) for k, line in enumerate(words)]
            x += width + GAP
        y += height + GAP
    parts += [box(GAP, y, WIDTH - 2 * GAP, 36, "#f1f5f9"), text(GAP + PAD, y + 22, "trainer/", "b")]
    parts += [text(GAP + PAD + 80, y + 22, "reads shards; imports none of the above")]
    return picture(y + 36 + GAP, parts, "Folders and their layers")


def steps() -> list[tuple[str, str, list[str]]]:
    """Return title, module and result of every step but the pixels."""
    spec = fdsl.load_spec(SPEC)
    dataset, key = fdsl.Dataset(spec, fdsl.search_categories(spec).table), f"{CATEGORY:06}_{INSTANCE:06}"
    live, position = find_image(dataset, key)
    shard = next(shard for shard in plan_shards(spec, "train") if position < shard.stop)
    row = [f"{name}: {value:.6g}" for name, value in dataset.table.slice(CATEGORY, 1).to_pylist()[0].items() if value]
    drawn = [f"{name}: {value:.6g}" for name, value in live.parameters(position).items()]
    place = [f"sample {position - shard.start}", f"of {tar_file(shard)}", "", "a permutation,", "computed"]
    address = ["key: seed 0", "counter: rcdb, train,", f"category {CATEGORY},", f"instance {INSTANCE}"]
    return [
        ("1 spec", "fdsl/dataset/spec.py", preset_text(SPEC).splitlines()[1:7]),
        ("2 category", "rcdb/categories.py", row),
        ("3 place", "fdsl/dataset/plan.py", place),
        ("4 stream", "fdsl/primitives/streams.py", address),
        ("5 variant", "rcdb/render.py", [line for line in drawn if line not in row][:6]),
        ("6 pixels", "rcdb/kernels.py", []),
        ("7 files", "shards/baking.py", [tar_file(shard), f"  {key}.png", f"  {key}.cls", "samples/", "then its receipt"]),
        ("8 index", "shards/index.py", ["when all receipts", "are there:", "shards.parquet", "README.md", "_info.json"]),
    ]  # fmt: skip


def path() -> str:
    """Return the picture of the way of one image."""
    width, height = (WIDTH - 5 * GAP) / 4, 150.0
    parts = []
    for k, (title, module, lines) in enumerate(steps()):
        x, y = GAP + (width + GAP) * (k % 4), GAP + (height + GAP) * (k // 4)
        parts += [box(x, y, width, height, FILLS[k % len(FILLS)]), text(x + PAD, y + 20, title, "b")]
        parts += [text(x + PAD, y + 36, module, "g")]
        parts += [
            text(x + PAD, y + 58 + LINE * line, words if len(words) < 32 else f"{words[:30]}…")
            for line, words in enumerate(lines)
        ]
        if not lines:
            parts.append(thumbnail(x + width - 106, y + height - 106, 100))
    return picture(2 * height + 3 * GAP, parts, "The path of one image")


def thumbnail(x: float, y: float, size: int) -> str:
    """Return the image itself."""
    spec = fdsl.load_spec(SPEC)
    image = fdsl.Dataset(spec, fdsl.search_categories(spec).table).image(CATEGORY, INSTANCE)
    png = cv2.imencode(".png", cv2.resize(np.asarray(image), (2 * size, 2 * size), interpolation=cv2.INTER_AREA))[1]
    data = base64.b64encode(png.tobytes()).decode()
    return f'<image x="{x:.0f}" y="{y:.0f}" width="{size}" height="{size}" href="data:image/png;base64,{data}"/>'


def draw() -> dict[str, str]:
    """Return the pictures by file name."""
    return {"rooms.svg": rooms(), "path.svg": path()}


def write() -> None:
    """Write the pictures."""
    for name, content in draw().items():
        (DOCS / name).write_text(content)
        print(f"docs/{name}")


if __name__ == "__main__":
    write()
