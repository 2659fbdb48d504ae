"""Odd `_info.json` files and checkpoints, one a line."""

from __future__ import annotations

import copy
import json
from typing import Any

import torch

DEEP: Any = "deep"
for _ in range(60):
    DEEP = [DEEP, DEEP]  # written out, 2**60 times "deep"

VALUES: dict[str, Any] = {
    "null": None, "true": True, "negative": -1, "share": 1.5, "huge": 10**30, "large": 10**18, "text": "\n\x1b[31mx",
    "empty": "", "list": [], "nulls": [None], "mapping": {}, "nested": [[["x"]]], "surrogate": "\ud800",
}  # fmt: skip
INFO_KEYS = [
    ("splits",), ("splits", "train"), ("num_classes",), ("spec_hash",),
    *(("splits", "train", key) for key in ("filenames", "shard_lengths", "num_samples", "shard_bytes", "shard_sha256")),
    *(("splits", "train", key, 0) for key in ("filenames", "shard_lengths", "shard_bytes", "shard_sha256")),
]  # fmt: skip
NAMES = [
    "../x.tar",
    "/etc/passwd",
    "..",
    ".x.tar",
    "-x.tar",
    "a/../x",
    "a//b",
    "x\0",
    "x;y",
    "$(y)",
    "x y",
    "{a..b}",
    "é\n",
]
TEXTS = {
    "nothing": b"", "BOM": b"\xef\xbb\xbf{}", "UTF-16": "{}".encode("utf-16"), "no UTF-8": b'{"splits": "\xff"}',
    "open": b'{"splits": {', "deep": b"[" * 100_000, "deep split": b'{"splits": ' + b"[" * 90_000 + b"]" * 90_000 + b"}",
    "NaN": b'{"splits": {}, "num_classes": NaN}', "digits": b'{"splits": {}, "num_classes": ' + b"9" * 9_000 + b"}",
    "list": b"[]", "text": b'"x"', "null": b"null", "twice": b'{"splits": {}, "splits": {}}',
    "control": b'{"splits": {"a\\n\\u001b[31m": 1}}',
    "wrong": b'{"splits": {"a": {"filenames": [' + b"1," * 99_999 + b"1]}}}",
}  # fmt: skip


def changed(content: Any, keys: tuple[Any, ...], value: Any) -> Any:
    """Return a copy with another value at `keys`."""
    content = copy.deepcopy(content)
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    return content


def odd_infos(info: dict[str, Any]) -> dict[str, bytes]:
    """Return odd contents of `_info.json`, by their names."""
    files = dict(TEXTS)
    for keys in INFO_KEYS:
        for name, value in VALUES.items():
            files[f"{'.'.join(map(str, keys))} {name}"] = json.dumps(changed(info, keys, value)).encode()
    for name in NAMES:
        files[f"name {name!r}"] = json.dumps(changed(info, ("splits", "train", "filenames", 0), name)).encode()
    return files


TENSOR = torch.zeros(3)
CHECKPOINT_KEYS = [
    "update", "best", "log_bytes", "arch", "dataset", "n_classes", "images_per_update", "processes", "workers", "recipe",
    "optimizer", "scaler", "state_dict",
]  # fmt: skip
CHECKPOINT_VALUES: dict[str, Any] = {
    "null": None, "negative": -5, "nan": float("nan"), "huge": 10**30, "text": "\n\x1b[31mx", "tensor": TENSOR,
    "mapping": {}, "numbers": {1: 2}, "tensors": {"x": TENSOR}, "bytes": bytearray(3), "deep": DEEP,
}  # fmt: skip


def odd_checkpoints(content: dict[str, Any]) -> dict[str, Any]:
    """Return odd contents of a checkpoint, by their names."""
    odd = {"none": None, "list": [1], "tensor": TENSOR, "nothing": {}, "deep": DEEP}
    for key in CHECKPOINT_KEYS:
        odd[f"no {key}"] = {name: value for name, value in content.items() if name != key}
        odd |= {f"{key} {name}": {**content, key: value} for name, value in CHECKPOINT_VALUES.items()}
    moments = content["optimizer"]["state"]
    odd["moments of another shape"] = changed(content, ("optimizer", "state", 0, "exp_avg"), TENSOR)
    odd["moments that are lost"] = changed(content, ("optimizer", "state", 0), {"step": moments[0]["step"]})
    odd["moments of nothing"] = changed(content, ("optimizer", "state", 10**6), moments[0])
    odd["scheduler"] = {**content, "scheduler": {"t_initial": "x"}}
    odd["another update"] = {**content, "update": 10**6}
    return odd
