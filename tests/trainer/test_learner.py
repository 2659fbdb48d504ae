"""What each option of an update does."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch

from trainer.batches import Batches
from trainer.checkpoint import export
from trainer.errors import InputError
from trainer.learner import Learner, build_model
from trainer.ranks import Ranks
from trainer.recipe import Recipe

N_CLASSES = 9
PLAIN = Recipe(
    model="test_vit", size=32, batch=8, warmup_lr=1e-3, drop_path=0.0, smoothing=0.0, mixup=0.0, cutmix=0.0, erasing=0.0,
    repeats=1,
)  # fmt: skip


def learner(**options: Any) -> Learner:
    recipe = PLAIN.model_copy(update=options)
    torch.manual_seed(0)
    return Learner(recipe, build_model(recipe, N_CLASSES), 100, 0, Ranks(0, 1, torch.device("cpu")))


def some(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(n)
    return torch.randint(256, (n, 1, 32, 32), dtype=torch.uint8, generator=draw), torch.arange(n) % N_CLASSES


def learn(learner: Learner, n: int = 8, update: int = 0) -> float:
    batches = Batches(n, learner.recipe.batch, shuffle=False, accumulate=learner.recipe.accumulate)
    images, labels = some(n)
    parts = ((images[each], labels[each]) for each in ([j % n for j in ids] for ids in batches))
    return learner.learn(update, batches, parts).item()


def gradients(learner: Learner) -> list[torch.Tensor]:
    """Return a list that collects each update's gradient."""
    found: list[torch.Tensor] = []
    parameters = list(learner.net.parameters())
    learner.optimizer.register_step_pre_hook(
        lambda *_: found.append(torch.cat([each.grad.flatten() for each in parameters]))
    )
    return found


def test_the_loss_is_cross_entropy() -> None:
    one = learner()
    images, labels = some(8)
    output = one.net(one.on_device.normalized(images))
    assert learn(one) == pytest.approx(torch.nn.functional.cross_entropy(output, labels).item(), rel=1e-6)


@pytest.mark.parametrize(("batch", "accumulate"), [(4, 2), (3, 3)])
def test_accumulated_steps_make_one_batchs_gradient(batch: int, accumulate: int) -> None:
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


def test_the_moving_average_is_the_result() -> None:
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
def test_amp_sets_the_dtype(amp: str, dtype: str) -> None:
    one, seen = learner(amp=amp), []
    one.net.blocks[0].register_forward_hook(lambda module, given, output: seen.append(module.mlp.fc1(output).dtype))
    learn(one)
    assert seen == [getattr(torch, dtype)]
    assert one.scaler.is_enabled() == (amp == "fp16")


@pytest.mark.parametrize("channels_last", [False, True])
def test_channels_last_sets_the_memory_format(channels_last: bool) -> None:
    one, seen = learner(model="test_resnet", channels_last=channels_last), []
    one.net.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    learn(one)
    weights = [each for each in one.net.parameters() if each.ndim == 4 and each.shape[2] > 1]
    assert all(each.is_contiguous(memory_format=torch.channels_last) == channels_last for each in (*weights, *seen))


def test_compile_and_drop_path_are_applied() -> None:
    assert type(learner(compile=True).forward).__name__ == "OptimizedModule"
    assert type(learner().forward).__name__ == "VisionTransformer"
    assert learner(drop_path=0.2).net.blocks[-1].drop_path1.drop_prob == pytest.approx(0.2)


@pytest.mark.parametrize("n", [1, 4, 17])
def test_one_image_trains_with_batch_norm(n: int) -> None:
    """It comes with another that does not count."""
    one = learner(model="test_resnet", accumulate=3)
    images, labels = some(n)
    batches = Batches(n, 8, shuffle=False, accumulate=3)
    ids = [next(each) for each in [iter(batches)] for _ in range(batches.steps)]
    assert [len(each) for each in ids] == {1: [2, 2, 2], 4: [2, 2, 2], 17: [6, 6, 5]}[n]
    parts = iter([(images[each], labels[each]) for each in ids])
    loss = one.learn(0, batches, parts).item()
    assert 0 < loss < 10
    assert next(parts, None) is None


