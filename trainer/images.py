"""Decoding and augmentation, in workers and on the device."""

import functools
import io
import math
import random
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from isal import isal_zlib
from PIL import Image
from timm.data import auto_augment
from timm.data.auto_augment import rand_augment_transform
from timm.data.mixup import Mixup
from timm.data.random_erasing import RandomErasing
from timm.data.transforms import RandomResizedCropAndInterpolation
from timm.utils import random_seed

from trainer.errors import InputError
from trainer.kernels import resize, shear
from trainer.recipe import Recipe

ENDINGS = ("png", "jpg", "jpeg", "webp")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "PPM", "TIFF")  # Pillow starts other programs for some of the others
LARGEST = 64 << 20  # bytes of an image's file
LONGEST = 8  # times its shorter side: what validation sees of an image
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SHEARS = {
    getattr(auto_augment, name)
    for name in ("shear_x", "shear_y", "translate_x_rel", "translate_y_rel", "translate_x_abs", "translate_y_abs")
}
Transform = Callable[[np.ndarray], np.ndarray]
Sample = tuple[bytes | np.ndarray, int, str, int, int]
"""File or pixels, label, name for errors, visit, number in the split."""


def seed_all(*numbers: int) -> None:
    """Seed the global random states, from which timm draws."""
    random_seed(seed_image(*numbers))


