"""The contract of a dataset."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from dit_run.data.images import read_image
from dit_run.data.scalar_columns import is_scalar
from dit_run.problems import InputError
from dit_run.protocols import Dataset, Identified, IdentifiedImages, LeavesOut, LeftOut, Mixed, Sample, Sharded
from dit_run.registry.components import Component, Kind
from dit_run.system.file_ranges import FilePart
from dit_run.testing.contract_error import Check, Subject, check_all
from dit_run.testing.worker_process import OtherProcess, elsewhere

__all__ = ["CHECKS", "check_dataset"]

_SIZE = 32
_MOST_KEYS = 10_000


def check_dataset(component: Component | str | Path, **options: Any) -> None:
    """Test a dataset with these options: the first 10,000 samples, and the images of a few of them.

    ``component`` is a Component, the type of an installed one, or the path of a plugin file. Raises ContractError, and
    InputError as the factory does.
    """
    check_all(Subject.of(Kind.DATASET, component, options), CHECKS)


def _make(subject: Subject) -> Dataset:
    dataset = subject.make(image_size=_SIZE, on_bad_sample="error", scalars=(), shard_cache=None)
    for method in ("__len__", "__getitem__"):
        subject.expect(
            hasattr(type(dataset), method),
            f"the factory returned {type(dataset).__name__}, which has no {method}; return a sequence of Sample",
        )
    subject.expect(len(dataset) > 0, "it has no samples; raise InputError and name the empty file or folder")
    return dataset  # type: ignore[no-any-return]


def _some(dataset: Dataset) -> list[int]:
    """Return a few indices, the first and the last included."""
    last = len(dataset) - 1
    return sorted({0, min(1, last), last // 2, last})


def gives_samples(subject: Subject) -> None:
    """Check that every item is a Sample with captions and an image."""
    dataset = _make(subject)
    for index in range(min(len(dataset), _MOST_KEYS)):
        try:
            sample = dataset[index]
        except IndexError as error:
            subject.fail(f"its length is {len(dataset)}, and item {index} raises IndexError: {error}")
        subject.expect(
            isinstance(sample, Sample),
            f"item {index} is {type(sample).__name__}; return dit_run.protocols.Sample(key, captions, image)",
        )
        subject.expect(
            isinstance(sample.key, str) and bool(sample.key),
            f"the key of item {index} is {sample.key!r}; use a string that is the same on every machine",
        )
        subject.expect(
            isinstance(sample.captions, tuple)
            and bool(sample.captions)
            and all(isinstance(caption, str) for caption in sample.captions),
            f"the captions of item {index} are {sample.captions!r}; use a tuple of at least one string",
        )
        subject.expect(
            len(sample.weights) in (0, len(sample.captions)) and all(0 < each < math.inf for each in sample.weights),
            f"the weights of item {index} are {sample.weights!r}; use a number above 0 for each caption, or ()",
        )
        for name, value in sample.scalars.items():
            subject.expect(
                isinstance(value, int | float) and is_scalar(value),
                f"the scalar {name!r} of item {index} is {value!r}; use a finite number, or leave it out",
            )
        subject.expect(
            isinstance(sample.image, Path | FilePart) or callable(sample.image),
            f"the image of item {index} is {type(sample.image).__name__}; "
            "use the Path of a file, a FilePart, or a function that returns a PIL image",
        )


def names_each_sample_once(subject: Subject) -> None:
    """Check that no two samples have the same key."""
    dataset = _make(subject)
    seen: dict[str, int] = {}
    for index in range(min(len(dataset), _MOST_KEYS)):
        key = dataset[index].key
        subject.expect(
            key not in seen,
            f"items {seen.get(key)} and {index} have the key {key!r}; "
            "make keys unique, because they decide order and split",
        )
        seen[key] = index


def keeps_its_order(subject: Subject) -> None:
    """Check that its length and its items stay the same, in whatever order they are read."""
    dataset = _make(subject)
    length = len(dataset)
    indices = range(min(length, _MOST_KEYS))
    before = [dataset[index].key for index in indices]
    after = [dataset[index].key for index in reversed(indices)][::-1]
    for index, key, other in zip(indices, before, after, strict=True):
        subject.expect(
            key == other,
            f"item {index} is {key!r}, and {other!r} when it is read again in another order; "
            "let item and index belong together, the core shuffles",
        )
    subject.expect(
        len(dataset) == length, f"its length is {length}, and {len(dataset)} after its items were read; fix it in build"
    )


def repeats_itself(subject: Subject) -> None:
    """Check that a second build holds the same samples with the same images."""
    dataset, again = _make(subject), _make(subject)
    subject.expect(
        len(dataset) == len(again),
        f"it has {len(dataset)} samples, and {len(again)} after a second build; "
        "sort file listings, and use no random numbers",
    )
    for index in range(min(len(dataset), _MOST_KEYS)):
        one, other = dataset[index], again[index]
        subject.expect(
            (one.key, one.captions) == (other.key, other.captions),
            f"item {index} is {one.key!r} with captions {one.captions!r}, and after a second build {other.key!r} "
            f"with {other.captions!r}; sort file listings, and use no random numbers",
        )
    _compare(subject, _shown(dataset, _some(dataset)), _shown(again, _some(again)), "after a second build")


def gives_images(subject: Subject) -> None:
    """Check that its images can be read."""
    dataset = _make(subject)
    for index in _some(dataset):
        sample = dataset[index]
        try:
            read_image(sample.image, (_SIZE, _SIZE))
        except InputError as error:
            subject.fail(f"the image of item {index} ({sample.key}): {error}")
        except Exception as error:  # noqa: BLE001 (a plugin may raise anything)
            subject.fail(
                f"the image of item {index} ({sample.key}) failed with {type(error).__name__}: {error}; "
                "image() must return a PIL image"
            )


def reports_what_it_leaves_out(subject: Subject) -> None:
    """Check the attribute ``left_out``, if it has one."""
    dataset = _make(subject)
    rows = dataset.left_out if isinstance(dataset, LeavesOut) else ()
    subject.expect(
        isinstance(rows, Sequence) and all(isinstance(row, LeftOut) and row.count > 0 for row in rows),
        f"its left_out is {rows!r}; use a tuple of dit_run.protocols.LeftOut with counts above 0",
    )


def names_its_content(subject: Subject) -> None:
    """Check the attributes ``identity`` and ``keys``, if it has them."""
    dataset = _make(subject)
    if not isinstance(dataset, Identified):
        return
    again, identity = _make(subject), dataset.identity
    subject.expect(identity is None or isinstance(identity, str), f"its identity is {identity!r}; use a digest or None")
    subject.expect(
        isinstance(again, Identified) and again.identity == identity,
        "its identity is another one after a second build; make it of what decides the samples alone",
    )
    keys = list(islice(dataset.keys(), _MOST_KEYS))
    own = [dataset[index].key for index in range(min(len(dataset), _MOST_KEYS))]
    subject.expect(keys == own, f"keys() begins with {keys[:3]}, and the keys of its samples with {own[:3]}")


def names_its_images(subject: Subject) -> None:
    """Check the attribute ``images_identity``, if it has one."""
    dataset = _make(subject)
    if not isinstance(dataset, IdentifiedImages):
        return
    again, identity = _make(subject), dataset.images_identity
    subject.expect(
        identity is None or isinstance(identity, str), f"its images_identity is {identity!r}; use a digest or None"
    )
    subject.expect(
        isinstance(again, IdentifiedImages) and again.images_identity in (identity, None),
        "its images_identity is another one after a second build; make it of what decides the images alone",
    )


def has_its_samples_in_shards(subject: Subject) -> None:
    """Check the attribute ``shard_starts``, if it has one."""
    dataset = _make(subject)
    if isinstance(dataset, Sharded):
        starts = [int(start) for start in dataset.shard_starts]
        subject.expect(
            len(starts) > 1 and starts[0] == 0 and starts[-1] == len(dataset) and starts == sorted(starts),
            f"its shard_starts are {starts[:5]}; use the index of the first sample of each shard, then the length",
        )


def joins_its_parts(subject: Subject) -> None:
    """Check the attribute ``mixed_parts``, if it has one: its samples are those of the parts, in their order."""
    dataset = _make(subject)
    parts = tuple(dataset.mixed_parts) if isinstance(dataset, Mixed) else ()
    if not parts:
        return
    names = [part.name for part in parts]
    subject.expect(len(set(names)) == len(names), f"the names of its parts are {names}; give each part its own")
    subject.expect(all(0 < part.weight < math.inf for part in parts), "the weight of a part must be a number above 0")
    counts = [len(part.dataset) for part in parts]
    subject.expect(sum(counts) == len(dataset), f"it has {len(dataset)} samples, and its parts have {counts}")
    keys = [f"{part.name}/{part.dataset[index].key}" for part in parts for index in range(min(len(part.dataset), 9))]
    starts = [sum(counts[:number]) for number in range(len(counts))]
    own = [dataset[start + index].key for start, n in zip(starts, counts, strict=True) for index in range(min(n, 9))]
    subject.expect(own == keys, f"its keys are {own[:3]}, and not name/key of its parts, {keys[:3]}")


def travels_to_another_process(subject: Subject) -> None:
    """Check that a worker process sees the same samples."""
    dataset = _make(subject)
    indices = _some(dataset)
    try:
        there = elsewhere(_shown, dataset, indices, files=subject.files)
    except OtherProcess as error:
        subject.fail(
            f"it does not work in a worker process: {error}; "
            "store no open files, lambdas or local functions in its attributes"
        )
    _compare(subject, _shown(dataset, indices), there, "in another process")


_Shown = tuple[str, tuple[str, ...], str]


def _shown(dataset: Dataset, indices: Sequence[int]) -> list[_Shown]:
    samples = [dataset[index] for index in indices]
    return [(sample.key, sample.captions, _digest(sample)) for sample in samples]


def _digest(sample: Sample) -> str:
    return hashlib.sha256(read_image(sample.image, (_SIZE, _SIZE)).tobytes()).hexdigest()


def _compare(subject: Subject, here: Sequence[_Shown], there: Sequence[_Shown], where: str) -> None:
    for one, other in zip(here, there, strict=True):
        subject.expect(one[:2] == other[:2], f"sample {one[0]!r} has another key or other captions {where}")
        subject.expect(
            one[2] == other[2],
            f"sample {one[0]!r} has another image {where}; let it depend on the key and the options only",
        )


CHECKS: tuple[Check, ...] = (
    gives_samples,
    names_each_sample_once,
    gives_images,
    keeps_its_order,
    repeats_itself,
    travels_to_another_process,
    reports_what_it_leaves_out,
    joins_its_parts,
    names_its_content,
    names_its_images,
    has_its_samples_in_shards,
)
