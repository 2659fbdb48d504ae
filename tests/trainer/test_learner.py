"""What each option of an update does, on little batches by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

import augment  # noqa: F401 makes torchvision ready
import pytest
import timm
import torch

from batches import Batches
from launch import Place
from log import Progress
from pretrain import Learner, build_model
from recipe import Recipe

N_CLASSES = 9
PLAIN = Recipe(
    model="test_vit", size=32, batch=8, warmup_lr=1e-3, drop_path=0.0, smoothing=0.0, mixup=0.0, cutmix=0.0, erasing=0.0,
    repeats=1,
)  # fmt: skip


def learner(**options: Any) -> Learner:
    recipe = dataclasses.replace(PLAIN, **options)
    torch.manual_seed(0)
    return Learner(recipe, build_model(recipe, N_CLASSES), 100, 0, Place(0, 1, torch.device("cpu")))


def some(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(n)
    return torch.randint(256, (n, 1, 32, 32), dtype=torch.uint8, generator=draw), torch.arange(n) % N_CLASSES


def learn(learner: Learner, n: int = 8, update: int = 0) -> float:
    batches = Batches(n, learner.r.batch)
    (steps,) = batches.groups(learner.r.accumulate)
    images, labels = some(n)
    parts = zip(images.split(learner.r.batch), labels.split(learner.r.batch), strict=True)
    return learner.learn(update, steps, batches, iter(parts), Progress(None, 1, 1, 0)).item()  # type: ignore[arg-type]


def gradients(learner: Learner) -> list[torch.Tensor]:
    """The list to which each update's gradient is added, in one piece."""
    found: list[torch.Tensor] = []
    parameters = list(learner.net.parameters())
    learner.optimizer.register_step_pre_hook(
        lambda *_: found.append(torch.cat([each.grad.flatten() for each in parameters]))
    )
    return found


def test_the_loss_is_cross_entropy() -> None:
    one = learner()
    images, labels = some(8)
    output = one.net(one.on_device.normalised(images))
    assert learn(one) == pytest.approx(torch.nn.functional.cross_entropy(output, labels).item(), rel=1e-6)


@pytest.mark.parametrize(("batch", "accumulate"), [(4, 2), (3, 3)])
def test_steps_that_are_accumulated_make_the_gradient_of_one_batch(batch: int, accumulate: int) -> None:
    """Those of a shorter last step, too."""
    whole, parts = learner(), learner(batch=batch, accumulate=accumulate)
    one, other = gradients(whole), gradients(parts)
    assert learn(whole) == pytest.approx(learn(parts), rel=1e-6)
    assert torch.allclose(one[0], other[0], rtol=1e-4, atol=1e-7)


def test_the_gradient_is_clipped() -> None:
    free, clipped = learner(), learner(clip=0.01)
    one, other = gradients(free), gradients(clipped)
    learn(free), learn(clipped)
    assert one[0].norm() > 0.1
    assert torch.allclose(other[0], one[0] * 0.01 / one[0].norm(), rtol=1e-3)


def test_the_average_follows_the_weights_and_is_the_result() -> None:
    """From the first update's on."""
    one = learner(ema=0.75)
    learn(one)
    average = [each.detach().clone() for each in one.net.parameters()]
    for update in (1, 2, 3):
        learn(one, update=update)
        average = [0.75 * old + 0.25 * new for old, new in zip(average, one.net.parameters(), strict=True)]
    assert one.result is not one.net
    for expected, found, last in zip(average, one.result.parameters(), one.net.parameters(), strict=True):
        assert torch.allclose(expected, found, atol=1e-6)
        assert not torch.equal(found, last)


@pytest.mark.parametrize(("amp", "dtype"), [("none", "float32"), ("bf16", "bfloat16"), ("fp16", "float16")])
def test_amp_computes_in_its_own_numbers(amp: str, dtype: str) -> None:
    one, seen = learner(amp=amp), []
    one.net.blocks[0].register_forward_hook(lambda module, given, output: seen.append(module.mlp.fc1(output).dtype))
    learn(one)
    assert seen == [getattr(torch, dtype)]
    assert one.scaler.is_enabled() == (amp == "fp16")


@pytest.mark.parametrize("channels_last", [False, True])
def test_channels_last_is_how_weights_and_images_lie(channels_last: bool) -> None:
    one, seen = learner(model="test_resnet", channels_last=channels_last), []
    one.net.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    learn(one)
    weights = [each for each in one.net.parameters() if each.ndim == 4 and each.shape[2] > 1]
    assert all(each.is_contiguous(memory_format=torch.channels_last) == channels_last for each in (*weights, *seen))


def test_compile_and_drop_path_are_not_forgotten() -> None:
    assert type(learner(compile=True).forward).__name__ == "OptimizedModule"
    assert type(learner().forward).__name__ == "VisionTransformer"
    assert learner(drop_path=0.2).net.blocks[-1].drop_path1.drop_prob == pytest.approx(0.2)


@pytest.mark.parametrize("n", [1, 9, 17])
def test_a_last_batch_of_one_image_trains_with_batch_norm(n: int) -> None:
    """It comes with another that does not count."""
    one = learner(model="test_resnet", accumulate=3)
    images, labels = some(n)
    batches = Batches(n, 8, shuffle=False)
    ids = [next(each) for each in [iter(batches)] for _ in range(batches.steps)]
    assert [len(each) for each in ids] == [8] * (n // 8) + [2]
    parts = iter([(images[each], labels[each]) for each in ids])
    (steps,) = batches.groups(3)
    loss = one.learn(0, steps, batches, parts, Progress(None, 1, 1, 0)).item()  # type: ignore[arg-type]
    assert 0 < loss < 10
    assert next(parts, None) is None


def test_what_does_not_count_changes_no_loss() -> None:
    one = learner()
    images, labels = some(3)
    batches = Batches(1, 8)
    pairs = [(images[[0, k]], labels[[0, k]]) for k in (1, 2)]
    assert one.loss(*pairs[0], batches.count(0)) == one.loss(*pairs[1], batches.count(0))
    assert one.loss(*pairs[0], 2) != one.loss(*pairs[1], 2)
    assert one.loss(*pairs[0], 0) == 0


def test_validation_counts_each_image_once() -> None:
    one, (images, labels) = learner(), some(21)
    expected = timm.utils.accuracy(one.net.eval()(one.on_device.normalised(images)), labels, topk=(1, 5))
    batches = Batches(21, 8, shuffle=False)
    parts = [(images[each], labels[each]) for each in ([*range(0, 8)], [*range(8, 16)], [*range(16, 21)])]
    found = one.validate(batches, iter(parts))
    assert [found["top1"], found["top5"]] == pytest.approx([each.item() for each in expected])
    assert 0 < found["top5"] < 100
    output = one.net.eval()(one.on_device.normalised(images))
    assert found["loss"] == pytest.approx(torch.nn.functional.cross_entropy(output, labels).item(), rel=1e-5)
