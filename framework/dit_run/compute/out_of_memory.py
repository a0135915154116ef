"""Out of memory: translate the errors of devices into advice with numbers that fit."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from dit_run.problems import DitRunError

__all__ = [
    "OutOfMemory",
    "smaller_batch",
    "translate_building",
    "translate_out_of_memory",
    "translate_sampling",
    "translate_working",
]

_SIGNS = ("can't allocate memory", "out of memory", "ALLOC_FAILED")
"""Texts in errors of torch's allocators and of CUDA libraries, which allocate memory themselves."""


class OutOfMemory(DitRunError):
    """The device has too little memory; the message says what to change."""


@contextlib.contextmanager
def translate_working(work: str, remedy: str) -> Iterator[None]:
    """Translate out-of-memory errors of work, such as "sampling previews", into OutOfMemory with a remedy."""
    try:
        yield
    except Exception as error:
        if isinstance(error, OutOfMemory) or not (_ran_out(error) or _ran_out(error.__cause__)):
            raise
        raise OutOfMemory(f"out of memory {work}; {remedy}") from error


def _ran_out(error: BaseException | None) -> bool:
    if isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS):
        return True
    return isinstance(error, torch.OutOfMemoryError | MemoryError)


def translate_building() -> contextlib.AbstractContextManager[None]:
    """Translate out-of-memory errors of building the model."""
    return translate_working("for the model alone", "lower model.hidden_size or model.num_layers")


def translate_sampling(batch_size: int) -> contextlib.AbstractContextManager[None]:
    """Translate out-of-memory errors of sampling ``batch_size`` images at a time."""
    if batch_size == 1:
        return translate_working("with one image", "use a smaller --size")
    return translate_working(f"with {batch_size} images at a time", f"try --batch-size {batch_size // 2}")


def translate_out_of_memory(batch_size: int, accumulation: int) -> contextlib.AbstractContextManager[None]:
    """Translate out-of-memory errors of a training step into OutOfMemory with a smaller batch size."""
    work = f"with training.batch_size {batch_size} and gradient_accumulation_steps {accumulation}"
    proposal = smaller_batch(batch_size, accumulation)
    if proposal is None:
        return translate_working(work, "a single sample does not fit: use a smaller model or data.image_size")
    return translate_working(
        work,
        f"try training.batch_size={proposal[0]} training.gradient_accumulation_steps={proposal[1]}, "
        f"which keeps {batch_size * accumulation} samples per step",
    )


def smaller_batch(batch_size: int, accumulation: int) -> tuple[int, int] | None:
    """Return the largest batch size of at most half, and its accumulation steps, that keep their product, or None."""
    effective = batch_size * accumulation
    for smaller in range(batch_size // 2, 0, -1):
        if effective % smaller == 0:
            return smaller, effective // smaller
    return None
