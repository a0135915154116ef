"""Proposal of a config for some data on a machine: a few keys, each with its reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dit_run.data.aspect_buckets import Buckets
from dit_run.registry.kind_options import AUTO, DatasetCommon
from dit_run.survey.machine import Machine
from dit_run.survey.recognition import FoundData
from dit_run.survey.statistics import ImageStatistics
from dit_run.system.units import size_text

__all__ = ["Line", "Plan", "Proposal"]

SMALL_SIDES = (32, 64)
"""Sides of images that are trained on as pixels: without a GPU, and with one."""
LATENT_SIDE, LEAST_SIDE = 256, 192
"""Side of images that are trained on as latents, and the least typical side of images that are enlarged to it."""
CROPPED = 0.02
"""Mean share of pixels that squares may cut off; beyond it buckets are used."""
LARGE_DATA, LARGE_CARD = 20_000, 20e9
"""Number of images and memory of a GPU (bytes) from which the medium model is proposed."""
SAMPLES_PER_STEP = 64
VISITS = 200
"""Wanted visits to each image (number)."""
STEPS = {"cpu": (1000, 2000), "cuda": (2000, 100_000)}
"""Fewest and most steps of a run, by device; other GPUs take those of cuda."""
_HELD_OUT = ((100, 0.9), (10_000, 0.95))
"""Number of images below which this share is used for training; more images use 0.99."""


@dataclass(frozen=True)
class Line:
    """A key of the config with its value and the reason for it."""

    section: str
    key: str
    """Key in the section; empty for a section that is a list."""
    value: Any
    reason: str


@dataclass(frozen=True)
class Plan:
    """The result of planning the proposed config."""

    batch_size: int
    accumulation: int
    text: str
    """Reason for the split."""
    seconds: float
    """Time of an optimizer step."""
    cache: int
    """Size of the cache (bytes)."""


@dataclass(frozen=True)
class Proposal:
    """The choices for some data on a machine."""

    found: FoundData
    images: ImageStatistics
    machine: Machine
    output_dir: str
    pretrained: bool = True
    """False where pretrained encoders are not available."""
    chosen_size: int | None = None
    """Size of images that the user chose (pixels)."""
    plan: Plan | None = None

    @property
    def latents(self) -> bool:
        """True for training on latents of a pretrained VAE, False for training on pixels."""
        large = float(np.median(self.images.sides)) >= LEAST_SIDE
        return self.pretrained and self.machine.device == "cuda" and large

    @property
    def base(self) -> tuple[str, str]:
        """The shipped config that is extended, and the reason."""
        if not self.latents:
            why = "a GPU would train on latents" if self.machine.device == "cpu" else "no pretrained encoders"
            small = float(np.median(self.images.sides)) < LEAST_SIDE
            return "quickstart.yaml", f"a small model on pixels: {'the images are small' if small else why}"
        if len(self.images) >= LARGE_DATA and self.machine.memory >= LARGE_CARD:
            return "medium.yaml", f"{len(self.images):,} images, and a card of {size_text(self.machine.memory)}"
        return "small.yaml", f"a small model, for {len(self.images):,} images"

    @property
    def image_size(self) -> int:
        if self.chosen_size is not None:
            return self.chosen_size
        if self.latents:
            return LATENT_SIDE
        return SMALL_SIDES[self.machine.device != "cpu" and float(np.median(self.images.sides)) >= SMALL_SIDES[1]]

    @property
    def samples_per_step(self) -> int:
        """A power of two that is not above the number of training images."""
        return min(SAMPLES_PER_STEP, 1 << max(0, int(len(self.images) * self.train_split).bit_length() - 1))

    @property
    def train_split(self) -> float:
        return next((share for count, share in _HELD_OUT if len(self.images) < count), 0.99)

    @property
    def steps(self) -> int:
        fewest, most = STEPS["cpu" if self.machine.device == "cpu" else "cuda"]
        wanted = VISITS * len(self.images) / self.samples_per_step
        return round(min(max(wanted, fewest), most) / 100) * 100

    def planned(self, plan: Plan) -> Proposal:
        """Return the proposal with the split of its batch."""
        return replace(self, plan=plan)

    def lines(self) -> Iterator[Line]:
        """Yield the keys in the order of the config."""
        yield from self._data()
        yield from self._training()
        yield Line("cache", "mode", "auto", self._cache_text())
        if self.latents:
            yield Line("sampling", "prompts", [], "captions of held-out images")
        elif self.found.type != "shapes":
            yield Line("metrics", "", [], "those of quickstart.yaml score images of shapes")

    def _data(self) -> Iterator[Line]:
        yield Line("data", "type", self.found.type, self.found.reason)
        for key, value in self.found.options.items():
            yield Line("data", key, value, "")
        yield Line("data", "image_size", self.image_size, self._size_text())
        yield self._buckets()
        yield Line("data", "num_samples", None, f"all {len(self.images):,} images")
        held_out = 1 - self.train_split
        yield Line("data", "train_split", self.train_split, f"{held_out:.0%} of them measure the validation loss")
        if self.found.on_bad_sample == "skip" or self.images.broken:
            yield Line("data", "on_bad_sample", "skip", self._skipped_text())

    def _size_text(self) -> str:
        return f"side in pixels; half of the images are larger than {float(np.median(self.images.sides)):.0f}"

    def _buckets(self) -> Line:
        square = Buckets(((1, 1),))
        lost = float(self.images.cropped(square).mean())
        if lost <= CROPPED:
            return Line("data", "buckets", None, f"the images are squares, or nearly: {lost:.1%} is cropped")
        common = DatasetCommon(image_size=self.image_size, buckets=AUTO)
        left = float(self.images.cropped(Buckets.of(common, 16 if self.latents else 4)).mean())
        if left >= lost:
            size = f"{self.image_size}x{self.image_size}"
            return Line("data", "buckets", None, f"{lost:.0%} of the pixels are cropped; no other size is near {size}")
        return Line("data", "buckets", AUTO, f"squares would crop {lost:.0%} of the pixels, these sizes {left:.1%}")

    def _skipped_text(self) -> str:
        reported = getattr(self.found.dataset, "left_out", ())
        parts = [f"{row.count:,} x {row.reason}" for row in reported]
        if self.images.broken:
            key, _ = next(iter(self.images.broken.items()))
            parts.append(f"{len(self.images.broken):,} unreadable, such as {key}")
        return "leaves out " + ", ".join(parts) if parts else "some samples cannot be used"

    def _training(self) -> Iterator[Line]:
        plan = self.plan or Plan(self.samples_per_step, 1, "", 0.0, 0)
        yield Line("training", "output_dir", self.output_dir, "the run folder")
        yield Line("training", "batch_size", plan.batch_size, plan.text)
        together = plan.batch_size * plan.accumulation
        yield Line("training", "gradient_accumulation_steps", plan.accumulation, f"{together} samples per step")
        yield Line("training", "num_epochs", None, "max_steps decides")
        yield Line("training", "max_steps", self.steps, self._steps_text(plan))
        yield Line("training", "mixed_precision", *self._precision())
        workers = min(8, self.machine.cores) if self.machine.cores > 1 else 0
        yield Line("training", "num_workers", workers, f"{self.machine.cores} processor cores read the images")

    def _steps_text(self, plan: Plan) -> str:
        train = max(1, round(len(self.images) * self.train_split))
        visits = self.steps * self.samples_per_step / train
        return f"each image is used about {visits:,.0f} times" + (
            f"; {plan.seconds:.2g} s a step" if plan.seconds else ""
        )

    def _precision(self) -> tuple[str, str]:
        on_cpu = self.machine.device == "cpu"
        if self.machine.has_bfloat16:
            return "bf16", f"the {'processor' if on_cpu else 'GPU'} is fastest in it"
        return ("no", "a processor without AMX") if on_cpu else ("fp16", "the GPU has no bfloat16")

    def _cache_text(self) -> str:
        if not (self.plan and self.plan.cache):
            return "nothing to cache here: pixels, and a text encoder that is trained"
        share = f"{size_text(self.plan.cache)} of the {size_text(self.machine.free)} that are free"
        return f"each image and caption is encoded once: {share}"
