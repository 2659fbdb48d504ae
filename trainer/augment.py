"""Augmentation: crops and RandAugment on one grey channel in the loader's workers, the rest on the device, by the batch."""

from __future__ import annotations

import importlib
import math
import random

import numpy as np
import torch
from PIL import Image

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def import_torchvision() -> None:
    """Import torchvision beside a torch without CUDA, too, whose operators its wheel from PyPI does not find."""
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT.append(library)
        importlib.import_module("torchvision")


_KEPT: list[torch.library.Library] = []
import_torchvision()

from info import DataError
from timm.data.auto_augment import rand_augment_transform
from timm.data.random_erasing import RandomErasing
from timm.data.transforms import RandomResizedCropAndInterpolation


def resized(pixels: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
    """Return uint8 (height, width, channels) at another size, antialiased, by torch: within 1 of Pillow's."""
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None]
    return torch.nn.functional.interpolate(image, size, mode=interpolation, antialias=True)[0].permute(1, 2, 0).numpy()


class TrainTransform:
    """RandomResizedCrop (bilinear or bicubic at random), flip, RandAugment: uint8 (height, width, 1 or 3) to square."""

    def __init__(self, size: int, scale: tuple[float, float], flip: float, randaugment: str) -> None:
        self.crop = RandomResizedCropAndInterpolation(size, scale=scale)
        self.size, self.flip = (size, size), flip
        fill = tuple(min(255, round(255 * mean)) for mean in MEAN)
        try:
            self.randaugment = {
                channels: rand_augment_transform(randaugment, {"translate_const": int(0.45 * size), "img_mean": value})
                for channels, value in ((1, round(sum(fill) / 3)), (3, fill))
                if randaugment
            }
        except (AssertionError, KeyError, ValueError):
            raise DataError(
                f"`randaugment` (={randaugment}) must be as timm has it, such as rand-m9-mstd0.5-inc1, or empty for none"
            ) from None

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        height, width, channels = pixels.shape
        like = torch.zeros(1, 1).expand(height, width)
        top, left, rows, columns = self.crop.get_params(like, self.crop.scale, self.crop.ratio)
        interpolation = random.choice(("bilinear", "bicubic"))
        pixels = resized(pixels[top : top + rows, left : left + columns], self.size, interpolation)
        if self.flip and np.random.random() < self.flip:
            pixels = np.ascontiguousarray(pixels[:, ::-1])
        if self.randaugment:
            image = Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)
            pixels = np.atleast_3d(np.array(self.randaugment[channels](image)))
        return pixels


class EvalTransform:
    """The shorter side to size / crop, bicubic, and the middle of it."""

    def __init__(self, size: int, crop: float) -> None:
        self.size, self.shorter = size, math.floor(size / crop)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        height, width = (round(side * self.shorter / min(pixels.shape[:2])) for side in pixels.shape[:2])
        top, left = (height - self.size) // 2, (width - self.size) // 2
        return resized(pixels, (height, width), "bicubic")[top : top + self.size, left : left + self.size]


class OnDevice:
    """Bytes to normalised floats of three channels, then random erasing and mixup or cutmix, all on the device.

    Mixup and cutmix follow timm's mode "batch": one draw for the whole batch, which is mixed with itself reversed.
    """

    def __init__(
        self, n_classes: int, device: torch.device, smoothing: float, mixup: float, cutmix: float, erasing: float
    ) -> None:
        self.n_classes, self.smoothing, self.mixup, self.cutmix = n_classes, smoothing, mixup, cutmix
        self.mean, self.std = (torch.tensor(v, device=device).view(1, 3, 1, 1) * 255 for v in (MEAN, STD))
        self.erase = RandomErasing(erasing, mode="pixel", device=device.type) if erasing else None

    def normalised(self, images: torch.Tensor) -> torch.Tensor:
        """Return float32 (batch, 3, size, size) of uint8 (batch, 1 or 3, size, size)."""
        return (images.float() - self.mean) / self.std

    def __call__(self, images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a training batch and its soft targets, float32 (batch, classes)."""
        x = self.normalised(images)
        if self.erase:
            x = self.erase(x)
        off = self.smoothing / self.n_classes
        targets = torch.full((len(x), self.n_classes), off, device=x.device)
        targets.scatter_(1, labels[:, None], 1.0 - self.smoothing + off)
        if not (self.mixup or self.cutmix):
            return x, targets
        use_cutmix = bool(self.cutmix) and (not self.mixup or np.random.rand() < 0.5)
        alpha = self.cutmix if use_cutmix else self.mixup
        share = float(np.random.beta(alpha, alpha))
        if use_cutmix:
            top, bottom, left, right = _box(x.shape[2], x.shape[3], share)
            x[:, :, top:bottom, left:right] = x[:, :, top:bottom, left:right].flip(0)
            share = 1.0 - (bottom - top) * (right - left) / (x.shape[2] * x.shape[3])
        else:
            x = share * x + (1.0 - share) * x.flip(0)
        return x, share * targets + (1.0 - share) * targets.flip(0)


def _box(height: int, width: int, share: float) -> tuple[int, int, int, int]:
    """Return top, bottom, left, right of a box at random, cut at the border, that leaves about `share` of an image."""
    ratio = np.sqrt(1.0 - share)
    tall, wide = int(height * ratio), int(width * ratio)
    row, column = np.random.randint(height), np.random.randint(width)
    rows = np.clip((row - tall // 2, row + tall // 2), 0, height)
    columns = np.clip((column - wide // 2, column + wide // 2), 0, width)
    return int(rows[0]), int(rows[1]), int(columns[0]), int(columns[1])