def seed_image(*numbers: int) -> int:
    """Seed what timm's transforms draw from; return the seed.

    Not torch's generator, whose seeding takes longer than a crop.
    """
    seed = int(np.random.SeedSequence(numbers).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    return seed


def decode(content: bytes) -> np.ndarray:
    """Decode to uint8 (height, width, 1 or 3)."""
    if (pixels := _decode_unfiltered(content)) is not None:
        return pixels
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        return np.atleast_3d(np.array(image.convert("L" if image.mode in ("1", "L") else "RGB")))


def _decode_unfiltered(content: bytes) -> np.ndarray | None:
    """Decode a grey PNG without row filters.

    Return None for other files. Baked datasets have such PNGs, of 1 or 8 bits. Inflating takes most of their time;
    ISA-L is faster than Pillow.
    """
    if content[12:16] != b"IHDR" or content[37:41] != b"IDAT":
        return None
    width, height, depth, *kind = struct.unpack(">IIBBBBB", content[16:29])
    end, stride = 41 + int.from_bytes(content[33:37]), 1 + (width * depth + 7) // 8
    is_plain = kind == [0, 0, 0, 0] and depth in (1, 8) and content[end + 8 : end + 12] == b"IEND"
    if not is_plain or not 0 < width * height <= (Image.MAX_IMAGE_PIXELS or 0):
        return None
    try:
        inflate = isal_zlib.decompressobj()
        data = inflate.decompress(content[41:end], height * stride + 1)  # and no more, whatever it holds
        rows = np.frombuffer(data, dtype=np.uint8).reshape(height, stride)
    except (isal_zlib.error, ValueError):  # type: ignore[misc]
        return None
    pixels = rows[:, 1:, None]
    if depth == 1:
        pixels = np.unpackbits(pixels, axis=1, count=width) * np.uint8(255)
    return pixels if inflate.eof and not rows[:, 0].any() else None


def load(sample: Sample, transform: Transform, seed: int) -> tuple[torch.Tensor, int]:
    """Return a sample's transformed image and its label.

    The image is uint8 (1 or 3, size, size). Its randomness depends on (seed, visit, number) alone.
    """
    content, label, name, visit, i = sample
    seed_image(seed, visit, i)
    try:
        pixels = decode(content) if isinstance(content, bytes) else np.atleast_3d(content)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{name} cannot be decoded: {error}") from None
    return torch.from_numpy(transform(pixels)).permute(2, 0, 1), label


def parse_label(content: bytes, name: str, n_classes: int) -> int:
    """Return the label in a .cls member."""
    if len(content) > 20 or not content.strip().isdigit() or int(content) >= n_classes:
        rule = f"must be a whole number below {n_classes}, the number of classes"
        raise InputError(f"{name} is {content[:20]!r}; it {rule}")
    return int(content)


def collate(items: Sequence[tuple[torch.Tensor, int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Stack images and labels.

    Images are uint8 (batch, 1 or 3, height, width), labels int64 (batch,).
    """
    channels = max(image.shape[0] for image, _ in items)
    images = torch.stack([image.expand(channels, -1, -1) for image, _ in items])
    return images, torch.tensor([label for _, label in items])


def center(pixels: np.ndarray, size: int) -> np.ndarray:
    """Crop both sides to at most `size`."""
    top, left = (max(0, (side - size) // 2) for side in pixels.shape[:2])
    return pixels[top : top + size, left : left + size]


class Shearable:
    """Image that timm's shears and translations take for Pillow's."""

    def __init__(self, image: Image.Image) -> None:
        self.image, self.size = image, image.size

    def transform(self, size: Any, method: Any, matrix: Sequence[float], resample: int, fillcolor: Any) -> Image.Image:
        """Transform by a matrix that keeps x or y."""
        _, slope, offset, slope_y, _, offset_y = map(float, matrix)
        pixels, fill = np.atleast_3d(np.array(self.image)), np.atleast_1d(np.array(fillcolor, np.uint8))
        turned = bool(slope_y or offset_y)
        if turned:
            pixels, slope, offset = np.ascontiguousarray(pixels.transpose(1, 0, 2)), slope_y, offset_y
        pixels = shear(pixels, slope, offset, resample == Image.Resampling.BICUBIC, fill)
        pixels = pixels.transpose(1, 0, 2) if turned else pixels
        return Image.fromarray(pixels[:, :, 0] if len(fill) == 1 else pixels)


class TrainTransform:
    """timm's random crop, flip and RandAugment, to a square.

    Grey images keep one channel, which is faster than three and gives the same pixels.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.size, self.flip = (recipe.size, recipe.size), recipe.flip
        self.crop = RandomResizedCropAndInterpolation(recipe.size, scale=(recipe.crop_scale, 1.0))
        self.randaugment = {}
        colors, shift_px = tuple(round(255 * mean) for mean in MEAN), int(0.45 * recipe.size)
        fills = {1: round(sum(colors) / 3), 3: colors} if recipe.randaugment else {}
        try:
            for channels, fill in fills.items():
                options = {"translate_const": shift_px, "img_mean": fill}
                self.randaugment[channels] = rand_augment_transform(recipe.randaugment, options)
                for operation in self.randaugment[channels].ops:
                    if operation.aug_fn in SHEARS:
                        operation.aug_fn = functools.partial(_sheared, operation.aug_fn)
        except (AssertionError, KeyError, ValueError):
            raise InputError(f"`randaugment` (={recipe.randaugment}) must be a string of timm, or empty") from None

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        height, width, channels = pixels.shape
        frame = torch.zeros(1, 1).expand(height, width)
        top, left, rows, columns = self.crop.get_params(frame, self.crop.scale, self.crop.ratio)
        is_cubic = random.choice((False, True))
        pixels = resize(pixels[top : top + rows, left : left + columns], self.size, is_cubic)
        if self.flip and np.random.random() < self.flip:
            pixels = np.ascontiguousarray(pixels[:, ::-1])
        if self.randaugment:
            image = Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)
            pixels = np.atleast_3d(np.array(self.randaugment[channels](image)))
        return pixels


def _sheared(function: Callable[..., Image.Image], image: Image.Image, *arguments: Any, **options: Any) -> Image.Image:
    return function(Shearable(image), *arguments, **options)


class EvalTransform:
    """Resize to size / eval_crop; crop the center.

    The shorter side gets that size. An image longer than LONGEST is cropped before, to bound the memory.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.size, self.shorter = recipe.size, math.floor(recipe.size / recipe.eval_crop)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        pixels = center(pixels, LONGEST * min(pixels.shape[:2]))
        height, width = (round(side * self.shorter / min(pixels.shape[:2])) for side in pixels.shape[:2])
        return center(resize(pixels, (height, width), True), self.size)


class OnDevice:
    """timm's normalization, erasing, mixing and label smoothing."""

    def __init__(self, recipe: Recipe, n_classes: int, device: torch.device) -> None:
        self.mean, self.std = (torch.tensor(v, device=device).view(1, 3, 1, 1) * 255 for v in (MEAN, STD))
        self.erase = RandomErasing(recipe.erasing, mode="pixel", device=device.type)
        prob = float(max(recipe.mixup, recipe.cutmix) > 0)
        self.mix = Mixup(
            recipe.mixup, recipe.cutmix, prob=prob, label_smoothing=recipe.smoothing, num_classes=n_classes
        )

    def normalized(self, images: torch.Tensor) -> torch.Tensor:
        """Normalize uint8 images to float32 (batch, 3, size, size)."""
        return (images.float() - self.mean) / self.std

    def __call__(self, images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images and soft targets, float32 (batch, classes)."""
        x, n = self.erase(self.normalized(images)), len(images)
        if n % 2:  # timm mixes even batches only
            x, labels = torch.cat([x, x[:1]]), torch.cat([labels, labels[:1]])
        x, targets = self.mix(x, labels)
        return x[:n], targets[:n]
