"""Augmentation: crops and RandAugment on one grey channel in the loader's workers, the rest on the device, by the batch."""

from __future__ import annotations

import importlib

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

from timm.data.auto_augment import rand_augment_transform
from timm.data.random_erasing import RandomErasing
from timm.data.transforms import RandomResizedCropAndInterpolation


class TrainTransform:
    """RandomResizedCrop (bilinear or bicubic at random), flip, RandAugment; PIL to PIL, "L" or "RGB"."""

    def __init__(self, size: int, scale: tuple[float, float], flip: float, randaugment: str) -> None:
        self.crop = RandomResizedCropAndInterpolation(size, scale=scale, interpolation="random")
        self.flip = flip
        fill = tuple(min(255, round(255 * mean)) for mean in MEAN)
        self.randaugment = {
            mode: rand_augment_transform(randaugment, {"translate_const": int(0.45 * size), "img_mean": value})
            for mode, value in (("L", round(sum(fill) / 3)), ("RGB", fill))
            if randaugment
        }

    def __call__(self, image: Image.Image) -> Image.Image:
        image = self.crop(image)
        if self.flip and np.random.random() < self.flip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return self.randaugment[image.mode](image) if self.randaugment else image


class EvalTransform:
    """The shorter side to size / crop, bicubic, and the middle of it."""

    def __init__(self, size: int, crop: float) -> None:
        self.size, self.resized = size, round(size / crop)

    def __call__(self, image: Image.Image) -> Image.Image:
        scale = self.resized / min(image.size)
        width, height = (round(side * scale) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
        left, top = (width - self.size) // 2, (height - self.size) // 2
        return image.crop((left, top, left + self.size, top + self.size))


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
            x[:, :, top:bottom, left:right] = x.flip(0)[:, :, top:bottom, left:right]
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
