"""Formula-driven supervised learning: image datasets rendered from formulas.

The public Python API. A name is imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fdsl.dataset.categories import read_table as read_table
    from fdsl.dataset.dataset import Dataset as Dataset
    from fdsl.dataset.live import LiveDataset as LiveDataset
    from fdsl.dataset.sampler import BatchSampler as BatchSampler
    from fdsl.dataset.sources import load_spec as load_spec
    from fdsl.dataset.sources import presets as presets
    from fdsl.dataset.spec import ImageFormat as ImageFormat
    from fdsl.dataset.spec import Instances as Instances
    from fdsl.dataset.spec import ShardFormat as ShardFormat
    from fdsl.dataset.spec import Spec as Spec
    from fdsl.dataset.spec import parse_spec as parse_spec
    from fdsl.primitives.errors import InputError as InputError
    from fdsl.reports.estimate import Estimate as Estimate
    from fdsl.reports.estimate import estimate as estimate
    from fdsl.reports.preview import contact_sheet as contact_sheet
    from fdsl.reports.preview import encode_sheet as encode_sheet
    from fdsl.reports.report import report as report
    from shards.baking import Baked as Baked
    from shards.baking import bake as bake
    from shards.directory import Directory as Directory
    from shards.directory import open_directory as open_directory
    from shards.events import Advanced as Advanced
    from shards.events import Finished as Finished
    from shards.events import ItemFailed as ItemFailed
    from shards.events import ItemsRetried as ItemsRetried
    from shards.events import Started as Started
    from shards.executors.contract import Done as Done
    from shards.executors.contract import Executor as Executor
    from shards.executors.contract import Failed as Failed
    from shards.executors.contract import WorkerDied as WorkerDied
    from shards.executors.dask import DaskExecutor as DaskExecutor
    from shards.executors.local import LocalExecutor as LocalExecutor
    from shards.opening import open as open
    from shards.problems import Problem as Problem
    from shards.repairing import Repaired as Repaired
    from shards.repairing import repair as repair
    from shards.searching import SearchResult as SearchResult
    from shards.searching import search_categories as search_categories
    from shards.shipping import Shipped as Shipped
    from shards.shipping import ship as ship
    from shards.status import Status as Status
    from shards.status import read_status as read_status
    from shards.urls import loader_urls as loader_urls
    from shards.verifying import Verified as Verified
    from shards.verifying import verify as verify

_NAMES = {
    "fdsl.dataset.categories": ["read_table"],
    "fdsl.dataset.dataset": ["Dataset"],
    "fdsl.dataset.live": ["LiveDataset"],
    "fdsl.dataset.sampler": ["BatchSampler"],
    "fdsl.dataset.sources": ["load_spec", "presets"],
    "fdsl.dataset.spec": ["ImageFormat", "Instances", "ShardFormat", "Spec", "parse_spec"],
    "fdsl.primitives.errors": ["InputError"],
    "fdsl.reports.estimate": ["Estimate", "estimate"],
    "fdsl.reports.preview": ["contact_sheet", "encode_sheet"],
    "fdsl.reports.report": ["report"],
    "shards.baking": ["Baked", "bake"],
    "shards.directory": ["Directory", "open_directory"],
    "shards.events": ["Advanced", "Finished", "ItemFailed", "ItemsRetried", "Started"],
    "shards.executors.contract": ["Done", "Executor", "Failed", "WorkerDied"],
    "shards.executors.dask": ["DaskExecutor"],
    "shards.executors.local": ["LocalExecutor"],
    "shards.opening": ["open"],
    "shards.problems": ["Problem"],
    "shards.repairing": ["Repaired", "repair"],
    "shards.searching": ["SearchResult", "search_categories"],
    "shards.shipping": ["Shipped", "ship"],
    "shards.status": ["Status", "read_status"],
    "shards.urls": ["loader_urls"],
    "shards.verifying": ["Verified", "verify"],
}
"""Public names by module, as above."""

_MODULES = {name: module for module, names in _NAMES.items() for name in names}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'fdsl' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
