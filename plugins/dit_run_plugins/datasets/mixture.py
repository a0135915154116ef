"""A mixture of datasets."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Annotated

from dit_run.digests import combined
from dit_run.options import PositiveFloat, bounds, components_of
from dit_run.problems import Problem
from dit_run.settings import Choice

if TYPE_CHECKING:
    from dit_run.data.shard_cache import ShardCache
    from dit_run.protocols import Dataset, DatasetPart, LeftOut, RuleContext, Sample

__all__ = ["Mixture", "MixtureDataset", "PartOptions", "build", "names_differ"]


@dataclass(frozen=True, kw_only=True)
class PartOptions:
    """The keys of a part next to those of its dataset."""

    weight: PositiveFloat = 1.0
    """Share of the visits, relative to the weights of the other parts."""
    name: Annotated[str, bounds(pattern="^[^/]+$")] | None = None
    """Name of the part in keys of samples, logs and messages; null takes its `type`. No two parts share a name."""


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Several datasets in exact shares.

    Each part is a dataset with its own options, and may have its own rules for captions, buckets, flip, crop,
    `num_samples` and `train_split`; those that it does not write are those of the mixture.
    """

    parts: Annotated[tuple[Choice, ...], components_of("dataset", PartOptions, without=("image_size",))]
    """The datasets, such as `[{type: coco, weight: 2}, {type: custom, dataset_path: ./birds}]`."""


def part_name(part: Choice) -> str:
    """Return the name of a part."""
    name: str = part.item.name or part.type
    return name


def names_differ(context: RuleContext) -> Iterator[Problem]:
    """Refuse two parts of one name, whose samples would have the same keys."""
    first: dict[str, int] = {}
    for index, part in enumerate(context.options.parts):
        name = part_name(part)
        if first.setdefault(name, index) == index:
            continue
        paths = [
            (*context.path, "parts", at, "type" if part.item.name is None else "name") for at in (index, first[name])
        ]
        yield Problem(
            "same-name",
            f"data.parts[{first[name]}] and data.parts[{index}] are both called {name!r}, so keys of their samples and "
            "values in logs could not be told apart",
            paths[0],
            related=tuple(paths[1:]),
            help=("give one of them another name, such as name: more",),
        )


@dataclass(frozen=True)
class MixtureDataset:
    """The samples of all parts, one part after the other."""

    mixed_parts: tuple[DatasetPart, ...]
    ends: tuple[int, ...]
    """End of the indices of each part."""

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        from dit_run.protocols import LeavesOut

        return tuple(
            replace(row, reason=f"{row.reason} in part {part.name}")
            for part in self.mixed_parts
            if isinstance(part.dataset, LeavesOut)
            for row in part.dataset.left_out
        )

    @property
    def identity(self) -> str | None:
        """Digest of everything that decides the samples; None if a part does not name its own."""
        from dit_run.protocols import Identified

        parts = [(part.name, part.dataset) for part in self.mixed_parts]
        known = [(name, part.identity if isinstance(part, Identified) else None) for name, part in parts]
        return None if any(identity is None for _, identity in known) else combined(known)

    @property
    def images_identity(self) -> str | None:
        """Digest of everything that decides the images; None if a part does not name its own."""
        from dit_run.protocols import IdentifiedImages

        parts = [part.dataset for part in self.mixed_parts]
        known = [part.images_identity if isinstance(part, IdentifiedImages) else None for part in parts]
        return None if None in known else combined(known)

    def keys(self) -> Iterator[str]:
        """Yield the keys of all samples; a part that knows its own makes no samples."""
        from dit_run.protocols import Identified

        for part in self.mixed_parts:
            data = part.dataset
            keys = data.keys() if isinstance(data, Identified) else (data[index].key for index in range(len(data)))
            yield from (f"{part.name}/{key}" for key in keys)

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = bisect_right(self.ends, index)
        part = self.mixed_parts[number]
        sample = part.dataset[index - (self.ends[number - 1] if number else 0)]
        return replace(sample, key=f"{part.name}/{sample.key}")


def build(options: Mixture, *, scalars: Sequence[str] = (), shard_cache: ShardCache | None = None) -> Dataset:
    """Return the samples of all parts, with the name of the part before each key.

    Raises InputError as the dataset of a part does.
    """
    from dit_run.protocols import DatasetPart

    parts = tuple(
        DatasetPart(part_name(part), _dataset(part, scalars, shard_cache), part.item.weight, part.common)
        for part in options.parts
    )
    return MixtureDataset(parts, tuple(accumulate(len(part.dataset) for part in parts)))


def _dataset(part: Choice, scalars: Sequence[str], shard_cache: ShardCache | None) -> Dataset:
    from dit_run.problems import InputError
    from dit_run.registry.factories import make

    common = part.common
    try:
        dataset: Dataset = make(
            part.component,
            part.options,
            image_size=common.image_size,
            on_bad_sample=common.on_bad_sample,
            scalars=scalars,
            shard_cache=shard_cache,
        )
    except InputError as error:
        raise InputError(f"part {part_name(part)} of the mixture: {error}") from error
    if len(dataset) == 0:
        raise InputError(f"part {part_name(part)} of the mixture has no samples (data.parts)")
    return dataset
