"""The command line: output, files and refusals. Most tests run it in this process; see `tests.commands`."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

import cli
from fdsl import InputError, load_spec, presets
from fdsl.console.slurm import require_parts
from fdsl.dataset.families import FAMILIES
from shards import baking
from tests.commands import error_line, fdsl, refused, succeeded
from tests.processes import PATIENCE_S
from tests.shards.conftest import FDSL, members, snapshot

ROOT = Path(__file__).parent.parent
COMMANDS = sorted(cli.fdsl.commands)

SMALL: dict[str, Any] = {
    "name": "small",
    "family": "exfractal",
    "categories": 4,
    "instances": {"train": 6, "validation": 2},
    "image": {"size": 64},
    "shards": {"samples": 10},
    "params": {"points": 1000},
}
"""32 images: 3 train shards of 8 and one validation shard of 8."""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A small spec's file, alone in a folder."""
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL))
    return path


@pytest.fixture(scope="module")
def baked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small dataset, baked; not to be changed."""
    folder = tmp_path_factory.mktemp("baked")
    (folder / "small.yaml").write_text(yaml.safe_dump(SMALL))
    succeeded("bake", "small.yaml", "-o", "out", "--workers", 1, cwd=folder)
    return folder / "out"


@pytest.fixture
def copy(baked: Path, small: Path) -> Path:
    """A copy of the baked dataset beside its spec, to be changed."""
    return Path(shutil.copytree(baked, small.parent / "out"))


@pytest.fixture(scope="module")
def other_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Categories that the small spec would not sample."""
    folder = tmp_path_factory.mktemp("other")
    (folder / "small.yaml").write_text(yaml.safe_dump(SMALL))
    succeeded("sample", "small.yaml", "--seed", 7, "-o", "other.parquet", "--workers", 1, cwd=folder)
    return folder / "other.parquet"


def events(path: Path) -> list[dict[str, Any]]:
    """The events of a log."""
    return [json.loads(line) for line in path.read_text().splitlines()]


# The command as it is installed


@pytest.mark.slow
def test_installed_command_runs(small: Path) -> None:
    """Standard streams hold ASCII only; the names of files do not."""
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [FDSL, *arguments],
            cwd=small.parent, env=environment, encoding="utf-8", capture_output=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip

    assert run("--version").stdout.startswith("fdsl 0.")
    baked = run("bake", "small.yaml", "-o", "größe", "--workers", "1")
    assert (baked.returncode, ": baked 32 images in 4 shards, " in baked.stdout) == (0, True), baked.stderr
    assert (small.parent / "größe" / "_info.json").exists()
    missing = run("verify", "grösse")
    assert (missing.returncode, missing.stderr.count("\n")) == (1, 1)
    assert "holds no spec.yaml: not a baked dataset; bake one with" in missing.stderr
    usage = run("bake")
    assert (usage.returncode, usage.stderr) == (2, "fdsl: Missing argument 'SPEC'; see `fdsl bake -h`\n")


@pytest.mark.slow
def test_import_of_help_is_light() -> None:
    heavy = {"numba", "numpy", "pyarrow", "cv2", "joblib", "yaml"}
    code = f"import sys, cli; print(*{heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.slow
def test_plan_of_21_million_images_is_light() -> None:
    """VmHWM is the peak of this program; getrusage would count the process that it was forked from."""
    code = "import cli, sys; sys.argv[1:] = ['plan', 'exfractaldb-21k']; cli.main(); print(open('/proc/self/status').read())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "21,000,000 images in 2,100 shards" in done.stdout
    (peak_kib,) = re.findall(r"VmHWM:\s+(\d+) kB", done.stdout)
    assert int(peak_kib) < 300 * 1024


@pytest.mark.slow
def test_empty_folders_do_not_hide_packages(tmp_path: Path) -> None:
    for name in (*FAMILIES, "shards", "fdsl"):
        (tmp_path / name).mkdir()
    code = "import fdsl; print(fdsl.load_spec('rcdb-1k').family, fdsl.load_spec('exfractaldb-1k').family)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "rcdb exfractal\n", done.stderr


