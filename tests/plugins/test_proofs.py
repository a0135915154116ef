"""What every objective, prediction, schedule and sampler must satisfy, proved against predictors in closed form.

Only the public protocol is used: the scales of signal and noise are read off ``add_noise``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from dit_run.protocols import Scheduler
from dit_run_plugins.schedulers import ddpm, flow_matching
from dit_run_plugins.schedulers.ddpm import diffusion_process
from dit_run_plugins.schedulers.flow_matching import flow_process

ORDERS = {"ddim": 1, "euler": 1, "heun": 2, "dpm-solver++": 2}
MEAN = torch.tensor([0.7, -1.0], dtype=torch.float64)
COVARIANCE = torch.tensor([[0.5, 0.3], [0.3, 0.4]], dtype=torch.float64)


class Case(NamedTuple):
    name: str
    scheduler: Scheduler


def cases() -> Iterator[Case]:
    for schedule in ("linear", "scaled_linear", "squaredcos_cap_v2"):
        for prediction in ("epsilon", "v_prediction", "sample"):
            for zero in (False, True):
                if not (zero and prediction == "epsilon"):
                    options = ddpm.Ddpm(beta_schedule=schedule, prediction_type=prediction, zero_terminal_snr=zero)  # type: ignore[arg-type]
                    yield Case(f"ddpm-{schedule}-{prediction}" + "-zero" * zero, diffusion_process.build(options))
    for prediction in ("velocity", "sample"):
        for sampling, shift in (("uniform", 1.0), ("logit_normal", 1.0), ("logit_normal", 3.0)):
            options = flow_matching.FlowMatching(prediction_type=prediction, timestep_sampling=sampling, shift=shift)  # type: ignore[arg-type]
            name = f"flow_matching-{prediction}-{sampling}-{shift:g}"
            yield Case(name, flow_process.build(options, latent_shape=(4, 32, 32)))


CASES = list(cases())
RUNS = [
    pytest.param(case.scheduler, name, id=f"{case.name}-{name}") for case in CASES for name in case.scheduler.samplers
]


def scales(scheduler: Scheduler, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    """alpha and sigma of the first timestep, float64 []."""
    one, zero, t = torch.ones(1, 1, 1, 1).double(), torch.zeros(1, 1, 1, 1).double(), timesteps[:1].double()
    return scheduler.add_noise(one, zero, t).squeeze(), scheduler.add_noise(zero, one, t).squeeze()


class Perfect:
    """Predicts one image, whatever it sees."""

    def __init__(self, scheduler: Scheduler, image: Tensor) -> None:
        self.scheduler, self.image = scheduler, image

    def __call__(self, x: Tensor, timesteps: Tensor) -> Tensor:
        alpha, sigma = scales(self.scheduler, timesteps)
        noise = (x - alpha.to(x) * self.image) / sigma.to(x)
        return self.scheduler.target(self.image, noise, timesteps)


class Gaussian:
    """The best predictor for latents [n, 1, 1, 2] from N(MEAN, COVARIANCE), and the solution of its flow."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.values, self.vectors = torch.linalg.eigh(COVARIANCE)

    def clean(self, x: Tensor, timesteps: Tensor) -> Tensor:
        alpha, sigma = scales(self.scheduler, timesteps)
        gain = self.vectors * (alpha * self.values / (alpha**2 * self.values + sigma**2)) @ self.vectors.T
        return (MEAN + (x.flatten(1) - alpha * MEAN) @ gain).view(x.shape)

    def __call__(self, x: Tensor, timesteps: Tensor) -> Tensor:
        alpha, sigma = scales(self.scheduler, timesteps)
        clean = self.clean(x, timesteps)
        return self.scheduler.target(clean, (x - alpha * clean) / sigma, timesteps)

    def carried(self, x: Tensor, start: Tensor, end: Tensor) -> Tensor:
        """``x`` at timestep ``start`` carried by the exact probability flow to timestep ``end``."""
        (alpha, sigma), (next_alpha, next_sigma) = scales(self.scheduler, start), scales(self.scheduler, end)
        ratio = ((next_alpha**2 * self.values + next_sigma**2) / (alpha**2 * self.values + sigma**2)).sqrt()
        turned = self.vectors * ratio @ self.vectors.T
        return (next_alpha * MEAN + (x.flatten(1) - alpha * MEAN) @ turned).view(x.shape)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize(("scheduler", "sampler"), RUNS)
def test_a_perfect_predictor_of_one_image_ends_at_it(scheduler: Scheduler, sampler: str) -> None:
    image = 4 * normal(1, 2, 3, 2).clamp(-1, 1)
    for steps in (1, 2, 3, 7, 50):
        found = scheduler.sample(
            Perfect(scheduler, image),
            normal(1, 2, 3, 2, seed=1),
            sampler=sampler,
            steps=steps,
            step_noise=lambda i: normal(1, 2, 3, 2, seed=2 + i),
        )
        assert (found - image).abs().max() < 1e-6, steps


