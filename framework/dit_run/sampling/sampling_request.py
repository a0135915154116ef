"""A request for images: prompts, and the settings to sample them with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

from dit_run.compute.random_streams import MAX_SEED
from dit_run.data.aspect_buckets import Size
from dit_run.model.guided_prediction import GuidanceSettings
from dit_run.problems import InputError

if TYPE_CHECKING:  # an export carries this module without the config
    from dit_run.settings import SamplingOptions

__all__ = ["PREVIEW_BATCH", "SCORING_BATCH", "SamplingRequest"]

PREVIEW_BATCH, SCORING_BATCH = 16, 50
"""Batch size of sampling: for previews, and for metrics."""


@dataclass(frozen=True)
class SamplingRequest:
    """Prompts, and the settings to sample them with."""

    prompts: tuple[str, ...]
    height: int
    """Pixels; a multiple of the VAE's factor times the model's patch size."""
    width: int
    sampler: str | None = None
    """None uses the scheduler's first sampler."""
    steps: int = 50
    guidance: GuidanceSettings = field(default_factory=GuidanceSettings)
    seed: int = 0
    """All noise of image i depends on seed + i alone."""
    negative_prompt: str = ""
    batch_size: int = PREVIEW_BATCH
    scalars: Mapping[str, float] = field(default_factory=dict)
    """Values of numbers that the model takes, in place of those of the pipeline."""

    @property
    def batches(self) -> int:
        """Number of batches."""
        return -(-len(self.prompts) // self.batch_size)

    @classmethod
    def of(
        cls, options: SamplingOptions, prompts: Sequence[str], *, size: Size, batch_size: int = PREVIEW_BATCH
    ) -> SamplingRequest:
        """Return a request for images of ``size``, (height, width), with a config's section ``sampling``."""
        return cls(
            prompts=tuple(prompts),
            height=size[0],
            width=size[1],
            sampler=options.sampler,
            steps=options.steps,
            guidance=GuidanceSettings(options.guidance_scale, options.guidance_rescale, options.guidance_interval),
            seed=options.seed,
            batch_size=batch_size,
        )

    def refuse_numbers_out_of_range(self) -> None:
        """Raise InputError for a batch size, a number of steps, a seed or guidance scales that no run can use."""
        if self.batch_size < 1:
            raise InputError(f"the batch size of sampling must be at least 1, not {self.batch_size}")
        if self.steps < 1:
            raise InputError(f"sampling needs at least 1 step, not {self.steps}")
        if not 0 <= self.seed <= MAX_SEED - len(self.prompts):
            raise InputError(f"the sampling seed must be a number from 0 to nearly {MAX_SEED}, not {self.seed}")
        scale = self.guidance.scale
        if isinstance(scale, tuple) and len(scale) != len(self.prompts):
            raise InputError(
                f"there are {len(scale)} guidance scales for {len(self.prompts)} images; give one for each"
            )
        for each in self.guidance.scales:
            if not 0 <= each < inf:
                raise InputError(f"the guidance scale must be a number of at least 0, not {each:g}")