def test_make_refuses_one_directory_for_two_datasets() -> None:
    done = subprocess.run(["make", "dataset", "OUT=x"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "OUT (=x) goes with SPEC" in done.stdout


# Help and usage


@pytest.mark.parametrize("name", COMMANDS)
def test_command_has_help_with_working_example(name: str) -> None:
    text = succeeded(name, "-h")
    assert succeeded(name, "--help") == text
    example = text.split("Example:\n")[1].strip()
    assert example.startswith(f"fdsl {name} ")
    context = cli.fdsl.commands[name].make_context(name, shlex.split(example.split(">")[0])[2:])
    if spec := context.params.get("spec"):
        load_spec(spec)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_help(name: str) -> None:
    for parameter in cli.fdsl.commands[name].params:
        assert not isinstance(parameter, click.Option) or parameter.help, f"{name} {parameter.name}"


def test_help_lists_commands() -> None:
    listed = re.findall(r"^  (\w+) +\S", succeeded("-h").split("Commands:\n")[1], re.MULTILINE)
    assert listed == COMMANDS


def test_help_fits_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = succeeded("-h")
    assert "..." not in text.split("Commands:")[1]
    assert max(map(len, text.splitlines())) <= 80


def test_version_names_what_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = dict(line.split(maxsplit=1) for line in succeeded("--version").splitlines())
    assert lines.keys() >= {"fdsl", "python", "numba", "numpy", "isal", "platform", "kernels"}
    folder = lines["kernels"].removeprefix("compiled into ").removesuffix(" and such folders")
    assert Path(folder).is_dir()


def test_no_command_prints_help() -> None:
    done = fdsl()
    assert (done.returncode, done.stdout, done.stderr) == (2, succeeded("-h"), "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bake"], "Missing argument 'SPEC'; see `fdsl bake -h`"),
        (["bak"], "No such command 'bak'"),
        (["bake", "small.yaml", "-o", "x", "--worker", "0"], "--worker"),
        (["bake", "small.yaml", "-o", "x", "--workers", "0"], "0 is not in the range"),
        (["bake", "small.yaml", "-o", "x", "--split", "test"], "'test' is not one of"),
        (["sample"], "see `fdsl sample -h`"),
        (["sample", "small.yaml"], "see `fdsl sample -h`"),
        (["sample", "--from-csv", ".", "-o", "x.parquet", "--seed", "1"], "go with SPEC"),
        (["sample", "--from-csv", ".", "-o", "x.parquet", "--workers", "2"], "go with SPEC"),
        (["sample", "--from-csv", ".", "-o", "x.parquet", "--quiet"], "go with SPEC"),
        (["sample", "--from-csv", ".", "-o", "x.parquet", "--log-json", "log"], "go with SPEC"),
        (["sample", "small.yaml", "-o", "table"], "'table' must end in .parquet"),
        (["preview", "small.yaml", "-o", "sheet.jpg"], "'sheet.jpg' must end in .png"),
        (["preview", "small.yaml", "-o", "turn.webp"], "--turntable goes with -o NAME.webp"),
        (["preview", "small.yaml", "-o", "turn.png", "--turntable"], "--turntable goes with -o NAME.webp"),
        (["preview", "small.yaml", "-o", "a.webp", "--turntable", "--sweep", "points=100:200:2"], "do not go together"),
        (["verify", "x", "--seed", "1"], "--seed goes with --rerender N"),
    ],
)
def test_wrong_usage_is_one_line(arguments: list[str], words: str, small: Path) -> None:
    assert words in refused(*arguments, cwd=small.parent, status=2)
    assert [path.name for path in small.parent.iterdir()] == ["small.yaml"]


# Specs


def test_presets_print_specs(tmp_path: Path) -> None:
    lines = succeeded("presets").splitlines()
    assert [line.split()[0] for line in lines] == list(presets())
    assert {line.split()[1] for line in lines} == set(FAMILIES)
    (tmp_path / "copy.yaml").write_text(succeeded("presets", "rcdb-21k"))
    assert load_spec(tmp_path / "copy.yaml") == load_spec("rcdb-21k")


def test_unknown_preset_is_refused() -> None:
    assert "`name` (='nope') is not a preset; presets: exfractaldb-1k, " in refused("presets", "nope")


@pytest.mark.parametrize(
    "arguments",
    [("plan",), ("preview", "-o", "x.png"), ("show",), ("sample", "-o", "x.parquet"), ("bake", "-o", "x")],
)
def test_unknown_spec_suggests_a_preset(arguments: tuple[str, ...], tmp_path: Path) -> None:
    message = refused(arguments[0], "exfractldb-1k", *arguments[1:], cwd=tmp_path)
    assert "'exfractldb-1k'" in message
    assert "did you mean `exfractaldb-1k`?" in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"categories": 0}, "`categories` (=0) must be at least 1"),
        ({"categories": "many"}, "`categories` (='many') must be a whole number"),
        ({"colour": 1}, "`colour` (=1) is not a key of the spec"),
        ({"image": {"sise": 64}}, "did you mean `size`?"),
        ({"params": {"maps": [7, 2]}}, "`params.maps` (=[7, 2]) must have its lowest end first"),
    ],
)
def test_bad_spec_names_file_key_and_rule(change: dict[str, object], words: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump({**SMALL, **change}))
    message = refused("bake", path, "-o", tmp_path / "out")
    assert words in message
    assert str(path) in message
    assert not (tmp_path / "out").exists()


def test_plan_counts_and_writes_nothing(small: Path) -> None:
    text = succeeded("plan", small, "--workers", 2)
    assert "train                24 images in 3 shards" in text
    assert "validation            8 images in 1 shard\n" in text
    assert list(small.parent.iterdir()) == [small]


def test_plan_takes_any_number_of_workers(small: Path) -> None:
    text = succeeded("plan", small, "--workers", 12_800)
    assert "with 4 workers" in text  # one per shard


def test_plan_uses_categories_beside_a_baked_spec(copy: Path) -> None:
    assert "accepted" not in succeeded("plan", copy / "spec.yaml")
    (copy / "categories.parquet").unlink()
    assert "needs the categories beside it" in refused("plan", copy / "spec.yaml")