@pytest.mark.parametrize(("scheduler", "sampler"), RUNS)
def test_a_perfect_predictor_in_single_precision_ends_at_its_image(scheduler: Scheduler, sampler: str) -> None:
    """From two steps on: one step from pure noise cannot read the image off predicted noise in single precision."""
    image = 4 * normal(1, 2, 3, 2, dtype=torch.float32).clamp(-1, 1)
    for steps in (2, 20, 100):
        found = scheduler.sample(
            Perfect(scheduler, image),
            normal(1, 2, 3, 2, seed=1, dtype=torch.float32),
            sampler=sampler,
            steps=steps,
            step_noise=lambda i: normal(1, 2, 3, 2, seed=2 + i, dtype=torch.float32),
        )
        assert found.dtype == torch.float32
        assert (found - image).abs().max() < 1e-4, steps


DETERMINISTIC = [case for case in RUNS if case.values[1] in ORDERS]
STOCHASTIC = [case for case in RUNS if case.values[1] not in ORDERS]


@pytest.mark.parametrize(("scheduler", "sampler"), DETERMINISTIC)
def test_the_error_of_a_deterministic_sampler_falls_with_its_order(scheduler: Scheduler, sampler: str) -> None:
    """Against the exact flow down to timestep 0, where a discrete process still has noise and the estimate ends it."""
    gaussian, noise = Gaussian(scheduler), normal(64, 1, 1, 2)
    end = torch.zeros(1, dtype=torch.float64)
    exact = gaussian.clean(gaussian.carried(noise, first_timestep(scheduler, sampler), end), end)
    steps, errors = [16, 32, 64, 128], []
    for count in steps:
        found = scheduler.sample(gaussian, noise, sampler=sampler, steps=count, step_noise=no_noise)
        errors.append(float((found - exact).square().mean().sqrt()))
    slope = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert abs(slope - ORDERS[sampler]) < 0.3, (slope, errors)


@pytest.mark.slow
@pytest.mark.parametrize(("scheduler", "sampler"), STOCHASTIC)
def test_a_stochastic_sampler_gives_mean_and_covariance(scheduler: Scheduler, sampler: str) -> None:
    count = 2_500
    found = scheduler.sample(
        Gaussian(scheduler),
        normal(count, 1, 1, 2, seed=1),
        sampler=sampler,
        steps=1000,
        step_noise=lambda i: normal(count, 1, 1, 2, seed=2 + i),
    ).flatten(1)
    variance = COVARIANCE.diag()
    errors_of_mean = (found.mean(0) - MEAN) / (variance / count).sqrt()
    spread = ((COVARIANCE.square() + torch.outer(variance, variance)) / count).sqrt()
    errors_of_covariance = (torch.cov(found.T) - COVARIANCE) / spread
    assert errors_of_mean.abs().max() < 4
    assert errors_of_covariance.abs().max() < 4


@pytest.mark.parametrize("scheduler", [pytest.param(case.scheduler, id=case.name) for case in CASES])
def test_the_training_target_of_noisy_latents_inverts_to_the_clean_ones(scheduler: Scheduler) -> None:
    timesteps = scheduler.timesteps(torch.linspace(0.001, 0.999, 65, dtype=torch.float64))
    clean, noise = 4 * normal(65, 2, 3, 2), normal(65, 2, 3, 2, seed=1)
    noisy, output = scheduler.add_noise(clean, noise, timesteps), scheduler.target(clean, noise, timesteps)
    torch.testing.assert_close(scheduler.to_x0(output, noisy, timesteps), clean, atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("scheduler", [pytest.param(case.scheduler, id=case.name) for case in CASES])
def test_timesteps_rise_with_the_uniform_draw_within_the_scale_of_the_model(scheduler: Scheduler) -> None:
    timesteps = scheduler.timesteps(torch.linspace(0, 1 - 2**-24, 4097))
    assert bool((timesteps.diff() >= 0).all())
    assert 0 <= timesteps[0] < 5
    assert 990 < timesteps[-1] <= 1000


@pytest.mark.parametrize("scheduler", [pytest.param(case.scheduler, id=case.name) for case in CASES])
def test_weights_are_finite_and_not_negative(scheduler: Scheduler) -> None:
    weights = scheduler.weight(scheduler.timesteps(torch.linspace(0, 1 - 2**-24, 1000)))
    assert weights.shape == (1000,)
    assert bool(((weights >= 0) & weights.isfinite()).all())


def no_noise(step: int) -> Tensor:
    raise AssertionError("a deterministic sampler asked for noise")


def first_timestep(scheduler: Scheduler, sampler: str) -> Tensor:
    """Where sampling starts, as the model is told."""
    asked: list[Tensor] = []

    def predict(x: Tensor, timesteps: Tensor) -> Tensor:
        asked.append(timesteps)
        return torch.zeros_like(x)

    scheduler.sample(predict, normal(1, 1, 1, 2), sampler=sampler, steps=1, step_noise=no_noise)
    return asked[0]
