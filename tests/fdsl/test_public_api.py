"""`import fdsl` is the public face: lazy names, types, and nothing imported before it is used."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

import fdsl

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", fdsl.__all__)
def test_public_name_imports(name: str) -> None:
    value = getattr(fdsl, name)
    assert value.__name__ == name
    assert inspect.getdoc(value)
    assert getattr(importlib.import_module(value.__module__), name) is value


def test_names_are_sorted_and_unique() -> None:
    assert fdsl.__all__ == sorted(set(fdsl.__all__))


def test_dir_lists_every_public_name() -> None:
    assert set(fdsl.__all__) <= set(dir(fdsl))
    assert dir(fdsl) == sorted(set(dir(fdsl)))


def test_unknown_attribute_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"^module 'fdsl' has no attribute 'bakes'$"):
        fdsl.bakes  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'bakes'"):
        exec("from fdsl import bakes", {})


def test_type_checkers_see_every_name() -> None:
    """mypy reads the imports under TYPE_CHECKING; at run time the names come from the same modules."""
    tree = ast.parse((ROOT / "fdsl" / "__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    homes = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert sorted(homes) == fdsl.__all__
    for name, home in homes.items():
        assert getattr(importlib.import_module(str(home)), name) is getattr(fdsl, name)


def test_py_typed_is_shipped() -> None:
    assert (ROOT / "fdsl" / "py.typed").is_file()
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert "py.typed" in setup["options.package_data"]["*"].replace(" ", "").split(",")


@pytest.mark.slow
def test_import_is_lazy() -> None:
    """`import fdsl` loads no compiler and no array library."""
    heavy = ["numba", "numpy", "pyarrow", "pydantic", "joblib", "cv2", "yaml"]
    code = f"import sys, fdsl; dir(fdsl); print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