def test_plan_warns_of_few_shards(tmp_path: Path) -> None:
    spec = {**SMALL, "categories": 1000, "instances": {"train": 100}, "shards": {"samples": 10_000}}
    path = tmp_path / "few.yaml"
    path.write_text(yaml.safe_dump(spec))
    assert "warning: only 10 train shards" in fdsl("plan", path).stderr
    path.write_text(yaml.safe_dump({**spec, "shards": {"samples": 1000}}))
    assert "warning" not in fdsl("plan", path).stderr


def test_plan_warns_of_many_shards(tmp_path: Path) -> None:
    path = tmp_path / "many.yaml"
    path.write_text(
        yaml.safe_dump({**SMALL, "categories": 1000, "instances": {"train": 140}, "shards": {"samples": 1}})
    )
    assert fdsl("plan", path).stderr == (
        "warning: 140,000 shards: the trainer reads 130,000 at most; raise `shards.samples`\n"
    )


# Categories and previews


def test_preview_has_requested_rows_and_columns(small: Path) -> None:
    text = succeeded("preview", small, "-o", "sheet.png", "--categories", 3, "--instances", 5, cwd=small.parent)
    sheet = cv2.imread(str(small.parent / "sheet.png"), cv2.IMREAD_GRAYSCALE)
    assert sheet is not None
    assert sheet.shape == (40 + 3 * 132, 44 + 5 * 132)
    assert text == "sheet.png: 704 x 436 px\n"


def test_preview_shows_given_or_baked_categories(small: Path, other_table: Path) -> None:
    def sheet(*arguments: str | Path) -> bytes:
        succeeded("preview", *arguments, "-o", "sheet.png", cwd=small.parent)
        return (small.parent / "sheet.png").read_bytes()

    succeeded("bake", small, "-o", "out", "--categories-from", other_table, "--workers", 1, cwd=small.parent)
    given = sheet(small, "--categories-from", other_table)
    assert sheet("out/spec.yaml") == given
    assert sheet(small) != given


def test_preview_selects_and_sweeps(small: Path) -> None:
    """Rows are three categories and one instance each, columns four values."""
    arguments = (small, "-o", "sheet.png", "--categories", "0,2:4", "--sweep", "points=100:1000:4")
    assert succeeded("preview", *arguments, cwd=small.parent) == f"sheet.png: {99 + 4 * 132} x {40 + 3 * 132} px\n"
    (small.parent / "sheet.png").unlink()
    for wrong, words in (("--categories=0,4", "must be below 4"), ("--sweep=points=1:5:3", "must be at least 100")):
        assert words in refused("preview", small, "-o", "sheet.png", wrong, cwd=small.parent)
    assert not (small.parent / "sheet.png").exists()


def test_preview_turns_images_of_a_baked_directory(baked: Path, tmp_path: Path) -> None:
    arguments = (baked, "-o", "turn.webp", "--turntable", "--categories", "3:4", "--instances", "7:8")
    text = succeeded("preview", *arguments, cwd=tmp_path)
    assert text == "turn.webp: 60 frames of 225 x 172 px\n"  # as wide as the title
    is_read, animation = cv2.imreadanimation(str(tmp_path / "turn.webp"))
    assert is_read
    assert len(animation.frames) == 60


# Single images


@pytest.fixture
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the user's cache of categories out of the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.mark.usefixtures("_own_cache")
@pytest.mark.parametrize(
    ("source", "key", "place"),
    [
        ("out", "000002_000003", "small, sample {} of 8 in {}, counted from 0"),
        ("small.yaml", "000003_000007", "small, sample {} of 8 in {}, counted from 0"),
        ("small.yaml", "000001_000025", "small, epoch 3, which is in no shard"),
    ],
)
def test_show_prints_python_that_renders_the_image(source: str, key: str, place: str, copy: Path) -> None:
    folder = copy.parent
    head, *parameters, first, second, third = succeeded("show", source, key, "-o", "a.png", cwd=folder).splitlines()
    assert [line.split()[0] for line in parameters if line[2] != " "] == [
        "maps", "probability", "redraws", "coefficient", "factor", "qw", "qx", "qy", "qz",
    ]  # fmt: skip
    names: dict[str, Any] = {}
    with contextlib.chdir(folder):
        exec("\n".join([first, second, third]), names)
    content = (folder / "a.png").read_bytes()
    decoded = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(names["image"], decoded)
    assert names["label"] == int(key[:6])
    if "{}" not in place:
        assert head == f"{key}: {place}"
        return
    tar = next(path for path in copy.glob("*.tar") if f"{key}.png" in members(path))
    samples = members(tar)
    assert head == f"{key}: {place.format(list(samples).index(f'{key}.png') // 2, tar.name)}"
    assert content == samples[f"{key}.png"]


@pytest.mark.usefixtures("_own_cache")
def test_show_without_key_identifies_the_dataset(copy: Path) -> None:
    folder = copy.parent
    text = succeeded("show", "small.yaml", cwd=folder)
    assert succeeded("show", "out", cwd=folder) == succeeded("show", "out/spec.yaml", cwd=folder) == text
    title, hashed, pixels = text.splitlines()
    assert title == "small: exfractal, 4 categories"
    assert hashed == f"hash   {yaml.safe_load((copy / 'spec.yaml').read_text())['baked']['hash']}"
    assert re.fullmatch(r"pixels [0-9a-f]{64} of the first 24 images of train", pixels)


