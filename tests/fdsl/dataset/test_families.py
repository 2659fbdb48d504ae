"""The contract that every family passes. A new family is tested once it is in the registry."""

from __future__ import annotations

import ast
import shutil
from collections import Counter
from collections.abc import Mapping
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mypy import api as mypy

from fdsl import Spec, load_spec, presets
from fdsl.dataset.families import FAMILIES, Family, Image
from fdsl.primitives.streams import TRAIN, VALIDATION, Stream, domain
from fdsl.primitives.validation import FamilyParams
from tests.fdsl.dataset.changes import leaves, other_specs

ROOT = Path(__file__).parents[3]
MEMBERS = [name for name in vars(Family) if not name.startswith("_")]
SEEDS = (0, 1, 2**64 - 1)

AnyFamily = Family[Any, Any, Any]
Rendered = list[tuple[Image, Any]]


@pytest.fixture(scope="session")
def module(family: str) -> AnyFamily:
    return FAMILIES[family]


@pytest.fixture(scope="session")
def n_attempts(table: pa.Table) -> int:
    """Enough attempts for a few categories."""
    n: int = table.column("attempt")[-1].as_py() + 1
    return n


def stream_of(module: AnyFamily, category: int, instance: int, role: int = TRAIN, seed: int = 0) -> Stream:
    return Stream(seed, domain(module.DOMAIN, role), category, instance)


