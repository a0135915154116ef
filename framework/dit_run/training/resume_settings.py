"""Settings that changed since a checkpoint: those that cannot change are refused, the others are reported."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dit_run.config.comparison import Changes, Difference
from dit_run.config.keys import key_name
from dit_run.problems import InputError, KeyPath
from dit_run.settings import TrainingOptions

__all__ = [
    "LENGTH",
    "VALIDATION",
    "fork_command",
    "notes",
    "refuse_changes",
    "refuse_changes_of_finished",
    "refuse_other_global_batch",
]

LENGTH: tuple[KeyPath, ...] = (("training", "num_epochs"), ("training", "max_steps"))
"""Keys that decide the length of a run."""
VALIDATION: tuple[KeyPath, ...] = (("validation", "num_samples"), ("validation", "timestep_bins"))
"""Keys under which validation losses are comparable."""
_SPLIT: tuple[KeyPath, ...] = (("training", "batch_size"), ("training", "gradient_accumulation_steps"))

_SPLIT_TEXT = (
    "each step keeps its samples, captions, noise and timesteps; dropout masks and the last bits of the weights differ "
    "from those of an uninterrupted run"
)
_BUCKET_TEXT = (
    "with data.buckets a micro-batch has one size, so samples come in another order from here on, and the weights are "
    "not those of an uninterrupted run"
)
_COMPARED_TEXT = (
    "each step keeps its samples, captions, noise and timesteps; an objective that compares the samples of a "
    "micro-batch compares others from here on, so the weights may differ from those of an uninterrupted run"
)
_VALIDATION_TEXT = "validation losses from here on cannot be compared with earlier ones, so the best one is forgotten"
_INITIAL: tuple[KeyPath, ...] = (("training", "init_from"), ("training", "init_rename"))
_BASE_TEXT = "the weights that the adapter changes are the same as before"
_EXACT_TEXT = "the weights stay those of an uninterrupted run (training.elastic_exact)"
_BITS_TEXT = "the weights may differ in their last bits from those of an uninterrupted run"
_CONSEQUENCES: Mapping[KeyPath, str] = {
    **dict.fromkeys(_SPLIT, _SPLIT_TEXT),
    **dict.fromkeys(VALIDATION, _VALIDATION_TEXT),
    ("training", "deterministic"): _BITS_TEXT,
    ("training", "elastic_exact"): _BITS_TEXT,
    ("training", "shard"): _BITS_TEXT,
    ("cache", "mode"): _BITS_TEXT,
    **dict.fromkeys(_INITIAL, "it has no effect, because the run continues with the weights of its own checkpoint"),
}
"""Consequence of a change, by key; any other new value simply holds from the checkpoint on."""


def refuse_changes(folder: Path, changes: Changes, arguments: Sequence[str]) -> None:
    """Raise InputError, naming the keys, where a run would continue with a config that learns something else."""
    if changes.refused:
        raise InputError(
            f"{folder} holds a run with another config:{_lines(changes.refused)}\n"
            "Continue it with the old values, start another run with --fresh DIR, or continue from its checkpoint "
            f"with the new values in another folder:\n  {fork_command(arguments, folder)}"
        )


def refuse_changes_of_finished(folder: Path, changes: Changes, arguments: Sequence[str]) -> None:
    """Raise InputError for new values that a finished run can no longer follow."""
    if changes.noted:
        raise InputError(
            f"{folder} holds a finished run with another config:{_lines(changes.noted)}\n"
            "Start another run with --fresh DIR, or raise training.max_steps or num_epochs and continue from its last "
            f"checkpoint in another folder:\n  {fork_command(arguments, folder)}"
        )


def refuse_other_global_batch(
    folder: Path, before: Mapping[str, Any], training: TrainingOptions, *, global_batch: int, processes: int
) -> None:
    """Raise InputError where another split of a step into micro-batches does not keep its number of samples.

    ``before`` is the section ``training`` of the checkpoint's config. With another number of processes either the
    product of the two keys stays, or the number of samples that all processes have together.
    """
    sizes = before["batch_size"], before["gradient_accumulation_steps"]
    was = sizes[0] * sizes[1]
    product = training.batch_size * training.gradient_accumulation_steps
    if product != was and product * processes != global_batch:
        raise InputError(
            f"{folder} holds a run of {was} samples per step and process: training.batch_size {sizes[0]} x "
            f"gradient_accumulation_steps {sizes[1]}. This config has {training.batch_size} x "
            f"{training.gradient_accumulation_steps} = {product}; choose two numbers whose product is {was}, or start "
            "another run with --fresh DIR"
        )


def notes(
    changes: Changes,
    step: int,
    *,
    buckets: bool = False,
    adapted: bool = False,
    objectives: bool = False,
    exact: bool = False,
) -> list[str]:
    """Return a line for each consequence of the changes, except for changes of the length.

    ``buckets`` is True for a run with ``data.buckets``, whose order depends on the size of micro-batches, ``adapted``
    for one with an adapter, which reads its base again, ``objectives`` for one with other objectives than the default,
    which may compare the samples of a micro-batch, ``exact`` for one with ``training.elastic_exact``.
    """
    consequences = dict(_CONSEQUENCES)
    consequences |= dict.fromkeys(_SPLIT, _COMPARED_TEXT) if objectives else {}
    consequences |= dict.fromkeys(_SPLIT, _BUCKET_TEXT) if buckets else {}
    consequences |= dict.fromkeys(_INITIAL, _BASE_TEXT) if adapted else {}
    consequences |= {("training", "shard"): _EXACT_TEXT} if exact else {}
    default = f"the new value holds from step {step + 1} on, so the weights are not those of an uninterrupted run"
    grouped: dict[str, list[Difference]] = {}
    for change in changes.without(*LENGTH):
        grouped.setdefault(consequences.get(change.path, default), []).append(change)
    return [f"{', '.join(map(_text, group))}: {consequence}" for consequence, group in grouped.items()]


def fork_command(arguments: Sequence[str], folder: Path) -> str:
    """Return the command that continues from the newest checkpoint of a run folder in a new folder.

    ``arguments`` are those of the command that would continue the run in place; none were given from Python.
    """
    if not arguments:
        return f"dit-run train {shlex.quote(str(folder))} key=value --fork DIR"
    words = list(arguments)
    for index, word in enumerate(arguments):
        if word.partition("=")[0] in ("--fresh", "--fork"):
            taken = 1 if "=" in word else 2
            words[index : index + taken] = [f"training.output_dir={folder}"]
            break
    return shlex.join(["dit-run", *words, "--fork", _free_folder(folder)])


def _free_folder(folder: Path) -> str:
    """Return the name of a folder next to a run folder that does not exist, relative if it is short so."""
    number = next(number for number in range(2, 10_000) if not Path(f"{folder}-{number}").exists())
    path = Path(f"{folder}-{number}")
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def _lines(changes: Iterable[Difference]) -> str:
    return "".join(f"\n  {_text(change)}" for change in changes)


def _text(change: Difference) -> str:
    return f"{key_name(change.path)}: {change.before!r} -> {change.after!r}"
