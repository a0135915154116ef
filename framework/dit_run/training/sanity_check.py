"""A check-up before a long run: one batch, a few steps, and numbers that show whether everything is connected."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log10
from pathlib import Path

import torch
from torch import Tensor

from dit_run.assembly.parts import Encoders, build_denoiser, build_scheduler
from dit_run.assembly.prepare import Data, prepare
from dit_run.compute.precision import Precision
from dit_run.model.codec import decode_latents
from dit_run.model.conditioning import TextIds
from dit_run.model.denoiser import Denoiser, trainable_parameters
from dit_run.protocols import Scheduler, TextStates
from dit_run.sampling.image_files import grid, save_png, to_images
from dit_run.settings import Config
from dit_run.training.batches import Batch, Visits
from dit_run.training.encoding import BatchEncoder
from dit_run.training.step import EncodedBatch, denoising_loss
from dit_run.training.step_builder import build_step

__all__ = ["Finding", "Report", "check_up"]

STEPS = 8
"""Updates on the one batch before connections are measured: a model begins with a zero output, which hides them."""
ENOUGH_PSNR = 18.0
"""dB; below it a VAE does not give back what it was given."""


@dataclass(frozen=True)
class Finding:
    """One question with its answer in numbers."""

    name: str
    passed: bool
    text: str


@dataclass(frozen=True)
class Report:
    """All findings, and the contact sheet."""

    findings: tuple[Finding, ...]
    sheet: Path

    @property
    def passed(self) -> bool:
        return all(finding.passed for finding in self.findings)


def check_up(config: Config, *, device: torch.device, sheet: Path, batch_size: int = 16) -> Report:
    """Build everything, take one batch, train on it for a few steps, and say what is connected to what.

    ``sheet`` gets a picture of what the model sees, with captions and token counts.
    """
    config, data, encoders = prepare(config, device=device)
    batch = _batch(config, data, encoders, min(batch_size, len(data.train)))
    bench = _Bench.of(config, encoders, batch, device)
    captions = _captions(batch, bench.given.text)
    save_png(sheet, grid(to_images(_pixels(batch)), captions), {"captions": "\n".join(captions)})
    findings = [_images_come_back(encoders, batch, bench.given), _loss_is_implied(bench)]
    bench.train(config, device)
    findings += [_captions_reach(bench), _null_is_trained(bench, config), _gradients_reach(bench)]
    return Report(tuple(findings), sheet)


@dataclass(frozen=True)
class _Bench:
    """A model and one batch in three conditions."""

    denoiser: Denoiser
    scheduler: Scheduler
    precision: Precision
    given: EncodedBatch
    """With its captions."""
    empty: EncodedBatch
    """All captions dropped."""
    mixed: EncodedBatch
    """Every second one dropped."""

    @classmethod
    def of(cls, config: Config, encoders: Encoders, batch: Batch, device: torch.device) -> _Bench:
        encode = BatchEncoder(encoders, device)
        count = len(batch.captions)

        def dropped(null: list[bool]) -> EncodedBatch:
            return encode(batch._replace(null=tuple(null)))

        return cls(
            denoiser=build_denoiser(config, encoders, device),
            scheduler=build_scheduler(config, encoders),
            precision=Precision.of(config.training.mixed_precision, device),
            given=encode(batch),
            empty=dropped([True] * count),
            mixed=dropped([index % 2 == 1 for index in range(count)]),
        )

    @torch.no_grad()
    def loss(self, examples: EncodedBatch) -> float:
        self.denoiser.eval()
        return denoising_loss(self.denoiser, self.scheduler, examples, self.precision).mean().item()

    def train(self, config: Config, device: torch.device) -> None:
        step = build_step(config, self.denoiser, self.scheduler, device, learning_rate_factor=lambda step: 1.0)
        self.denoiser.train()
        for index in range(STEPS):
            step.run(index, [self.mixed], count=1)


def _batch(config: Config, data: Data, encoders: Encoders, count: int) -> Batch:
    size = config.data.common.image_size
    shape = encoders.latent_shape(size, size)
    return Visits(data.train, config.training.seed, shape, 0.0).__getitems__(range(count))


def _images_come_back(encoders: Encoders, batch: Batch, examples: EncodedBatch) -> Finding:
    decoded = decode_latents(encoders.vae, examples.latents).cpu()
    error = (decoded - _pixels(batch)).square().mean().item() / 4
    psnr = float("inf") if error == 0 else -10 * log10(error)
    spread = examples.latents.std().item()
    text = f"pictures come back from the VAE at {psnr:.1f} dB PSNR; latents have standard deviation {spread:.2f}"
    return Finding("vae", psnr >= ENOUGH_PSNR and 0.2 < spread < 5, text)


def _loss_is_implied(bench: _Bench) -> Finding:
    """A model whose output is zero has the loss weight · mean(target²)."""
    examples, scheduler = bench.given, bench.scheduler
    timesteps = scheduler.timesteps(examples.uniform)
    target = scheduler.target(examples.latents, examples.noise, timesteps)
    implied = (target.square().flatten(1).mean(1) * scheduler.weight(timesteps)).mean().item()
    measured = bench.loss(examples)
    text = f"the loss at initialisation is {measured:.4f}; an output of zero implies {implied:.4f}"
    return Finding("initial loss", abs(measured - implied) <= 0.2 * implied, text)


def _captions_reach(bench: _Bench) -> Finding:
    examples = bench.given
    own = bench.loss(examples)
    order = torch.arange(len(examples.latents), device=examples.latents.device).roll(1)
    moved = replace(examples, text=type(examples.text)(*(part[order] for part in examples.text)))
    other = bench.loss(moved)
    text = f"after {STEPS} steps the loss is {own:.6f}, and {other:.6f} with the captions given to other pictures"
    return Finding("captions", other != own, text)


def _null_is_trained(bench: _Bench, config: Config) -> Finding:
    share, scale = config.training.caption_dropout, config.sampling.guidance_scale
    own, empty = bench.loss(bench.given), bench.loss(bench.empty)
    text = (
        f"{share:.0%} of captions are dropped in training, guidance is {scale:g}; the loss is {own:.6f} with captions "
        f"and {empty:.6f} without"
    )
    return Finding("empty condition", (share > 0 or scale == 1) and empty != own, text)


def _gradients_reach(bench: _Bench) -> Finding:
    bench.denoiser.zero_grad(set_to_none=True)
    loss = denoising_loss(bench.denoiser, bench.scheduler, bench.mixed, bench.precision).mean()
    loss.backward()  # type: ignore[no-untyped-call]
    parameters = trainable_parameters(bench.denoiser)
    dead = [name for name, parameter in parameters if parameter.grad is None or not parameter.grad.any()]
    count = sum(parameter.numel() for _, parameter in parameters)
    shown = f"; none reach {', '.join(dead[:5])}{' …' if len(dead) > 5 else ''}" if dead else ""
    text = f"gradients reach {len(parameters) - len(dead)} of {len(parameters)} tensors ({count:,} parameters){shown}"
    return Finding("gradients", not dead, text)


def _pixels(batch: Batch) -> Tensor:
    return batch.images.permute(0, 3, 1, 2).float() / 127.5 - 1


def _captions(batch: Batch, text: TextStates | TextIds) -> list[str]:
    """Each with the number of tokens that the model sees of it."""
    lengths = text.mask.sum(1).tolist()
    return [f"{count} tokens: {caption}" for count, caption in zip(lengths, batch.captions, strict=True)]