def test_images_left_out_change_no_loss() -> None:
    one = learner()
    images, labels = some(3)
    batches = Batches(1, 8)
    pairs = [(images[[0, k]], labels[[0, k]]) for k in (1, 2)]
    assert one.loss(*pairs[0], batches.count(0)) == one.loss(*pairs[1], batches.count(0))
    assert one.loss(*pairs[0], 2) != one.loss(*pairs[1], 2)
    assert one.loss(*pairs[0], 0) == 0


def test_validation_counts_each_image_once() -> None:
    one, (images, labels) = learner(), some(21)
    expected = timm.utils.accuracy(one.net.eval()(one.on_device.normalized(images)), labels, topk=(1, 5))
    batches = Batches(21, 8, shuffle=False)
    parts = [(images[each], labels[each]) for each in ([*range(0, 8)], [*range(8, 16)], [*range(16, 21)])]
    found = one.validate(batches, iter(parts))
    assert [found["top1"], found["top5"]] == pytest.approx([each.item() for each in expected])
    assert 0 < found["top5"] < 100
    output = one.net.eval()(one.on_device.normalized(images))
    assert found["loss"] == pytest.approx(torch.nn.functional.cross_entropy(output, labels).item(), rel=1e-5)


def weights(size: int = 32, n_classes: int = 4) -> dict[str, torch.Tensor]:
    torch.manual_seed(7)
    return dict(build_model(PLAIN.model_copy(update={"size": size}), n_classes).state_dict())


@pytest.mark.parametrize("n_classes", [4, 9])
def test_fine_tuning_takes_all_but_the_head(n_classes: int) -> None:
    state = weights()
    torch.manual_seed(1)
    net = build_model(PLAIN, n_classes, dict(state))
    same = {name for name, tensor in net.state_dict().items() if torch.equal(tensor, state[name])}
    assert same - {"head.bias"} == {name for name in state if not name.startswith("head.")}  # new biases are 0, too


def test_fine_tuning_resizes_position_embeddings(tmp_path: Any) -> None:
    """To the values that timm gives."""
    state, path = weights(), tmp_path / "model.safetensors"
    net = build_model(PLAIN.model_copy(update={"size": 64}), 9, dict(state))
    export(path, state, {})
    overlay = {"file": str(path), "num_classes": -1, "custom_load": False}
    timms = timm.create_model("test_vit", pretrained=True, num_classes=9, img_size=64, pretrained_cfg_overlay=overlay)
    assert net.pos_embed.shape != state["pos_embed"].shape
    assert torch.equal(net.pos_embed, timms.pos_embed)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda state: state.pop("cls_token"), "only one has cls_token"),
        (lambda state: state.update(extra=torch.zeros(1)), "only one has extra"),
        (lambda state: state.update({"norm.weight": torch.zeros(3)}), "size mismatch for norm.weight"),
    ],
)
def test_weights_of_another_architecture_are_refused(change: Any, rule: str) -> None:
    state = weights()
    change(state)
    with pytest.raises(InputError, match=rule):
        build_model(PLAIN, 9, state)


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(InputError, match=r"`--model` \(=deit_huge\) cannot be built: "):
        build_model(Recipe(model="deit_huge"), 9)


def test_frozen_network_trains_its_head_only() -> None:
    one = learner(model="test_resnet", freeze=True)
    before = {name: tensor.clone() for name, tensor in one.net.state_dict().items()}
    learn(one)
    changed = {name for name, tensor in one.net.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"fc.weight", "fc.bias"}
    one.validate(Batches(8, 8, shuffle=False), iter([some(8)]))
    assert not one.net.training


def test_arguments_of_the_model() -> None:
    recipe = PLAIN.model_copy(update={"model": "vit_tiny_patch16_224", "model_args": "{patch_size: 8, depth: 2}"})
    net: Any = build_model(recipe, N_CLASSES)
    assert (len(net.blocks), net.patch_embed.num_patches) == (2, 16)


@pytest.mark.parametrize("text", ["{depht: 2}", "3", "{", "{depth: x}"])
def test_wrong_arguments_are_one_line(text: str) -> None:
    recipe = PLAIN.model_copy(update={"model": "vit_tiny_patch16_224", "model_args": text})
    with pytest.raises(InputError, match=r"^`--model` .* cannot be built: [^\n]*$"):
        build_model(recipe, N_CLASSES)
