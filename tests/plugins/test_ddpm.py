"""The ddpm objective: coefficients as in diffusers; targets, weights and inverses as in the papers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dit_run.problems import InputError, Problem
from dit_run.protocols import Adjustment, Facts, RuleContext
from dit_run_plugins.schedulers.ddpm import Ddpm, combinations_fit, steps_fit
from dit_run_plugins.schedulers.ddpm.diffusion_process import build
from dit_run_plugins.schedulers.ddpm.noise_schedules import alphas_cumprod
from dit_run_plugins.schedulers.shared_rules import sampler_fits

SCHEDULES = ["linear", "scaled_linear", "squaredcos_cap_v2"]
PREDICTIONS = ["epsilon", "v_prediction", "sample"]
T = torch.tensor([0.0, 1.0, 357.0, 998.0, 999.0])


def latents(n: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, 4, 3, 2, generator=generator) * 4, torch.randn(n, 4, 3, 2, generator=generator)


@pytest.fixture(scope="module")
def peer() -> Any:
    """diffusers' DDPMScheduler with our option names."""
    module = pytest.importorskip("diffusers.schedulers.scheduling_ddpm")

    def make(options: Ddpm) -> Any:
        return module.DDPMScheduler(
            options.num_train_timesteps,
            options.beta_start,
            options.beta_end,
            options.beta_schedule,
            prediction_type=options.prediction_type,
            rescale_betas_zero_snr=options.zero_terminal_snr,
            clip_sample=False,
        )

    return make


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_noisy_latents_and_velocity_are_those_of_diffusers(schedule: str, zero: bool, peer: Any) -> None:
    options = Ddpm(beta_schedule=schedule, zero_terminal_snr=zero, prediction_type="v_prediction")  # type: ignore[arg-type]
    ours, theirs = build(options), peer(options)
    x0, noise = latents()
    expected = theirs.add_noise(x0, noise, T.long())
    torch.testing.assert_close(ours.add_noise(x0, noise, T), expected, atol=2e-4, rtol=1e-4)
    velocity = theirs.get_velocity(x0, noise, T.long())
    torch.testing.assert_close(ours.target(x0, noise, T), velocity, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_zero_terminal_snr_ends_in_noise_alone_and_begins_as_before(schedule: str) -> None:
    plain, zero = (
        alphas_cumprod(schedule, start=0.00085, end=0.012, count=1000, zero_terminal_snr=flag) for flag in (False, True)
    )
    assert zero[-1] == 0
    assert plain[-1] > 0
    assert zero[0] == pytest.approx(float(plain[0]), rel=1e-12)
    assert bool((zero.diff() < 0).all())


def test_scaled_linear_is_linear_in_the_root_of_beta() -> None:
    products = alphas_cumprod("scaled_linear", start=0.00085, end=0.012, count=1000, zero_terminal_snr=False)
    assert 1 - products[0].item() == pytest.approx(0.00085)
    assert 1 - (products[-1] / products[-2]).item() == pytest.approx(0.012)
    assert products[-1].item() == pytest.approx(0.0046600, abs=1e-6)


def test_signal_and_noise_keep_unit_variance_between_timesteps_too() -> None:
    alpha, sigma = build(Ddpm()).coefficients(torch.linspace(0, 999, 777, dtype=torch.float64))
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones(777, dtype=torch.float64))
    assert bool((alpha.diff() < 0).all())


def test_timesteps_are_the_floor_of_uniform_draws() -> None:
    uniform = torch.tensor([0.0, 0.00099, 0.001, 0.5, 0.99999994])
    assert build(Ddpm()).timesteps(uniform).tolist() == [0, 0, 1, 500, 999]


