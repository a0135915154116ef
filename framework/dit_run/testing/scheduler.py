"""The contract of a scheduler: a noise process, and samplers that reverse it."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dit_run.problems import NotInDiffusers
from dit_run.protocols import Scheduler
from dit_run.registry.components import Component, Kind
from dit_run.testing.contract_error import Check, Subject, check_all
from dit_run.testing.torch_modules import expect_tensor

__all__ = ["CHECKS", "check_scheduler"]

_SHAPE = (4, 8, 8)
_STEPS = 30
_SPREAD, _SPREAD_STEPS, _SPREAD_TOLERANCE = 0.5, 60, 0.2
"""Standard deviation of Gaussian images, steps of a sampler, and the largest relative error of what it reaches."""
_FEW_STEPS, _DIFFUSERS_TOLERANCE = 7, 1e-3
"""Steps that do not divide 1000, and the largest relative difference of schedulers that are the same."""
_METHODS = ("timesteps", "add_noise", "target", "weight", "to_x0", "sample")


def check_scheduler(component: Component | str | Path, **options: Any) -> None:
    """Test a scheduler with these options, on latents [n, 4, 8, 8].

    The noisy latents must be a mixture a(t) x_0 + b(t) noise, as in every diffusion and flow process. ``component`` is
    a Component, the type of an installed one, or the path of a plugin file. Raises ContractError.
    """
    check_all(Subject.of(Kind.SCHEDULER, component, options), CHECKS)


def _make(subject: Subject) -> Scheduler:
    scheduler = subject.make(latent_shape=_SHAPE)
    subject.methods(scheduler, _METHODS, "see dit_run.protocols.Scheduler")
    subject.attribute(scheduler, "prediction_type", str, "Scheduler")
    names = subject.attribute(scheduler, "samplers", tuple, "Scheduler")
    subject.expect(bool(names), "Scheduler.samplers is empty; name at least one sampler, the default first")
    return scheduler  # type: ignore[no-any-return]


def _normal(seed: int, count: int = 5) -> Tensor:
    return torch.randn(count, *_SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _uniform(count: int = 5) -> Tensor:
    """Return ``count`` evenly spaced values in (0, 1), without the ends."""
    return (torch.arange(count, dtype=torch.float64) + 0.5) / count


def maps_draws_to_timesteps(subject: Subject) -> None:
    """Check that timesteps() maps uniform draws monotonically to timesteps in [0, 1000]."""
    scheduler = _make(subject)
    uniform = torch.linspace(0, 1 - 1e-6, 101)
    timesteps = expect_tensor(subject, "timesteps(uniform [101])", scheduler.timesteps(uniform), (101,), torch.float32)
    lowest, highest = timesteps.min().item(), timesteps.max().item()
    subject.expect(
        lowest >= 0 and highest <= 1000, f"timesteps() returns {lowest:g} to {highest:g}; scale timesteps to 0 to 1000"
    )
    steps = timesteps.diff()
    subject.expect(
        bool((steps >= 0).all()) or bool((steps <= 0).all()),
        "timesteps() is not monotone; use an inverse distribution function, which keeps stratified draws stratified",
    )


def gives_targets_and_weights(subject: Subject) -> None:
    """Check that x_t, target, weight and x_0 have the right shapes and dtypes."""
    scheduler, count = _make(subject), 5
    clean, noise = _normal(0).float(), _normal(1).float()
    timesteps = scheduler.timesteps(_uniform().float())
    noisy = expect_tensor(
        subject, "add_noise()", scheduler.add_noise(clean, noise, timesteps), (count, *_SHAPE), torch.float32
    )
    target = expect_tensor(
        subject, "target()", scheduler.target(clean, noise, timesteps), (count, *_SHAPE), torch.float32
    )
    weight = expect_tensor(subject, "weight()", scheduler.weight(timesteps), (count,), torch.float32)
    subject.expect(bool((weight >= 0).all()), "weight() is negative; return at least 0")
    expect_tensor(subject, "to_x0()", scheduler.to_x0(target, noisy, timesteps), (count, *_SHAPE), torch.float32)


def finds_the_image_in_its_target(subject: Subject) -> None:
    """Check that to_x0() of the target is the clean image."""
    scheduler = _make(subject)
    clean, noise = _normal(0), _normal(1)
    timesteps = scheduler.timesteps(_uniform())
    noisy = scheduler.add_noise(clean, noise, timesteps)
    found = scheduler.to_x0(scheduler.target(clean, noise, timesteps), noisy, timesteps)
    far = (found - clean).abs().amax(dim=(1, 2, 3))
    worst = int(far.argmax())
    subject.expect(
        bool(far.max() < 1e-3),
        f"to_x0(target, x_t, t) misses the clean latents by {far[worst]:.3g} at t = {timesteps[worst]:.4g}; "
        "target, add_noise and to_x0 must use the same coefficients",
    )


def is_a_pure_function(subject: Subject) -> None:
    """Check that the same arguments give the same values again."""
    scheduler = _make(subject)
    clean, noise = _normal(0), _normal(1)
    timesteps = scheduler.timesteps(_uniform())
    calls: dict[str, Callable[[], Tensor]] = {
        "add_noise()": lambda: scheduler.add_noise(clean, noise, timesteps),
        "target()": lambda: scheduler.target(clean, noise, timesteps),
        "sample()": lambda: _drawn(scheduler, scheduler.samplers[0], clean[:1], steps=3),
    }
    for name, call in calls.items():
        subject.expect(
            torch.equal(call(), call()),
            f"a second {name} returns other values; use only the random numbers in the arguments, and keep no "
            "state between calls",
        )


def recovers_one_image_with_each_sampler(subject: Subject) -> None:
    """Check that each sampler reaches an image from pure noise with a perfect predictor of that image."""
    scheduler = _make(subject)
    image = _normal(3, 1).clamp(-1, 1)
    for sampler in scheduler.samplers:
        found = _drawn(scheduler, sampler, image, steps=_STEPS)
        subject.expect(
            tuple(found.shape) == tuple(image.shape),
            f"sampler {sampler!r} returned {list(found.shape)}; return latents with the shape of the noise, "
            f"{list(image.shape)}",
        )
        miss = (found - image).abs().max().item()
        subject.expect(
            miss < 1e-3,
            f"sampler {sampler!r} with a perfect predictor of one image ends {miss:.3g} away from it after {_STEPS} "
            "steps; the sampler, add_noise and target must use the same coefficients",
        )


def keeps_the_spread_of_images(subject: Subject) -> None:
    """Check that each sampler, with the best predictor of Gaussian images, samples images of their spread."""
    scheduler = _make(subject)
    for sampler in scheduler.samplers:
        spread = _gaussian(scheduler, sampler).std().item()
        subject.expect(
            abs(spread / _SPREAD - 1) < _SPREAD_TOLERANCE,
            f"sampler {sampler!r} with the best predictor of images of standard deviation {_SPREAD:g} ends with "
            f"{spread:.3g} after {_SPREAD_STEPS} steps; its latents must have the noise level of the timestep that it "
            "passes to the model",
        )


def equals_its_scheduler_of_diffusers(subject: Subject) -> None:
    """Check that to_diffusers(), where there is one, returns schedulers that take the samplers' steps."""
    scheduler = _make(subject)
    convert: Callable[[str], Any] | None = getattr(scheduler, "to_diffusers", None)
    if convert is None:
        return
    for sampler in scheduler.samplers:
        with contextlib.suppress(NotInDiffusers):
            miss = _distance_from(convert(sampler), scheduler, sampler)
            subject.expect(
                miss < _DIFFUSERS_TOLERANCE,
                f"to_diffusers({sampler!r}) samples latents {miss:.3g} away from those of the sampler; return a "
                "scheduler of the same steps, or raise dit_run.problems.NotInDiffusers",
            )


