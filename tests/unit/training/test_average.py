"""The moving average: its decay in closed form, exact averages, live weights untouched."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from dit_run.model.average_profiles import decay_at, ema_share
from dit_run.model.denoiser import Denoiser
from dit_run.training.average import Average


def test_the_decay_warms_up_by_its_power_to_its_limit() -> None:
    assert decay_at(0, decay=0.9999, power=0.75) == 0
    assert decay_at(15, decay=0.9999, power=0.75) == pytest.approx(1 - 16**-0.75)
    assert decay_at(15, decay=0.8, power=0.75) == 0.8
    assert decay_at(10**9, decay=0.9999, power=0.75) == 0.9999


def test_power_zero_is_a_fixed_decay() -> None:
    assert [decay_at(step, decay=0.9, power=0) for step in (0, 1, 100)] == [0.9] * 3


def set_weights(module: nn.Module, value: float) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(value)


def test_the_average_is_the_recursion() -> None:
    live = nn.Linear(2, 2)
    set_weights(live, 4.0)
    ema = Average(live, partial(ema_share, decay=0.75, power=0))
    for step, value in enumerate([8.0, 0.0]):
        set_weights(live, value)
        ema.update(step)
    assert ema.module.weight.unique().tolist() == [3.75]
    assert ema.module.bias.unique().tolist() == [3.75]


def test_with_a_warmup_the_first_update_copies_the_weights_exactly() -> None:
    live = nn.Linear(7, 5)
    ema = Average(live, partial(ema_share, decay=0.9999, power=0.75))
    nn.init.normal_(live.weight)
    ema.update(0)
    assert torch.equal(ema.module.weight, live.weight)


def test_live_weights_and_gradients_are_never_touched() -> None:
    live = nn.Linear(3, 3)
    ema = Average(live, partial(ema_share, decay=0.9, power=0))
    live(torch.ones(1, 3)).sum().backward()
    weight, gradient = live.weight.detach().clone(), live.weight.grad
    ema.update(5)
    assert torch.equal(live.weight, weight)
    assert live.weight.grad is gradient
    assert live.training
    assert live.weight.data_ptr() != ema.module.weight.data_ptr()


def test_the_averaged_module_takes_no_gradients_and_drops_nothing() -> None:
    ema = Average(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.9)), partial(ema_share, decay=0.9, power=0))
    assert not ema.module.training
    assert not any(parameter.requires_grad for parameter in ema.module.parameters())


def test_buffers_follow_the_live_ones() -> None:
    live = nn.BatchNorm1d(2)
    ema = Average(live, partial(ema_share, decay=0.99, power=0))
    live(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
    ema.update(0)
    assert torch.equal(ema.module.running_mean, live.running_mean)
    assert ema.module.num_batches_tracked == 1


def test_averages_are_kept_in_fp32() -> None:
    live = nn.Linear(2, 2).to(torch.bfloat16)
    set_weights(live, 1.0)
    ema = Average(live, partial(ema_share, decay=0.999, power=0))
    set_weights(live, 2.0)
    ema.update(0)
    assert ema.module.weight.dtype == torch.float32
    assert ema.module.weight[0, 0].item() == pytest.approx(1.001)


def test_model_and_text_encoder_are_averaged_together_and_restored_by_name() -> None:
    live = Denoiser(nn.Linear(2, 2), nn.Embedding(3, 2))
    ema = Average(live, partial(ema_share, decay=0.5, power=0))
    set_weights(live, 1.0)
    ema.update(0)
    saved = {name: tensor.clone() for name, tensor in ema.module.tensors().items()}
    assert sorted(saved) == ["bias", "text_encoder.weight", "weight"]
    restored = Average(Denoiser(nn.Linear(2, 2), nn.Embedding(3, 2)), partial(ema_share, decay=0.5, power=0))
    restored.module.load_tensors(saved, where="ema.safetensors")
    assert all(torch.equal(saved[name], value) for name, value in restored.module.tensors().items())


def test_shared_weights_stay_shared() -> None:
    live = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    live[1].weight = live[0].weight
    ema = Average(live, partial(ema_share, decay=0.5, power=0))
    ema.update(0)
    assert ema.module[1].weight is ema.module[0].weight
