"""Trainer for timm models on WebDataset shards.

`python -m trainer.pretrain --help` lists the options.
"""

import importlib

import torch

try:
    importlib.import_module("torchvision")
except RuntimeError as error:  # beside a torch without CUDA, PyPI's torchvision, and so timm, lacks two operators
    if "torchvision::" not in str(error):
        raise
    _library = torch.library.Library("torchvision", "FRAGMENT")
    for _name in ("nms", "qnms"):
        _library.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    importlib.import_module("torchvision")
