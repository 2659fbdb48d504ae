"""A third family is one folder, and an import and an entry in the registry. Nothing else is edited."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
REGISTRY = Path("fdsl", "dataset", "families.py")
LEFT_OUT = shutil.ignore_patterns(".*", "data", "runs", "build", "*.egg-info", "__pycache__")
CHECKS = {
    "style": ["ruff", "check", "--quiet", "."],
    "types": ["mypy", "--no-incremental"],
    "contract, structure, bake and verify": [
        "pytest", "-q", "-m", "not slow", "tests/fdsl/dataset/test_families.py", "tests/test_structure.py",
        "tests/shards/test_verifying.py", "-k", "thirdfamily or distinct or test_structure",
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with a family made from RCDB's folder."""
    tree = Path(shutil.copytree(ROOT, tmp_path_factory.mktemp("third") / "tree", ignore=LEFT_OUT))
    shutil.copy(ROOT / "pyproject.toml", tree)
    folder = Path(shutil.copytree(tree / "rcdb", tree / "thirdfamily"))
    for path in [*folder.rglob("*.py"), *folder.rglob("*.yaml")]:
        text = path.read_text().replace("rcdb", "thirdfamily").replace("DOMAIN = 2", "DOMAIN = 3")
        path.unlink()
        path.with_name(path.name.replace("rcdb", "thirdfamily")).write_text(text)
    text = (tree / REGISTRY).read_text()
    text = text.replace("import rcdb\n", "import rcdb\nimport thirdfamily\n")
    text = text.replace(
        '"rcdb": _checked(rcdb),\n', '"rcdb": _checked(rcdb),\n    "thirdfamily": _checked(thirdfamily),\n'
    )
    (tree / REGISTRY).write_text(text)
    return tree


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS)
def test_third_family_passes(check: str, tree: Path) -> None:
    command = [sys.executable, "-m", *CHECKS[check]]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
