"""The source keeps to its layers and to what makes images pure: no clocks, no global random state, nothing unsafe."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FAMILIES = ("exfractal", "rcdb")
PACKAGES = ("primitives", *FAMILIES, "shards")
SOURCES = [path for name in PACKAGES for path in sorted((ROOT / name).rglob("*.py"))] + [ROOT / "cli.py"]
PURE = [path for path in SOURCES if path.parent.name in ("primitives", *FAMILIES)] + [
    ROOT / "shards" / f"{name}.py" for name in ("plan", "png", "tar", "bake")
]

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


def fastmath(tree: ast.AST) -> Iterator[str]:
    """Yield where a compiler is told that the last bit does not matter."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "fastmath":
            yield "fastmath"


def undocumented(tree: ast.AST) -> Iterator[str]:
    """Yield the public functions, classes and methods without a docstring, and the module itself if it has none."""
    if isinstance(tree, ast.Module) and not ast.get_docstring(tree):
        yield "the module"
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            if not ast.get_docstring(node):
                yield node.name
            if isinstance(node, ast.ClassDef):
                yield from (f"{node.name}.{name}" for name in undocumented(node))


def not_for_kernels(tree: ast.AST) -> Iterator[str]:
    """Yield what a kernel may not import."""
    yield from (name for name in imports(tree) if name.split(".")[0] not in ("math", "numpy", "numba"))


def of_ours(*names: str) -> Scan:
    """Return a scan for imports of packages or modules of the project."""

    def scan(tree: ast.AST) -> Iterator[str]:
        yield from (name for name in imports(tree) if name.split(".")[0] in ("", *names))

    return scan


def found(scan: Scan, paths: list[Path]) -> list[str]:
    """Return what a scan finds in some files, a line each."""
    assert paths
    return [f"{path.relative_to(ROOT)}: {what}" for path in paths for what in scan(ast.parse(path.read_text()))]


def test_every_package_is_scanned() -> None:
    assert {path.parent.name for path in SOURCES if path.name == "__init__.py"} == set(PACKAGES)
    assert all(path.is_file() for path in SOURCES + PURE)


def test_kernels_import_only_math_numpy_and_numba() -> None:
    kernels = [path for path in SOURCES if path.name == "kernels.py"]
    assert len(kernels) == 3
    assert found(not_for_kernels, kernels) == []


@pytest.mark.parametrize("package", ["primitives", *FAMILIES])
def test_a_family_imports_neither_another_nor_what_stands_on_it(package: str) -> None:
    others = {*PACKAGES, "cli"} - {package, "primitives"}
    assert found(of_ours(*others), [path for path in SOURCES if path.parent.name == package]) == []


def test_nothing_imports_the_command_line_or_the_trainer() -> None:
    assert found(of_ours("cli", "trainer"), SOURCES) == []


def test_no_clock_and_no_global_random_state_where_images_are_made() -> None:
    assert found(clocks_and_global_randomness, PURE) == []


def test_no_fastmath() -> None:
    assert found(fastmath, SOURCES) == []


def test_nothing_runs_code_or_a_shell_that_comes_from_data() -> None:
    assert found(unsafe_calls, SOURCES) == []


def test_everything_public_has_a_docstring() -> None:
    assert found(undocumented, SOURCES) == []


@pytest.mark.parametrize(
    ("scan", "source", "what"),
    [
        (not_for_kernels, "from primitives.streams import below", "primitives.streams.below"),
        (not_for_kernels, "import math, os", "os"),
        (of_ours("rcdb"), "def f():\n    from rcdb import make", "rcdb.make"),
        (of_ours("rcdb"), "from . import kernels", "..kernels"),
        (clocks_and_global_randomness, "from time import monotonic", "time.monotonic"),
        (clocks_and_global_randomness, "import datetime as d", "datetime"),
        (clocks_and_global_randomness, "import numpy.random", "numpy.random"),
        (clocks_and_global_randomness, "from numpy import random", "numpy.random"),
        (clocks_and_global_randomness, "x = np.random.default_rng()", "np.random"),
        (fastmath, "@njit(fastmath=True)\ndef f(): pass", "fastmath"),
        (unsafe_calls, "import yaml\nyaml.load(text)", "yaml.load"),
        (unsafe_calls, "import pickle", "pickle"),
        (unsafe_calls, "eval(text)", "eval"),
        (unsafe_calls, "os.system(text)", "os.system"),
        (unsafe_calls, "subprocess.run(text, shell=True)", "shell=True"),
        (undocumented, '"""Doc."""\nclass A:\n    """Doc."""\n    def b(self): pass', "A.b"),
        (undocumented, '"""Doc."""\ndef f(): pass\ndef _g(): pass', "f"),
        (undocumented, "x = 1", "the module"),
    ],
)
def test_the_scans_see_what_they_look_for(scan: Scan, source: str, what: str) -> None:
    assert list(scan(ast.parse(source))) == [what]