@pytest.fixture(scope="session")
def samples(module: AnyFamily, spec: Spec, table: pa.Table) -> list[tuple[Any, Stream]]:
    """Categories and streams of eleven images, not a multiple of those rendered side by side."""
    rows = module.unpack(spec.params, table)
    return [(rows[k % 5], stream_of(module, k % 5, k // 2)) for k in range(11)]


@pytest.fixture(scope="session")
def rendered(module: AnyFamily, spec: Spec, samples: list[tuple[Any, Stream]]) -> Rendered:
    return list(module.render_each(spec.params, spec.size_px, samples))


def are_equal(some: Rendered, others: Rendered) -> bool:
    """Return whether images and variants are equal, one by one."""
    pairs = zip(some, others, strict=True)
    return all(np.array_equal(image, other) and variant == its for (image, variant), (other, its) in pairs)


# the registry


def clashes(families: Mapping[str, Any]) -> list[str]:
    """Return families that share a DOMAIN, and so every random number."""
    n_uses = Counter(module.DOMAIN for module in families.values())
    return [name for name, module in families.items() if n_uses[module.DOMAIN] > 1]


def test_domains_are_distinct() -> None:
    assert clashes(FAMILIES) == []


def test_copied_family_clashes(family: str, module: AnyFamily) -> None:
    copy = SimpleNamespace(**{name: getattr(module, name) for name in MEMBERS})
    assert clashes({family: module, "copy": copy}) == [family, "copy"]
    copy.DOMAIN = next(iter(set(range(1, 256)) - {other.DOMAIN for other in FAMILIES.values()}))
    assert clashes({family: module, "copy": copy}) == []


def test_domain_has_eight_bits(module: AnyFamily) -> None:
    assert type(module.DOMAIN) is int
    assert 1 <= module.DOMAIN <= 255


def test_family_exports_the_contract(family: str, module: AnyFamily) -> None:
    assert set(MEMBERS) <= set(module.__all__)  # type: ignore[attr-defined]
    assert all(hasattr(module, name) for name in module.__all__)  # type: ignore[attr-defined]
    assert module.__name__ == family  # type: ignore[attr-defined]


# constants, params and presets


@pytest.mark.parametrize("name", ["TITLE", "CITATION"])
def test_texts_are_one_line(name: str, module: AnyFamily) -> None:
    text = getattr(module, name)
    assert text == text.strip()
    assert len(text.splitlines()) == 1


def test_image_format_is_valid(module: AnyFamily) -> None:
    assert 16 <= module.SIZE_PX <= 4096
    assert module.BIT_DEPTH in (1, 8)
    assert module.BACKGROUND in ((0, 255) if module.BIT_DEPTH == 1 else range(256))


def test_units_are_of_columns(module: AnyFamily) -> None:
    assert set(module.UNITS) <= set(module.VARIANT_SCHEMA.names)


def test_default_params_are_valid(module: AnyFamily) -> None:
    assert issubclass(module.Params, FamilyParams)
    params = module.Params()
    assert module.Params.model_validate(params.model_dump()) == params
    assert hash(module.Params()) == hash(params)
    assert params.max_categories is None or params.max_categories >= 1


def test_params_survive_json(module: AnyFamily, spec: Spec) -> None:
    """The defaults, and each parameter changed."""
    variants = [module.Params()]
    for path in leaves(spec.to_mapping()):
        if path.startswith("params."):
            variants += [other.params for other in other_specs(spec, path)]
    assert len(variants) > len(module.Params.model_fields)
    for params in variants:
        assert module.Params.model_validate_json(params.model_dump_json()) == params


def test_params_are_documented(module: AnyFamily) -> None:
    for name in module.Params.model_fields:
        assert f"\n    {name} : " in (module.Params.__doc__ or ""), f"the docstring of Params lacks `{name} : `"


def test_family_has_presets(family: str) -> None:
    own = [name for name in presets() if load_spec(name).family == family]
    assert own
    files = {path.stem for path in (ROOT / family / "presets").glob("*.yaml")}
    assert files == set(own)
    assert all(load_spec(name).name == name for name in own)


# categories


def test_schema_begins_with_category_and_attempt(module: AnyFamily) -> None:
    category, attempt, *parameters = module.SCHEMA
    assert category.equals(pa.field("category", pa.int32(), nullable=False))
    assert attempt.equals(pa.field("attempt", pa.int64()))
    assert parameters
    assert len(set(module.SCHEMA.names)) == len(module.SCHEMA)


def test_sample_is_a_table_of_the_schema(module: AnyFamily, spec: Spec, n_attempts: int) -> None:
    sampled = module.sample(spec.params, 7, range(3, 3 + n_attempts))
    attempts = sampled.column("attempt").to_pylist()
    assert sampled.schema.equals(module.SCHEMA)
    assert sampled.column("category").to_pylist() == list(range(len(attempts)))
    assert attempts == sorted(set(attempts) & set(range(3, 3 + n_attempts)))


def test_sample_is_pure(module: AnyFamily, spec: Spec, n_attempts: int) -> None:
    first = module.sample(spec.params, 7, range(n_attempts))
    module.sample(spec.params, 8, range(n_attempts))
    assert module.sample(spec.params, 7, range(n_attempts)).equals(first)
    assert first.num_rows


def test_sample_does_not_depend_on_chunks(module: AnyFamily, spec: Spec, n_attempts: int) -> None:
    whole = module.sample(spec.params, 7, range(n_attempts)).drop_columns("category")
    edges = [0, 0, 1, n_attempts // 3, n_attempts // 3 + 2, n_attempts]
    chunks = [range(start, stop) for start, stop in pairwise(edges)]
    parts = [module.sample(spec.params, 7, chunk).drop_columns("category") for chunk in reversed(chunks)]
    assert pa.concat_tables(reversed(parts)).equals(whole)


def test_sample_of_no_attempts_is_empty(module: AnyFamily, spec: Spec) -> None:
    assert module.sample(spec.params, 7, range(5, 5)).equals(module.SCHEMA.empty_table())


def test_sample_depends_on_the_seed(module: AnyFamily, spec: Spec, n_attempts: int) -> None:
    tables = [module.sample(spec.params, seed, range(2 * n_attempts)).drop_columns(["category"]) for seed in SEEDS]
    assert len({str(sampled.to_pylist()) for sampled in tables}) == len(SEEDS)


def test_unpack_survives_parquet(
    module: AnyFamily,
    spec: Spec,
    table: pa.Table,
    rendered: Rendered,
    samples: list[tuple[Any, Stream]],
    tmp_path: Path,
) -> None:
    pq.write_table(table, tmp_path / "table.parquet")
    rows = module.unpack(spec.params, pq.read_table(tmp_path / "table.parquet"))
    assert len(rows) == table.num_rows
    again = [(rows[stream.category], stream) for _, stream in samples]
    assert are_equal(list(module.render_each(spec.params, spec.size_px, again)), rendered)


# images


def test_images_have_the_format(module: AnyFamily, spec: Spec, samples: list[tuple[Any, Stream]]) -> None:
    for size_px in (16, 65, module.SIZE_PX):
        images = [image for image, _ in module.render_each(spec.params, size_px, samples)]
        for image in images:
            assert image.shape == (size_px, size_px)
            assert image.dtype == np.uint8
            assert module.BIT_DEPTH == 8 or set(np.unique(image)) <= {0, 255}
        levels = set(np.unique(images).tolist())
        assert module.BACKGROUND in levels
        assert len(levels) > 1


def test_variants_do_not_depend_on_the_size(
    module: AnyFamily, spec: Spec, samples: list[tuple[Any, Stream]], rendered: Rendered
) -> None:
    larger = module.render_each(spec.params, 2 * spec.size_px, samples)
    assert [variant for _, variant in larger] == [variant for _, variant in rendered]


def test_variants_fit_their_schema(module: AnyFamily, rendered: Rendered) -> None:
    """A variant comes back from its table to the last bit."""
    for _, variant in rendered:
        assert module.VARIANT_SCHEMA.names == list(variant._fields)
        row = variant._asdict()
        assert pa.Table.from_pylist([row], schema=module.VARIANT_SCHEMA).to_pylist() == [row]
    assert len({variant for _, variant in rendered}) > 1


def test_rendering_is_pure(
    module: AnyFamily, spec: Spec, samples: list[tuple[Any, Stream]], rendered: Rendered
) -> None:
    list(module.render_each(spec.params, 32, samples[3:]))
    assert are_equal(list(module.render_each(spec.params, spec.size_px, iter(samples))), rendered)


def test_rendering_does_not_depend_on_order(
    module: AnyFamily, spec: Spec, samples: list[tuple[Any, Stream]], rendered: Rendered
) -> None:
    assert are_equal(list(module.render_each(spec.params, spec.size_px, samples[::-1])), rendered[::-1])


@pytest.mark.parametrize("group", [slice(0, 0), slice(0, 1), slice(4, 5), slice(1, 6), slice(0, 11, 3)])
def test_rendering_does_not_depend_on_neighbours(
    group: slice, module: AnyFamily, spec: Spec, samples: list[tuple[Any, Stream]], rendered: Rendered
) -> None:
    assert are_equal(list(module.render_each(spec.params, spec.size_px, samples[group])), rendered[group])


def test_equal_samples_give_equal_images(
    module: AnyFamily, spec: Spec, samples: list[tuple[Any, Stream]], rendered: Rendered
) -> None:
    assert are_equal(list(module.render_each(spec.params, spec.size_px, [samples[2]] * 5)), [rendered[2]] * 5)


def test_images_keep_their_pixels(module: AnyFamily, spec: Spec, samples: list[tuple[Any, Stream]]) -> None:
    """No buffer is shared between images, so changing one does not change another."""
    kept, copies = [], []
    for image, _ in module.render_each(spec.params, spec.size_px, samples):
        kept.append(image)
        copies.append(image.copy())
    assert all(np.array_equal(image, copy) for image, copy in zip(kept, copies, strict=True))
    assert not any(np.shares_memory(image, other) for k, image in enumerate(kept) for other in kept[:k])


def test_unpacked_rows_are_not_changed(module: AnyFamily, spec: Spec, table: pa.Table) -> None:
    rows, untouched = (module.unpack(spec.params, table) for _ in range(2))
    list(module.render_each(spec.params, 32, [(row, stream_of(module, k, 3)) for k, row in enumerate(rows)]))
    assert repr(rows) == repr(untouched)


def test_each_part_of_the_address_matters(module: AnyFamily, spec: Spec, table: pa.Table) -> None:
    rows = module.unpack(spec.params, table)
    streams = [stream_of(module, 2, instance) for instance in range(13)]
    streams += [stream_of(module, 3, 0), stream_of(module, 2, 0, VALIDATION), stream_of(module, 2, 0, seed=1)]
    streams += [streams[0]._replace(domain=domain(module.DOMAIN ^ 255, TRAIN))]
    images = [image for image, _ in module.render_each(spec.params, 64, [(rows[2], stream) for stream in streams])]
    assert len({image.tobytes() for image in images}) == len(streams)


def test_images_depend_on_the_category(module: AnyFamily, spec: Spec, table: pa.Table) -> None:
    rows = module.unpack(spec.params, table)
    images = [
        image for image, _ in module.render_each(spec.params, 64, [(row, stream_of(module, 0, 0)) for row in rows])
    ]
    assert len({image.tobytes() for image in images}) == len(rows)


def test_kernels_compile(module: AnyFamily) -> None:
    module.compile_kernels()
    module.compile_kernels()


# types


def swap_arguments(package: Path, function: str) -> None:
    """Swap the first two parameters of a function in the source of a package."""
    for path in package.rglob("*.py"):
        tree = ast.parse(path.read_text())
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name == function:
                node.args.args[:2] = node.args.args[1::-1]
                path.write_text(ast.unparse(tree))
                return
    raise AssertionError(f"{package.name} has no function {function}")


def copy_family(family: str, name: str, folder: Path) -> Path:
    """Copy a family's package under another name."""
    origin = find_spec(family)
    assert origin
    assert origin.origin
    package = Path(
        shutil.copytree(Path(origin.origin).parent, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    )
    for path in package.rglob("*.py"):
        path.write_text(path.read_text().replace(f"from {family}", f"from {name}"))
    return package


@pytest.mark.slow
def test_mypy_checks_the_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """mypy accepts a copy of a family, and refuses one with swapped arguments."""
    family = min(FAMILIES)
    functions = ("sample", "unpack", "render_each")
    copies = {"intact": copy_family(family, "intact", tmp_path)}
    for function in functions:
        copies[function] = copy_family(family, f"swapped_{function}", tmp_path)
        swap_arguments(copies[function], function)
    for name, package in copies.items():
        registry = f"import {package.name}\nfrom fdsl.dataset.families import _checked\n\n_checked({package.name})\n"
        (tmp_path / f"registry_{name}.py").write_text(registry)
    monkeypatch.setenv("MYPYPATH", f"{ROOT}:{tmp_path}")
    options = ["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(ROOT / ".mypy_cache" / "contract")]
    report, errors, _ = mypy.run([*options, *(str(tmp_path / f"registry_{name}.py") for name in copies)])
    refused = {name for name in copies if f'registry_{name}.py:4: error: Argument 1 to "_checked"' in report}
    assert refused == set(functions), report + errors