@pytest.mark.usefixtures("_own_cache")
def test_show_refuses_other_keys(small: Path) -> None:
    folder = small.parent
    assert "must be CATEGORY_INSTANCE of six digits" in refused("show", small, "7_3", cwd=folder)
    assert refused("show", small, "000004_000000", cwd=folder).endswith(
        "is not an image of small, split train, epoch 0"
    )
    assert refused("show", small, "-o", "a.png", cwd=folder, status=2).endswith("see `fdsl show -h`")
    assert not (folder / "a.png").exists()


@pytest.mark.slow
def test_sample_does_not_depend_on_workers(small: Path) -> None:
    text = succeeded("sample", small, "-o", "one.parquet", "--workers", 1, cwd=small.parent)
    assert re.fullmatch(r"4 categories of [\d,]+ candidates \([\d.]+% accepted\): one\.parquet\n", text)
    succeeded("sample", small, "-o", "three.parquet", "--workers", 3, cwd=small.parent)
    assert (small.parent / "one.parquet").read_bytes() == (small.parent / "three.parquet").read_bytes()


def test_sample_takes_another_seed_and_number(small: Path) -> None:
    for name, options in (("a", ["--seed", 7]), ("b", [])):
        succeeded(
            "sample", small, "-o", f"{name}.parquet", "--categories", 2, *options, "--workers", 1, cwd=small.parent
        )
    a, b = (pq.read_table(small.parent / name) for name in ("a.parquet", "b.parquet"))
    assert a.num_rows == b.num_rows == 2
    assert a != b


def test_csv_round_trip_bakes_the_same(small: Path) -> None:
    folder = small.parent
    text = succeeded("sample", small, "--to-csv", "csv", "-o", "searched.parquet", "--workers", 1, cwd=folder)
    assert text.endswith(": searched.parquet and csv\n")
    assert "4 categories read from csv" in succeeded("sample", "--from-csv", "csv", "-o", "read.parquet", cwd=folder)
    for name in ("searched", "read"):
        succeeded("bake", small, "-o", name, "--categories-from", f"{name}.parquet", "--workers", 1, cwd=folder)
    tars = sorted(path.name for path in (folder / "read").glob("*.tar"))
    assert len(tars) == 4
    for tar in tars:
        assert (folder / "read" / tar).read_bytes() == (folder / "searched" / tar).read_bytes()


@pytest.mark.parametrize("option", [["--from-csv", "csv"], ["small.yaml", "--workers", "1"]])
def test_used_csv_folder_is_refused_first(option: list[str], small: Path) -> None:
    folder = small.parent
    succeeded("sample", small, "--to-csv", "csv", "--workers", 1, cwd=folder)
    before = snapshot(folder)
    message = refused("sample", *option, "--to-csv", "csv", "-o", "t.parquet", cwd=folder)
    assert message == "fdsl: `csv` is not empty; name a new or empty folder"
    message = refused("sample", *option, "--to-csv", "new", "-o", "new/t.parquet", cwd=folder, status=2)
    assert message.startswith("fdsl: -o must not be in the folder of --to-csv")
    assert refused("sample", *option, "--to-csv", ".", cwd=folder).endswith(
        "is the working directory; name a new folder"
    )
    assert snapshot(folder) == before


def test_csv_files_tell_their_family(tmp_path: Path) -> None:
    succeeded("sample", "quickstart-rcdb", "--categories", 2, "--to-csv", "csv", "--workers", 1, cwd=tmp_path)
    succeeded("sample", "--from-csv", "csv", "-o", "read.parquet", cwd=tmp_path)
    (tmp_path / "csv" / "000000.csv").write_text("")
    message = refused("sample", "--from-csv", "csv", "-o", "x.parquet", cwd=tmp_path)
    rule = "must hold the CSV files of one family, beginning with the first: 000000.csv of exfractal, 00000.csv of rcdb"
    assert message == f"fdsl: `csv` {rule}"
    (tmp_path / "empty").mkdir()
    message = refused("sample", "--from-csv", "empty", "-o", "x.parquet", cwd=tmp_path)
    assert message == f"fdsl: `empty` {rule}"
    assert not (tmp_path / "x.parquet").exists()


def test_bad_category_tables_are_refused(small: Path) -> None:
    folder = small.parent
    (folder / "text.parquet").write_text("not parquet")
    succeeded("sample", "quickstart-rcdb", "--categories", 9, "-o", "rcdb.parquet", "--workers", 1, cwd=folder)
    succeeded("sample", small, "--categories", 2, "-o", "two.parquet", "--workers", 1, cwd=folder)
    table = pq.read_table(folder / "two.parquet")
    pq.write_table(table.drop_columns(["maps"]), folder / "less.parquet")
    for name, words in (
        ("no", "does not exist; make it with `fdsl sample"),
        ("text", "is not a readable Parquet file"),
        ("rcdb", "holds categories of rcdb; the spec's family is exfractal"),
        ("two", "has 2 rows; the spec needs `categories` = 4"),
        ("less", "has no column"),
    ):
        assert words in refused("bake", small, "-o", "out", "--categories-from", f"{name}.parquet", cwd=folder)
    assert not (folder / "out").exists()


# Baking, verifying, repairing


