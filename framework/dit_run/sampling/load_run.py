"""A trained run, loaded to sample from: its config, frozen encoders and the weights of a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from dit_run import __version__
from dit_run.assembly.parts import build_encoders, build_guidance, build_schedulers
from dit_run.compute.devices import choose_device
from dit_run.compute.out_of_memory import translate_sampling
from dit_run.config.weaker_predictions import weaker_prediction
from dit_run.data.aspect_buckets import Size
from dit_run.export.export_options import ExportOptions
from dit_run.problems import ConfigError, InputError
from dit_run.registry.registry import Registry
from dit_run.reporting import Reporter, Silent
from dit_run.runs.checkpoint.weights import EMA
from dit_run.runs.run_folder import RunFolder
from dit_run.sampling.average_files import kept_in
from dit_run.sampling.export_run import Destination, export_run
from dit_run.sampling.pipeline import Pipeline
from dit_run.sampling.prompts import refuse_undecoded
from dit_run.sampling.sampling_request import PREVIEW_BATCH, SamplingRequest
from dit_run.sampling.trained_config import SAMPLED, read_run_config
from dit_run.sampling.trained_denoiser import trained_denoiser, weaker_denoiser
from dit_run.sampling.trained_sizes import default_size, trained_sizes
from dit_run.sampling.trained_weights import choose_weights, read_prompts, read_scalars
from dit_run.settings import Config

__all__ = ["LoadedRun", "load_run", "open_run"]

_DEFAULT_PROMPTS = ("a photo",)


@dataclass(frozen=True)
class LoadedRun:
    """A trained run, ready to sample from."""

    path: Path
    """The run folder or the exported folder."""
    checkpoint: Path
    """The folder of the checkpoint, or the file of an average or of exported weights."""
    config: Config
    registry: Registry
    pipeline: Pipeline
    prompts: tuple[str, ...]
    """The prompts of the run's previews."""
    step: int
    """Optimizer steps that the weights were trained for."""
    global_batch: int
    """Training samples per step."""
    average: str | None
    """Name of the average that the weights are; None for those that train."""
    notices: tuple[str, ...] = ()
    """Facts about loading that the user should see, such as damaged checkpoints that were passed over."""
    left_out: ConfigError | None = None
    """The error because of which components that sampling does not use have their defaults in ``config``."""

    @property
    def ema(self) -> bool:
        """True where the weights are averaged ones."""
        return self.average is not None

    @property
    def kept_averages(self) -> tuple[str, ...]:
        """Names of the averages in the run's checkpoints."""
        return kept_in(RunFolder(self.path))

    @property
    def sizes(self) -> tuple[Size, ...]:
        """Heights and widths in pixels that the run trains on."""
        return trained_sizes(self.config, self.pipeline.size_unit).sizes

    def sample(
        self,
        prompts: str | Sequence[str] | None = None,
        *,
        steps: int | None = None,
        seed: int | None = None,
        guidance_scale: float | Sequence[float] | None = None,
        sampler: str | None = None,
        size: tuple[int, int] | None = None,
        negative_prompt: str = "",
        scalars: Mapping[str, float] | None = None,
        batch_size: int = PREVIEW_BATCH,
        reporter: Reporter | None = None,
    ) -> list[Image.Image]:
        """Return one RGB image per prompt, in order.

        ``prompts`` None samples the run's own prompts. ``size`` is (height, width) in pixels, the training size by
        default. ``guidance_scale`` is one number for all images, or one for each. ``scalars`` are values of numbers
        that the model takes, such as ``{"aesthetic_score": 6.5}``; the others have those of ``sampling.scalars``, or
        the mean of the training data. The other settings come from the config's ``sampling`` section where they are
        None. Image i depends on its prompt and on seed + i, not on the images next to it. Its ``info`` holds prompt,
        seed and all settings as texts, the same that a saved PNG carries.

        Raises InputError for a value that does not fit the run, before anything is sampled.
        """
        if isinstance(prompts, str):
            prompts = [prompts]
        refuse_undecoded([*(prompts or ()), negative_prompt])
        given: dict[str, Any] = {"steps": steps, "seed": seed, "sampler": sampler}
        options = replace(self.config.sampling, **{key: value for key, value in given.items() if value is not None})
        size = size or default_size(self.config, self.pipeline.size_unit)
        request = SamplingRequest.of(
            options, self.prompts if prompts is None else prompts, size=size, batch_size=batch_size
        )
        request = replace(request, negative_prompt=negative_prompt, scalars=scalars or {})
        if guidance_scale is not None:
            request = replace(request, guidance=replace(request.guidance, scale=_scale(guidance_scale)))
            self._refuse_untrained_guidance(request)
        request = self.pipeline.checked(request)
        with translate_sampling(min(batch_size, len(request.prompts))):
            images = self.pipeline.generate(request, reporter or Silent())
        for index, image in enumerate(images):
            image.info.update(self._info(request, index))
        return images

    def metrics(self) -> list[dict[str, Any]]:
        """Return the logged values, one dict per logged step with its ``step``; empty for an exported folder."""
        return RunFolder(self.path).metrics.read()

    def export(
        self,
        folder: str | Path,
        *,
        format: str = "diffusers",
        dtype: str = "fp32",
        frozen: bool = True,
        license: str = "unknown",
        merge: bool = False,
        push: str | None = None,
        public: bool = False,
        reporter: Reporter | None = None,
    ) -> Path:
        """Write the weights, the config and a model card to a new folder that :func:`load_run` opens, and return it.

        The weights are the loaded ones: ``load_run(..., ema=False)`` exports the live weights. With format
        ``diffusers``, ``DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)`` loads the folder in a
        program without dit-run. The pipeline is a class of diffusers itself, without code in the folder, where all
        parts fit one; ``reporter`` gets a notice that says which, or why not. ``safetensors`` writes one file of
        weights. ``dtype`` of the weights is ``fp32``, ``fp16`` or ``bf16``. ``frozen`` False leaves out the pretrained
        files of frozen parts, which are then loaded by their names on a hub. ``license`` is that of the weights in the
        model card, such as ``apache-2.0``. Of a run with an adapter the adapter alone is exported, and with ``merge``
        the whole model with its changes. ``push`` uploads the folder to the repository of this name on a hub too; it is
        private unless ``public`` is True.

        Raises InputError for a folder that holds files, for a run whose config could only be read in part, for a
        component whose code needs packages that programs with diffusers do not have, and, before anything is written,
        for a repository that cannot be written; DitRunError where the disk or the hub fails.
        """
        options = ExportOptions(format, dtype, frozen, license, merge)
        export_run(self, Path(folder).absolute(), options, Destination(push, public), reporter or Silent())
        return Path(folder).absolute()

    def _refuse_untrained_guidance(self, request: SamplingRequest) -> None:
        scale = next((each for each in request.guidance.scales if each != 1), None)
        if scale is not None and weaker_prediction(self.config) == "empty" and not self.config.drops_captions:
            raise InputError(
                f"guidance_scale {scale:g} does not work with this run: it was trained with "
                "training.caption_dropout 0, so it never learned the empty caption; use guidance_scale 1"
            )

    def _info(self, request: SamplingRequest, index: int) -> dict[str, str]:
        guidance, chosen = request.guidance, self.config.guidance
        return {
            "prompt": request.prompts[index],
            "negative_prompt": request.negative_prompt,
            "seed": str(request.seed + index),
            "steps": str(request.steps),
            "sampler": str(request.sampler),
            "guidance_scale": f"{guidance.scale_of(index):g}",
            "guidance_rescale": f"{guidance.rescale:g}",
            "guidance_interval": " ".join(f"{end:g}" for end in guidance.interval),
            **({} if chosen.type == chosen.component.kind.default_type else {"guidance": chosen.type}),
            "size": f"{request.height}x{request.width}",
            **({"scalars": _scalars_text(request.scalars)} if request.scalars else {}),
            "run": str(self.path),
            "checkpoint": self.checkpoint.name,
            "ema": json.dumps(self.ema),
            **({"average": self.average} if self.average not in (None, EMA) else {}),
            "version": f"dit-run {__version__}",
        }


