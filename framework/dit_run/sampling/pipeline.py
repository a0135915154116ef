"""Images from prompts: the one pipeline of `dit-run sample`, previews and metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dit_run.compute.devices import move
from dit_run.compute.precision import Precision
from dit_run.compute.random_streams import Streams
from dit_run.data.scalar_columns import is_scalar
from dit_run.data.scalars import of_whole_image
from dit_run.model.codec import LatentShape, decode_latents
from dit_run.model.conditioning import Conditions, moved
from dit_run.model.denoiser import Denoiser
from dit_run.model.evaluation_mode import evaluating
from dit_run.model.guided_prediction import (
    Forward,
    GuidanceSettings,
    guided,
    unguided,
    with_empty,
    with_other,
    with_routed,
)
from dit_run.problems import InputError
from dit_run.protocols import VAE, Guidance, Predict, Routed, Scheduler, SchedulerOf, TextStates
from dit_run.reporting import Reporter
from dit_run.sampling.image_files import to_images
from dit_run.sampling.sampling_request import SamplingRequest

if TYPE_CHECKING:  # an export carries this module without the config and the encoders
    from dit_run.assembly.parts import Encoders
    from dit_run.settings import Config

__all__ = ["Pipeline"]


@dataclass(frozen=True)
class Pipeline:
    """The parts of a run that sampling needs. The denoiser may have the live weights or the averaged ones."""

    denoiser: Denoiser
    conditions: Conditions
    vae: VAE
    scheduler_of: SchedulerOf
    guidance: Guidance | None
    """None where images cannot be guided yet, whatever their scale is."""
    device: torch.device
    precision: Precision
    scalars: Mapping[str, float] = field(default_factory=dict)
    """Values of numbers that the model takes, by name."""
    other: Denoiser | None = None
    """The denoiser with other weights that guidance moves away from; None moves away from another prediction."""
    routed: Routed | None = None
    """Token routing with which guidance moves away; None without other weights moves away from the empty caption."""

    @classmethod
    def of(
        cls,
        config: Config,
        encoders: Encoders,
        denoiser: Denoiser,
        scheduler_of: SchedulerOf,
        guidance: Guidance | None,
        device: torch.device,
        scalar_means: Mapping[str, float] | None = None,
        other: Denoiser | None = None,
    ) -> Pipeline:
        """Return the pipeline of a run's parts, in the precision that the run trains in.

        ``scalar_means`` are those of the training data, for the numbers that ``sampling.scalars`` does not give.
        """
        precision = Precision.of(config.training.mixed_precision, device)
        scalars = {**(scalar_means or {}), **config.sampling.scalar_values()}
        weaker = getattr(config.guidance.options, "weaker", None)
        return cls(
            denoiser=denoiser,
            conditions=encoders.conditions,
            vae=encoders.vae,
            scheduler_of=scheduler_of,
            guidance=guidance,
            device=device,
            precision=precision,
            scalars=scalars,
            other=other,
            routed=weaker if isinstance(weaker, Routed) else None,
        )

    @property
    def size_unit(self) -> int:
        """Heights and widths of images are multiples of this number of pixels."""
        patch_size: int = self.denoiser.model.patch_size  # type: ignore[assignment]
        return self.vae.factor * patch_size

    def images(self, request: SamplingRequest) -> Iterator[Image.Image]:
        """Yield one image per prompt, in order. Raises InputError for a request that does not fit the run."""
        request = self.checked(request)
        for images in self.batches(request, range(request.batches)):
            yield from images

    def batches(self, request: SamplingRequest, numbers: Sequence[int]) -> Iterator[list[Image.Image]]:
        """Yield the images of some batches of a request, each a function of its number.

        Raises InputError for a request that does not fit the run.
        """
        request = self.checked(request)
        with evaluating(each for each in (self.denoiser, self.other) if each is not None):
            for number in numbers:
                yield self._batch(request, number * request.batch_size)

    def generate(self, request: SamplingRequest, reporter: Reporter, phase: str = "sampling") -> list[Image.Image]:
        """Return :meth:`images` as a list, and report each image as progress of ``phase``."""
        count = len(request.prompts)
        images: list[Image.Image] = []
        reporter.phase(phase, 0, count)
        for image in self.images(request):
            images.append(image)
            reporter.phase(phase, len(images), count)
        return images

    def checked(self, request: SamplingRequest) -> SamplingRequest:
        """Return the request with its sampler named. Raises InputError for a value that does not fit the run."""
        if request.height < 1 or request.width < 1 or request.height % self.size_unit or request.width % self.size_unit:
            raise InputError(
                f"the image size is {request.height}x{request.width} pixels; height and width must be multiples of "
                f"{self.size_unit} (the VAE's factor times the model's patch size)"
            )
        names = self.scheduler_of(self._latent_shape(request)).samplers
        if request.sampler is not None and request.sampler not in names:
            raise InputError(f"this run's scheduler has no sampler {request.sampler!r}; use one of {', '.join(names)}")
        request.refuse_numbers_out_of_range()
        return replace(request, sampler=request.sampler or names[0], scalars=self._checked_scalars(request))

    def _checked_scalars(self, request: SamplingRequest) -> dict[str, float]:
        """Return the value of each number that the model takes. Raises InputError for unknown and missing ones."""
        taken = self.denoiser.scalars
        for name in request.scalars:
            if name not in taken:
                raise InputError(f"this run's model takes no scalar {name!r}; it takes {', '.join(taken) or 'none'}")
        known = {**of_whole_image((request.height, request.width)), **self.scalars, **request.scalars}
        for name in taken:
            if name not in known:
                raise InputError(f"this run's model takes the scalar {name!r}, and no value is known; give one")
            if not is_scalar(known[name]):
                raise InputError(f"the scalar {name!r} must be a finite number in float32, not {known[name]}")
        return {name: float(known[name]) for name in taken}

    @torch.no_grad()
    def _batch(self, request: SamplingRequest, start: int) -> list[Image.Image]:
        prompts = request.prompts[start : start + request.batch_size]
        seeds = [request.seed + start + index for index in range(len(prompts))]
        shape = self._latent_shape(request)
        scheduler = self.scheduler_of(shape)
        settings = request.guidance.of_images(start, start + len(prompts))
        assert request.sampler is not None
        with self.precision.autocast():
            latents = scheduler.sample(
                self._predict(prompts, request, settings, scheduler, seeds),
                self._noise("sampling_start", 0, seeds, shape),
                sampler=request.sampler,
                steps=request.steps,
                step_noise=lambda step: self._noise("sampling_step", step, seeds, shape),
            )
        return to_images(decode_latents(self.vae, self.denoiser.latents_of_vae(latents), self.precision.dtype))

    def _predict(
        self,
        prompts: Sequence[str],
        request: SamplingRequest,
        settings: GuidanceSettings,
        scheduler: Scheduler,
        seeds: Sequence[int],
    ) -> Predict:
        """Return the model for some prompts as samplers call it, guided where the settings say so."""
        forward, count = self._forward(self.denoiser, request), len(prompts)
        if self.guidance is None or not settings.active:
            return unguided(forward, self._encode(self.denoiser, prompts, [False] * count))
        if self.other is not None:
            text, weaker = (self._encode(each, prompts, [False] * count) for each in (self.denoiser, self.other))
            both = with_other(forward, text, self._forward(self.other, request), weaker)
        elif self.routed is not None:
            text = self._encode(self.denoiser, prompts, [False] * count)
            patches = request.height * request.width // self.size_unit**2
            draws = partial(self._noise, "sampling_route", seeds=seeds, shape=(patches,))
            both = with_routed(forward, text, forward, draws, self.routed.share)
        else:
            text, weaker = self._texts(prompts, request.negative_prompt)
            both = with_empty(forward, text, weaker)
        return guided(unguided(forward, text), both, self.guidance, settings, scheduler)

    def _forward(self, denoiser: Denoiser, request: SamplingRequest) -> Forward:
        """Return a denoiser with the numbers of the request, which all of its images share."""
        if not request.scalars:
            return denoiser
        numbers = torch.tensor([[request.scalars[name] for name in denoiser.scalars]], device=self.device)
        return partial(denoiser, scalars=numbers)

    def _latent_shape(self, request: SamplingRequest) -> tuple[int, int, int]:
        return LatentShape.of(self.vae)(request.height, request.width)

    def _texts(self, prompts: Sequence[str], negative: str) -> tuple[TextStates, TextStates]:
        """Return the prompts' conditions and as many of the negative prompt, padded alike."""
        count = len(prompts)
        null = [False] * count + [negative == ""] * count
        both = self._encode(self.denoiser, [*prompts, *[negative] * count], null)
        return TextStates(*(part[:count] for part in both)), TextStates(*(part[count:] for part in both))

    def _encode(self, denoiser: Denoiser, captions: Sequence[str], null: Sequence[bool]) -> TextStates:
        return denoiser.condition(moved(self.conditions(captions, null), self.device))

    def _noise(self, purpose: str, step: int, seeds: Sequence[int], shape: tuple[int, ...]) -> Tensor:
        draws = [Streams(seed).normal(purpose, step, shape) for seed in seeds]
        return move(torch.from_numpy(np.stack(draws)), self.device)
