"""Images decode as by Pillow, augment as by timm."""

from __future__ import annotations

import io
import random
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform
from timm.data.auto_augment import rand_augment_transform
from timm.data.transforms import RandomResizedCropAndInterpolation

from trainer import images
from trainer.errors import InputError
from trainer.images import (
    MEAN,
    SHEARS,
    STD,
    EvalTransform,
    OnDevice,
    TrainTransform,
    collate,
    decode,
    load,
    parse_label,
)
from trainer.recipe import Recipe

CPU = torch.device("cpu")


def seeded(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


FULL = Recipe(size=32)
PLAIN = Recipe(size=32, randaugment="", smoothing=0.0, mixup=0.0, cutmix=0.0, erasing=0.0)


def on_device_of(n_classes: int, **changes: float) -> OnDevice:
    return OnDevice(PLAIN.model_copy(update=changes), n_classes, CPU)


def noise(seed: int, channels: int, height: int = 40, width: int = 50) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def test_grey_and_three_equal_channels_augment_alike() -> None:
    transform, grey_fill = TrainTransform(FULL), 117
    transform.randaugment[3] = rand_augment_transform(
        FULL.randaugment, {"translate_const": int(0.45 * 32), "img_mean": (grey_fill,) * 3}
    )
    transform.randaugment[1] = rand_augment_transform(
        FULL.randaugment, {"translate_const": int(0.45 * 32), "img_mean": grey_fill}
    )
    for seed in range(200):
        pixels = noise(seed, 1)
        seeded(seed)
        grey = transform(pixels)
        seeded(seed)
        colour = transform(np.repeat(pixels, 3, axis=2))
        assert grey.shape == (32, 32, 1)
        assert all(np.array_equal(grey[:, :, 0], colour[:, :, channel]) for channel in range(3))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(40, 50), (300, 200), (20, 24)])
def test_crops_are_timms(channels: int, size: tuple[int, int]) -> None:
    ours = TrainTransform(PLAIN)
    theirs = RandomResizedCropAndInterpolation(32, scale=(0.08, 1.0), interpolation="random")
    for seed in range(60):
        pixels = noise(seed, channels, *size)
        image = Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)
        seeded(seed)
        expected = np.atleast_3d(np.array(theirs(image)))
        seeded(seed)
        assert np.array_equal(ours(pixels), expected)


@pytest.mark.parametrize("fill", [(9,), (9, 200, 33)])
@pytest.mark.parametrize("operation", sorted(SHEARS, key=lambda operation: operation.__name__))
def test_shears_are_pillows_within_one_level(operation: Any, fill: tuple[int, ...]) -> None:
    for seed in range(24):
        random = np.random.default_rng(seed)
        pixels = noise(seed, len(fill), *random.integers(1, 40, 2))
        image = Image.fromarray(pixels[:, :, 0] if len(fill) == 1 else pixels)
        amount = random.normal() * (20 if "abs" in operation.__name__ else 0.4) * (seed % 4 > 0)
        options = {
            "resample": (Image.BILINEAR, Image.BICUBIC)[seed % 2],
            "fillcolor": fill if len(fill) > 1 else fill[0],
        }
        expected, found = (
            np.array(operation(each, amount, **options)).astype(int) for each in (image, images.Shearable(image))
        )
        assert np.abs(found - expected).max() <= 1
        assert (found != expected).mean() < 0.05


def test_timms_pipeline_draws_the_same() -> None:
    """The same seeds give the same images.

    But for crops' rounding, which some operations magnify.
    """
    ours = TrainTransform(FULL)
    theirs = create_transform(
        32, is_training=True, hflip=0.0, auto_augment=FULL.randaugment, interpolation="random", separate=True
    )[:2]
    same = 0
    for seed in range(200):
        pixels = noise(seed, 3)
        seeded(seed)
        expected = Image.fromarray(pixels)
        for transform in theirs:
            expected = transform(expected)
        seeded(seed)
        same += np.abs(ours(pixels).astype(int) - np.array(expected)).mean() < 1.0
    assert same >= 190


def test_bytes_become_normalized_floats() -> None:
    on_device = on_device_of(5)
    image = torch.arange(4, dtype=torch.uint8).view(1, 1, 2, 2) * 60
    expected = torch.stack([(image[0, 0] / 255 - mean) / std for mean, std in zip(MEAN, STD, strict=True)])
    assert torch.allclose(on_device.normalized(image)[0], expected, atol=1e-6)


@pytest.mark.parametrize("n", [1, 2, 7, 8])
@pytest.mark.parametrize(("mixup", "cutmix"), [(0.8, 0.0), (0.0, 1.0), (0.8, 1.0)])
def test_targets_are_the_shares_of_mixed_images(n: int, mixup: float, cutmix: float) -> None:
    on_device = on_device_of(10, mixup=mixup, cutmix=cutmix)
    images = torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1).expand(n, 1, 16, 16) * 20
    labels = torch.arange(n)
    plain = on_device.normalized(images).mean(dim=(1, 2, 3))
    for seed in range(20):
        seeded(seed)
        x, targets = on_device(images, labels)
        assert torch.allclose(targets.sum(dim=1), torch.ones(n))
        is_alone = torch.cat([labels, labels[: n % 2]]).flip(0)[:n] == labels
        share = torch.where(is_alone, 0.5, targets[torch.arange(n), labels])
        partner = torch.cat([plain, plain[: n % 2]]).flip(0)[:n]
        expected = share * plain + (1 - share) * partner
        assert torch.allclose(x.mean(dim=(1, 2, 3)), expected, atol=1e-4)