def _scale(given: float | Sequence[float]) -> float | tuple[float, ...]:
    return tuple(given) if isinstance(given, Sequence) else given


def _scalars_text(scalars: Mapping[str, float]) -> str:
    """Return scalars as text: ``aesthetic_score=6.5 crop_top=0``."""
    return " ".join(f"{name}={value:g}" for name, value in scalars.items())


def load_run(
    path: str | Path,
    *overrides: str,
    checkpoint: str | None = None,
    ema: bool = True,
    average: str | None = None,
    allow_plugins: bool = False,
    device: str | torch.device | None = None,
) -> LoadedRun:
    """Load a run folder, or a folder from :meth:`LoadedRun.export`, to sample from it.

    Needs the folder and the weights of the frozen encoders, but neither training data nor the plugins of what only
    trains. ``overrides`` are ``section.key=value`` on top of the run's config, such as the new path of an encoder.
    ``checkpoint`` names one: ``step-00000100``, the step ``100``, ``best`` (lowest validation loss) or ``last``, the
    newest complete one, which None loads too. ``ema`` False loads the live weights in place of the averaged ones,
    ``average`` the average of this name: one that the run keeps, or one that ``dit-run average`` made.
    ``allow_plugins`` allows the code of plugin files in the folder to run. ``device`` replaces ``training.device``.

    Raises InputError for a folder that holds no run, a checkpoint that is missing or damaged, and plugin files that are
    needed and not allowed.
    """
    return open_run(
        path,
        overrides,
        SAMPLED,
        checkpoint=checkpoint,
        ema=ema,
        average=average,
        allow_plugins=allow_plugins,
        device=device,
    )


