"""The check before a long run: one batch, a few steps, and numbers that show whether all parts are connected."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import log10, prod
from pathlib import Path

import torch
from torch import Tensor

from dit_run.config.weaker_predictions import samples_empty_captions
from dit_run.model.codec import decode_latents
from dit_run.model.conditioning import Text, TextIds, with_tensors
from dit_run.model.denoiser import trainable_parameters
from dit_run.protocols import TextStates
from dit_run.sampling.drawn_captions import undrawable_notice
from dit_run.settings import Config
from dit_run.training.batches import Batch
from dit_run.training.contact_sheet import write_sheet
from dit_run.training.latent_statistics import LatentStatistics
from dit_run.training.run_parts import RunParts
from dit_run.training.setup import process_setup
from dit_run.training.start_notices import data_notices
from dit_run.training.step import EncodedBatch
from dit_run.training.step_loss import denoising_loss
from dit_run.training.trial_parts import build_trial_parts

__all__ = ["CheckReport", "CheckResult", "sanity_check"]

STEPS = 8
"""Updates on the one batch before connections are measured, because a model begins with a zero output (number)."""
MIN_PSNR = 18.0
"""Least quality of images that a VAE encodes and decodes (dB)."""
MIN_CONTRAST = 0.2
"""Least standard deviation of pixels, in [-1, 1], from which the scale of latents can be judged."""


@dataclass(frozen=True)
class CheckResult:
    """The result of one check, with its numbers."""

    name: str
    passed: bool
    text: str


@dataclass(frozen=True)
class CheckReport:
    """All results, and the contact sheet."""

    results: tuple[CheckResult, ...]
    sheet: Path
    notices: tuple[str, ...] = ()
    """Notes on data that are left out, and on captions that are cut or cannot be drawn."""

    @property
    def passed(self) -> bool:
        return all(result.passed for result in self.results)


def sanity_check(config: Config, *, device: torch.device, sheet: Path, batch_size: int = 16) -> CheckReport:
    """Build all parts, train on one batch for a few steps, and report which parts are connected.

    The batch has the largest size. ``sheet`` gets a grid of images of all sizes. Raises InputError for a config that a
    run refuses.
    """
    with process_setup(config.training, device):
        parts, begun = build_trial_parts(config, device)
        train = parts.data.train.of_largest_size()
        batch = parts.visits(train, caption_dropout=0.0).__getitems__(range(min(batch_size, len(train))))
        check = _Check.of(parts, batch, pretrained=bool(begun))
        write_sheet(sheet, parts.data.train, parts.encoders, batch_size)
        undrawable = undrawable_notice(batch.captions)
        far = LatentStatistics.of(check.given.latents).warning() if parts.encoders.vae.cacheable else None
        notices = (*begun, *data_notices(parts), *(notice for notice in (undrawable, far) if notice))
        return CheckReport(tuple(check.results(_pixels(batch))), sheet, notices)


@dataclass(frozen=True)
class _Check:
    """A model and one batch in three conditions."""

    parts: RunParts
    given: EncodedBatch
    """With its captions."""
    empty: EncodedBatch
    """All captions dropped."""
    mixed: EncodedBatch
    """Every second caption dropped."""
    captions: tuple[str, ...]
    pretrained: bool
    """True if the model begins with weights from elsewhere."""

    @classmethod
    def of(cls, parts: RunParts, batch: Batch, *, pretrained: bool) -> _Check:
        encode, count = parts.encoder(), len(batch.captions)
        empty = batch._replace(null=(True,) * count)
        mixed = batch._replace(null=tuple(index % 2 == 1 for index in range(count)))
        return cls(parts, encode(batch), encode(empty), encode(mixed), batch.captions, pretrained)

    def results(self, pixels: Tensor) -> Iterator[CheckResult]:
        yield self._vae(pixels)
        yield self._initial_loss()
        self._train()
        yield self._caption_effect()
        yield self._empty_condition()
        yield self._gradients()

    @torch.no_grad()
    def _loss(self, batch: EncodedBatch) -> float:
        denoiser, scheduler = self.parts.denoiser.eval(), self.parts.scheduler_of(batch.shape)
        return denoising_loss(denoiser, scheduler, batch, self.parts.precision).mean().item()

    def _train(self) -> None:
        step = self.parts.training_step(learning_rate_factor=lambda step: 1.0)
        self.parts.denoiser.train()
        for index in range(STEPS):
            step.run(index, [self.mixed], count=1)

    def _vae(self, pixels: Tensor) -> CheckResult:
        latents = self.given.latents
        decoded = decode_latents(self.parts.encoders.vae, self.parts.denoiser.latents_of_vae(latents)).cpu()
        error = (decoded - pixels).square().mean().item() / 4
        psnr = float("inf") if error == 0 else -10 * log10(error)
        deviation = latents.std().item()
        back = "exactly" if error == 0 else f"at {psnr:.1f} dB PSNR"
        text = (
            f"images come back from the VAE {back}; {self._normalised()}latents have standard deviation "
            f"{deviation:.2f}, by channel {LatentStatistics.of(latents).text}"
        )
        if pixels.std() < MIN_CONTRAST:
            return CheckResult("vae", psnr >= MIN_PSNR, f"{text}, not judged because the images are almost plain")
        return CheckResult("vae", psnr >= MIN_PSNR and 0.2 < deviation < 5, text)

    def _normalised(self) -> str:
        """Return how latents are normalised, which precedes their statistics."""
        normalization = self.parts.denoiser.normalization
        if normalization is None:
            return ""
        before = LatentStatistics(tuple(normalization.mean.tolist()), tuple(normalization.deviation.tolist()))
        return f"normalised by {before.text}, "

    def _initial_loss(self) -> CheckResult:
        """Compare the first loss with that of a zero output, weight · mean(target²); trained weights are below it."""
        batch, scheduler = self.given, self.parts.scheduler_of(self.given.shape)
        timesteps = scheduler.timesteps(batch.uniform)
        target = scheduler.target(batch.latents, batch.noise, timesteps)
        implied = (target.square().flatten(1).mean(1) * scheduler.weight(timesteps)).mean().item()
        measured = self._loss(batch)
        text = f"the loss at initialisation is {measured:.4f}; an output of zero would have {implied:.4f}"
        return CheckResult("initial loss", (0 if self.pretrained else 0.8) * implied <= measured <= 1.2 * implied, text)

    def _caption_effect(self) -> CheckResult:
        batch = self.given
        order = torch.arange(len(batch.latents), device=batch.latents.device).roll(1)
        moved = replace(batch, text=with_tensors(batch.text, lambda part: part[order]))
        if all(torch.equal(*pair) for pair in zip(_tensors(batch.text), _tensors(moved.text), strict=True)):
            return CheckResult("captions", True, self._equal_captions())
        own, other = self._loss(batch), self._loss(moved)
        text = (
            f"after {STEPS} steps the loss is {own:.6f} with the captions of the images and {other:.6f} with those of "
            "others; so early they only have to differ"
        )
        return CheckResult("captions", other != own, text)

    def _equal_captions(self) -> str:
        """Return why captions given to other images cannot be told apart."""
        distinct = len(set(self.captions))
        if distinct == 1:
            return "not compared: all images of the batch have the same caption"
        return (
            f"not compared: the {distinct} captions of the batch are the same to the text encoder, which reads "
            f"{max(text.max_length for text in self.parts.encoders.texts)} tokens; let captions differ within these"
        )

    def _empty_condition(self) -> CheckResult:
        config = self.parts.config
        share, scale = _dropped_share(config), config.sampling.guidance_scale
        own, empty = self._loss(self.given), self._loss(self.empty)
        text = (
            f"{share:.0%} of captions are dropped in training, guidance is {scale:g}; the loss is {own:.6f} with "
            f"captions and {empty:.6f} without, which have to differ"
        )
        return CheckResult("empty condition", (share > 0 or not samples_empty_captions(config)) and empty != own, text)

    def _gradients(self) -> CheckResult:
        denoiser = self.parts.denoiser
        denoiser.zero_grad(set_to_none=True)
        losses, _ = self.parts.step_loss()(self.mixed, self.parts.scheduler_of(self.mixed.shape), STEPS)
        losses.mean().backward()
        parameters = trainable_parameters(denoiser)
        dead = [name for name, parameter in parameters if parameter.grad is None or not parameter.grad.any()]
        count = sum(parameter.numel() for _, parameter in parameters)
        shown = f"; none reach {', '.join(dead[:5])}{' …' if len(dead) > 5 else ''}" if dead else ""
        reached = f"{len(parameters) - len(dead)} of {len(parameters)} tensors ({count:,} parameters)"
        return CheckResult("gradients", not dead, f"gradients reach {reached}{shown}")


def _dropped_share(config: Config) -> float:
    """Return the share of captions that training drops for all text encoders."""
    joint, own = config.training.caption_dropout, (each.common for each in config.chosen("text_encoder"))
    return joint + (1 - joint) * float(prod(common.caption_dropout for common in own))


def _pixels(batch: Batch) -> Tensor:
    return batch.images.permute(0, 3, 1, 2).float() / 127.5 - 1


def _tensors(text: Text) -> list[Tensor]:
    return list(text) if isinstance(text, TextStates | TextIds) else [part for each in text for part in each]