def test_bake_reports_result_and_next_step(small: Path) -> None:
    first = succeeded("bake", small, "-o", "out", "--shards", "0:2", "--workers", 1, cwd=small.parent)
    assert re.fullmatch(
        r"out: baked 16 images in 2 shards, [\d,.]+ images/s\n"
        r"2 shards missing; the same command without --shards, --part and --split bakes them\n",
        first,
    )
    second = succeeded("bake", small, "-o", "out", "--workers", 1, cwd=small.parent)
    assert re.fullmatch(
        r"out: 2 shards already baked, skipped\n"
        r"out: baked 16 images in 2 shards, [\d,.]+ images/s\n"
        r"the dataset is complete; next: fdsl verify out\n",
        second,
    )
    _, *hashes = succeeded("show", "out", cwd=small.parent).splitlines(keepends=True)
    verified = succeeded("verify", "out", "--workers", 1, cwd=small.parent)
    assert verified == "".join(["out: 32 images in 4 shards are correct\n", *hashes])
    assert json.loads((small.parent / "out" / "_info.json").read_text())["splits"]["validation"]["num_samples"] == 8


def test_bake_of_one_split(small: Path) -> None:
    text = succeeded("bake", small, "-o", "out", "--split", "validation", "--workers", 1, cwd=small.parent)
    assert "baked 8 images in 1 shard," in text
    assert [path.name for path in (small.parent / "out").glob("*.tar")] == ["validation-000000.tar"]
    succeeded("verify", "out", "--split", "validation", "--workers", 1, cwd=small.parent)
    assert "problem" in refused("verify", "out", "--workers", 1, cwd=small.parent)


def test_parts_make_the_whole(small: Path) -> None:
    for part in ("2/3", "1/3"):
        assert "missing; the same command without --shards" in succeeded(
            "bake", small, "-o", "out", "--part", part, "--workers", 1, cwd=small.parent
        )
    assert "the dataset is complete" in succeeded(
        "bake", small, "-o", "out", "--part", "3/3", "--workers", 1, cwd=small.parent
    )
    assert "are correct" in succeeded("verify", "out", "--part", "2/3", "--workers", 1, cwd=small.parent)


def test_shards_and_part_do_not_mix(small: Path) -> None:
    line = refused("bake", small, "-o", "out", "--shards", "0:1", "--part", "2/2", cwd=small.parent, status=2)
    assert "--shards or --part may be given once, not as 0:1 and 2/2" in line
    assert not (small.parent / "out").exists()


