"""A trained run, loaded to sample from: its config, frozen encoders and the weights of a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from dit_run import __version__
from dit_run.assembly.parts import build_denoiser, build_encoders, build_schedulers
from dit_run.compute.distributed import choose_device
from dit_run.compute.out_of_memory import translate_sampling
from dit_run.config.resolve import resolve
from dit_run.export.folder import ExportedModel, write_export
from dit_run.problems import InputError
from dit_run.registry.registry import Registry
from dit_run.reporting import Reporter, Silent
from dit_run.runs.run_folder import RunFolder
from dit_run.sampling.pipeline import PREVIEW_BATCH, Pipeline, SamplingRequest
from dit_run.sampling.prompts import refuse_undecoded
from dit_run.sampling.trained_weights import find_weights, read_prompts, read_weights
from dit_run.settings import Config

__all__ = ["LoadedRun", "load_run"]

_DEFAULT_PROMPTS = ("a photo",)


@dataclass(frozen=True)
class LoadedRun:
    """A trained run, ready to sample from."""

    path: Path
    """The run folder or the exported folder."""
    checkpoint: Path
    """The folder of the checkpoint, or the weights file of an exported folder."""
    config: Config
    registry: Registry
    pipeline: Pipeline
    prompts: tuple[str, ...]
    """The prompts of the run's previews."""
    step: int
    """Optimizer steps that the weights were trained for."""
    global_batch: int
    """Training samples per step."""
    ema: bool
    """True where the weights are the averaged ones."""

    def sample(
        self,
        prompts: str | Sequence[str] | None = None,
        *,
        steps: int | None = None,
        seed: int | None = None,
        guidance_scale: float | None = None,
        sampler: str | None = None,
        size: tuple[int, int] | None = None,
        negative_prompt: str = "",
        batch_size: int = PREVIEW_BATCH,
        reporter: Reporter | None = None,
    ) -> list[Image.Image]:
        """Return one RGB image per prompt, in order.

        ``prompts`` None samples the run's own prompts. ``size`` is (height, width) in pixels, the training size by
        default. The other settings come from the config's ``sampling`` section where they are None. Image i depends on
        its prompt and on seed + i, not on the images next to it. Its ``info`` holds prompt, seed and all settings as
        texts, the same that a saved PNG carries.

        Raises InputError for a value that does not fit the run, before anything is sampled.
        """
        if isinstance(prompts, str):
            prompts = [prompts]
        refuse_undecoded([*(prompts or ()), negative_prompt])
        self._refuse_untrained_guidance(guidance_scale)
        given: dict[str, Any] = {"steps": steps, "seed": seed, "guidance_scale": guidance_scale, "sampler": sampler}
        options = replace(self.config.sampling, **{key: value for key, value in given.items() if value is not None})
        side = self.config.data.common.image_size
        request = SamplingRequest.of(
            options, self.prompts if prompts is None else prompts, image_size=side, batch_size=batch_size
        )
        height, width = size or (side, side)
        request = self.pipeline.checked(replace(request, height=height, width=width, negative_prompt=negative_prompt))
        with translate_sampling(min(batch_size, len(request.prompts))):
            images = self.pipeline.generate(request, reporter or Silent())
        for index, image in enumerate(images):
            image.info.update(self._info(request, index))
        return images

    def metrics(self) -> list[dict[str, Any]]:
        """Return the logged values, one dict per logged step with its ``step``; empty for an exported folder."""
        path = RunFolder(self.path).metrics
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith(b"\n")]  # a running process may write the last

    def export(self, folder: str | Path) -> Path:
        """Write the weights, the config and a model card to a new folder that :func:`load_run` opens, and return it.

        The weights are the loaded ones: ``load_run(..., ema=False)`` exports the live weights. Raises InputError for a
        folder that holds files.
        """
        folder = Path(folder).absolute()
        model = ExportedModel(self.pipeline.denoiser.tensors(), self.step, self.global_batch, self.ema)
        write_export(folder, model, self.config, self.registry.files.files, self.prompts)
        return folder

    def _refuse_untrained_guidance(self, scale: float | None) -> None:
        if scale not in (None, 1.0) and self.config.training.caption_dropout == 0:
            raise InputError(
                f"guidance_scale {scale:g} does not work with this run: it was trained with "
                "training.caption_dropout 0, so it never learned the empty caption; use guidance_scale 1"
            )

    def _info(self, request: SamplingRequest, index: int) -> dict[str, str]:
        guidance = request.guidance
        return {
            "prompt": request.prompts[index],
            "negative_prompt": request.negative_prompt,
            "seed": str(request.seed + index),
            "steps": str(request.steps),
            "sampler": str(request.sampler),
            "guidance_scale": f"{guidance.scale:g}",
            "guidance_rescale": f"{guidance.rescale:g}",
            "guidance_interval": " ".join(f"{end:g}" for end in guidance.interval),
            "size": f"{request.height}x{request.width}",
            "run": str(self.path),
            "checkpoint": self.checkpoint.name,
            "ema": json.dumps(self.ema),
            "version": f"dit-run {__version__}",
        }


