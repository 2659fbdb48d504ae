"""Hostile YAML, JSON and CSV files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import yaml

from shards.layout import RECEIPTS
from tests.attacks import MAPPING, Attack, attack, dataset, fdsl, register

PLAN = fdsl("plan", "spec.yaml")
VERIFY = fdsl("verify", "out", "--workers", "1")
NOT_READ = "anchors, aliases and tags (&, *, !) are not read"
RECEIPT = f"{RECEIPTS}/train-000000.json"
TERABYTE = 2**40


def laughs(depth: int = 20) -> str:
    """Return YAML whose last value has 9 ** depth words."""
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, depth)]
    return "\n".join(lines) + "\n"


def merges(depth: int = 20) -> str:
    """Return YAML whose merge keys give 9 ** depth pairs."""
    lines = ["a0: &a0 {b: 1}"]
    lines += [f"a{k}: &a{k} {{<<: [{', '.join([f'*a{k - 1}'] * 9)}]}}" for k in range(1, depth)]
    return "\n".join(lines) + "\n"


def _spec(name: str, text: str, says: str, command: tuple[str, ...] = PLAN) -> None:
    """Register a hostile spec.yaml."""

    def kind(folder: Path) -> Attack:
        (folder / "spec.yaml").write_text(text)
        return Attack(command, says)

    register(f"spec_{name}", kind)


GOOD = yaml.safe_dump(MAPPING)
_spec("of_aliases", GOOD + laughs(), NOT_READ)
_spec("of_merge_keys", GOOD + merges(), NOT_READ)
_spec("of_a_complex_key", "? &a [x, x]\n: 1\n? &b {*a : *a}\n: 2\n", NOT_READ)
_spec("of_nested_keys", "? " * 9000 + "x\n", "is not YAML")
_spec("of_60000_keys", GOOD + "".join(f"k{k}: 1\n" for k in range(60_000)), "such a file has at most 65,536")
_spec("of_8000_keys", GOOD + "".join(f"{k}: 1\n" for k in range(8_000)), "is not a key of the spec")
_spec("of_a_long_key", GOOD + "k" * 60_000 + ": 1\n", "is not YAML")
_spec("of_deep_lists", GOOD + "seeds: " + "[" * 50_000, "is not YAML")
_spec("of_a_python_object", f"name: !!python/object/apply:os.system ['touch evil']\n{GOOD}", NOT_READ)
_spec("of_a_long_number", GOOD + "seed: " + "9" * 60_000 + "\n", "is not YAML")
_spec("of_absurd_counts", GOOD.replace("categories: 3", f"categories: {10**30}"), "must be at most 1,000,000")


@attack
def spec_that_is_a_device(folder: Path) -> Attack:
    (folder / "spec.yaml").symlink_to("/dev/zero")
    return Attack(PLAN, "does not exist; presets")


@attack
def spec_of_a_terabyte(folder: Path) -> Attack:
    (folder / "spec.yaml").touch()
    os.truncate(folder / "spec.yaml", TERABYTE)
    return Attack(PLAN, "such a file has at most 65,536")


def _edited(
    name: str, file: str, edit: Callable[[str], str], says: str, *command: str, is_harmless: bool = False
) -> None:
    """Register a baked dataset with an edited text file."""

    def kind(folder: Path) -> Attack:
        path = dataset(folder) / file
        path.write_text(edit(path.read_text()))
        command_line = fdsl(command[0], "out", "--workers", "1", *command[1:]) if command else VERIFY
        return Attack(command_line, says, is_harmless, writes="out" if "repair" in command else "")

    register(name, kind)


_edited("laughs_under_baked", "spec.yaml", lambda text: f"{text}  x:\n{_indented(laughs())}", NOT_READ)
_edited("merges_under_baked", "spec.yaml", lambda text: f"{text}  x:\n{_indented(merges())}", NOT_READ)
for _command in ("verify", "repair"):
    _edited(
        f"date_among_the_versions_{_command}", "spec.yaml", lambda text: f"{text}    x: 2020-01-01\n", "out: ", _command,
        is_harmless=True,
    )  # fmt: skip
    _edited(
        f"binary_among_the_versions_{_command}", "spec.yaml", lambda text: f"{text}    x: !!binary aGVsbG8=\n", NOT_READ,
        _command,
    )  # fmt: skip
    _edited(
        f"list_for_versions_{_command}", "spec.yaml",
        lambda text: text[: text.index("  made_with:")] + "  made_with: [[1, {a: .nan}], null]\n", "out: ", _command,
        is_harmless=True,
    )  # fmt: skip
_edited("format_that_is_a_list", "spec.yaml", lambda text: text.replace("format: ", "format: [1] #"), "has format [1]")
for _name, _text in {
    "deep_lists": "[" * 900_000, "a_long_number": '{"splits": ' + "9" * 900_000 + "}", "null": "null", "a_list": "[]",

    "many_keys": "{" + ",".join(f'"{k}":{k}' for k in range(60_000)) + "}",
    "infinity": '{"splits": Infinity, "num_classes": 1e999}',
}.items():  # fmt: skip
    _edited(f"index_of_{_name}", "_info.json", lambda _, text=_text: text, "_info.json: contradicts the receipts")
    _edited(f"receipt_of_{_name}", RECEIPT, lambda _, text=_text: text, f"{RECEIPT}: ")
_edited("receipt_of_another_folder", RECEIPT, lambda text: text.replace("train-000000", "../../evil"), f"{RECEIPT}: ")


def _indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())


def _csv(name: str, content: bytes, says: str) -> None:
    """Register a folder of hostile CSV files."""

    def kind(folder: Path) -> Attack:
        (folder / "csv").mkdir()
        (folder / "csv" / "000000.csv").write_bytes(content)
        return Attack(fdsl("sample", "--from-csv", "csv", "-o", "t.parquet"), says)

    register(f"csv_{name}", kind)


_csv("of_one_endless_line", b"1," * 2**22, "such a file has at most 262,144")
_csv("of_digits", b"9" * 250_000, "field larger than field limit")
_csv("of_many_maps", b"1,1,1,1,1,1,1,1,1,1,1,1,1\n" * 10_000, "`maps` has 10000 maps; it must have 2..256")
_csv("of_formulas", b"=cmd|'/C touch evil'!A0\n", "must hold numbers only")
_csv("of_infinity", b"inf,nan,1,1,1,1,1,1,1,1,1,1,1\n", "must hold finite numbers only")


@attack
def csv_of_a_terabyte(folder: Path) -> Attack:
    (folder / "csv").mkdir()
    (folder / "csv" / "000000.csv").touch()
    os.truncate(folder / "csv" / "000000.csv", TERABYTE)
    return Attack(fdsl("sample", "--from-csv", "csv", "-o", "t.parquet"), "such a file has at most 262,144")


def _huge(name: str, file: str, says: str) -> None:
    """Register a baked dataset with a file of a terabyte."""

    def kind(folder: Path) -> Attack:
        os.truncate(dataset(folder) / file, TERABYTE)
        return Attack(VERIFY, says)

    register(f"{name}_of_a_terabyte", kind)


_huge("baked_spec", "spec.yaml", "such a file has at most 65,536")
_huge("categories", "categories.parquet", "categories.parquet: has 1,099,511,627,776 bytes")
_huge("shards_table", "shards.parquet", "shards.parquet: contradicts the receipts")
_huge("index", "_info.json", "_info.json: contradicts the receipts")
_huge("receipt", RECEIPT, "such a file has at most 4,096")
_huge("samples", "samples/train-000000.parquet", "far too many for its images")
_huge("tar", "train-000000.tar", "1,099,511,627,776 bytes; its receipt says")
