"""Checks of what changed since a checkpoint was saved: plugins, machine, libraries, samples and encoders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from dit_run.assembly.parts import Encoders
from dit_run.compute.devices import graphics_card
from dit_run.data.sample_index import SampleIndex
from dit_run.problems import InputError
from dit_run.protocols import ImageEncoder
from dit_run.runs.provenance import processor, versions
from dit_run.training.resume_settings import fork_command

__all__ = [
    "PLUGIN_FACTS",
    "changed_inputs",
    "changed_machine",
    "changed_plugins",
    "feature_inputs",
    "inputs",
    "machine",
    "refuse_changed_inputs",
    "refuse_changed_plugins",
]

PLUGIN_FACTS = ("section", "component", "plugin", "distribution", "version", "digest")
"""Values that a checkpoint keeps of each plugin whose component decides the weights."""

Record = Mapping[str, Any]


def machine(threads: int, device: torch.device) -> dict[str, Any]:
    """Return what decides the last bits of a result, apart from the config, as plain values."""
    return {"processor": processor(), "threads": threads, "versions": {**versions(), **graphics_card(device)}}


def changed_machine(before: Record, now: Record) -> list[str]:
    """Return a line for each difference between two :func:`machine` values."""
    parts = [(name, before.get(name), now[name]) for name in ("processor", "threads")]
    old, new = before.get("versions", {}), now["versions"]
    parts += [(name.replace("_", " "), old.get(name), new.get(name)) for name in {**old, **new}]
    return [
        f"{name} was {was} and is {is_now}: weights may differ in their last bits from those of an uninterrupted run"
        for name, was, is_now in parts
        if was != is_now
    ]


def changed_plugins(before: Iterable[Record], now: Sequence[Record]) -> list[str]:
    """Return a line for each section whose component comes from other code than before."""
    found = []
    present = {record["section"]: record for record in now}
    for was in before:
        is_now = present.get(was["section"])
        if is_now is not None and is_now["digest"] != was["digest"]:
            found.append(f"{was['section']} ({was['component']}): {_origin(was)} -> {_origin(is_now)}")
    return found


def refuse_changed_plugins(before: Iterable[Record], now: Sequence[Record]) -> None:
    """Raise InputError, naming the plugins, where the code of plugins changed since the checkpoint."""
    changed = changed_plugins(before, now)
    if changed:
        lines = "".join(f"\n  {line}" for line in changed)
        raise InputError(
            f"plugins changed since this run's checkpoint:{lines}\nRestore them, continue anyway with "
            "--allow-changed-plugins, or start another run with --fresh DIR"
        )


def _origin(record: Record) -> str:
    version = f" {record['version']}" if record["version"] else ""
    return f"{record['distribution'] or record['plugin']}{version} ({record['digest'][:12]})"


_ENCODERS = {"vae": "VAE", "text_encoder": "text encoder", "objective": "frozen networks of objectives"}


def inputs(index: SampleIndex, encoders: Encoders) -> dict[str, Any]:
    """Return plain values: the number of samples, the digest of their index, fingerprints of frozen encoders."""
    found: dict[str, Any] = {"samples": len(index), "index": index.digest}
    if encoders.vae.cacheable:
        found["vae"] = encoders.vae.fingerprint()
    frozen = [text.fingerprint() for text in encoders.texts if not text.trainable]
    if frozen:
        found["text_encoder"] = frozen[0] if len(frozen) == 1 else frozen
    return found


def feature_inputs(features: Mapping[str, ImageEncoder]) -> dict[str, Any]:
    """Return what :func:`inputs` has of the frozen networks of objectives: their fingerprints by name."""
    return {"objective": {name: each.fingerprint() for name, each in features.items()}} if features else {}


def changed_inputs(before: Record, now: Record, *, index_before: SampleIndex | None, index: SampleIndex) -> list[str]:
    """Return a line for each difference between two :func:`inputs`; values that only one of them has do not count.

    ``index_before`` is the index that belongs to ``before``, or None where it is lost: then only the numbers of samples
    are known.
    """
    changed = [name for name in ("index", *_ENCODERS) if name in before and name in now and before[name] != now[name]]
    lines = [
        f"{name}: the weights of the {_ENCODERS[name]} are not those that the run was begun with"
        for name in changed
        if name in _ENCODERS
    ]
    if "index" not in changed:
        return lines
    known = index_before is not None and index_before.digest == before["index"]
    numbers = f" ({index_before.changes_to(index)})" if known and index_before is not None else ""
    counts = f"there were {before.get('samples'):,} training samples, and there are {now['samples']:,}"
    return [f"data: {counts}{numbers}", *lines]


def refuse_changed_inputs(lines: Sequence[str], folder: Path, arguments: Sequence[str]) -> None:
    """Raise InputError where a run would continue with other data or other encoders than it was begun with."""
    if lines:
        listed = "".join(f"\n  {line}" for line in lines)
        raise InputError(
            f"{folder} holds a run on other data or encoders:{listed}\n"
            "Restore them, start another run with --fresh DIR, or continue from its checkpoint with these in another "
            f"folder:\n  {fork_command(arguments, folder)}"
        )
