"""The command line, driven as a user would."""

import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import click
import cv2
import pyarrow.parquet as pq
import pytest
import yaml

import cli

ROOT = Path(__file__).parent.parent
FDSL = str(Path(sys.executable).with_name("fdsl"))
COMMANDS = sorted(cli.fdsl.commands)

SMALL = {
    "name": "small",
    "family": "exfractal",
    "categories": 4,
    "instances": {"train": 6, "validation": 2},
    "image": {"size": 64},
    "shards": {"samples": 10},
    "params": {"points": 1000},
}


def fdsl(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([FDSL, *map(str, arguments)], cwd=cwd, capture_output=True, text=True)


def refused(*arguments: object, cwd: Path | None = None, status: int = 1) -> str:
    """Return the one line with which a command fails."""
    done = fdsl(*arguments, cwd=cwd)
    assert done.returncode == status, done.stderr
    assert done.stderr.startswith("fdsl: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL))
    return path


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_every_command_has_help_with_an_example(name: str, flag: str) -> None:
    done = fdsl(name, flag)
    assert done.returncode == 0
    example = done.stdout.split("Example:\n")[1].strip()
    assert example.startswith(f"fdsl {name} ")
    arguments = shlex.split(example.split(">")[0])[2:]
    cli.fdsl.commands[name].make_context(name, arguments)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_does(name: str) -> None:
    for parameter in cli.fdsl.commands[name].params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.name}"


def test_help_and_version() -> None:
    assert set(COMMANDS) <= set(fdsl("-h").stdout.split())
    assert fdsl("--version").stdout.startswith("fdsl, version ")


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, cli; print(*{'numba', 'numpy', 'pyarrow', 'cv2', 'joblib'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == ""


def test_presets_prints_yaml_that_is_a_spec_of_its_own(tmp_path: Path) -> None:
    names = [line.split()[0] for line in fdsl("presets").stdout.splitlines()]
    assert set(names) == {
        "quickstart-exfractal", "quickstart-rcdb", "exfractaldb-1k", "exfractaldb-21k", "rcdb-1k", "rcdb-21k",
        "mvfractaldb-1k",
    }  # fmt: skip
    copy = tmp_path / "copy.yaml"
    copy.write_text(fdsl("presets", "rcdb-21k").stdout)
    assert fdsl("plan", copy).stdout.startswith("rcdb-21k: rcdb, 21,000 categories, 512 px\n")


def test_plan_counts_and_writes_nothing(small: Path) -> None:
    before = sorted(small.parent.iterdir())
    done = fdsl("plan", small, "--workers", 2)
    assert "train                24 images in 3 shards" in done.stdout
    assert "validation            8 images in 1 shard\n" in done.stdout
    assert sorted(small.parent.iterdir()) == before


def test_plan_warns_of_too_few_shards(tmp_path: Path) -> None:
    spec = {**SMALL, "categories": 1000, "instances": {"train": 100}, "shards": {"samples": 10_000}}
    path = tmp_path / "few.yaml"
    path.write_text(yaml.safe_dump(spec))
    assert "warning: only 10 train shards" in fdsl("plan", path).stderr
    path.write_text(yaml.safe_dump({**spec, "shards": {"samples": 1000}}))
    assert "warning" not in fdsl("plan", path).stderr


def test_plan_of_21_million_images_is_light() -> None:
    """VmHWM is the peak of this program; getrusage would count the test process that it was forked from."""
    code = "import cli, sys; sys.argv[1:] = ['plan', 'exfractaldb-21k']; cli.main(); print(open('/proc/self/status').read())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "21,000,000 images in 2,100 shards" in done.stdout
    (peak_kib,) = re.findall(r"VmHWM:\s+(\d+) kB", done.stdout)
    assert int(peak_kib) < 300 * 1024


def test_preview_is_a_picture_of_the_asked_rows_and_columns(small: Path) -> None:
    done = fdsl("preview", small, "-o", "sheet.png", "--categories", 3, "--instances", 5, cwd=small.parent)
    sheet = cv2.imread(str(small.parent / "sheet.png"), cv2.IMREAD_GRAYSCALE)
    assert sheet is not None
    assert sheet.shape == (40 + 3 * 132, 44 + 5 * 132)
    assert done.stdout == "sheet.png: 704 x 436 px\n"


def test_sample_reports_the_search_and_does_not_depend_on_workers(small: Path) -> None:
    done = fdsl("sample", small, "-o", "one.parquet", "--workers", 1, cwd=small.parent)
    assert done.stdout.startswith("4 categories of ")
    assert "% accepted): one.parquet" in done.stdout
    fdsl("sample", small, "-o", "three.parquet", "--workers", 3, cwd=small.parent)
    assert (small.parent / "one.parquet").read_bytes() == (small.parent / "three.parquet").read_bytes()


def test_sample_takes_another_seed_and_number(small: Path) -> None:
    fdsl("sample", small, "-o", "a.parquet", "--categories", 2, "--seed", 7, cwd=small.parent)
    fdsl("sample", small, "-o", "b.parquet", "--categories", 2, cwd=small.parent)
    a, b = (pq.read_table(small.parent / name) for name in ("a.parquet", "b.parquet"))
    assert a.num_rows == b.num_rows == 2
    assert a != b


def test_csv_files_go_out_and_come_back_and_bake_the_same(small: Path) -> None:
    folder = small.parent
    fdsl("sample", small, "--to-csv", "csv", "-o", "searched.parquet", cwd=folder)
    assert fdsl("sample", "--from-csv", "csv", "-o", "read.parquet", cwd=folder).returncode == 0
    for name in ("searched", "read"):
        done = fdsl("bake", small, "-o", name, "--categories-from", f"{name}.parquet", "--workers", 1, cwd=folder)
        assert done.returncode == 0, done.stderr
    tars = sorted(path.name for path in (folder / "read").glob("*.tar"))
    assert len(tars) == 4
    for tar in tars:
        assert (folder / "read" / tar).read_bytes() == (folder / "searched" / tar).read_bytes()


def test_bake_says_what_it_made_and_what_is_next(small: Path) -> None:
    first = fdsl("bake", small, "-o", "out", "--shards", "0:2", "--workers", 1, cwd=small.parent)
    assert "baked 16 images in 2 shards" in first.stdout
    assert "2 shards of the dataset still to be baked" in first.stdout
    second = fdsl("bake", small, "-o", "out", "--workers", 1, cwd=small.parent)
    assert "2 shards there already, by their receipts" in second.stdout
    assert "complete; next: fdsl verify out" in second.stdout
    assert fdsl("verify", "out", cwd=small.parent).stdout == "out: 32 images in 4 shards are right\n"
    assert json.loads((small.parent / "out" / "_info.json").read_text())["splits"]["validation"]["num_samples"] == 8


def test_a_baked_spec_takes_its_categories_along(small: Path) -> None:
    fdsl("sample", small, "--seed", 7, "-o", "other.parquet", cwd=small.parent)
    fdsl("bake", small, "-o", "first", "--categories-from", "other.parquet", "--workers", 1, cwd=small.parent)
    done = fdsl("bake", "first/spec.yaml", "-o", "again", "--workers", 1, cwd=small.parent)
    assert done.returncode == 0, done.stderr
    for tar in (small.parent / "first").glob("*.tar"):
        assert tar.read_bytes() == (small.parent / "again" / tar.name).read_bytes()


def test_a_preview_shows_the_categories_that_are_given_or_were_baked(small: Path) -> None:
    def sheet(*arguments: str | Path) -> bytes:
        done = fdsl("preview", *arguments, "-o", "sheet.png", cwd=small.parent)
        assert done.returncode == 0, done.stderr
        return (small.parent / "sheet.png").read_bytes()

    fdsl("sample", small, "--seed", 7, "-o", "other.parquet", cwd=small.parent)
    fdsl("bake", small, "-o", "out", "--categories-from", "other.parquet", "--workers", 1, cwd=small.parent)
    given = sheet(small, "--categories-from", "other.parquet")
    assert sheet("out/spec.yaml") == given
    assert sheet(small) != given


def test_packages_win_over_empty_folders_of_their_names(tmp_path: Path) -> None:
    for name in ("exfractal", "rcdb", "shards", "primitives"):
        (tmp_path / name).mkdir()
    code = "import shards; print(shards.load_spec('rcdb-1k').family, shards.load_spec('exfractaldb-1k').family)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "rcdb exfractal\n", done.stderr


def test_a_directory_for_two_quick_starts_is_refused() -> None:
    done = subprocess.run(["make", "dataset", "OUT=x"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert "OUT (=x) goes with SPEC" in done.stdout


def test_a_lost_categories_table_is_made_again_or_asked_for(small: Path) -> None:
    table = small.parent / "out" / "categories.parquet"
    fdsl("bake", small, "-o", "out", "--workers", 1, cwd=small.parent)
    whole = table.read_bytes()
    table.write_text("damaged")
    assert "not a Parquet file" in refused("bake", small, "-o", "out", cwd=small.parent)
    table.unlink()
    assert "is missing; `fdsl repair" in refused("verify", "out", cwd=small.parent)
    assert fdsl("bake", small, "-o", "out", "--workers", 1, cwd=small.parent).returncode == 0
    assert table.read_bytes() == whole
    fdsl("sample", small, "--seed", 7, "-o", "other.parquet", cwd=small.parent)
    fdsl("bake", small, "-o", "own", "--categories-from", "other.parquet", "--workers", 1, cwd=small.parent)
    (small.parent / "own" / "categories.parquet").unlink()
    assert "give it with --categories-from" in refused("bake", small, "-o", "own", cwd=small.parent)


def test_bake_of_one_split(small: Path) -> None:
    done = fdsl("bake", small, "-o", "out", "--split", "validation", "--workers", 1, cwd=small.parent)
    assert "baked 8 images in 1 shard," in done.stdout
    assert [path.name for path in (small.parent / "out").glob("*.tar")] == ["validation-000000.tar"]
    assert fdsl("verify", "out", "--split", "validation", cwd=small.parent).returncode == 0
    assert fdsl("verify", "out", cwd=small.parent).returncode == 1


def test_progress_is_plain_lines_when_not_on_a_terminal(small: Path) -> None:
    done = fdsl("bake", small, "-o", "out", "--workers", 1, cwd=small.parent)
    assert "\r" not in done.stderr
    assert "\x1b" not in done.stderr


def test_cleaning_up_that_hangs_is_ended() -> None:
    code = """if True:
        import os, signal, time, click, cli
        @cli.fdsl.command
        def hang():
            try:
                os.kill(os.getpid(), signal.SIGINT)
            finally:
                time.sleep(60)
        cli._CLEANING_S = 1
        cli.sys.argv = ["fdsl", "hang"]
        cli.main()
    """
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background ignores it
    )  # fmt: skip
    assert done.returncode == -signal.SIGALRM


def test_no_command_is_help_and_wrong_usage(small: Path) -> None:
    assert fdsl().returncode == 2
    assert "fdsl bake -h" in refused("bake", status=2)
    assert "No such command 'bak'" in refused("bak", status=2)
    assert "--worker" in refused("bake", small, "-o", "x", "--worker", 0, status=2)
    assert "0 is not in the range" in refused("bake", small, "-o", "x", "--workers", 0, status=2)
    assert "fdsl sample -h" in refused("sample", status=2)
    assert "fdsl sample -h" in refused("sample", small, status=2)
    assert "go with SPEC" in refused("sample", "--from-csv", small.parent, "-o", "x.parquet", "--seed", 1, status=2)
    assert "'sheet.jpg' must end in .png" in refused("preview", small, "-o", "sheet.jpg", status=2)
    assert "'table' must end in .parquet" in refused("sample", small, "-o", "table", status=2)


@pytest.mark.parametrize(
    "arguments", [("plan",), ("preview", "-o", "x.png"), ("sample", "-o", "x.parquet"), ("bake", "-o", "x")]
)
def test_unknown_specs_suggest_a_preset(arguments: tuple[str, ...], tmp_path: Path) -> None:
    message = refused(arguments[0], "exfractldb-1k", *arguments[1:], cwd=tmp_path)
    assert "'exfractldb-1k'" in message
    assert "did you mean exfractaldb-1k?" in message
    assert list(tmp_path.iterdir()) == []


def test_unknown_preset_names_are_refused() -> None:
    assert "is no preset; the presets are exfractaldb-1k, " in refused("presets", "nope")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"categories": 0}, "`categories` (=0) must be in 1..1000000"),
        ({"categories": "many"}, "`categories` (='many') must be a whole number"),
        ({"colour": 1}, "`colour` (=1) is not a key"),
        ({"image": {"sise": 64}}, "did you mean `size`?"),
        ({"params": {"maps": [7, 2]}}, "`params.maps` (=[7, 2]) must have its lowest end first"),
    ],
)
def test_bad_specs_name_the_file_the_key_the_value_and_the_rule(
    change: dict[str, object], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump({**SMALL, **change}))
    message = refused("bake", path, "-o", tmp_path / "out")
    assert words in message
    assert str(path) in message
    assert not (tmp_path / "out").exists()


