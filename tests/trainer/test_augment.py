"""One grey channel is augmented to the same pixels as three; mixing keeps targets' sums; the batch's size may be odd."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from PIL import Image

from augment import MEAN, STD, EvalTransform, OnDevice, TrainTransform

CPU = torch.device("cpu")


def seeded(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def test_a_grey_image_is_augmented_as_its_three_equal_channels_are() -> None:
    transform = TrainTransform(32, (0.08, 1.0), 0.5, "rand-m9-mstd0.5-inc1")
    transform.randaugment["RGB"] = TrainTransform(32, (0.08, 1.0), 0.5, "rand-m9-mstd0.5-inc1").randaugment["L"]
    for op in transform.randaugment["RGB"].ops:
        op.kwargs["fillcolor"] = (op.kwargs["fillcolor"],) * 3 if "fillcolor" in op.kwargs else None
        if op.kwargs["fillcolor"] is None:
            del op.kwargs["fillcolor"]
    for seed in range(200):
        image = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 50), dtype=np.uint8))
        seeded(seed)
        grey = np.asarray(transform(image))
        seeded(seed)
        colour = np.asarray(transform(image.convert("RGB")))
        assert all(np.array_equal(grey, colour[:, :, channel]) for channel in range(3))


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
    image = Image.linear_gradient("L").resize(size)
    seen = np.asarray(EvalTransform(32, 0.9)(image))
    assert seen.shape == (32, 32)
    assert abs(float(seen.mean()) - 127.5) < 6
