"""Checks of what changed since a checkpoint was saved: plugins, machine, libraries, samples and encoders."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from dit_run.assembly.parts import Encoders
from dit_run.assembly.prepare import Data
from dit_run.compute.devices import graphics_card
from dit_run.data.samples import Samples
from dit_run.problems import InputError
from dit_run.runs.provenance import processor, versions

__all__ = [
    "PLUGIN_FACTS",
    "changed_inputs",
    "changed_machine",
    "changed_plugins",
    "inputs",
    "machine",
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


_COMPARED_SAMPLES = 1024
"""Samples, spread evenly, whose keys and captions are compared (number)."""

_NAMES = {"samples": "the number of training samples", "captions": "captions or the order of samples"}
_NAMES |= {"vae": "the VAE's weights", "text_encoder": "the text encoder's weights"}


def inputs(data: Data, encoders: Encoders) -> dict[str, Any]:
    """Return plain values: the number of samples, a digest of keys and captions, fingerprints of frozen encoders."""
    found: dict[str, Any] = {"samples": len(data.train), "captions": _digest(data.train)}
    if encoders.vae.cacheable:
        found["vae"] = encoders.vae.fingerprint()
    if not encoders.text.trainable:
        found["text_encoder"] = encoders.text.fingerprint()
    return found


def changed_inputs(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return a line for each difference between two :func:`inputs`; values that only one of them has do not count."""
    changed = [name for name in _NAMES if name in before and name in now and before[name] != now[name]]
    if "samples" in changed:
        changed.remove("captions")
    counts = f" (they were {before.get('samples')} and are {now.get('samples')})"
    return [
        f"{_NAMES[name]} changed since this run's checkpoint{counts if name == 'samples' else ''}: it continues "
        "with what is there now, and ends with other weights than an uninterrupted run"
        for name in changed
    ]


def _digest(samples: Samples) -> str:
    digest = hashlib.sha256()
    places = np.unique(np.linspace(0, len(samples) - 1, _COMPARED_SAMPLES).astype(np.int64))
    for index in samples.indices[places].tolist():
        sample = samples.dataset[index]
        digest.update(json.dumps([sample.key, list(sample.captions)]).encode())
    return digest.hexdigest()
