"""Running out of memory: caught, and answered with numbers that would fit."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial

import torch

from dit_run.problems import DitRunError

__all__ = [
    "OutOfMemory",
    "smaller_batch",
    "translate_building",
    "translate_drawing",
    "translate_out_of_memory",
    "translate_working",
]

_SIGNS = ("can't allocate memory", "out of memory", "ALLOC_FAILED")
"""Of torch's allocators, and of CUDA's libraries, which take memory of their own."""


class OutOfMemory(DitRunError):
    """The device has too little memory for this batch; the message proposes another split of it."""


def translate_out_of_memory(batch_size: int, accumulation: int) -> contextlib.AbstractContextManager[None]:
    """Turns a device's or the allocator's out-of-memory error in training into OutOfMemory."""
    return _answered(partial(_answer, batch_size, accumulation))


def translate_drawing(batch_size: int) -> contextlib.AbstractContextManager[None]:
    """The same where pictures are drawn, so many at a time."""
    many = f"{batch_size} pictures at a time; try --batch-size {batch_size // 2}"
    return _answered(
        lambda: OutOfMemory(f"out of memory with {many if batch_size > 1 else 'one picture; take a smaller --size'}")
    )


def translate_working(what: str, remedy: str) -> contextlib.AbstractContextManager[None]:
    """The same in other work, "drawing previews" or the like, with what would take less."""
    return _answered(lambda: OutOfMemory(f"out of memory {what}; {remedy}"))


def translate_building() -> contextlib.AbstractContextManager[None]:
    """The same where the model is made."""
    return _answered(
        lambda: OutOfMemory("out of memory for the model alone; lower model.hidden_size or model.num_layers")
    )


@contextlib.contextmanager
def _answered(answer: Callable[[], OutOfMemory]) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if isinstance(error, OutOfMemory) or not (_ran_out(error) or _ran_out(error.__cause__)):
            raise
        raise answer() from error


def _ran_out(error: BaseException | None) -> bool:
    if isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS):
        return True
    return isinstance(error, torch.OutOfMemoryError | MemoryError)


def _answer(batch_size: int, accumulation: int) -> OutOfMemory:
    proposal = smaller_batch(batch_size, accumulation)
    said = f"out of memory with training.batch_size {batch_size} and gradient_accumulation_steps {accumulation}. "
    if proposal is None:
        return OutOfMemory(said + "A single sample does not fit: take a smaller model or data.image_size")
    return OutOfMemory(
        f"{said}Try training.batch_size={proposal[0]} training.gradient_accumulation_steps={proposal[1]}, "
        f"which learns from the same {batch_size * accumulation} samples a step"
    )


def smaller_batch(batch_size: int, accumulation: int) -> tuple[int, int] | None:
    """The largest batch size of at most half that keeps batch size times accumulation, and its accumulation."""
    effective = batch_size * accumulation
    for smaller in range(batch_size // 2, 0, -1):
        if effective % smaller == 0:
            return smaller, effective // smaller
    return None
