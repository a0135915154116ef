"""Datasets that break one promise each."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from faults import Nothing, fault, keep
from PIL import Image

from dit_run.protocols import LeftOut, Sample
from dit_run.registry.components import Kind

KIND = Kind.DATASET


def grey_image(level: int) -> Image.Image:
    return Image.new("L", (8, 8), level % 256)


def other_image_elsewhere(home: int) -> Image.Image:
    return grey_image(0 if os.getpid() == home else 200)


SAMPLES = [Sample(f"key {index}", (f"caption {index}",), partial(grey_image, 10 * index)) for index in range(5)]


def with_item(index: int, sample: Any) -> Callable[..., Sequence[Any]]:
    """Return a factory of five samples with one of them replaced."""
    return lambda options: [sample if place == index else good for place, good in enumerate(SAMPLES)]


def build(options: Nothing, *, image_size: int) -> Sequence[Sample]:
    return SAMPLES


def test_a_list_of_samples_keeps_the_contract() -> None:
    keep(KIND, build)


def test_something_that_has_no_length() -> None:
    message = fault(KIND, lambda options: iter(SAMPLES))
    assert message == "the factory returned list_iterator, which has no __len__; return a sequence of Sample"


def test_an_empty_one() -> None:
    assert fault(KIND, lambda options: []) == ("it has no samples; raise InputError and name the empty file or folder")


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (("key", "caption"), "item 2 is tuple; return dit_run.protocols.Sample(key, captions, image)"),
        (Sample(7, ("c",), grey_image), "the key of item 2 is 7; use a string that is the same on every machine"),  # type: ignore[arg-type]
        (Sample("", ("c",), grey_image), "the key of item 2 is ''; use a string that is the same on every machine"),  # type: ignore[arg-type]
        (Sample("k", (), grey_image), "the captions of item 2 are (); use a tuple of at least one string"),  # type: ignore[arg-type]
        (Sample("k", "c", grey_image), "the captions of item 2 are 'c'; use a tuple of at least one string"),  # type: ignore[arg-type]
        (
            Sample("k", ("c",), "image.png"),  # type: ignore[arg-type]
            "the image of item 2 is str; use the Path of a file, a FilePart, or a function that returns a PIL image",
        ),
        (
            Sample("k", ("c", "d"), grey_image, (1.0, 0.0)),
            "the weights of item 2 are (1.0, 0.0); use a number above 0 for each caption, or ()",
        ),
        (
            Sample("k", ("c",), grey_image, scalars={"score": float("nan")}),
            "the scalar 'score' of item 2 is nan; use a finite number, or leave it out",
        ),
        (
            Sample("key 0", ("c",), partial(grey_image, 1)),
            "items 0 and 2 have the key 'key 0'; make keys unique, because they decide order and split",
        ),
        (
            Sample("k", ("c",), Path("no_such.png")),
            "the image of item 2 (k): cannot read the image no_such.png: there is no such file",
        ),
        (
            Sample("k", ("c",), partial(str, "not an image")),  # type: ignore[arg-type]
            "the image of item 2 (k) failed with AttributeError: 'str' object has no attribute 'size'; "
            "image() must return a PIL image",
        ),
    ],
)
def test_items_that_are_no_samples(sample: Any, message: str) -> None:
    assert fault(KIND, with_item(2, sample)) == message


def test_one_that_grows() -> None:
    sizes = itertools.chain([5, 5, 5, 5, 5], itertools.repeat(4))
    assert fault(KIND, lambda options: SAMPLES[: next(sizes)]) == (
        "it has 5 samples, and 4 after a second build; sort file listings, and use no random numbers"
    )


def test_one_in_another_order_when_built_again() -> None:
    turns = itertools.cycle([1, -1])
    assert fault(KIND, lambda options: SAMPLES[:: next(turns)]) == (
        "item 0 is 'key 0' with captions ('caption 0',), and after a second build 'key 4' with ('caption 4',); "
        "sort file listings, and use no random numbers"
    )


def test_images_that_are_random() -> None:
    levels = itertools.count(1)
    factory = with_item(0, Sample("k", ("c",), lambda: grey_image(next(levels))))
    assert fault(KIND, factory) == (
        "sample 'k' has another image after a second build; let it depend on the key and the options only"
    )


def test_one_that_cannot_be_pickled() -> None:
    factory = with_item(0, Sample("k", ("c",), lambda: grey_image(1)))
    message = fault(KIND, factory)
    assert message.startswith("it does not work in a worker process: ")
    assert message.endswith("; store no open files, lambdas or local functions in its attributes")


def test_another_image_in_another_process() -> None:
    factory = with_item(0, Sample("k", ("c",), partial(other_image_elsewhere, os.getpid())))
    assert fault(KIND, factory) == (
        "sample 'k' has another image in another process; let it depend on the key and the options only"
    )


class Translated(list[Sample]):
    """Other captions in every process."""

    def __getitem__(self, index: Any) -> Any:
        return Sample(f"key {index}", (f"caption of {os.getpid()}",), partial(grey_image, 1))


def test_other_captions_in_another_process() -> None:
    assert fault(KIND, lambda options: Translated(SAMPLES)) == (
        "sample 'key 0' has another key or other captions in another process"
    )


class Reporting(list[Sample]):
    def __init__(self, *left_out: object) -> None:
        super().__init__(SAMPLES)
        self.left_out = left_out


def test_what_it_leaves_out_may_be_reported() -> None:
    keep(KIND, lambda options: Reporting(LeftOut("image without a caption", 2, "a.png")))


def test_what_it_leaves_out_as_text() -> None:
    message = fault(KIND, lambda options: Reporting("two images"))
    assert message == ("its left_out is ('two images',); use a tuple of dit_run.protocols.LeftOut with counts above 0")


class Moody:
    """Samples in another order, or of another number, after they were read."""

    def __init__(self, *, turning: bool, growing: bool = False, lying: bool = False) -> None:
        self.turning, self.growing, self.lying = turning, growing, lying
        self.reads = 0

    def __len__(self) -> int:
        return len(SAMPLES) + (self.growing and self.reads > 0) + self.lying

    def __getitem__(self, index: int) -> Sample:
        self.reads += 1
        turned = self.turning and self.reads > len(SAMPLES)
        return SAMPLES[-1 - index] if turned else SAMPLES[index]


def test_an_order_that_changes_between_passes() -> None:
    assert "when it is read again in another order" in fault(KIND, lambda options: Moody(turning=True))


def test_a_length_that_changes_between_calls() -> None:
    assert fault(KIND, lambda options: Moody(turning=False, growing=True)) == (
        "its length is 5, and 6 after its items were read; fix it in build"
    )


def test_a_length_that_lies() -> None:
    assert fault(KIND, lambda options: Moody(turning=False, lying=True)) == (
        "its length is 6, and item 5 raises IndexError: list index out of range"
    )


class Identified(list[Sample]):
    """A dataset that names its content and its shards."""

    def __init__(self, identity: object, first: int, starts: list[int], images: object = None) -> None:
        super().__init__(SAMPLES)
        self.identity = identity
        self.images_identity = images
        self.first = first
        self.shard_starts = starts

    def keys(self) -> list[str]:
        return [sample.key for sample in SAMPLES[self.first :]]

    def __reduce__(self) -> Any:
        return Identified, (self.identity, self.first, self.shard_starts, self.images_identity)


IDENTITIES = itertools.count()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda options: Identified(3, 0, [0, 5]), "its identity is 3; use a digest or None"),
        (lambda options: Identified(str(next(IDENTITIES)), 0, [0, 5]), "its identity is another one after a second"),
        (lambda options: Identified("a", 1, [0, 5]), "keys() begins with ['key 1', 'key 2', 'key 3'], and"),
        (lambda options: Identified("a", 0, [0, 3]), "its shard_starts are [0, 3]; use the index of the first"),
        (lambda options: Identified("a", 0, [0, 5], 3), "its images_identity is 3; use a digest or None"),
        (
            lambda options: Identified("a", 0, [0, 5], str(next(IDENTITIES))),
            "its images_identity is another one after a second build; make it of what decides the images alone",
        ),
    ],
)
def test_wrong_content_and_shards(make: Callable[..., Any], message: str) -> None:
    assert message in fault(KIND, make)


def test_content_and_shards_may_be_named() -> None:
    keep(KIND, lambda options: Identified("a", 0, [0, 2, 5], "b"))
