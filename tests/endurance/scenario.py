"""The run that is killed, stopped and starved: a tiny one with everything on, and what it must leave."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

__all__ = ["CONFIG", "WORKERS", "differences", "metrics", "newest", "overrides", "stopped_after"]

CONFIG = """
data: {type: shapes, image_size: 16, size: 48, num_samples: 40, train_split: 0.8, random_flip: true}
model: {hidden_size: 16, num_layers: 1, num_heads: 2, patch_size: 4, in_channels: 3, out_channels: 3, dropout: 0.2}
vae: {type: identity}
text_encoder: {type: words, width: 8, num_layers: 1, num_heads: 2, buckets: 16}
scheduler: {type: flow_matching}
training:
  batch_size: 2
  gradient_accumulation_steps: 2
  max_steps: 6
  save_steps: 2
  save_every_n_epochs: null
  save_total_limit: 2
  logging_steps: 1
  mixed_precision: "no"
  use_ema: true
  num_workers: 0
  num_threads: 1
sampling: {every_n_steps: 3, num_images: 2, steps: 2, guidance_scale: 2.0}
validation: {every_n_steps: 2, num_samples: 2, timestep_bins: 2}
trackers: [{type: tensorboard}]
"""

STOPPER = Path(__file__).resolve().parent.parent / "acceptance" / "stopper.py"

WORKERS = (0, 1, 4)
"""Numbers of loading processes."""

_NOT_LEARNT = (
    "time",
    "images_per_second",
    "tokens_per_second",
    "memory_gb",
    "processes/step_seconds_slowest",
    "processes/step_seconds_median",
    "processes/memory_gb",
)


def overrides(folder: Path, **values: Any) -> list[str]:
    """Command line words for a run in ``folder`` with other training values."""
    return [
        f"training.output_dir={folder}",
        *(f"training.{name}={json.dumps(value)}" for name, value in values.items()),
    ]


def stopped_after(step: int) -> list[str]:
    """Command line words for a run that sends itself SIGTERM after a step; 0 for one that does not."""
    return [f"plugins=[{STOPPER}]", f"callbacks=[{{type: stopper, after: {step}}}]"]


def differences(reference: Path, run: Path, *, ignore: Sequence[str] = ()) -> list[str]:
    """In what a finished run folder differs from that of an uninterrupted run; empty where in nothing that counts.

    ``ignore`` names parts of the folder, or keys of the checkpoint's state.
    """
    found = [
        name for name in _tensor_files(reference) if _bytes(newest(reference) / name) != _bytes(newest(run) / name)
    ]
    for name, of in (
        ("state", partial(_state, ignore=ignore)),
        ("metrics", metrics),
        ("events", _events),
        ("samples", _samples),
    ):
        if name not in ignore and of(reference) != of(run):
            found.append(name)
    status = json.loads((run / "status.json").read_bytes())
    return found + ([] if status["state"] == "finished" else [f"status {status['state']}"])


def newest(run: Path) -> Path:
    """The checkpoint of the last step."""
    return max((run / "checkpoints").glob("step-*"))


def metrics(run: Path) -> list[dict[str, Any]]:
    """What was logged, but for times."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: repr(value) for name, value in line.items() if name not in _NOT_LEARNT} for line in lines]


def _tensor_files(run: Path) -> list[str]:
    return sorted(path.name for path in newest(run).glob("*.safetensors"))


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _state(run: Path, ignore: Sequence[str] = ()) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((newest(run) / "state.json").read_bytes())
    return {name: value for name, value in state.items() if name not in ("run_id", "processes", *ignore)}


def _samples(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((run / "samples").glob("*"))}


def _events(run: Path) -> dict[str, Any]:
    """What TensorBoard shows: (step, value) by name, and which steps have pictures."""
    from tensorboard.backend.event_processing.event_accumulator import IMAGES, SCALARS, TENSORS, EventAccumulator

    if not (run / "tensorboard").is_dir():
        return {}
    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it tells of every event that no longer counts
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={SCALARS: 0, IMAGES: 0, TENSORS: 0}).Reload()
    tags = events.Tags()
    scalars = {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in tags["scalars"]
        if not tag.endswith(_NOT_LEARNT)
    }
    images = {tag: [(event.step, event.encoded_image_string) for event in events.Images(tag)] for tag in tags["images"]}
    return {"scalars": scalars, "images": images, "texts": sorted(tags["tensors"])}
