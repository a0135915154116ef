"""Schedulers that break one promise each."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest
import torch
from faults import fault, keep
from torch import Tensor

from dit_run.registry.components import Kind

KIND = Kind.SCHEDULER


def share(timesteps: Tensor, like: Tensor) -> Tensor:
    """Return the fraction of noise in x_t, [n, 1, 1, 1]."""
    return (timesteps / 1000).to(like)[:, None, None, None]


class Straight:
    """Rectified flow with one sampler; a test breaks a part of it."""

    prediction_type = "velocity"
    samplers: Any = ("euler",)

    def timesteps(self, uniform: Tensor) -> Tensor:
        return 1000 * uniform

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        sigma = share(timesteps, latents)
        return (1 - sigma) * latents + sigma * noise

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        return noise - latents

    def weight(self, timesteps: Tensor) -> Tensor:
        return torch.ones_like(timesteps)

    def to_x0(self, output: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
        return noisy - share(timesteps, noisy) * output

    def sample(self, predict: Any, noise: Tensor, *, sampler: str, steps: int, step_noise: Any) -> Any:
        times = torch.linspace(1, 0, steps + 1, dtype=noise.dtype)
        for now, following in pairwise(times):
            noise = noise + (following - now) * predict(noise, (1000 * now).expand(len(noise)))
        return noise


def broken(cls: type[Straight]) -> str:
    return fault(KIND, lambda options: cls())


def test_a_straight_flow_keeps_the_contract() -> None:
    keep(KIND, lambda options: Straight())


def test_a_missing_method() -> None:
    class Blind(Straight):
        weight = None  # type: ignore[assignment]

    assert broken(Blind) == "Blind has no method weight(); see dit_run.protocols.Scheduler"


def test_samplers_in_a_list() -> None:
    class Listed(Straight):
        samplers = ["euler"]  # noqa: RUF012

    assert broken(Listed) == "Scheduler.samplers is ['euler']; set it to a tuple (dit_run.protocols.Scheduler)"


def test_no_samplers() -> None:
    class Mute(Straight):
        samplers = ()

    assert broken(Mute) == "Scheduler.samplers is empty; name at least one sampler, the default first"


def test_timesteps_on_another_scale() -> None:
    class Thousand(Straight):
        def timesteps(self, uniform: Tensor) -> Tensor:
            return 2000 * uniform

    assert broken(Thousand) == "timesteps() returns 0 to 2000; scale timesteps to 0 to 1000"


def test_timesteps_that_go_up_and_down() -> None:
    class Waving(Straight):
        def timesteps(self, uniform: Tensor) -> Tensor:
            return 1000 * (3.14159 * uniform).sin()

    assert broken(Waving) == (
        "timesteps() is not monotone; use an inverse distribution function, which keeps stratified draws stratified"
    )


def test_a_weight_of_another_shape() -> None:
    class Scalar(Straight):
        def weight(self, timesteps: Tensor) -> Tensor:
            return torch.ones(())

    assert broken(Scalar) == "weight(): return [5] torch.float32, not [] torch.float32"


def test_a_negative_weight() -> None:
    class Negative(Straight):
        def weight(self, timesteps: Tensor) -> Tensor:
            return -torch.ones_like(timesteps)

    assert broken(Negative) == "weight() is negative; return at least 0"


def test_a_target_of_another_dtype() -> None:
    class Double(Straight):
        def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
            return super().target(latents, noise, timesteps).double()

    assert broken(Double) == "target(): return [5, 4, 8, 8] torch.float32, not [5, 4, 8, 8] torch.float64"


def test_a_target_with_other_coefficients() -> None:
    class Turned(Straight):
        def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
            return latents - noise

    assert re.fullmatch(
        r"to_x0\(target, x_t, t\) misses the clean latents by [\d.]+ at t = 900; "
        r"target, add_noise and to_x0 must use the same coefficients",
        broken(Turned),
    )


def test_noise_of_its_own() -> None:
    class Restless(Straight):
        def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
            return super().add_noise(latents, noise + 1e-6 * torch.randn_like(noise), timesteps)

    assert broken(Restless) == (
        "a second add_noise() returns other values; "
        "use only the random numbers in the arguments, and keep no state between calls"
    )


def test_a_sampler_that_keeps_state() -> None:
    class Remembering(Straight):
        calls = 0

        def sample(self, predict: Any, noise: Tensor, **settings: Any) -> Any:
            self.calls += 1
            return super().sample(predict, noise, **settings) + 1e-6 * self.calls

    assert broken(Remembering) == (
        "a second sample() returns other values; use only the random numbers in the arguments, and keep no "
        "state between calls"
    )


def test_a_sampler_that_stops_early() -> None:
    class Early(Straight):
        samplers = ("euler", "early")

        def sample(self, predict: Any, noise: Tensor, *, sampler: str, steps: int, step_noise: Any) -> Any:
            if sampler == "euler":
                return super().sample(predict, noise, sampler=sampler, steps=steps, step_noise=step_noise)
            return noise - 0.9 * predict(noise, torch.full((len(noise),), 1000.0))

    assert re.fullmatch(
        r"sampler 'early' with a perfect predictor of one image ends [\d.]+ away from it after 30 steps; "
        r"the sampler, add_noise and target must use the same coefficients",
        broken(Early),
    )


def test_latents_of_another_shape() -> None:
    class Flat(Straight):
        def sample(self, predict: Any, noise: Tensor, **settings: Any) -> Any:
            return super().sample(predict, noise, **settings).flatten(1)

    assert broken(Flat) == (
        "sampler 'euler' returned [1, 256]; return latents with the shape of the noise, [1, 4, 8, 8]"
    )


def test_a_sampler_that_passes_another_timestep() -> None:
    class Hurried(Straight):
        def sample(self, predict: Any, noise: Tensor, *, sampler: str, steps: int, step_noise: Any) -> Any:
            times = torch.linspace(1, 0, steps + 1, dtype=noise.dtype)
            for now, following in pairwise(times):
                timesteps = (1000 * now**2).expand(len(noise))
                clean = self.to_x0(predict(noise, timesteps), noise, timesteps)
                noise = clean + following * (noise - clean) / now
            return noise

    assert broken(Hurried).startswith(
        "sampler 'euler' with the best predictor of images of standard deviation 0.5 ends"
    )


def test_a_sampler_that_skips_its_steps() -> None:
    class Jumping(Straight):
        def sample(self, predict: Any, noise: Tensor, *, sampler: str, steps: int, step_noise: Any) -> Any:
            timesteps = torch.full((len(noise),), 1000.0, dtype=noise.dtype)
            return self.to_x0(predict(noise, timesteps), noise, timesteps)

    assert "ends with 0" in broken(Jumping)


def test_a_scheduler_of_diffusers_with_other_steps() -> None:
    scheduling = pytest.importorskip("diffusers.schedulers.scheduling_flow_match_euler_discrete")

    class Shifted(Straight):
        shift = 1.0

        def to_diffusers(self, sampler: str) -> Any:
            return scheduling.FlowMatchEulerDiscreteScheduler(shift=self.shift)

    keep(KIND, lambda options: Shifted())
    Shifted.shift = 3.0
    assert re.fullmatch(
        r"to_diffusers\('euler'\) samples latents 0\.\d+ away from those of the sampler; return a scheduler of the "
        r"same steps, or raise dit_run\.problems\.NotInDiffusers",
        broken(Shifted),
    )
