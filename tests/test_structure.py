"""The source keeps to its layers and to what makes images pure: no clocks, no global random state, nothing unsafe.

All rules read the tree, so a new family or module is covered without being listed.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fdsl.dataset.families import FAMILIES

ROOT = Path(__file__).parents[1]
OUTSIDE = ("benchmarks", "build", "docs", "tests")
"""Folders that are not part of the program."""

SOURCES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for top in sorted(ROOT.iterdir())
    if top.name == "cli.py" or ((top / "__init__.py").is_file() and top.name not in OUTSIDE)
    for path in ([top] if top.is_file() else sorted(top.rglob("*.py")))
}
"""Text of every module of the program, by its path."""

LIBRARY = {path: text for path, text in SOURCES.items() if not path.startswith("trainer/")}

LAYERS = (
    ("cli",),
    ("fdsl.console",),
    ("fdsl.reports", "fdsl.ladders"),
    ("shards",),
    ("shards.executors",),
    ("shards.events", "shards.layout"),
    ("fdsl.dataset",),
    ("fdsl.version", *FAMILIES),
    ("fdsl.primitives",),
)
"""Rooms from top to bottom. A room imports only itself and rooms below."""

PUBLIC_FACE = "fdsl/__init__.py"
"""Imports all public names lazily, so it is outside the layers."""

PURE = ("fdsl/primitives/", "fdsl/dataset/", *(f"{name}/" for name in FAMILIES), "shards/png.py", "shards/tar.py")
"""Where images and their bytes are made."""

KERNEL_IMPORTS = {"math", "numpy", "numba"}
LLVM_ROOM = "exfractal/chaos_vector.py"
"""The one kernel module that builds code for LLVM."""
CACHE_ROOM = "fdsl/primitives/kernel_cache.py"
"""The one module that imports numba and defines no kernel."""

Scan = Callable[[ast.AST], Iterator[str]]


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the dotted names that a file imports, `a.b` for `from a import b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ("." * node.level + f"{node.module or ''}.{alias.name}" for alias in node.names)


def dotted(node: ast.AST) -> str:
    """Return `a.b.c` of such an expression, or an empty string."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (start := dotted(node.value)):
        return f"{start}.{node.attr}"
    return ""


def clocks_and_global_randomness(tree: ast.AST) -> Iterator[str]:
    """Yield what could make an image depend on more than its name."""
    banned = ("time", "datetime", "random", "secrets", "uuid", "numpy.random")
    yield from (name for name in imports(tree) if any(f"{name}.".startswith(f"{word}.") for word in banned))
    for node in ast.walk(tree):
        if (name := dotted(node)) in ("np.random", "numpy.random", "os.urandom"):
            yield name


def writes(tree: ast.AST) -> Iterator[str]:
    """Yield what writes files or starts processes."""
    banned = ("subprocess", "multiprocessing", "joblib", "threading")
    yield from (name for name in imports(tree) if name.split(".")[0] in banned)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in ("write_text", "write_bytes", "unlink", "mkdir", "rename"):
            yield node.attr


