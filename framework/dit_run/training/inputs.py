"""What a run learns from: its samples and frozen encoders, as a checkpoint remembers them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from dit_run.assembly.parts import Data, Encoders
from dit_run.data.samples import Samples

__all__ = ["LOOKED_AT", "changed_inputs", "inputs"]

LOOKED_AT = 1024
"""Of how many samples, spread evenly, keys and captions are looked at."""

_NAMES = {"samples": "the number of training samples", "captions": "captions or the order of samples"}
_NAMES |= {"vae": "the VAE's weights", "text_encoder": "the text encoder's weights"}


def inputs(data: Data, encoders: Encoders) -> dict[str, Any]:
    """Plain values: how many samples, a digest of some keys and captions, fingerprints of the encoders that are
    frozen."""
    found: dict[str, Any] = {"samples": len(data.train), "captions": _digest(data.train)}
    if encoders.vae.cacheable:
        found["vae"] = encoders.vae.fingerprint()
    if not encoders.text.trainable:
        found["text_encoder"] = encoders.text.fingerprint()
    return found


def changed_inputs(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A line for each difference between two :func:`inputs`; what only one of them has is none."""
    changed = [name for name in _NAMES if name in before and name in now and before[name] != now[name]]
    if "samples" in changed:
        changed.remove("captions")
    counts = f" (they were {before.get('samples')} and are {now.get('samples')})"
    return [
        f"{_NAMES[name]} changed since this run's checkpoint{counts if name == 'samples' else ''}: it goes on with "
        "what is there now, and ends with other weights than an uninterrupted run"
        for name in changed
    ]


def _digest(samples: Samples) -> str:
    digest = hashlib.sha256()
    places = np.unique(np.linspace(0, len(samples) - 1, LOOKED_AT).astype(np.int64))
    for index in samples.indices[places].tolist():
        sample = samples.dataset[index]
        digest.update(json.dumps([sample.key, list(sample.captions)]).encode())
    return digest.hexdigest()
