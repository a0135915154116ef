"""Prompts to pictures: what `dit-run sample`, previews and metrics have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import inf

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dit_run.assembly.parts import Encoders
from dit_run.compute.precision import Precision
from dit_run.compute.random_streams import MAX_SEED, Streams
from dit_run.model.codec import decode_latents
from dit_run.model.conditioning import Conditions
from dit_run.model.denoiser import Denoiser
from dit_run.model.guidance import Guidance, guided
from dit_run.problems import InputError
from dit_run.protocols import VAE, Scheduler, TextStates
from dit_run.reporting import Reporter
from dit_run.sampling.image_files import to_images
from dit_run.settings import Config, SamplingOptions

__all__ = ["PREVIEW_BATCH", "SCORING_BATCH", "Pipeline", "Request"]

PREVIEW_BATCH, SCORING_BATCH = 16, 50
"""Pictures that are drawn at a time: to look at, and for metrics."""


@dataclass(frozen=True)
class Request:
    """What to draw, and how."""

    prompts: tuple[str, ...]
    height: int
    """Pixels; a multiple of the VAE's factor times the model's patch size."""
    width: int
    sampler: str | None = None
    """None takes the scheduler's first."""
    steps: int = 50
    guidance: Guidance = field(default_factory=Guidance)
    seed: int = 0
    """All noise of picture i depends on seed + i alone."""
    negative_prompt: str = ""
    batch_size: int = PREVIEW_BATCH

    @classmethod
    def of(
        cls, options: SamplingOptions, prompts: Sequence[str], *, image_size: int, batch_size: int = PREVIEW_BATCH
    ) -> Request:
        """A request with the settings of a config's ``sampling`` section."""
        guidance = Guidance(options.guidance_scale, options.guidance_rescale, options.guidance_interval)
        return cls(
            tuple(prompts),
            image_size,
            image_size,
            options.sampler,
            options.steps,
            guidance,
            options.seed,
            "",
            batch_size,
        )


@dataclass(frozen=True)
class Pipeline:
    """LoadedRun parts, ready to draw. The denoiser may be the live one or the averaged one."""

    denoiser: Denoiser
    conditions: Conditions
    vae: VAE
    scheduler: Scheduler
    patch_size: int
    device: torch.device
    precision: Precision

    @classmethod
    def of(
        cls, config: Config, encoders: Encoders, denoiser: Denoiser, scheduler: Scheduler, device: torch.device
    ) -> Pipeline:
        """Return the pipeline of a config's parts on their device."""
        return cls(
            denoiser=denoiser,
            conditions=encoders.conditions,
            vae=encoders.vae,
            scheduler=scheduler,
            patch_size=denoiser.model.patch_size,  # type: ignore[arg-type]
            device=device,
            precision=Precision.of(config.training.mixed_precision, device),
        )

    def images(self, request: Request) -> Iterator[Image.Image]:
        """A picture per prompt, in order. Raises InputError for a size or sampler that does not fit."""
        request = self._checked(request)
        training = self.denoiser.training
        self.denoiser.eval()
        try:
            for start in range(0, len(request.prompts), request.batch_size):
                yield from self._batch(request, start)
        finally:
            self.denoiser.train(training)

    def drawn(self, request: Request, reporter: Reporter, name: str = "drawing") -> list[Image.Image]:
        """:meth:`images`, all of them, and how many there are as it goes on."""
        count = len(request.prompts)
        images: list[Image.Image] = []
        reporter.phase(name, 0, count)
        for image in self.images(request):
            images.append(image)
            reporter.phase(name, len(images), count)
        return images

    def _checked(self, request: Request) -> Request:
        unit = self.vae.factor * self.patch_size
        if request.height % unit or request.width % unit:
            raise InputError(
                f"pictures of {request.height}x{request.width} pixels: height and width must be multiples of {unit} "
                f"(VAE factor {self.vae.factor} times patch size {self.patch_size})"
            )
        names = self.scheduler.samplers
        if request.sampler is not None and request.sampler not in names:
            raise InputError(f"sampler {request.sampler!r} does not fit this scheduler; it offers {', '.join(names)}")
        if request.steps < 1:
            raise InputError(f"sampling takes at least 1 step, not {request.steps}")
        if not 0 <= request.seed <= MAX_SEED - len(request.prompts):
            raise InputError(f"a sampling seed is a number from 0 to nearly {MAX_SEED}, not {request.seed}")
        if not 0 <= request.guidance.scale < inf:
            raise InputError(f"a guidance scale is a number of at least 0, not {request.guidance.scale:g}")
        return replace(request, sampler=request.sampler or names[0])

    @torch.no_grad()
    def _batch(self, request: Request, start: int) -> list[Image.Image]:
        prompts = request.prompts[start : start + request.batch_size]
        seeds = [request.seed + start + index for index in range(len(prompts))]
        factor = self.vae.factor
        shape = (self.vae.latent_channels, request.height // factor, request.width // factor)
        assert request.sampler is not None
        with self.precision.autocast():
            text, empty = self._text(prompts, request)
            latents = self.scheduler.sample(
                guided(self.denoiser, text, empty, request.guidance),
                self._noise("sampling_start", 0, seeds, shape),
                sampler=request.sampler,
                steps=request.steps,
                step_noise=lambda step: self._noise("sampling_step", step, seeds, shape),
            )
        return to_images(decode_latents(self.vae, latents, self.precision.dtype))

    def _text(self, prompts: Sequence[str], request: Request) -> tuple[TextStates, TextStates | None]:
        """Conditions of the prompts and, where guidance wants it, of what to move away from, padded alike."""
        count = len(prompts)
        if not request.guidance.active:
            return self._encode(prompts, [False] * count), None
        negative = request.negative_prompt
        both = self._encode([*prompts, *[negative] * count], [False] * count + [negative == ""] * count)
        return TextStates(*(part[:count] for part in both)), TextStates(*(part[count:] for part in both))

    def _encode(self, captions: Sequence[str], null: Sequence[bool]) -> TextStates:
        text = self.conditions(captions, null)
        return self.denoiser.condition(type(text)(*(part.to(self.device) for part in text)))

    def _noise(self, purpose: str, step: int, seeds: Sequence[int], shape: tuple[int, int, int]) -> Tensor:
        draws = [Streams(seed).normal(purpose, step, shape) for seed in seeds]
        return torch.from_numpy(np.stack(draws)).to(self.device)