def _distance_from(peer: Any, scheduler: Scheduler, sampler: str) -> float:
    """Return the largest difference between the latents of a scheduler of diffusers and those of a sampler."""
    noise = _normal(4).float()
    ours = scheduler.sample(_wave, noise, sampler=sampler, steps=_FEW_STEPS, step_noise=lambda step: _normal(step))
    if "sigmas" in inspect.signature(peer.set_timesteps).parameters:
        peer.set_timesteps(sigmas=[1 - i / _FEW_STEPS for i in range(_FEW_STEPS)])
    else:
        peer.set_timesteps(_FEW_STEPS)
    theirs = noise
    for timestep in peer.timesteps:
        theirs = peer.step(_wave(theirs, timestep.float()[None]), timestep, theirs, return_dict=False)[0]
    return ((theirs - ours).abs().max() / ours.abs().max()).item()


def _wave(noisy: Tensor, timesteps: Tensor) -> Tensor:
    """Return an output that depends on both arguments."""
    return noisy.sin() + timesteps.view(-1, 1, 1, 1) / 1000


def _gaussian(scheduler: Scheduler, sampler: str, count: int = 8) -> Tensor:
    """Sample with the predictor whose loss is least for independent Gaussian values: it knows no image."""
    one = torch.ones(count, *_SHAPE, dtype=torch.float64)
    zero = torch.zeros_like(one)

    def predict(noisy: Tensor, timesteps: Tensor) -> Tensor:
        alpha, sigma = scheduler.add_noise(one, zero, timesteps), scheduler.add_noise(zero, one, timesteps)
        share = noisy / (alpha**2 * _SPREAD**2 + sigma**2).clamp(min=1e-12)
        return scheduler.target(alpha * _SPREAD**2 * share, sigma * share, timesteps)

    return scheduler.sample(
        predict,
        _normal(4, count),
        sampler=sampler,
        steps=_SPREAD_STEPS,
        step_noise=lambda step: _normal(100 + step, count),
    )


def _drawn(scheduler: Scheduler, sampler: str, image: Tensor, *, steps: int) -> Tensor:
    def predict(noisy: Tensor, timesteps: Tensor) -> Tensor:
        one, zero = torch.ones_like(image), torch.zeros_like(image)
        alpha, sigma = scheduler.add_noise(one, zero, timesteps), scheduler.add_noise(zero, one, timesteps)
        noise = (noisy - alpha * image) / sigma.clamp(min=1e-12)
        return scheduler.target(image.to(noisy), noise.to(noisy), timesteps)

    noise = _normal(4, 1)
    return scheduler.sample(
        predict, noise, sampler=sampler, steps=steps, step_noise=lambda step: _normal(100 + step, 1)
    )


CHECKS: tuple[Check, ...] = (
    maps_draws_to_timesteps,
    gives_targets_and_weights,
    finds_the_image_in_its_target,
    is_a_pure_function,
    recovers_one_image_with_each_sampler,
    keeps_the_spread_of_images,
    equals_its_scheduler_of_diffusers,
)
