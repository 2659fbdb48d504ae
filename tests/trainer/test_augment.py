"""Grey images are augmented as their three channels would be, and all as by timm; mixing keeps the sums of targets."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from PIL import Image

from augment import MEAN, STD, EvalTransform, OnDevice, TrainTransform
from timm.data import create_transform
from timm.data.auto_augment import rand_augment_transform
from timm.data.transforms import RandomResizedCropAndInterpolation

CPU = torch.device("cpu")


def seeded(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


FULL = (32, (0.08, 1.0), 0.0, "rand-m9-mstd0.5-inc1")


def noise(seed: int, channels: int, height: int = 40, width: int = 50) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def test_a_grey_image_is_augmented_as_its_three_equal_channels_are() -> None:
    transform, grey_fill = TrainTransform(*FULL), 117
    transform.randaugment[3] = rand_augment_transform(
        FULL[-1], {"translate_const": int(0.45 * 32), "img_mean": (grey_fill,) * 3}
    )
    transform.randaugment[1] = rand_augment_transform(
        FULL[-1], {"translate_const": int(0.45 * 32), "img_mean": grey_fill}
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
def test_crops_are_timms_within_one_grey_level(channels: int, size: tuple[int, int]) -> None:
    ours = TrainTransform(32, (0.08, 1.0), 0.0, "")
    theirs = RandomResizedCropAndInterpolation(32, scale=(0.08, 1.0), interpolation="random")
    for seed in range(60):
        pixels = noise(seed, channels, *size)
        image = Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)
        seeded(seed)
        expected = np.atleast_3d(np.array(theirs(image))).astype(int)
        seeded(seed)
        difference = np.abs(ours(pixels) - expected)
        assert difference.max() <= 1
        assert difference.mean() < 0.1


def test_what_is_drawn_is_what_timms_own_pipeline_draws() -> None:
    """Crop and RandAugment after the same seeds: but for crops' rounding, which some operations magnify, the same images."""
    ours = TrainTransform(*FULL)
    theirs = create_transform(
        32, is_training=True, hflip=0.0, auto_augment=FULL[-1], interpolation="random", separate=True
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


def test_bytes_become_normalised_floats_of_three_channels() -> None:
    on_device = OnDevice(5, CPU, 0.0, 0.0, 0.0, 0.0)
    image = torch.arange(4, dtype=torch.uint8).view(1, 1, 2, 2) * 60
    expected = torch.stack([(image[0, 0] / 255 - mean) / std for mean, std in zip(MEAN, STD, strict=True)])
    assert torch.allclose(on_device.normalised(image)[0], expected, atol=1e-6)


@pytest.mark.parametrize("n", [1, 2, 7, 8])
@pytest.mark.parametrize(("mixup", "cutmix"), [(0.8, 0.0), (0.0, 1.0), (0.8, 1.0)])
def test_mixed_targets_sum_to_one_and_say_how_much_of_which_image_there_is(n: int, mixup: float, cutmix: float) -> None:
    on_device = OnDevice(10, CPU, 0.0, mixup, cutmix, 0.0)
    images = torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1).expand(n, 1, 16, 16) * 20
    labels = torch.arange(n)
    plain = on_device.normalised(images).mean(dim=(1, 2, 3))
    for seed in range(20):
        seeded(seed)
        x, targets = on_device(images, labels)
        assert torch.allclose(targets.sum(dim=1), torch.ones(n))
        share = targets[torch.arange(n), labels]
        expected = share * plain + (1 - share) * plain.flip(0)
        if n % 2:
            expected[n // 2] = plain[n // 2]
        assert torch.allclose(x.mean(dim=(1, 2, 3)), expected, atol=1e-4)


def test_smoothing_gives_every_class_a_share() -> None:
    _, targets = OnDevice(4, CPU, 0.1, 0.0, 0.0, 0.0)(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.tensor([1, 3]))
    assert torch.allclose(targets[0], torch.tensor([0.025, 0.925, 0.025, 0.025]))


def test_erasing_changes_about_the_share_of_images_that_is_asked_for() -> None:
    on_device = OnDevice(4, CPU, 0.0, 0.0, 0.0, 0.25)
    images = torch.zeros(400, 1, 32, 32, dtype=torch.uint8)
    seeded(0)
    x, _ = on_device(images, torch.zeros(400, dtype=torch.long))
    erased = (x != on_device.normalised(images)).any(dim=1).any(dim=1).any(dim=1).sum().item()
    assert 70 <= erased <= 130


@pytest.mark.parametrize("size", [(40, 60), (224, 224), (512, 512), (33, 32)])
def test_evaluation_sees_the_middle(size: tuple[int, int]) -> None:
    pixels = np.array(Image.linear_gradient("L").resize(size))[:, :, None]
    seen = EvalTransform(32, 0.9)(pixels)
    assert seen.shape == (32, 32, 1)
    assert abs(float(seen.mean()) - 127.5) < 6
