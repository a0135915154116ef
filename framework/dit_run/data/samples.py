"""Samples of a run: the image and caption at each position, and their pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dit_run.compute.random_streams import Streams
from dit_run.data.aspect_buckets import BucketedSizes, Size
from dit_run.data.bad_samples import BadSample
from dit_run.data.bucket_order import BucketOrder
from dit_run.data.captions import plain_text, text_at
from dit_run.data.dataset_parts import Parts
from dit_run.data.grouping import Grouping
from dit_run.data.images import read_image
from dit_run.data.mixture_order import MixtureOrder, weights_of
from dit_run.data.order import Order
from dit_run.data.scalars import Scalars
from dit_run.data.shard_windows import SampleShards
from dit_run.data.splits import dataset_split
from dit_run.data.visits import FetchedVisits, Visit
from dit_run.problems import InputError
from dit_run.protocols import Dataset, DatasetPart, Sample, Sharded
from dit_run.registry.kind_options import DatasetCommon

__all__ = ["Samples", "choose"]

T = TypeVar("T")


@dataclass(frozen=True)
class Samples:
    """Samples of a dataset in the endless order of a run. Picklable."""

    dataset: Dataset
    indices: NDArray[np.int64]
    """Indices of the samples in the dataset."""
    common: DatasetCommon
    seed: int
    sizes: BucketedSizes | None = None
    """None: all images become squares of ``image_size``."""
    batch_size: int | None = None
    """Number of consecutive positions that share a size; None: the order does not depend on sizes."""
    augmented: bool = True
    """False: visits are neither mirrored nor cropped at random, and captions keep their tags."""
    windowed: bool = False
    """True: parts with ``shuffle_window`` are read in windows of shards; their indices are ascending."""
    scalars: Scalars = field(default_factory=lambda: Scalars(()))
    """The numbers that the model takes."""
    parts: Parts = field(init=False)
    """The parts of the dataset."""
    order: Order = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", Parts.of(self.dataset, self.common))
        object.__setattr__(self, "order", self._order())

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave out the order, which follows from the rest: mapped arrays then travel as their place in a file."""
        return Samples, tuple(getattr(self, each.name) for each in fields(self) if each.init)

    def _order(self) -> Order:
        size, sized = len(self.indices), self.sizes if self.batch_size is not None else None
        if self.parts.mixed:
            weights = weights_of(part.weight for part in self.parts.parts)
            grouping = self._grouping(sized)
            return MixtureOrder(size, self.seed, grouping, weights, self.batch_size or 1, shards=self._shards())
        if sized is not None and self.batch_size is not None:
            return BucketOrder(size, self.seed, self._grouping(sized), self.batch_size, shards=self._shards())
        return Order(size, self.seed, shards=self._shards())

    def _grouping(self, sizes: BucketedSizes | None) -> Grouping:
        """Return the samples by size, of which there is one without ``sizes``, and part."""
        if sizes is not None and sizes.grouping is not None:
            return sizes.grouping
        parts = self.part_of_sample
        return Grouping.of(np.zeros_like(parts) if sizes is None else sizes.of_sample, parts)

    def _shards(self) -> SampleShards | None:
        """Return where the samples lie if they are read in windows of shards."""
        if not self.windowed:
            return None
        return SampleShards(self.indices, self.parts.shard_windows())

    @property
    def part_of_sample(self) -> NDArray[np.int64]:
        """The number of the part of each sample, in the order of the samples."""
        return self.parts.number(self.indices)

    def __len__(self) -> int:
        return len(self.indices)

    def size_of(self, place: int) -> Size:
        """Return the size of the pixels of the sample ``indices[place]``."""
        if self.sizes is None:
            return self.common.image_size, self.common.image_size
        return self.sizes.sizes[int(self.sizes.of_sample[place])]

    def indices_by_size(self) -> dict[tuple[Size, int], NDArray[np.int64]]:
        """Return the dataset's indices of the samples of each size and part (number)."""
        side = self.common.image_size
        sizes = ((side, side),) if self.sizes is None else self.sizes.sizes
        if self.sizes is None and not self.parts.mixed:
            return {(sizes[0], 0): self.indices}
        members = self._grouping(self.sizes).members()
        return {(sizes[size], part): self.indices[places] for (size, part), places in members.items()}

    def sizes_and_parts(self) -> list[tuple[Size, int]]:
        """Return the sizes, each with the number of a part, that some samples have."""
        if self.sizes is None or self.sizes.grouping is None:
            return list(self.indices_by_size())
        return [(self.sizes.sizes[size], part) for size, part in self.sizes.grouping.present]

    def mirrored_too(self) -> int:
        """Return the number of the samples, each twice if its part mirrors images."""
        counts = np.bincount(self.part_of_sample, minlength=len(self.parts.parts)).tolist()
        return sum(count * (1 + part.common.random_flip) for count, part in zip(counts, self.parts.parts, strict=True))

    def squares(self) -> Samples:
        """Return the same samples as squares, in the order of a run without buckets."""
        return replace(self, sizes=None, batch_size=None)

    def of_largest_size(self) -> Samples:
        """Return the samples whose size has most pixels: any positions of them fit into one batch."""
        if self.sizes is None:
            return self
        area = np.array([height * width for height, width in self.sizes.sizes])[self.sizes.of_sample]
        return self._of_size(self.sizes, int(self.sizes.of_sample[int(np.argmax(area))]))

    def by_size(self) -> list[Samples]:
        """Return the samples of each size that has some, from the highest to the widest size."""
        sizes = self.sizes
        return [self] if sizes is None else [self._of_size(sizes, size) for size in np.unique(sizes.of_sample).tolist()]

    def _of_size(self, sizes: BucketedSizes, number: int) -> Samples:
        chosen = sizes.of_sample == number
        return replace(self, indices=self.indices[chosen], sizes=sizes[chosen], batch_size=None)

    def once(self, count: int, batch_size: int) -> Iterator[list[int]]:
        """Yield the positions below ``count`` in groups of at most ``batch_size`` whose samples share a size.

        For samples without ``batch_size``, whose first positions visit each sample once, except for a mixture.
        """
        _, places = self.order.visits(range(count))
        groups: dict[Size, list[int]] = {}
        for position, place in enumerate(places.tolist()):
            groups.setdefault(self.size_of(place), []).append(position)
        for positions in groups.values():
            for start in range(0, len(positions), batch_size):
                yield positions[start : start + batch_size]

    def visits(self, positions: Sequence[int], attempt: int = 0) -> list[Visit]:
        """Return the visits at these positions, a function of seed and position alone.

        ``attempt`` k gives replacements, see :meth:`dit_run.data.order.Order.visits`, with their own captions, flips
        and crops.
        """
        epochs, places = self.order.visits(positions, attempt)
        samples = [self.dataset[int(self.indices[place])] for place in places]
        shown = self.order.captions(epochs, places, [len(sample.captions) for sample in samples]).tolist()
        for at, sample in enumerate(samples):
            if sample.weights:
                shown[at] = self.order.weighted_caption(int(epochs[at]), int(places[at]), sample.weights)
        streams = Streams(self.seed)
        flips = streams.uniforms("flip", positions)
        crops = any(part.common.crop == "random" for part in self.parts.parts) and self.augmented
        offsets = streams.uniforms("crop", positions) if crops else np.full(len(positions), 0.5)
        indices = self.indices[places]
        parts = self.parts.number(indices).tolist()
        rules = [self._common(index) for index in indices.tolist()]
        visits = [
            Visit(
                index=int(self.indices[place]),
                key=sample.key,
                caption=text_at(sample.captions[at], common, streams, position),
                image=sample.image,
                flip=bool(common.random_flip and flip < 0.5),
                offset=float(offset) if common.crop == "random" else 0.5,
                size=self.size_of(place),
                part=part,
            )
            for position, place, part, common, sample, at, flip, offset in zip(
                positions, places.tolist(), parts, rules, samples, shown, flips, offsets, strict=True
            )
        ]
        if not self.scalars.names:
            return visits
        return [self._with_scalars(*each) for each in zip(visits, samples, strict=True)]

    def _with_scalars(self, visit: Visit, sample: Sample) -> Visit:
        values = self.scalars.values(sample, visit.index, visit.size, visit.offset, visit.flip)
        return replace(visit, scalars=values)

    def _common(self, index: int) -> DatasetCommon:
        """Return the options that hold for the dataset's sample ``index``."""
        common = self.parts.common(index)
        return common if self.augmented else common.without_augmentation()

    def texts(self, index: int) -> tuple[str, ...]:
        """Return the texts of all captions of the dataset's sample ``index``, with all tags in their order."""
        return tuple(plain_text(caption, self._common(index)) for caption in self.dataset[index].captions)

    def without_augmentation(self) -> Samples:
        """Return the same samples, neither mirrored nor cropped at random nor with other tags, whatever a run does."""
        return replace(self, augmented=False)

    def pixels(self, visit: Visit) -> NDArray[np.uint8]:
        """Return the pixels of a visit, uint8 [height, width, 3]. Raises InputError naming file and reason."""
        background = self._common(visit.index).alpha_background
        pixels = read_image(visit.image, visit.size, background=background, offset=visit.offset)
        return np.ascontiguousarray(pixels[:, ::-1]) if visit.flip else pixels

    def read(self, positions: Sequence[int], fetch: Callable[[Visit], T]) -> FetchedVisits[T]:
        """Return visits with the value of ``fetch`` for each (:meth:`pixels`, or cached latents).

        With ``on_bad_sample: skip``, a visit for which ``fetch`` raises InputError is replaced by the next sample of
        its epoch. The order thus stays a function of seed, position and data, whichever process reads. Raises
        InputError with ``error``, and if no sample can be read.
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
                raise InputError(f"none of the {len(self)} samples can be read; the last error: {bad[-1].reason}")
        return FetchedVisits(visits, values, tuple(bad))

    def _skipped(self, visit: Visit, error: InputError) -> BadSample:
        if self._common(visit.index).on_bad_sample == "error":
            raise InputError(
                f"{error}\nRepair or remove it, or leave out such samples with data.on_bad_sample=skip"
            ) from error
        return BadSample(visit.key, str(error))


def choose(dataset: Dataset, common: DatasetCommon, seed: int) -> tuple[Samples, Samples | None]:
    """Return the training samples, and the validation samples or None. Raises InputError for an empty dataset.

    Each part of a mixture is chosen from by its own options and keys, so a sample of it stays on its side in a mixture.
    """
    if len(dataset) == 0:
        raise InputError("the dataset has no samples (data)")
    parts = Parts.of(dataset, common)
    for part in parts.parts:
        _check_window(part)
    chosen = [
        dataset_split(
            part.dataset,
            seed=seed,
            num_samples=part.common.num_samples,
            train_split=part.common.train_split,
            ascending=part.common.shuffle_window is not None,
        )
        for part in parts.parts
    ]
    train = _joined(parts, [each.train for each in chosen])
    held_out = _joined(parts, [each.validation for each in chosen])
    validation = Samples(dataset, held_out, common, seed) if len(held_out) else None
    windowed = any(part.common.shuffle_window is not None for part in parts.parts)
    return Samples(dataset, train, common, seed, windowed=windowed), validation


def _joined(parts: Parts, indices: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return indices in the dataset of samples of each part, given by their indices in the part."""
    if not parts.mixed:
        return indices[0]
    return np.concatenate([own + parts.start(number) for number, own in enumerate(indices)])


def _check_window(part: DatasetPart) -> None:
    """Raise InputError for windows of shards of a dataset without shards."""
    if part.common.shuffle_window is not None and not isinstance(part.dataset, Sharded):
        of_part = f" of part {part.name}" if part.name else ""
        raise InputError(
            f"data.shuffle_window is {part.common.shuffle_window}, but the samples{of_part} do not lie in shards; "
            "set it to null, with which all samples are shuffled among themselves"
        )