def test_the_model_sees_timesteps_of_any_count_on_its_own_scale() -> None:
    scheduler = build(Ddpm(num_train_timesteps=300))
    timesteps = scheduler.timesteps((torch.arange(300) + 0.5) / 300)
    torch.testing.assert_close(timesteps, torch.arange(300) * 1000 / 300)
    products = alphas_cumprod("scaled_linear", start=0.00085, end=0.012, count=300, zero_terminal_snr=False)
    torch.testing.assert_close(scheduler.coefficients(timesteps)[0], products.sqrt().float(), atol=0, rtol=0)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_target_stands_for_the_clean_latents(schedule: str, prediction: str) -> None:
    scheduler = build(Ddpm(beta_schedule=schedule, prediction_type=prediction))  # type: ignore[arg-type]
    x0, noise, timesteps = *(part.double() for part in latents()), T.double()
    noisy = scheduler.add_noise(x0, noise, timesteps)
    output = scheduler.target(x0, noise, timesteps)
    torch.testing.assert_close(scheduler.to_x0(output, noisy, timesteps), x0, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_min_snr_weighs_the_error_of_the_clean_latents_alike_for_every_prediction(prediction: str) -> None:
    """The loss of a model that is wrong about x_0 by d is min(SNR, gamma) d², whatever it predicts."""
    scheduler = build(Ddpm(prediction_type=prediction, min_snr_gamma=5.0))  # type: ignore[arg-type]
    x0, noise, timesteps = *(part.double() for part in latents()), T.double()
    noisy = scheduler.add_noise(x0, noise, timesteps)
    alpha, sigma = (part.view(-1, 1, 1, 1) for part in scheduler.coefficients(timesteps))
    wrong = x0 + 0.1
    output = scheduler.target(wrong, (noisy - alpha * wrong) / sigma, timesteps)
    loss = scheduler.weight(timesteps) * (output - scheduler.target(x0, noise, timesteps)).square().mean((1, 2, 3))
    expected = ((alpha / sigma) ** 2).clamp(max=5).flatten() * 0.1**2
    torch.testing.assert_close(loss, expected, atol=1e-12, rtol=1e-8)


def test_min_snr_weights_in_closed_form() -> None:
    t = torch.tensor([0.0, 999.0], dtype=torch.float64)
    alpha, sigma = build(Ddpm()).coefficients(t)
    low, high = ((alpha / sigma) ** 2).tolist()[::-1]
    assert high > 5 > low
    weights = {
        name: build(Ddpm(prediction_type=name, min_snr_gamma=5.0)).weight(t).tolist()  # type: ignore[arg-type]
        for name in PREDICTIONS
    }
    assert weights["epsilon"] == pytest.approx([5 / high, 1])
    assert weights["v_prediction"] == pytest.approx([5 / (high + 1), low / (low + 1)])
    assert weights["sample"] == pytest.approx([5, low])


def test_without_gamma_all_timesteps_weigh_alike() -> None:
    assert build(Ddpm()).weight(T).tolist() == [1.0] * 5


def test_a_sampler_of_another_family_is_refused_by_name() -> None:
    noise = torch.zeros(1, 1, 1, 1)
    with pytest.raises(InputError, match=r"no sampler 'euler': choose one of ddim, ddpm, dpm-solver\+\+, heun"):
        build(Ddpm()).sample(lambda x, t: x, noise, sampler="euler", steps=2, step_noise=lambda i: noise)


def test_more_steps_than_timesteps_are_refused() -> None:
    noise = torch.zeros(1, 1, 1, 1)
    with pytest.raises(InputError, match="at most 10 steps"):
        build(Ddpm(num_train_timesteps=10)).sample(
            lambda x, t: x, noise, sampler="ddim", steps=11, step_noise=lambda i: noise
        )


@dataclass(frozen=True)
class Sampling:
    sampler: str | None = None
    steps: int = 50


def context(options: Ddpm, sampling: Sampling = Sampling(), *written: tuple[str, str]) -> RuleContext:
    config: Any = SimpleNamespace(sampling=sampling, scheduler=SimpleNamespace(type="ddpm"))
    return RuleContext(config, ("scheduler",), options, Facts(), frozenset(written))


def errors(found: Any) -> list[tuple[Any, ...]]:
    return [problem.path for problem in found if isinstance(problem, Problem) and problem.severity == "error"]


def test_zero_terminal_snr_with_epsilon_is_refused_at_both_keys() -> None:
    options = Ddpm(zero_terminal_snr=True)
    (problem,) = combinations_fit(context(options))
    assert isinstance(problem, Problem)
    assert problem.path == ("scheduler", "zero_terminal_snr")
    assert problem.related == (("scheduler", "prediction_type"),)
    assert errors(combinations_fit(context(replace(options, prediction_type="v_prediction")))) == []


def test_min_snr_with_zero_terminal_snr_is_noticed() -> None:
    options = Ddpm(zero_terminal_snr=True, prediction_type="v_prediction", min_snr_gamma=5.0)
    assert build(options).weight(T)[-1] == 0
    (notice,) = combinations_fit(context(options))
    assert (notice.path, notice.severity) == (("scheduler", "min_snr_gamma"), "notice")


def test_betas_that_do_not_grow_are_refused_where_they_matter() -> None:
    options = Ddpm(beta_start=0.02)
    assert errors(combinations_fit(context(options))) == [("scheduler", "beta_start")]
    cosine = replace(options, beta_schedule="squaredcos_cap_v2")
    assert errors(combinations_fit(context(cosine))) == []


def test_a_sampler_that_does_not_fit_is_a_problem_of_the_config() -> None:
    (problem,) = sampler_fits(context(Ddpm(), Sampling("euler")))
    assert isinstance(problem, Problem)
    assert problem.path == ("sampling", "sampler")
    assert problem.message == (
        "sampling.sampler is 'euler', which does not fit scheduler ddpm: it has ddim, ddpm, dpm-solver++, heun"
    )
    assert list(sampler_fits(context(Ddpm(), Sampling("heun")))) == []


def test_steps_beyond_the_timesteps_are_refused_when_written_and_lowered_when_not() -> None:
    options = Ddpm(num_train_timesteps=20)
    assert errors(steps_fit(context(options, Sampling(), ("sampling", "steps")))) == [("sampling", "steps")]
    (lowered,) = steps_fit(context(options))
    assert isinstance(lowered, Adjustment)
    assert (lowered.path, lowered.value) == (("sampling", "steps"), 20)
    assert list(steps_fit(context(options, Sampling("dpm-solver++")))) == []


# ------------------------------------------------------------------------------------------------------------ diffusers


def sampled(scheduler: Any, noise: torch.Tensor, steps: int, **given: Any) -> torch.Tensor:
    """Sample with a scheduler of diffusers and a model whose output depends on latents and timestep."""
    scheduler.set_timesteps(**(given or {"num_inference_steps": steps}))
    latents = noise
    for timestep in scheduler.timesteps:
        latents = scheduler.step(output(latents, timestep.float()), timestep, latents, return_dict=False)[0]
    return latents


def output(noisy: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
    return torch.sin(noisy) + timesteps.reshape(-1, 1, 1, 1) / 1000


@pytest.mark.parametrize("steps", [1, 7, 30, 64])
@pytest.mark.parametrize(("schedule", "prediction"), [("scaled_linear", "epsilon"), ("linear", "v_prediction")])
def test_the_scheduler_of_diffusers_takes_the_steps_of_ddim(steps: int, schedule: str, prediction: str) -> None:
    pytest.importorskip("diffusers")
    process = build(Ddpm(beta_schedule=schedule, prediction_type=prediction))  # type: ignore[arg-type]
    noise = latents()[1]
    ours = process.sample(output, noise, sampler="ddim", steps=steps, step_noise=lambda step: noise)
    torch.testing.assert_close(sampled(process.to_diffusers("ddim"), noise, steps), ours, atol=2e-3, rtol=1e-3)