def unsafe_calls(tree: ast.AST) -> Iterator[str]:
    """Yield what runs code or a shell that comes from data."""
    yield from (name for name in imports(tree) if name.split(".")[0] in ("pickle", "marshal", "shelve"))
    yield from (name for name in imports(tree) if name in ("os.system", "os.popen", "yaml.load", "yaml.unsafe_load"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = dotted(node.func)
            if name in ("eval", "exec", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load", "yaml.full_load"):
                yield name
            yield from ("shell=True" for keyword in node.keywords if keyword.arg == "shell")
            yield from ("allow_pickle" for keyword in node.keywords if keyword.arg == "allow_pickle")


def unbounded_reads(tree: ast.AST) -> Iterator[str]:
    """Yield what reads a whole file, or a header, of whatever size."""
    yield from (name for name in imports(tree) if name.split(".")[0] == "tarfile")
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in ("read_bytes", "read_text", "ParquetFile", "read_metadata"):
            yield node.attr
        if isinstance(node, ast.Call) and dotted(node.func) in ("json.load", "pq.read_table", "np.load"):
            yield dotted(node.func)


def fastmath(tree: ast.AST) -> Iterator[str]:
    """Yield where a compiler may change the last bit."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "fastmath":
            yield "fastmath"


def undocumented(tree: ast.AST) -> Iterator[str]:
    """Yield public functions, classes and methods without a docstring, and the module itself if it has none."""
    if isinstance(tree, ast.Module) and not ast.get_docstring(tree):
        yield "the module"
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            if not ast.get_docstring(node):
                yield node.name
            if isinstance(node, ast.ClassDef):
                yield from (f"{node.name}.{name}" for name in undocumented(node))


def is_kernel_module(tree: ast.AST) -> bool:
    """Return whether a module defines something that numba compiles."""
    return any(name.split(".")[0] == "numba" for name in imports(tree))


def banned_in_kernels(tree: ast.AST) -> Iterator[str]:
    """Yield what a kernel module may not import."""
    yield from (name for name in imports(tree) if name.split(".")[0] not in KERNEL_IMPORTS)


def layer_of(module: str) -> int | None:
    """Return the layer of a dotted name: that of the longest room that holds it; None if it is not ours."""
    rooms = [(len(room), layer) for layer, group in enumerate(LAYERS) for room in group if is_in(module, room)]
    return max(rooms)[1] if rooms else None


def is_in(module: str, room: str) -> bool:
    return f"{module}.".startswith(f"{room}.")


def upward_imports(path: str, tree: ast.AST) -> Iterator[str]:
    """Yield imports from a layer above, and from another room of the same layer."""
    own = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    own_layer = layer_of(own)
    assert own_layer is not None, f"{path} is in no layer"
    for name in imports(tree):
        layer = layer_of(name)
        if layer is None:
            continue
        shares_room = any(is_in(name, room) and is_in(own, room) for room in LAYERS[layer])
        if layer < own_layer or (layer == own_layer and not shares_room):
            yield name


def hits(scan: Scan, sources: dict[str, str]) -> list[str]:
    """Return what a scan yields in some files, one line each."""
    assert sources
    return [f"{path}: {hit}" for path, text in sources.items() for hit in scan(ast.parse(text))]


def test_every_package_is_scanned() -> None:
    assert {path.split("/")[0] for path in SOURCES} >= {"cli.py", "fdsl", "shards", "trainer", *FAMILIES}
    assert all(any(path.startswith(start) for path in LIBRARY) for start in PURE)


def test_imports_point_down_the_layers() -> None:
    inside = {path: text for path, text in LIBRARY.items() if path != PUBLIC_FACE}
    assert [f"{path}: {name}" for path, text in inside.items() for name in upward_imports(path, ast.parse(text))] == []


def test_kernels_import_only_math_numpy_numba() -> None:
    kernels = {path: text for path, text in LIBRARY.items() if is_kernel_module(ast.parse(text))}
    assert {f"{name}/kernels.py" for name in FAMILIES} | {"shards/kernels.py", "fdsl/primitives/philox.py"} <= set(
        kernels
    )
    del kernels[CACHE_ROOM]
    llvm = kernels.pop(LLVM_ROOM)
    assert hits(banned_in_kernels, kernels) == []
    assert {name.split(".")[0] for name in banned_in_kernels(ast.parse(llvm))} == {"typing", "llvmlite", "exfractal"}


def test_nothing_imports_the_command_or_the_trainer() -> None:
    for path, text in LIBRARY.items():
        assert not [name for name in imports(ast.parse(text)) if name.split(".")[0] in ("cli", "trainer")], path


def test_the_trainer_imports_nothing_of_ours() -> None:
    ours = {"cli", "fdsl", "shards", *FAMILIES}
    trainer = {path: text for path, text in SOURCES.items() if path.startswith("trainer/")}
    assert trainer
    for path, text in trainer.items():
        assert not [name for name in imports(ast.parse(text)) if name.split(".")[0] in ours], path


def test_images_need_no_clock_or_global_state() -> None:
    pure = {path: text for path, text in LIBRARY.items() if path.startswith(PURE)}
    assert hits(clocks_and_global_randomness, pure) == []


def test_the_dataset_writes_nothing() -> None:
    assert hits(writes, {path: text for path, text in LIBRARY.items() if path.startswith("fdsl/dataset/")}) == []


def test_no_fastmath() -> None:
    assert hits(fastmath, LIBRARY) == []


def test_nothing_runs_code_from_data() -> None:
    assert hits(unsafe_calls, LIBRARY) == []


def test_readers_know_their_bound() -> None:
    own_files = "fdsl/dataset/sources.py: read_text"  # of the presets
    system_files = "shards/executors/processors.py: read_text"  # of /proc and /sys
    after_parse_parquet = "shards/samples.py: read_metadata"
    readers = {path: text for path, text in LIBRARY.items() if path != "fdsl/dataset/parquet.py"}
    assert sorted(hits(unbounded_reads, readers)) == [own_files, system_files, after_parse_parquet]


def test_everything_public_has_a_docstring() -> None:
    assert hits(undocumented, LIBRARY) == []


@pytest.mark.parametrize(
    ("scan", "source", "hit"),
    [
        (banned_in_kernels, "from fdsl.primitives.streams import below", "fdsl.primitives.streams.below"),
        (banned_in_kernels, "import math, os", "os"),
        (clocks_and_global_randomness, "from time import monotonic", "time.monotonic"),
        (clocks_and_global_randomness, "import datetime as d", "datetime"),
        (clocks_and_global_randomness, "import numpy.random", "numpy.random"),
        (clocks_and_global_randomness, "from numpy import random", "numpy.random"),
        (clocks_and_global_randomness, "x = np.random.default_rng()", "np.random"),
        (writes, "path.write_text('')", "write_text"),
        (writes, "import subprocess", "subprocess"),
        (fastmath, "@njit(fastmath=True)\ndef f(): pass", "fastmath"),
        (unsafe_calls, "import yaml\nyaml.load(text)", "yaml.load"),
        (unsafe_calls, "import pickle", "pickle"),
        (unsafe_calls, "eval(text)", "eval"),
        (unsafe_calls, "os.system(text)", "os.system"),
        (unsafe_calls, "subprocess.run(text, shell=True)", "shell=True"),
        (unbounded_reads, "path.read_bytes()", "read_bytes"),
        (unbounded_reads, "json.load(file)", "json.load"),
        (unbounded_reads, "import tarfile", "tarfile"),
        (undocumented, '"""Doc."""\nclass A:\n    """Doc."""\n    def b(self): pass', "A.b"),
        (undocumented, '"""Doc."""\ndef f(): pass\ndef _g(): pass', "f"),
        (undocumented, "x = 1", "the module"),
    ],
)
def test_scans_see_what_they_look_for(scan: Scan, source: str, hit: str) -> None:
    assert list(scan(ast.parse(source))) == [hit]


@pytest.mark.parametrize(
    ("path", "source", "hit"),
    [
        ("rcdb/render.py", "import exfractal.kernels", ["exfractal.kernels"]),
        ("rcdb/render.py", "from fdsl.dataset.spec import Spec", ["fdsl.dataset.spec.Spec"]),
        ("rcdb/render.py", "from fdsl.primitives.streams import Stream\nfrom rcdb import kernels", []),
        ("fdsl/dataset/plan.py", "from shards.tar import BLOCK", ["shards.tar.BLOCK"]),
        ("shards/executors/local.py", "import shards.baking", ["shards.baking"]),
        ("shards/baking.py", "import shards.executors.local, fdsl.reports.preview", ["fdsl.reports.preview"]),
        ("fdsl/reports/preview.py", "import fdsl.console.exits", ["fdsl.console.exits"]),
        ("cli.py", "import fdsl.console.exits, shards.baking", []),
    ],
)
def test_layers_see_imports_that_point_up(path: str, source: str, hit: list[str]) -> None:
    assert list(upward_imports(path, ast.parse(source))) == hit
