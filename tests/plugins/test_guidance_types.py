"""Guidance: the formulae of the papers, against their published code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_parts import assembled
from torch import Tensor

from dit_run import ConfigError, load_config
from dit_run.problems import InputError
from dit_run.protocols import GuidedStep, Routed, Scheduler
from dit_run.registry.registry import discover
from dit_run_plugins.guidance.apg import Apg
from dit_run_plugins.guidance.apg import build as apg
from dit_run_plugins.guidance.cfg import Cfg
from dit_run_plugins.guidance.cfg import build as cfg
from dit_run_plugins.guidance.cfg_zero import CfgZero
from dit_run_plugins.guidance.cfg_zero import build as cfg_zero
from dit_run_plugins.schedulers.ddpm import Ddpm
from dit_run_plugins.schedulers.ddpm.diffusion_process import build as ddpm
from dit_run_plugins.schedulers.flow_matching import FlowMatching
from dit_run_plugins.schedulers.flow_matching.flow_process import build as flow

SHAPE = (2, 3, 4, 4)
FLOW = flow(FlowMatching(), latent_shape=SHAPE[1:])
PROCESSES: dict[str, Scheduler] = {
    "velocity": FLOW,
    "clean": flow(FlowMatching(prediction_type="sample"), latent_shape=SHAPE[1:]),
    "epsilon": ddpm(Ddpm()),
    "v_prediction": ddpm(Ddpm(prediction_type="v_prediction", zero_terminal_snr=True)),
}
SCALES = torch.tensor([3.0, 7.5]).view(2, 1, 1, 1)


def normal(seed: int) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def step(scheduler: Scheduler = FLOW, *, index: int = 9, timestep: float = 500.0, **more: Any) -> GuidedStep:
    return GuidedStep(normal(0), torch.full((2,), timestep), SCALES, scheduler, index, **more)


def test_cfg_extrapolates_from_the_empty_caption() -> None:
    caption, empty = normal(1), normal(2)
    torch.testing.assert_close(cfg(Cfg())(caption, empty, step()), empty + SCALES * (caption - empty))


# -------------------------------------------------------------------------------------- apg: algorithm 1 of the paper


class MomentumBuffer:
    def __init__(self, momentum: float) -> None:
        self.momentum = momentum
        self.running_average: Tensor | float = 0

    def update(self, update_value: Tensor) -> None:
        new_average = self.momentum * self.running_average
        self.running_average = update_value + new_average


def project(v0: Tensor, v1: Tensor) -> tuple[Tensor, Tensor]:
    v0, v1 = v0.double(), v1.double()
    v1 = torch.nn.functional.normalize(v1, dim=[-1, -2, -3])  # type: ignore[arg-type]
    v0_parallel = (v0 * v1).sum(dim=[-1, -2, -3], keepdim=True) * v1
    return v0_parallel.float(), (v0 - v0_parallel).float()


def normalized_guidance(
    pred_cond: Tensor, pred_uncond: Tensor, guidance_scale: Tensor, buffer: MomentumBuffer, eta: float, threshold: float
) -> Tensor:
    """The code in the appendix of Sadat et al. 2024, on clean images."""
    buffer.update(pred_cond - pred_uncond)
    diff = buffer.running_average
    assert isinstance(diff, Tensor)
    if threshold > 0:
        diff_norm = diff.norm(p=2, dim=[-1, -2, -3], keepdim=True)
        diff = diff * torch.minimum(torch.ones_like(diff), threshold / diff_norm)
    diff_parallel, diff_orthogonal = project(diff, pred_cond)
    return pred_cond + (guidance_scale - 1) * (diff_orthogonal + eta * diff_parallel)


@pytest.mark.parametrize("process", list(PROCESSES))
@pytest.mark.parametrize("options", [Apg(), Apg(parallel=0.3, norm=4.0, momentum=-0.75)])
def test_apg_is_the_published_code_on_clean_images(process: str, options: Apg) -> None:
    scheduler, memory = PROCESSES[process], dict[str, Tensor]()
    buffer = MomentumBuffer(options.momentum)
    for index, timestep in enumerate((700.0, 500.0, 300.0)):
        now = step(scheduler, index=index, timestep=timestep, memory=memory)
        outputs = normal(1 + index), normal(11 + index)
        found = scheduler.to_x0(apg(options)(*outputs, now), now.noisy, now.timesteps)
        clean, empty = (scheduler.to_x0(each, now.noisy, now.timesteps) for each in outputs)
        expected = normalized_guidance(clean, empty, SCALES, buffer, options.parallel, options.norm)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("process", list(PROCESSES))
def test_apg_with_all_of_the_difference_is_cfg(process: str) -> None:
    now, whole = step(PROCESSES[process]), Apg(parallel=1.0, momentum=0.0)
    caption, empty = normal(1), normal(2)
    expected = cfg(Cfg())(caption, empty, now)
    torch.testing.assert_close(apg(whole)(caption, empty, now), expected, rtol=1e-4, atol=1e-4)


# ------------------------------------------------------------------------------------------ cfg_zero: algorithm 1


def optimized_scale(positive_flat: Tensor, negative_flat: Tensor) -> Tensor:
    """The published code of Fan et al. 2025."""
    dot_product = torch.sum(positive_flat * negative_flat, dim=1, keepdim=True)
    squared_norm = torch.sum(negative_flat**2, dim=1, keepdim=True) + 1e-8
    return dot_product / squared_norm


def test_cfg_zero_is_the_published_code() -> None:
    caption, empty = normal(1), normal(2)
    alpha = optimized_scale(caption.flatten(1), empty.flatten(1)).view(2, 1, 1, 1)
    expected = empty * alpha + SCALES * (caption - empty * alpha)
    torch.testing.assert_close(cfg_zero(CfgZero())(caption, empty, step()), expected)


def test_cfg_zero_stays_in_its_first_calls() -> None:
    guided = cfg_zero(CfgZero(zero_calls=2))
    moves = [bool(guided(normal(1), normal(2), step(index=index)).any()) for index in range(4)]
    assert moves == [False, False, True, True]


def test_a_velocity_of_zero_leaves_the_latents() -> None:
    noise = normal(3)

    def predict(noisy: Tensor, timesteps: Tensor) -> Tensor:
        return torch.zeros_like(noisy) if timesteps[0] == 1000 else noise

    latents = FLOW.sample(predict, noise, sampler="euler", steps=4, step_noise=lambda step: noise)
    torch.testing.assert_close(latents, noise - 0.75 * noise)


def loaded(tmp_path: Path, *arguments: str) -> Any:
    (tmp_path / "a.yaml").write_text("guidance: {type: cfg_zero}\n")
    return load_config(tmp_path / "a.yaml", *arguments, registry=discover(third_party=False))


def test_tread_needs_a_model_with_token_routing(tmp_path: Path) -> None:
    assert loaded(tmp_path, "guidance={type: tread}", "model.routed_share=0.5").guidance.options.weaker == Routed(0.5)
    with pytest.raises(
        ConfigError, match=r"guidance\.tread needs a model that is trained with token routing, but model\.r"
    ):
        loaded(tmp_path, "guidance={type: tread}")
    pixart = (
        "model={type: pixart, hidden_size: 16, num_layers: 1, num_heads: 2, patch_size: 4}",
        "guidance.type=tread",
    )
    with pytest.raises(InputError, match="guidance tread needs a model with token routing, which pixart has not"):
        assembled(tmp_path, *pixart).pipeline  # noqa: B018 (a property that builds)


def test_noise_of_zero_is_no_velocity(tmp_path: Path) -> None:
    assert loaded(tmp_path, "scheduler.type=flow_matching").guidance.options.zero_calls == 1
    config = loaded(tmp_path, "scheduler.type=ddpm")
    assert config.guidance.options.zero_calls == 0
    assert [notice.message for notice in config.notices] == ["guidance.zero_calls is 0 instead of its default 1"]
    with pytest.raises(ConfigError, match=r"guidance\.zero_calls is 1, but the model predicts epsilon"):
        loaded(tmp_path, "scheduler.type=ddpm", "guidance.zero_calls=1")