@pytest.mark.slow
def test_parts_start_at_once_in_a_new_folder(small: Path, baked: Path) -> None:
    """As tasks of a job array do. Whichever ends last writes the index."""
    words = [FDSL, "bake", small, "-o", small.parent / "out", "--workers", "1", "--part"]
    processes = [
        subprocess.Popen([*words, f"{part}/4"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for part in range(1, 5)
    ]
    for process in processes:
        _, said = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, said
    assert snapshot(small.parent / "out") == snapshot(baked)


def test_slurm_prints_the_parts_that_miss_shards(small: Path) -> None:
    folder = small.parent
    succeeded("bake", small, "-o", "out", "--part", "2/4", "--workers", 1, cwd=folder)
    script = succeeded("slurm", "small.yaml", "-o", "out", "--parts", 4, "--rounds", 1, "--", "--time=9", cwd=folder)
    assert " --time=9 --array=1,3-4 " in script
    assert f" bake {folder}/out/spec.yaml -o {folder}/out --part " in script
    assert (
        f" slurm {folder}/out/spec.yaml -o {folder}/out --parts 4 --workers 1 --rounds 0 --submit -- --time=9'"
        in script
    )
    assert not (folder / "slurm-small").exists()


def test_slurm_prepares_a_new_directory(small: Path, other_table: Path) -> None:
    folder = small.parent
    script = succeeded("slurm", small, "-o", "out", "--categories-from", other_table, cwd=folder)
    assert "--array=1 " in script  # far less than ten minutes
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["categories.parquet", "spec.yaml"]
    log = folder / "log"
    succeeded("bake", small, "-o", "out", "--workers", 1, "--log-json", log, cwd=folder)
    assert {event["activity"] for event in events(log) if "activity" in event} == {"bake"}
    script = succeeded("slurm", small, "-o", "out", "--rounds", 0, cwd=folder)
    assert "sbatch" not in script
    assert script.endswith(f" bake {folder}/out/spec.yaml -o {folder}/out --workers 1\n")


def test_slurm_task_needs_the_prepared_folder(small: Path) -> None:
    """As on a node that does not share it."""
    script = succeeded("slurm", small, "-o", "out", cwd=small.parent)
    shutil.rmtree(small.parent / "out")
    (task,) = re.findall(r"bake (\S+ -o \S+) --part", script)
    assert "spec.yaml') does not exist" in refused("bake", *task.split(), "--part", "1/1")
    assert not (small.parent / "out").exists()


def test_slurm_without_rounds_names_missing_shards(small: Path) -> None:
    succeeded("bake", small, "-o", "out", "--shards", "1:4", "--workers", 1, cwd=small.parent)
    line = refused("slurm", small, "-o", "out", "--rounds", 0, "--submit", cwd=small.parent)
    assert line == (
        "fdsl: out: 1 shard missing and no --rounds left: train-000000; `fdsl status out` and the log files say why"
    )


def test_slurm_refuses_more_parts_than_shards(small: Path) -> None:
    line = refused("slurm", small, "-o", "out", "--parts", 5, cwd=small.parent, status=2)
    assert "--parts (=5) must be at most 4, the number of shards" in line
    assert not (small.parent / "out").exists()


def test_slurm_warns_of_large_arrays(capsys: pytest.CaptureFixture[str]) -> None:
    spec = load_spec("rcdb-21k")
    require_parts(spec, 1000)
    assert capsys.readouterr().err == ""
    require_parts(spec, 1001)
    assert capsys.readouterr().err == (
        "note: --parts 1001 needs `MaxArraySize` above 1001 in slurm.conf; the default is 1001\n"
    )


def test_bad_shards_are_refused(small: Path) -> None:
    for shards in ("3", "a:b", "2:2", "3:1", "0:99", "-1:2"):
        message = refused("bake", small, "-o", "out", f"--shards={shards}", cwd=small.parent)
        assert f"`shards` (={shards}) must be A:B" in message
    assert not (small.parent / "out").exists()


def test_baked_spec_brings_its_categories(small: Path, other_table: Path) -> None:
    succeeded("bake", small, "-o", "first", "--categories-from", other_table, "--workers", 1, cwd=small.parent)
    succeeded("bake", "first/spec.yaml", "-o", "again", "--workers", 1, cwd=small.parent)
    assert snapshot(small.parent / "first") == snapshot(small.parent / "again")


def test_lost_categories_are_restored_or_requested(small: Path, copy: Path, other_table: Path) -> None:
    folder, table = small.parent, copy / "categories.parquet"
    whole = table.read_bytes()
    table.write_text("damaged")
    assert "is not a readable Parquet file" in refused("bake", small, "-o", "out", cwd=folder)
    table.unlink()
    done = fdsl("verify", "out", cwd=folder)
    assert done.returncode == 1
    assert "is missing; `fdsl repair" in done.stdout
    succeeded("bake", small, "-o", "out", "--workers", 1, cwd=folder)
    assert table.read_bytes() == whole
    succeeded("bake", small, "-o", "own", "--categories-from", other_table, "--workers", 1, cwd=folder)
    (folder / "own" / "categories.parquet").unlink()
    assert "pass the original table as `categories` (--categories-from)" in refused(
        "bake", small, "-o", "own", cwd=folder
    )


def test_failed_shard_is_named(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bake_shard = baking.bake_shard

    def fail_for_one(directory: Any, shard: Any) -> Any:
        if shard.name in broken:
            raise InputError("the formula is broken")
        return bake_shard(directory, shard)

    monkeypatch.setattr(baking, "bake_shard", fail_for_one)
    broken = ["train-000001"]
    done = fdsl("bake", small, "-o", "out", "--workers", 1, cwd=small.parent)
    assert done.returncode == 1
    assert done.stdout.startswith("out: baked 24 images in 3 shards, ")
    assert done.stderr.splitlines() == [
        "train-000001: the formula is broken",
        "fdsl: out: train-000001 failed: the formula is broken; finished shards are kept",
    ]
    (small.parent / "out" / "train-000002.tar").unlink()
    broken = ["train-000001", "train-000002"]
    done = fdsl("repair", "out", "--workers", 1, cwd=small.parent)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "fdsl: out: train-000001 and 1 other shard failed: the formula is broken; finished shards are kept"
    )
    broken = []
    assert "the dataset is complete" in succeeded("bake", small, "-o", "out", "--workers", 1, cwd=small.parent)


def test_verify_and_repair_report_problems(copy: Path) -> None:
    folder, whole = copy.parent, snapshot(copy)
    (copy / "train-000001.tar").write_bytes(b"short")
    done = fdsl("verify", "out", "--rerender", 3, "--seed", 5, "--workers", 1, cwd=folder)
    assert done.returncode == 1
    assert done.stdout.startswith("train-000001.tar: ")
    assert error_line(done.stderr).endswith("1 problem; next: fdsl repair out --rerender 3 --seed 5")
    dry = succeeded("repair", "out", "--dry-run", "--workers", 1, cwd=folder)
    assert dry.endswith("out: would write train-000001.tar, the index\n")
    assert "out: wrote train-000001.tar, the index\n" in succeeded("repair", "out", "--workers", 1, cwd=folder)
    assert succeeded("repair", "out", "--workers", 1, cwd=folder) == "out: nothing to repair\n"
    assert snapshot(copy) == whole


def test_verify_advises_to_bake_unbaked_shards(small: Path) -> None:
    folder = small.parent
    succeeded("bake", small, "-o", "out", "--shards", "0:2", "--workers", 1, cwd=folder)
    line = error_line(fdsl("verify", "out", "--workers", 1, cwd=folder).stderr)
    assert line.endswith("next: fdsl bake out/spec.yaml -o out")
    succeeded(*shlex.split(line)[-4:], cwd=folder)
    assert "are correct" in succeeded("verify", "out", "--workers", 1, cwd=folder)


def test_log_is_not_written_into_the_dataset(copy: Path) -> None:
    whole = snapshot(copy)
    for command in (["verify", copy], ["repair", copy], ["bake", copy / "spec.yaml", "-o", copy]):
        words = refused(*command, "--log-json", copy / "train-000000.tar", "--workers", 1, status=2)
        assert "name a file elsewhere" in words
    assert snapshot(copy) == whole


def test_json_and_log_do_not_share_stdout(copy: Path) -> None:
    assert "both write to standard output" in refused("verify", copy, "--json", "--log-json", "-", status=2)


def test_log_on_stdout_is_in_no_output(copy: Path) -> None:
    first = succeeded("verify", ".", "--log-json", "-", "--workers", 1, cwd=copy).splitlines()[0]
    assert json.loads(first)["event"] == "started"


def test_empty_path_is_refused(small: Path) -> None:
    for command in (["bake", small, "-o", ""], ["verify", ""], ["repair", ""], ["preview", small, "-o", ""]):
        assert "'' must be a path" in refused(*command, cwd=small.parent, status=2)
    assert list(small.parent.iterdir()) == [small]


@pytest.mark.parametrize("url", ["gs://bucket/x", "HTTP://host/x"])
def test_unknown_url_as_out_is_refused(url: str, small: Path) -> None:
    for command in (["bake", small, "-o", url], ["status", url], ["verify", url], ["repair", url]):
        line = refused(*command, cwd=small.parent)
        scheme = url.partition(":")[0].lower()
        assert line == (f"fdsl: `out` (={url}): {scheme}:// is not supported; name a folder, an s3:// or an ssh:// URL")
    assert list(small.parent.iterdir()) == [small]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("out", "is a link to nowhere, which does not exist"),
        ("out/samples", "is a symbolic link; put a folder in its place"),
        ("out/receipts", "is a symbolic link; put a folder in its place"),
    ],
)
def test_dangling_link_is_named(name: str, words: str, small: Path) -> None:
    link = small.parent / name
    link.parent.mkdir(exist_ok=True)
    link.symlink_to("nowhere")
    assert f"`{link}` {words}" in refused("bake", small, "-o", small.parent / "out")


