"""What every objective, prediction, schedule and sampler must satisfy, proved against predictors in closed form.

Only the public protocol is used: the scales of signal and noise are read off ``add_noise``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
import torch
from dit_run.protocols import Scheduler
from dit_run_plugins.schedulers import ddpm
from torch import Tensor

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
                    yield Case(f"ddpm-{schedule}-{prediction}" + "-zero" * zero, ddpm.build(options))


CASES = list(cases())
RUNS = [pytest.param(case.scheduler, name, id=f"{case.name}-{name}") for case in CASES for name in case.scheduler.samplers]


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
    for steps in (1, 2, 3, 7, 50, 333):
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
    for steps in (2, 20, 250):
        found = scheduler.sample(
            Perfect(scheduler, image),
            normal(1, 2, 3, 2, seed=1, dtype=torch.float32),
            sampler=sampler,
            steps=steps,
            step_noise=lambda i: normal(1, 2, 3, 2, seed=2 + i, dtype=torch.float32),
        )
        assert found.dtype == torch.float32
        assert (found - image).abs().max() < 1e-4, steps


@pytest.mark.parametrize(("scheduler", "sampler"), RUNS)
def test_the_error_of_a_deterministic_sampler_falls_with_its_order(scheduler: Scheduler, sampler: str) -> None:
    if sampler not in ORDERS:
        pytest.skip("stochastic")
    gaussian, noise = Gaussian(scheduler), normal(64, 1, 1, 2)
    start, end = asked_timesteps(scheduler, sampler)
    expected = gaussian.carried(noise, start, end)
    if ORDERS[sampler] > 1:
        expected = gaussian.clean(expected, end)
    else:
        expected = gaussian.carried(noise, start, clean_end(gaussian))
    steps = [16, 32, 64, 128]
    errors = [rms(solved(scheduler, sampler, gaussian, noise, count) - expected) for count in steps]
    slope = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert abs(slope - ORDERS[sampler]) < 0.3, (slope, errors)
