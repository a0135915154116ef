"""Steps and sampling of the medium model, and of diffusers' PixArt of the same size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from dit_run.protocols import TextStates
from dit_run.settings import Config

from ..peer_models import pixart_forward, pixart_model, pixart_output, pixart_step
from .steps import Step, shipped, waits_of
from .trial import Trial, Values, choose_device, seconds_of


def pixart(trial: Trial) -> Values:
    """Measure steps of PixArt and of the medium model in turn, eager and compiled, on the same batch (images/s)."""
    from dit_run.training.compile import compile_blocks

    config = shipped("medium", trial)
    values: Values = {}
    for compiled in (False, True) if choose_device().type == "cuda" else (False,):
        torch._dynamo.reset()
        own, peer = Step(config), _peer(config)
        if compiled:
            compile_blocks(own.denoiser)
            peer.compile()
        kind = "compiled" if compiled else "eager"
        for contestant, call in (("dit-run", own.run), ("PixArt", _step_of(peer, own))):
            values[f"{contestant} {kind}"] = own.size / seconds_of(call, trial, least=1.0)
        del own, peer, call
    return values


def _peer(config: Config) -> Any:
    options: Any = config.model.options
    return pixart_model(
        width=options.hidden_size,
        layers=options.num_layers,
        heads=options.num_heads,
        latent_side=config.data.common.image_size // 8,
        device=choose_device(),
    )


def _step_of(peer: Any, own: Step) -> Callable[[], None]:
    """Return a training step of the peer on the batch of the medium model."""
    return pixart_step(peer, own.batch, pixart_forward(peer, own.batch, own.precision))


def sampling(trial: Trial) -> Values:
    """Measure guided sampling of latents (images/s): the medium model, and PixArt in diffusers' loop, same steps."""
    from diffusers import DPMSolverMultistepScheduler

    from dit_run.assembly.parts import build_guidance
    from dit_run.model.guided_prediction import GuidanceSettings, guided, unguided, with_empty

    config, device = shipped("medium", trial), choose_device()
    own, peer = Step(config), _peer(config).eval()
    own.denoiser.eval()
    steps, scheduler = trial.size(20, 2), own.step.scheduler_of(own.batch.shape)
    count = min(own.size, 16)
    text = TextStates(*(part[:count] for part in own.text))
    noise, guidance = own.batch.noise[:count], build_guidance(config, own.denoiser)

    @torch.no_grad()
    def ours() -> None:
        with own.precision.autocast():
            plain, halves = unguided(own.denoiser, text), with_empty(own.denoiser, text, text)
            predict = guided(plain, halves, guidance, GuidanceSettings(4.0), scheduler)
            scheduler.sample(predict, noise, sampler="dpm-solver++", steps=steps, step_noise=lambda step: noise)

    both = TextStates(*(torch.cat([part, part]) for part in text))

    @torch.no_grad()
    def theirs() -> None:
        solver, latents = DPMSolverMultistepScheduler(), noise
        solver.set_timesteps(steps, device=device)
        with own.precision.autocast():
            for moment in solver.timesteps:
                out = pixart_output(peer, torch.cat([latents, latents]), moment.expand(2 * count), both)
                conditional, empty = out.float().chunk(2)
                latents = solver.step(empty + 4 * (conditional - empty), moment, latents, return_dict=False)[0]

    return {
        "dit-run": count / seconds_of(ours, trial, least=1.0),
        "diffusers": count / seconds_of(theirs, trial, least=1.0),
        "waits": waits_of(ours),
    }
