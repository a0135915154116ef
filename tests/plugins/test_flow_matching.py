"""flow_matching: the straight path, its timesteps, and its samplers."""

from __future__ import annotations

import pytest
import torch

from dit_run.problems import InputError
from dit_run_plugins.schedulers.flow_matching import FlowMatching
from dit_run_plugins.schedulers.flow_matching.flow_process import FlowProcess, build, resolution_shift

LATENT = (3, 4, 4)
PREDICTIONS = ("velocity", "sample")


def make(**options) -> FlowProcess:
    return build(FlowMatching(**options), latent_shape=LATENT)


def draw(seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(5, *LATENT, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_noise_is_mixed_in_along_a_straight_line():
    x, noise = torch.full((3, *LATENT), 2.0), torch.full((3, *LATENT), -1.0)
    noisy = make().add_noise(x, noise, torch.tensor([0.0, 250.0, 1000.0]))
    assert noisy[:, 0, 0, 0].tolist() == [2.0, 1.25, -1.0]


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_target_inverts_to_the_latents(prediction):
    flow, x, noise, t = (
        make(prediction_type=prediction),
        draw(0),
        draw(1),
        torch.tensor([1e-3, 1.0, 300.0, 999.0, 1000.0]),
    )
    noisy = flow.add_noise(x, noise, t)
    torch.testing.assert_close(flow.to_x0(flow.target(x, noise, t), noisy, t), x, rtol=0, atol=1e-12)


def test_the_weighted_error_of_clean_latents_is_the_error_of_their_velocity():
    clean, velocity = make(prediction_type="sample"), make(prediction_type="velocity")
    x, noise, guess, t = draw(0), draw(1), draw(2), torch.tensor([50.0, 200.0, 500.0, 900.0, 1000.0])
    noisy = clean.add_noise(x, noise, t)
    implied = (noisy - guess) / (t / 1000).view(-1, 1, 1, 1)
    of_clean = (guess - clean.target(x, noise, t)).square().mean((1, 2, 3)) * clean.weight(t)
    of_velocity = (implied - velocity.target(x, noise, t)).square().mean((1, 2, 3)) * velocity.weight(t)
    torch.testing.assert_close(of_clean, of_velocity)


def test_weights_are_bounded_near_clean():
    assert make(prediction_type="sample").weight(torch.tensor([0.0, 50.0, 500.0])).tolist() == pytest.approx(
        [400, 400, 4]
    )
    assert make(prediction_type="velocity").weight(torch.tensor([0.0, 500.0])).tolist() == [1, 1]


def test_even_timesteps_are_the_draws_themselves():
    assert make(timestep_sampling="uniform").timesteps(torch.tensor([0.0, 0.25, 0.5])).tolist() == [0, 250, 500]


def test_logit_normal_timesteps_have_the_quantiles_of_their_formula():
    normal = torch.distributions.Normal(-0.4, 0.8)
    draws = torch.tensor([0.01, 0.3, 0.5, 0.9])
    t = make(timestep_sampling="logit_normal", logit_mean=-0.4, logit_std=0.8).timesteps(draws)
    torch.testing.assert_close(normal.cdf(torch.logit(t / 1000)), draws, atol=1e-5, rtol=0)


@pytest.mark.parametrize("sampling", ["uniform", "logit_normal"])
def test_timesteps_are_finite_and_rise_with_the_draws(sampling):
    t = make(timestep_sampling=sampling, shift=3.0).timesteps(torch.linspace(0, 1 - 2**-24, 1000))
    assert (t.diff() >= 0).all() and t[0] >= 0 and t[-1] <= 1000


def test_shift_moves_timesteps_towards_noise():
    assert make(timestep_sampling="uniform", shift=3.0).timesteps(torch.tensor([0.5])).tolist() == [750]


@pytest.mark.parametrize(
    ("shape", "by", "shift"),
    [
        ((4, 32, 32), "pixels", 1),
        ((4, 64, 64), "pixels", 2),
        ((4, 64, 64), "values", 2),
        ((16, 128, 128), "pixels", 4),
        ((16, 128, 128), "values", 8),
        ((32, 32, 32), "pixels", 1),
        ((32, 32, 32), "values", 8**0.5),
        ((3, 16, 16), "pixels", 1),
        ((3, 16, 16), "values", 1),
    ],
)
def test_shift_by_resolution_is_the_root_of_the_size(shape, by, shift):
    assert resolution_shift(shape, by) == pytest.approx(shift)
    t = build(FlowMatching(shift=None, shift_by=by, timestep_sampling="uniform"), latent_shape=shape).timesteps
    assert t(torch.tensor([0.5])).item() == pytest.approx(1000 * shift / (1 + shift))


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("sampler", FlowMatching.samplers)
@pytest.mark.parametrize("steps", [1, 2, 7, 50])
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_a_perfect_predictor_of_one_image_ends_at_it(prediction, sampler, steps, shift):
    flow, image = make(prediction_type=prediction, shift=shift), 4 * draw(0, torch.float32).sign()

    def predict(noisy: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        if prediction == "sample":
            return image
        return (noisy - image) / (timesteps / 1000).view(-1, 1, 1, 1)

    ended = flow.sample(predict, draw(1, torch.float32), sampler=sampler, steps=steps, step_noise=no_noise)
    torch.testing.assert_close(ended, image, rtol=0, atol=1e-4)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize(("sampler", "order"), [("euler", 1), ("heun", 2), ("dpm-solver++", 2)])
def test_the_error_on_a_gaussian_falls_with_the_order_of_the_sampler(prediction, sampler, order):
    """Latents of N(m, s²): the flow maps noise z to m + s z, and the best predictor is known in closed form."""
    flow, mean, spread, noise = make(prediction_type=prediction), 0.7, 0.6, draw(3)

    def predict(noisy: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        t = (timesteps / 1000).view(-1, 1, 1, 1)
        variance = (1 - t) ** 2 * spread**2 + t**2
        off = noisy - (1 - t) * mean
        clean = mean + (1 - t) * spread**2 / variance * off
        return clean if prediction == "sample" else t / variance * off - clean

    counts = [16, 32, 64, 128]
    exact = mean + spread * noise
    errors = [
        (flow.sample(predict, noise, sampler=sampler, steps=n, step_noise=no_noise) - exact).abs().mean()
        for n in counts
    ]
    slope = -torch.linalg.lstsq(
        torch.tensor([[torch.tensor(n).log(), 1.0] for n in counts], dtype=torch.float64),
        torch.stack(errors).log()[:, None],
    ).solution[0, 0]
    assert order - 0.25 < slope < order + 0.6


@pytest.mark.parametrize("steps", [1, 7, 30])
def test_the_scheduler_of_diffusers_takes_the_steps_of_euler(steps: int) -> None:
    pytest.importorskip("diffusers")
    flow, latents = make(shift=1.73), draw(3)
    scheduler = flow.to_diffusers("euler")

    def predict(noisy: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        return torch.sin(noisy) + timesteps.view(-1, 1, 1, 1) / 1000

    ours = flow.sample(predict, latents, sampler="euler", steps=steps, step_noise=no_noise)
    scheduler.set_timesteps(sigmas=[1 - i / steps for i in range(steps)])
    for timestep in scheduler.timesteps:
        latents = scheduler.step(predict(latents, timestep), timestep, latents, return_dict=False)[0]
    torch.testing.assert_close(latents, ours, atol=1e-4, rtol=1e-4)


def test_a_sampler_of_another_family_is_refused():
    with pytest.raises(InputError, match="flow_matching has no sampler 'ddpm': choose one of euler, heun, dpm-solver"):
        make().sample(lambda x, t: x, draw(0), sampler="ddpm", steps=2, step_noise=no_noise)


def no_noise(step: int) -> torch.Tensor:
    raise AssertionError("a deterministic sampler asked for noise")