def test_smoothing_gives_every_class_a_share() -> None:
    _, targets = on_device_of(4, smoothing=0.1)(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.tensor([1, 3]))
    assert torch.allclose(targets[0], torch.tensor([0.025, 0.925, 0.025, 0.025]))


def test_erasing_changes_its_share_of_images() -> None:
    on_device = on_device_of(4, erasing=0.25)
    images = torch.zeros(400, 1, 32, 32, dtype=torch.uint8)
    seeded(0)
    x, _ = on_device(images, torch.zeros(400, dtype=torch.long))
    erased = (x != on_device.normalized(images)).any(dim=1).any(dim=1).any(dim=1).sum().item()
    assert 70 <= erased <= 130


@pytest.mark.parametrize("size", [(40, 60), (224, 224), (512, 512), (33, 32)])
def test_evaluation_sees_the_center(size: tuple[int, int]) -> None:
    pixels = np.array(Image.linear_gradient("L").resize(size))[:, :, None]
    seen = EvalTransform(FULL)(pixels)
    assert seen.shape == (32, 32, 1)
    assert abs(float(seen.mean()) - 127.5) < 6


def file_of(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def grey(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng((width, height)).integers(0, 256, (height, width), dtype=np.uint8)
    return Image.fromarray(pixels)


def unfiltered(pixels: np.ndarray) -> bytes:
    """Return a grey PNG without row filters."""
    height, width = pixels.shape
    rows = np.pad(pixels, ((0, 0), (1, 0))).tobytes()
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    parts = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (7, 3), (8, 8), (9, 5), (224, 224), (65, 129)])
@pytest.mark.parametrize(
    ("kind", "mode"),
    [(kind, mode) for kind in ("PNG", "WEBP") for mode in ("1", "L", "LA", "P", "RGB", "RGBA")]
    + [("JPEG", mode) for mode in ("L", "RGB", "CMYK")],
)
def test_pixels_are_pillows(width: int, height: int, kind: str, mode: str) -> None:
    content = file_of(grey(width, height).convert(mode), kind)
    with Image.open(io.BytesIO(content)) as image:
        expected = np.atleast_3d(np.array(image.convert("L" if image.mode in ("1", "L") else "RGB")))
    assert np.array_equal(decode(content), expected)


@pytest.mark.parametrize(("width", "height"), [(224, 224), (33, 20), (8, 1)])
@pytest.mark.parametrize("depth", [1, 8])
def test_baked_files_are_decoded_without_pillow(
    width: int, height: int, depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    png = pytest.importorskip("shards.png", reason="the toolkit is not installed here")
    pixels = np.array(grey(width, height))
    content = png.encode(pixels * (pixels > 99), depth)
    expected = np.array(Image.open(io.BytesIO(content)).convert("L"))[:, :, None]
    monkeypatch.setattr(images.Image, "open", None)
    assert np.array_equal(decode(content), expected)


@pytest.mark.parametrize("way", ["fast", "Pillow's"])
def test_damaged_files_are_refused_or_decode_alike(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if way == "Pillow's":
        monkeypatch.setattr(images, "_decode_unfiltered", lambda content: None)
    pixels = grey(24, 20)
    whole = unfiltered(np.array(pixels))
    if way == "fast":
        assert images._decode_unfiltered(whole) is not None
    for seed in range(300):
        draw = random.Random(seed)
        content = bytearray(whole[: draw.randrange(len(whole))] if seed % 2 else whole)
        if not seed % 2:
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        try:
            pixels_read = load((bytes(content), 0, "this", 0, 0), lambda pixels: pixels.copy(), seed)[0]
        except InputError as error:
            assert str(error).startswith("this cannot be decoded: ")  # noqa: PT017
        else:
            assert np.array_equal(pixels_read[0].numpy(), np.array(pixels))


def test_a_batch_mixes_grey_and_color() -> None:
    one, three = torch.full((1, 4, 4), 7, dtype=torch.uint8), torch.zeros(3, 4, 4, dtype=torch.uint8)
    assert collate([(one, 0), (one, 1)])[0].shape == (2, 1, 4, 4)
    both, labels = collate([(one, 0), (three, 1)])
    assert both.shape == (2, 3, 4, 4)
    assert (both[0] == 7).all()
    assert labels.tolist() == [0, 1]


@pytest.mark.parametrize("content", [b"x", b"-1", b"4", b"1.5", b""])
def test_labels_are_whole_numbers_below_the_classes(content: bytes) -> None:
    assert parse_label(b"3\n", "7.cls", 4) == 3
    with pytest.raises(InputError, match=r"7\.cls is b'.*'; it must be a whole number below 4"):
        parse_label(content, "7.cls", 4)


def test_an_unknown_randaugment_is_refused() -> None:
    with pytest.raises(InputError, match=r"`randaugment` \(=foo\) must be a string of timm"):
        TrainTransform(Recipe(randaugment="foo"))