def test_wrong_categories_name_their_file(small: Path, copy: Path) -> None:
    table = small.parent / "few.parquet"
    succeeded("sample", small, "--categories", 2, "-o", table)
    for command in (["bake", small, "-o", "new"], ["repair", copy]):
        assert f"`{table}` has 2 rows" in refused(*command, "--categories-from", table, cwd=small.parent)


def test_preview_of_a_short_table(small: Path) -> None:
    table = small.parent / "few.parquet"
    succeeded("sample", small, "--categories", 2, "-o", table)
    out = small.parent / "sheet.png"
    text = succeeded("preview", small, "-o", out, "--categories-from", table, "--instances", 5)
    assert text.endswith(f": 704 x {40 + 2 * 132} px\n")


def test_verify_prints_json(copy: Path) -> None:
    whole = json.loads(succeeded("verify", copy, "--json", "--rerender", 3, "--seed", 5, "--workers", 1))
    assert all(re.fullmatch("[0-9a-f]{64}", whole.pop(name)) for name in ("hash", "pixels_sha256"))
    assert whole == {"problems": [], "notes": [], "shards": 4, "images": 32, "rerendered": 3, "seed": 5}
    assert json.loads(succeeded("verify", copy, "--json", "--workers", 1))["seed"] is None
    (copy / "train-000001.tar").unlink()
    (copy / "_info.json").unlink()
    done = fdsl("verify", copy, "--json", "--workers", 1)
    assert done.returncode == 1
    assert error_line(done.stderr) == f"fdsl: {copy}: 2 problems; next: fdsl repair {copy}"
    result = json.loads(done.stdout)
    assert [(problem["kind"], problem["path"]) for problem in result["problems"]] == [
        ("shard", "train-000001.tar"), ("index", "_info.json"),
    ]  # fmt: skip
    assert all(problem.keys() == {"kind", "path", "detail"} for problem in result["problems"])


def test_verify_refuses_what_is_no_dataset(tmp_path: Path) -> None:
    assert "holds no spec.yaml" in refused("verify", tmp_path)
    assert "holds no spec.yaml" in refused("verify", tmp_path / "nowhere")


# Shipping; with real servers in tests/shards/test_shipping_faults.py


def test_ship_and_urls_tell_the_next_step(small: Path) -> None:
    folder = small.parent
    succeeded("bake", small, "-o", "out", "--shards", "0:3", "--workers", 1, cwd=folder)
    text = succeeded("ship", "out", "there", "--workers", 1, "--log-json", "log", cwd=folder)
    assert text == (
        "there: sent 3 shards, 0.00 GB\n"
        "there misses 1 shard, not baked yet; run the same command after the bake, or with --follow\n"
    )
    assert [event["event"] for event in events(folder / "log")] == ["started", *["advanced"] * 3, "finished"]
    succeeded("bake", small, "-o", "out", "--workers", 1, cwd=folder)
    assert succeeded("ship", "out", "there", "--workers", 1, "--follow", cwd=folder) == (
        "there: 3 shards already there, skipped\n"
        "there: sent 1 shard, 0.00 GB\n"
        "there is complete; next: fdsl urls there\n"
    )
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=folder / "there", check=True)
    assert "there: 32 images in 4 shards are correct\n" in succeeded("verify", "there", "--workers", 1, cwd=folder)
    assert succeeded("urls", "there", cwd=folder) == f"{folder}/there/train-{{000000..000002}}.tar\n"
    url = succeeded("urls", "there", "--split", "validation", "--base", "http://host/x/", cwd=folder)
    assert url == "http://host/x/validation-{000000..000000}.tar\n"


