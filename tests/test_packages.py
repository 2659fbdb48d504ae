"""The sdist and the wheel hold all that a bake needs. Version and citation agree."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

from fdsl.version import VERSION

ROOT = Path(__file__).parent.parent
SPEC = """\
name: tiny
family: {family}
categories: 2
instances: {{train: 3}}
image: {{size: 32}}
params: {params}
"""
PARAMS = {"exfractal": "{points: 100}", "rcdb": "{vertices: [3, 5], contours: [1, 3]}"}


def run(*command: object, cwd: Path) -> str:
    """Return what a command prints; fail if it fails. Kernels are not compiled, which takes longer than all else."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["NUMBA_DISABLE_JIT"] = "1"
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("packages")
    leave = shutil.ignore_patterns(
        ".*", "*.egg-info", "__pycache__", "_build", "build", "data", "dist", "runs", "tests"
    )
    source = shutil.copytree(ROOT, folder / "source", ignore=leave)
    run(sys.executable, "-P", "-m", "build", "--no-isolation", "--outdir", folder, source, cwd=folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("pattern", "family"), [("*.tar.gz", "exfractal"), ("*.whl", "rcdb")])
def test_package_bakes_in_a_clean_environment(pattern: str, family: str, packages: Path, tmp_path: Path) -> None:
    """The environment sees the dependencies of this one, and nothing of the source."""
    (package,) = packages.glob(pattern)
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    pip = (sys.executable, "-P", "-m", "pip", "--python", python, "install", "--quiet", "--disable-pip-version-check")
    run(*pip, "--no-deps", "--no-index", "--no-build-isolation", "--ignore-installed", package, cwd=tmp_path)
    where = run(
        python, "-c", f"import cli, fdsl, {family}; print(cli.__file__, fdsl.__file__, {family}.__file__)", cwd=tmp_path
    )
    assert all(path.startswith(str(site)) for path in where.split()), where
    fdsl = tmp_path / "venv" / "bin" / "fdsl"
    assert run(fdsl, "--version", cwd=tmp_path).startswith(f"fdsl {VERSION}\n")
    (tmp_path / "tiny.yaml").write_text(SPEC.format(family=family, params=PARAMS[family]))
    assert "baked 6 images in 1 shard" in run(fdsl, "bake", "tiny.yaml", "-o", "out", "--workers", 1, cwd=tmp_path)


@pytest.mark.slow
def test_wheel_has_every_file_of_the_program(packages: Path) -> None:
    (wheel,) = packages.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    tops = {name.split("/")[0] for name in packed if "/" in name and ".dist-info/" not in name}
    source = packages / "source"
    files = {
        path.relative_to(source).as_posix() for top in tops for path in (source / top).rglob("*") if path.is_file()
    }
    documents = {name for name in files if name.endswith((".md", ".txt"))}  # of the trainer, for a copy of the source
    assert packed >= files - documents
    assert tops >= {path.parent.name for path in source.glob("*/__init__.py")}


def test_version_is_that_of_setup_and_citation() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert setup["metadata"]["version"] == citation["version"] == VERSION
