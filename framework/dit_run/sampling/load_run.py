"""A trained run, opened to draw with: its config, encoders and the weights of a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dit_run.assembly.parts import build_denoiser, build_encoders, build_scheduler
from dit_run.compute.distributed import choose_device
from dit_run.compute.precision import Precision
from dit_run.config.resolve import resolve
from dit_run.problems import InputError
from dit_run.registry.registry import Registry
from dit_run.runs.checkpoint.store import Checkpoints, load, load_weights
from dit_run.runs.run_folder import RunFolder
from dit_run.sampling.pipeline import Pipeline
from dit_run.settings import Config

__all__ = ["LoadedRun", "load_run"]

_DEFAULT_PROMPTS = ("a photo",)


@dataclass(frozen=True)
class LoadedRun:
    """What :func:`load_run` gives."""

    run_dir: Path
    checkpoint: Path
    config: Config
    registry: Registry
    pipeline: Pipeline
    prompts: tuple[str, ...]
    """Those of the run's own previews."""


def load_run(
    run_dir: Path,
    overrides: Sequence[str] = (),
    *,
    checkpoint: str | None = None,
    ema: bool = True,
    allow_plugins: bool = False,
) -> LoadedRun:
    """Open a run folder; needs it and the frozen encoders' weights alone, no data.

    ``overrides`` are ``section.key=value`` on top of its config.
    ``checkpoint`` names one (``step-00000100``), else the newest whole one is taken. Raises InputError for a folder
    that is no run or has no such checkpoint, and where it carries plugin files that ``allow_plugins`` does not allow.
    """
    folder = RunFolder(run_dir)
    if not folder.config.is_file():
        raise InputError(f"{run_dir} is no run folder: it has no config.yaml")
    if folder.plugins.is_dir() and not allow_plugins:
        files = ", ".join(sorted(path.name for path in folder.plugins.iterdir()))
        raise InputError(
            f"{run_dir} carries plugin files, whose code would run: {files}; look at them in {folder.plugins}, "
            "then add --allow-plugins"
        )
    resolution = resolve(
        folder.config,
        overrides,
        config_plugins=allow_plugins,
        plugin_records=lambda run_dir: RunFolder(run_dir).plugin_records(),
    )
    config = resolution.config
    path = _checkpoint(folder, checkpoint)
    device = choose_device(config.training.device)
    encoders = build_encoders(config, device)
    denoiser = build_denoiser(config, encoders, device)
    denoiser.load_tensors(load_weights(path, ema=ema), where=str(path))
    pipeline = Pipeline(
        denoiser=denoiser.eval().requires_grad_(False),
        conditions=encoders.conditions,
        vae=encoders.vae,
        scheduler=build_scheduler(config, encoders),
        patch_size=denoiser.model.patch_size,  # type: ignore[arg-type]
        device=device,
        precision=Precision.of(config.training.mixed_precision, device),
    )
    prompts = config.sampling.prompts or tuple(load(path).state.get("prompts", ())) or _DEFAULT_PROMPTS
    return LoadedRun(folder.path, path, config, resolution.registry, pipeline, prompts)


def _checkpoint(folder: RunFolder, name: str | None) -> Path:
    checkpoints = Checkpoints(folder.path / "checkpoints", folder.run_id())
    if name is None:
        newest = checkpoints.newest_valid().path
        if newest is None:
            raise InputError(f"{folder.path} has no checkpoint yet")
        return newest
    path = folder.path / "checkpoints" / name
    if not path.is_dir():
        there = ", ".join(found.name for found in checkpoints.paths()) or "none"
        raise InputError(f"{folder.path} has no checkpoint {name!r}; there are: {there}")
    return path