def test_unusable_destinations_are_one_line(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (copy.parent / "mine").mkdir()
    (copy.parent / "mine" / "thesis.tex").write_text("mine")
    for destination, words in (
        (
            "gs://bucket/x",
            "`destination` (=gs://bucket/x): gs:// is not supported; name a folder, an s3:// or an ssh:// URL",
        ),
        ("mine", "`destination` (=mine) holds other files (thesis.tex); name a new or empty place"),
        ("out", "`destination` (=out) is the dataset itself; name another place"),
        ("small.yaml", "`small.yaml/spec.yaml`: Not a directory"),
    ):
        assert words in refused("ship", "out", destination, "--workers", 1, cwd=copy.parent)
    monkeypatch.setitem(sys.modules, "boto3", None)
    monkeypatch.delitem(sys.modules, "shards.stores.s3", raising=False)
    line = refused("ship", copy, "s3://bucket/x", "--workers", 1)
    assert (
        line
        == "fdsl: s3:// needs the package boto3; install fdsl with its extra `s3`, such as pip install '.[s3]' in a clone"
    )
    monkeypatch.setenv("PATH", str(copy))
    line = refused("ship", copy, "ssh://host/x", "--workers", 1)
    assert line == "fdsl: `destination` (=ssh://host/x) needs the command ssh; install it"


# Progress


def test_progress_and_quiet(small: Path) -> None:
    shown = fdsl("bake", small, "-o", "shown", "--workers", 1, cwd=small.parent, on_terminal=True).stderr
    assert "\rsearch small: " in shown
    assert "\rbake small: 100%|" in shown
    quiet = fdsl("bake", small, "-o", "quiet", "--workers", 1, "--quiet", cwd=small.parent, on_terminal=True)
    assert (quiet.returncode, quiet.stderr) == (0, "")
    plain = fdsl("bake", small, "-o", "plain", "--workers", 1, cwd=small.parent).stderr
    assert "\r" not in plain
    assert "\x1b" not in plain
    for command in ("verify", "repair"):
        shown = fdsl(command, "quiet", "--workers", 1, cwd=small.parent, on_terminal=True).stderr
        assert "\rverify small: 100%|" in shown
        quiet = fdsl(command, "quiet", "--workers", 1, "-q", cwd=small.parent, on_terminal=True)
        assert (quiet.returncode, quiet.stderr) == (0, "")


def test_log_json_has_all_events(small: Path) -> None:
    folder = small.parent
    succeeded("bake", small, "-o", "out", "--workers", 1, "--log-json", "bake.json", cwd=folder)
    search, bake = events(folder / "bake.json"), []
    while search[-1]["event"] != "finished" or search[-1]["activity"] != "search":
        bake.insert(0, search.pop())
    assert {key: search[0][key] for key in ("event", "activity", "dataset", "unit", "n_total", "n_done")} == {
        "event": "started", "activity": "search", "dataset": "small", "unit": "categories", "n_total": 4, "n_done": 0,
    }  # fmt: skip
    assert sum(event.get("n", 0) for event in search) == 4
    assert (bake[0]["activity"], bake[0]["n_total"], bake[-1]["event"]) == ("bake", 32, "finished")
    assert sorted((event["item"], event["n"]) for event in bake[1:-1]) == [
        ("train-000000", 8), ("train-000001", 8), ("train-000002", 8), ("validation-000000", 8),
    ]  # fmt: skip
    for command, activity in (("sample", "search"), ("verify", "verify"), ("repair", "verify")):
        arguments = [small, "-o", "x.parquet"] if command == "sample" else ["out"]
        succeeded(command, *arguments, "--workers", 1, "--log-json", f"{command}.json", cwd=folder)
        log = events(folder / f"{command}.json")
        assert (log[0]["event"], log[0]["activity"]) == ("started", activity)
        assert log[-1]["event"] == "finished"


def test_unwritable_log_is_refused(small: Path) -> None:
    arguments = ["bake", small, "-o", "unlogged", "--workers", 1, "--log-json", "no/log"]
    message = refused(*arguments, cwd=small.parent, status=2)
    assert not (small.parent / "unlogged").exists()
    assert "no/log" in message
    assert "No such file or directory" in message


def test_unwritable_numba_cache_is_explained(baked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, manifest: object) -> None:
        raise RuntimeError("cannot cache function 'f': no locator available for file 'x'")

    monkeypatch.setattr("shards.verifying.stored_directory", fail)
    message = refused("verify", baked)
    assert message.startswith("fdsl: numba can write its cache neither beside the code nor in your cache folder; set")


def test_members_of_shards_are_images_and_labels(baked: Path) -> None:
    files = [name for tar in baked.glob("*.tar") for name in members(tar)]
    assert len(files) == 64
    assert {name.split(".")[1] for name in files} == {"png", "cls"}
