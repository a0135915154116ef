"""The update rules are those of diffusers and of the papers, over the same points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from dit_run_plugins.schedulers.ddpm import Ddpm
from dit_run_plugins.schedulers.ddpm.diffusion_process import DiffusionProcess, build
from dit_run_plugins.schedulers.samplers import SAMPLERS, SamplingPath, dpm_solver, heun, run_sampler

NOISE = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def model(x: Tensor, timesteps: Tensor) -> Tensor:
    """Some smooth function of latents and timestep."""
    return torch.tanh(x * (0.5 + timesteps.view(-1, 1, 1, 1) / 1000))


def fresh_noise() -> Callable[[int], Tensor]:
    generator = torch.Generator().manual_seed(2)
    return lambda step: torch.randn(NOISE.shape, generator=generator, dtype=NOISE.dtype)


def theirs(name: str, steps: int, **settings: Any) -> Tensor:
    """A sampling run of diffusers with whole timesteps, trailing spacing and nothing clipped."""
    diffusers = pytest.importorskip("diffusers")
    scheduler = getattr(diffusers, name)(
        1000, 0.00085, 0.012, "scaled_linear", timestep_spacing="trailing", prediction_type="v_prediction", **settings
    )
    scheduler.set_timesteps(steps)
    x, generator = NOISE, torch.Generator().manual_seed(2)
    for t in scheduler.timesteps:
        x = scheduler.step(model(x, t.double().expand(len(x))), t, x, generator=generator).prev_sample
    result: Tensor = x
    return result


@pytest.mark.parametrize("steps", [1, 8, 50])
def test_ddim_is_that_of_diffusers(steps: int) -> None:
    """Where steps divide 1000: elsewhere DDIMScheduler steps to other timesteps than those it calls the model at."""
    ours = build(Ddpm(prediction_type="v_prediction")).sample(
        model, NOISE, sampler="ddim", steps=steps, step_noise=fresh_noise()
    )
    expected = theirs("DDIMScheduler", steps, clip_sample=False, set_alpha_to_one=True)
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("steps", [7, 50])
def test_ddpm_is_that_of_diffusers(steps: int) -> None:
    ours = build(Ddpm(prediction_type="v_prediction")).sample(
        model, NOISE, sampler="ddpm", steps=steps, step_noise=fresh_noise()
    )
    expected = theirs("DDPMScheduler", steps, clip_sample=False, variance_type="fixed_small")
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("steps", [5, 20])
def test_dpm_solver_is_that_of_diffusers_over_the_same_points(steps: int) -> None:
    scheduler = build(Ddpm(prediction_type="v_prediction"))
    path = points(scheduler, steps)
    ours = run_sampler("dpm-solver++", model, scheduler._invert, NOISE, path, fresh_noise())
    expected = theirs("DPMSolverMultistepScheduler", steps, final_sigmas_type="zero", use_karras_sigmas=False)
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)


def points(scheduler: DiffusionProcess, steps: int) -> SamplingPath:
    """The trailing whole timesteps."""
    timesteps = torch.tensor([round(1000 - i * 1000 / steps) - 1.0 for i in range(steps)], dtype=torch.float64)
    alphas, sigmas = scheduler.coefficients(timesteps)
    return SamplingPath(timesteps.tolist(), [*alphas.tolist(), 1.0], [*sigmas.tolist(), 0.0])


def straight(times: Sequence[float]) -> SamplingPath:
    """x_t = (1 - t) x_0 + t noise at these times, 0 last."""
    return SamplingPath([1000 * t for t in times[:-1]], [1 - t for t in times], list(times))


def test_heun_on_a_straight_path_is_the_textbook_method() -> None:
    times = [1.0, 0.8, 0.5, 0.1, 0.0]
    ours = run_sampler("heun", model, lambda v, x, alpha, sigma: x - sigma * v, NOISE, straight(times), fresh_noise())

    def velocity(x: Tensor, t: float) -> Tensor:
        return model(x, torch.full((2,), 1000 * t, dtype=x.dtype))

    x = NOISE
    for t, s in pairwise(times[:-1]):
        first = velocity(x, t)
        x = x + (s - t) * (first + velocity(x + (s - t) * first, s)) / 2
    torch.testing.assert_close(ours, x - 0.1 * velocity(x, 0.1), atol=1e-12, rtol=1e-12)


def test_euler_on_a_straight_path_is_the_textbook_method() -> None:
    times = [1.0, 0.8, 0.5, 0.1, 0.0]
    ours = run_sampler("euler", model, lambda v, x, alpha, sigma: x - sigma * v, NOISE, straight(times), fresh_noise())
    x = NOISE
    for t, s in pairwise(times):
        x = x + (s - t) * model(x, torch.full((2,), 1000 * t, dtype=x.dtype))
    torch.testing.assert_close(ours, x, atol=1e-12, rtol=1e-12)


def test_dpm_solver_extrapolates_by_half_the_ratio_of_steps() -> None:
    """Three points at even distances of log(alpha / sigma): the middle step uses 1.5 new - 0.5 old."""
    estimates = [torch.tensor([1.0]), torch.tensor([2.0]), torch.tensor([5.0])]
    path = SamplingPath([3.0, 2.0, 1.0], [1.0, 2.0, 4.0, 1.0], [1.0, 1.0, 1.0, 0.0])
    seen = []

    def denoise(x: Tensor, i: int) -> Tensor:
        seen.append(x.item())
        return estimates[i]

    assert dpm_solver(denoise, torch.zeros(1), path, fresh_noise()).item() == 5.0
    assert seen == [0.0, 1.0, 1.0 + 2 * (1.5 * 2.0 - 0.5 * 1.0)]


@pytest.mark.parametrize(("sampler", "calls"), [("ddim", 8), ("ddpm", 8), ("dpm-solver++", 8), ("heun", 15)])
def test_sampling_starts_at_the_last_timestep_and_costs_what_it_says(sampler: str, calls: int) -> None:
    asked = []

    def predict(x: Tensor, timesteps: Tensor) -> Tensor:
        asked.append(timesteps.tolist())
        return model(x, timesteps)

    build(Ddpm()).sample(predict, NOISE, sampler=sampler, steps=8, step_noise=fresh_noise())
    assert len(asked) == calls
    assert asked[0] == [999.0, 999.0]


def test_deterministic_samplers_ask_for_no_noise() -> None:
    def refuse(step: int) -> Tensor:
        raise AssertionError("asked for noise")

    for sampler in set(SAMPLERS) - {"ddpm"}:
        run_sampler(sampler, model, lambda v, x, alpha, sigma: x - sigma * v, NOISE, straight([1.0, 0.5, 0.0]), refuse)


def test_the_last_step_of_ddpm_adds_no_noise() -> None:
    asked: list[int] = []

    def noise(step: int) -> Tensor:
        asked.append(step)
        return torch.zeros_like(NOISE)

    build(Ddpm()).sample(model, NOISE, sampler="ddpm", steps=4, step_noise=noise)
    assert asked == [0, 1, 2]


def test_samples_keep_the_type_of_the_noise() -> None:
    for sampler in build(Ddpm()).samplers:
        result = build(Ddpm()).sample(
            model, NOISE.float(), sampler=sampler, steps=3, step_noise=lambda i: torch.zeros(2, 4, 4, 4)
        )
        assert result.dtype == torch.float32


def test_heun_needs_one_call_for_one_step() -> None:
    calls: list[int] = []

    def denoise(x: Tensor, i: int) -> Tensor:
        calls.append(i)
        return x

    heun(denoise, NOISE, straight([1.0, 0.0]), fresh_noise())
    assert calls == [0]