def open_run(
    path: str | Path,
    overrides: Sequence[str],
    used: frozenset[str],
    *,
    checkpoint: str | None = None,
    ema: bool = True,
    average: str | None = None,
    allow_plugins: bool = False,
    device: str | torch.device | None = None,
) -> LoadedRun:
    """Load a run as :func:`load_run` does, for a caller that uses the components of the sections ``used``."""
    folder = RunFolder(Path(path))
    chosen = [*overrides, f"training.device={device}"] if device is not None else overrides
    read = read_run_config(folder, chosen, used, allow_plugins=allow_plugins)
    config = read.resolution.config
    weights_of = choose_weights(folder, checkpoint, ema=ema, average=average)
    source = weights_of.source
    target = choose_device(config.training.device)
    encoders = build_encoders(config, target)
    denoiser, weights = trained_denoiser(config, encoders, target, weights_of.weights, average=weights_of.average)
    guided = (source, weights.average) if weights_of.weights == source else None
    other = weaker_denoiser(config, encoders, target, folder, source, guided=guided)
    return LoadedRun(
        path=folder.path,
        checkpoint=weights_of.weights,
        config=config,
        registry=read.resolution.registry,
        pipeline=Pipeline.of(
            config,
            encoders,
            denoiser,
            build_schedulers(config, encoders),
            build_guidance(config, denoiser),
            target,
            read_scalars(source),
            other,
        ),
        prompts=config.sampling.prompts or read_prompts(source) or _DEFAULT_PROMPTS,
        step=weights.step,
        global_batch=weights.global_batch,
        average=weights.average,
        notices=(*read.notices, *(f"damaged checkpoint passed over: {damaged}" for damaged in weights_of.passed_over)),
        left_out=read.left_out,
    )
