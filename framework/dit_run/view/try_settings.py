"""Settings of images that are made on the page: what the form offers for a run, and what it may send."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dit_run.problems import InputError
from dit_run.runs.reading.events import checkpoint_steps
from dit_run.runs.reading.run_files import RunFiles
from dit_run.runs.reading.sample_grids import grid_steps, read_grid
from dit_run.view.config_entries import sampler_names

__all__ = ["TrySettings", "offered", "read_settings"]

_MOST_PROMPTS = 64
_LONGEST = 20_000
"""Characters of all prompts."""


@dataclass(frozen=True)
class TrySettings:
    """Prompts and the settings to sample them with, as ``dit-run sample`` takes them."""

    checkpoint: int
    """Step of the checkpoint."""
    prompts: tuple[str, ...]
    negative_prompt: str = ""
    steps: int | None = None
    seed: int | None = None
    guidance_scale: float | None = None
    sampler: str | None = None
    size: tuple[int, int] | None = None
    """Height and width (pixels)."""
    averaged: bool = True
    device: str | None = None
    """None is the device of the run's config."""


def offered(files: RunFiles) -> dict[str, Any]:
    """Return the checkpoints of a run and the values that its config has for each setting."""
    sampling, training = files.section("sampling"), files.section("training")
    best = files.object("status.json").get("best")
    names = ("steps", "seed", "guidance_scale", "sampler")
    return {
        "checkpoints": checkpoint_steps(files),
        "best": best.get("step") if isinstance(best, dict) else None,
        "averaged": training.get("use_ema") is True or bool(files.section("averages")),
        "guided": training.get("caption_dropout", 0.1) != 0,
        "size": files.section("data").get("image_size"),
        "prompts": _prompts(files)[:4],
        "samplers": sampler_names(files),
        **{name: sampling.get(name) for name in names},
    }


def read_settings(files: RunFiles, values: object) -> TrySettings:
    """Return the settings in a request. Raises InputError for a value that does not fit."""
    if not isinstance(values, dict):
        raise InputError("the settings must be an object")
    steps = checkpoint_steps(files)
    checkpoint = _whole(values, "checkpoint", 0, 10**12)
    if checkpoint is None and steps:
        checkpoint = steps[-1]
    if checkpoint not in steps:
        raise InputError(
            f"the run has no checkpoint of step {checkpoint}; it has: {', '.join(map(str, steps)) or 'none'}"
        )
    height, width = _whole(values, "height", 1, 8192), _whole(values, "width", 1, 8192)
    if (height is None) != (width is None):
        raise InputError("give both height and width, or neither")
    device = values.get("device")
    if device not in (None, "cpu"):
        raise InputError(f"the device is the run's or cpu, not {device!r}")
    sampler = values.get("sampler")
    if sampler is not None and not isinstance(sampler, str):
        raise InputError("the sampler must be a name")
    return TrySettings(
        checkpoint=checkpoint,
        prompts=_given_prompts(values.get("prompts")),
        negative_prompt=_text(values.get("negative_prompt", "")),
        steps=_whole(values, "steps", 1, 10_000),
        seed=_whole(values, "seed", 0, 2**63 - 1),
        guidance_scale=_number(values, "guidance_scale"),
        sampler=sampler or None,
        size=None if height is None or width is None else (height, width),
        averaged=values.get("averaged") is not False,
        device=device,
    )


def _prompts(files: RunFiles) -> list[str]:
    """Return the prompts of the newest grid, or those of the config."""
    steps = grid_steps(files)
    grid = read_grid(files, steps[-1]) if steps else None
    listed = files.section("sampling").get("prompts")
    written = [prompt for prompt in listed if isinstance(prompt, str)] if isinstance(listed, list) else []
    return list(grid.prompts) if grid is not None and grid.prompts else written


def _given_prompts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not 0 < len(value) <= _MOST_PROMPTS:
        raise InputError(f"give 1 to {_MOST_PROMPTS} prompts")
    prompts = tuple(map(_text, value))
    if sum(map(len, prompts)) > _LONGEST:
        raise InputError(f"the prompts have more than {_LONGEST} characters together")
    return prompts


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST:
        raise InputError("a prompt must be a text")
    return value


def _whole(values: Mapping[str, Any], name: str, low: int, high: int) -> int | None:
    value = values.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise InputError(f"{name} must be a whole number from {low} to {high}, not {value!r}")
    return value


def _number(values: Mapping[str, Any], name: str) -> float | None:
    value = values.get(name)
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise InputError(f"{name} must be a number, not {value!r}")
    return float(value)