def test_bad_windows_are_refused(small: Path) -> None:
    for window in ("3", "a:b", "2:2", "3:1", "0:99", "-1:2"):
        assert f"`--shards` (={window})" in refused("bake", small, "-o", "out", f"--shards={window}", cwd=small.parent)
    assert not (small.parent / "out").exists()


def test_rcdb_has_no_published_csv(tmp_path: Path) -> None:
    message = refused("sample", "quickstart-rcdb", "--categories", 2, "--to-csv", "csv", cwd=tmp_path)
    assert "`family` (=rcdb) has no published CSV layout" in message


def test_bad_category_tables_are_refused(small: Path) -> None:
    folder = small.parent
    assert "does not exist" in refused("bake", small, "-o", "out", "--categories-from", "no.parquet", cwd=folder)
    (folder / "text.parquet").write_text("not parquet")
    assert "not a Parquet file" in refused("bake", small, "-o", "out", "--categories-from", "text.parquet", cwd=folder)
    fdsl("sample", "quickstart-rcdb", "--categories", 9, "-o", "rcdb.parquet", cwd=folder)
    assert "categories of rcdb" in refused("bake", small, "-o", "out", "--categories-from", "rcdb.parquet", cwd=folder)
    fdsl("sample", small, "--categories", 2, "-o", "two.parquet", cwd=folder)
    assert "has 2 rows" in refused("bake", small, "-o", "out", "--categories-from", "two.parquet", cwd=folder)
    fdsl("sample", small, "-o", "four.parquet", cwd=folder)
    pq.write_table(pq.read_table(folder / "four.parquet").drop_columns(["maps"]), folder / "less.parquet")
    assert "no column `maps`" in refused("bake", small, "-o", "out", "--categories-from", "less.parquet", cwd=folder)
    assert not (folder / "out").exists()


def test_verify_of_what_is_no_dataset(tmp_path: Path) -> None:
    assert "holds no spec.yaml" in refused("verify", tmp_path)
    assert "is no directory" in refused("verify", tmp_path / "nowhere")


def test_where_numba_can_cache_nowhere_a_line_says_what_to_set() -> None:
    code = (
        "import sys, importlib, cli\n"
        "def broken(path): raise RuntimeError(\"cannot cache function 'f': no locator available for file 'x'\")\n"
        "importlib.import_module('shards.verify').open_directory = broken\n"
        "sys.argv = ['fdsl', 'verify', 'x']\n"
        "cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(
        "fdsl: numba can write its cache neither beside the code nor in your cache folder; set"
    )
