"""Tiny runs: a training of two steps on very small parts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dit_run.config.dump import to_yaml
from dit_run.config.resolve import resolve
from dit_run.problems import ConfigError, DitRunError
from dit_run.registry.registry import Registry, discover
from dit_run.settings import Config

__all__ = ["TINY", "TinyRun", "run_tiny", "tiny_config"]

TINY = """\
data: {type: shapes, image_size: 16, size: 24, num_samples: null, train_split: 0.75}
model: {type: dit, hidden_size: 16, num_layers: 1, num_heads: 2, patch_size: 4, in_channels: 3, out_channels: 3}
vae: {type: identity}
text_encoder: {type: words, width: 8, num_layers: 1, num_heads: 2, buckets: 64}
scheduler: {type: flow_matching}
lr_scheduler: {type: constant, warmup_steps: 0}
training:
  batch_size: 4
  max_steps: 2
  save_steps: 2
  save_every_n_epochs: null
  logging_steps: 1
  learning_rate: 1.0e-3
  mixed_precision: "no"
  num_workers: 0
  num_threads: 1
validation: {every_n_steps: 2, num_samples: 4}
sampling: {every_n_steps: 2, num_images: 2, steps: 2}
trackers: []
"""
"""The base config of a tiny run: every part, small."""


@dataclass(frozen=True)
class TinyRun:
    """The result of a tiny run."""

    errors: tuple[str, ...]
    """Problems of the config, the error that ended the run, or failures of what watched it; empty after success."""
    run_dir: Path
    metrics: tuple[Mapping[str, Any], ...]
    """Values of the logged steps, a mapping for each, with ``step``, ``loss``, ``learning_rate`` and others."""
    config: Config | None
    """The checked config; None if it has errors."""


def run_tiny(
    folder: Path,
    yaml: str = "",
    files: Mapping[str, str | bytes] | None = None,
    *,
    overrides: tuple[str, ...] = (),
    registry: Registry | None = None,
) -> TinyRun:
    """Train two steps in ``folder`` with a config on top of :data:`TINY`; ``files`` are written next to it first.

    An exception that a plugin raises is among the errors; any other exception passes through.
    """
    path = _write(folder, yaml, files or {})
    run_dir = folder / "run"
    places = (f"training.output_dir={run_dir}", f"cache.dir={folder / 'cache'}")
    config = None
    try:
        resolution = resolve(path, (*places, *overrides), registry=registry)
        config = resolution.config
        failures = _train(config, resolution.registry)
    except ConfigError as error:
        return TinyRun(tuple(problem.message for problem in error.problems), run_dir, (), config)
    except DitRunError as error:
        return TinyRun((str(error),), run_dir, (), config)
    lines = (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return TinyRun(failures, run_dir, tuple(json.loads(line) for line in lines), config)


def _write(folder: Path, yaml: str, files: Mapping[str, str | bytes]) -> Path:
    """Write a config that extends :data:`TINY` and then the given one; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"tiny.yaml": TINY, "config.yaml": yaml, "run.yaml": "extends: [tiny.yaml, config.yaml]\n"}
    if not yaml.strip():
        texts |= {"config.yaml": "{}\n"}
    for name, text in {**texts, **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder / "run.yaml"


def _train(config: Config, registry: Registry) -> tuple[str, ...]:
    """Train, and return what failed of trackers, metrics and callbacks, which end no run."""
    from dit_run.reporting import Silent
    from dit_run.training.run import train

    return train(config, registry, reporter=Silent()).failures


def tiny_config(folder: Path, values: Mapping[str, Any], registry: Registry | None = None) -> Config:
    """Return :data:`TINY` with these sections on top; raise ConfigError if it is not valid."""
    path = _write(folder, to_yaml(dict(values)), {})
    return resolve(path, registry=discover(third_party=False) if registry is None else registry).config