def load_run(
    path: str | Path,
    *overrides: str,
    checkpoint: str | None = None,
    ema: bool = True,
    allow_plugins: bool = False,
    device: str | torch.device | None = None,
) -> LoadedRun:
    """Load a run folder, or a folder from :meth:`LoadedRun.export`, to sample from it.

    Needs the folder and the weights of the frozen encoders, but no training data. ``overrides`` are
    ``section.key=value`` on top of the run's config. ``checkpoint`` names one: ``step-00000100``, the step ``100``,
    ``best`` (lowest validation loss) or ``last``, the newest valid one, which None loads too. ``ema`` False loads the
    live weights in place of the averaged ones. ``allow_plugins`` allows the code of plugin files in the folder to
    run. ``device`` replaces ``training.device``.

    Raises InputError for a folder that holds no run, a checkpoint that is missing or damaged, and plugin files that are
    not allowed.
    """
    folder = RunFolder(Path(path))
    _refuse_folder(folder, allow_plugins=allow_plugins)
    if device is not None:
        overrides = (*overrides, f"training.device={device}")
    resolution = resolve(
        folder.config,
        overrides,
        config_plugins=allow_plugins,
        plugin_records=lambda run_dir: RunFolder(run_dir).plugin_records(),
    )
    config = resolution.config
    source = find_weights(folder, checkpoint)
    target = choose_device(config.training.device)
    encoders = build_encoders(config, target)
    denoiser = build_denoiser(config, encoders, target)
    weights = read_weights(source, ema=ema)
    denoiser.load_tensors(weights.tensors, where=str(source))
    denoiser.eval().requires_grad_(False)
    return LoadedRun(
        path=folder.path,
        checkpoint=source,
        config=config,
        registry=resolution.registry,
        pipeline=Pipeline.of(config, encoders, denoiser, build_schedulers(config, encoders), target),
        prompts=config.sampling.prompts or read_prompts(source) or _DEFAULT_PROMPTS,
        step=weights.step,
        global_batch=weights.global_batch,
        ema=weights.ema,
    )


def _refuse_folder(folder: RunFolder, *, allow_plugins: bool) -> None:
    """Raise InputError for a folder that holds no run, or whose plugin files are not allowed."""
    if not folder.config.is_file():
        raise InputError(f"{folder.path} is not a run folder: it has no config.yaml")
    if folder.plugins.is_dir() and not allow_plugins:
        files = ", ".join(sorted(path.name for path in folder.plugins.iterdir()))
        raise InputError(
            f"{folder.path} contains plugin files, and loading it would run their code: {files}; read them in "
            f"{folder.plugins}, then add --allow-plugins (allow_plugins=True in Python)"
        )
