"""The samples of a run: which picture and caption stand at a position, and their pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dit_run.compute.random_streams import Streams
from dit_run.data.images import read_image
from dit_run.data.order import Order
from dit_run.data.splits import split
from dit_run.problems import InputError
from dit_run.protocols import Dataset
from dit_run.registry.kinds import DatasetCommon

__all__ = ["MAX_BAD_SHARE", "BadSample", "BadSamples", "Reading", "Samples", "Visit", "choose"]

MAX_BAD_SHARE = 0.05
"""The share of samples that may be skipped before a run stops."""

T = TypeVar("T")


@dataclass(frozen=True)
class Visit:
    """What one position shows."""

    index: int
    """The sample's index in the dataset."""
    key: str
    caption: str
    image: Path | Callable[[], Image.Image]
    flip: bool
    offset: float
    """Where the square lies along the longer side, in [0, 1)."""


class BadSample(NamedTuple):
    """A sample that was skipped."""

    key: str
    reason: str


class Reading(NamedTuple, Generic[T]):
    """What stands at some positions, bad samples replaced by their stand-ins."""

    visits: list[Visit]
    values: list[T]
    """What was fetched for each visit."""
    bad: tuple[BadSample, ...]
    """The samples that had to be skipped on the way."""


@dataclass(frozen=True)
class Samples:
    """Some samples of a dataset in the endless order of a run. Picklable."""

    dataset: Dataset
    indices: NDArray[np.int64]
    """Their indices in the dataset."""
    common: DatasetCommon
    seed: int
    order: Order = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "order", Order(len(self.indices), self.seed))

    def __len__(self) -> int:
        return len(self.indices)

    def visits(self, positions: Sequence[int], attempt: int = 0) -> list[Visit]:
        """What stands at these positions: a function of seed and position alone.

        ``attempt`` k names stand-ins, see :meth:`dit_run.data.order.Order.visits`; caption, flip and place are theirs.
        """
        epochs, places = self.order.visits(positions, attempt)
        samples = [self.dataset[int(self.indices[place])] for place in places]
        shown = self.order.captions(epochs, places, [len(sample.captions) for sample in samples])
        streams = Streams(self.seed)
        flips = streams.uniforms("flip", positions) < (0.5 if self.common.random_flip else 0.0)
        offsets = streams.uniforms("crop", positions) if self.common.crop == "random" else [0.5] * len(positions)
        return [
            Visit(int(self.indices[place]), sample.key, sample.captions[at], sample.image, bool(flip), float(offset))
            for place, sample, at, flip, offset in zip(places, samples, shown, flips, offsets, strict=True)
        ]

    def pixels(self, visit: Visit) -> NDArray[np.uint8]:
        """uint8 [image_size, image_size, 3] of a visit. Raises InputError naming the file and what is wrong."""
        common = self.common
        pixels = read_image(visit.image, common.image_size, background=common.alpha_background, offset=visit.offset)
        return np.ascontiguousarray(pixels[:, ::-1]) if visit.flip else pixels

    def read(self, positions: Sequence[int], fetch: Callable[[Visit], T]) -> Reading[T]:
        """Visits with what ``fetch`` (:meth:`pixels`, or kept latents) makes of them.

        Under ``on_bad_sample: skip`` a visit for which ``fetch`` raises InputError gives way to the sample that comes
        next in its epoch, so the order stays a function of seed, position and data, whichever process reads.
        Raises InputError under ``error``, and where no sample can be read at all.
        """
        visits, values, bad = self.visits(positions), list[T](), list[BadSample]()
        for place, position in enumerate(positions):
            for attempt in range(1, len(self) + 1):
                try:
                    values.append(fetch(visits[place]))
                    break
                except InputError as error:
                    bad.append(self._skipped(visits[place], error))
                    visits[place] = self.visits([position], attempt)[0]
            else:
                raise InputError(f"none of the {len(self)} samples can be read; the last: {bad[-1].reason}")
        return Reading(visits, values, tuple(bad))

    def _skipped(self, visit: Visit, error: InputError) -> BadSample:
        if self.common.on_bad_sample == "error":
            raise InputError(
                f"{error}\nMend or remove it, or set data.on_bad_sample: skip to leave such samples out"
            ) from error
        return BadSample(visit.key, str(error))


class BadSamples:
    """The distinct samples skipped so far. At least one may be bad, and of many the share MAX_BAD_SHARE."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.reasons: dict[str, str] = {}
        """What was wrong, by key."""

    def add(self, bad: Iterable[BadSample]) -> tuple[BadSample, ...]:
        """Count them; returns those that are new. Raises InputError when they are more than the share."""
        new = tuple(sample for sample in dict(bad).items() if sample[0] not in self.reasons)
        self.reasons.update(new)
        if len(self.reasons) > max(1, MAX_BAD_SHARE * self.total):
            raise InputError(
                f"{len(self.reasons)} of {self.total} samples cannot be read, more than {MAX_BAD_SHARE:.0%}: "
                + "; ".join(list(self.reasons.values())[:5])
            )
        return tuple(BadSample(*sample) for sample in new)


def choose(dataset: Dataset, common: DatasetCommon, seed: int) -> tuple[Samples, Samples | None]:
    """The training samples and, where some are held out, the validation samples. Raises InputError where none are."""
    if len(dataset) == 0:
        raise InputError("the dataset has no samples (data)")
    chosen = split(
        (dataset[index].key for index in range(len(dataset))),
        seed=seed,
        num_samples=common.num_samples,
        train_split=common.train_split,
    )
    train = Samples(dataset, chosen.train, common, seed)
    return train, Samples(dataset, chosen.validation, common, seed) if len(chosen.validation) else None
