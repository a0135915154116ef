"""A folder with a pipeline class of diffusers itself, for a run whose parts are all diffusers' own."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dit_run.export.frozen_files import FrozenFiles, FrozenParts
from dit_run.export.pipeline_use import PipelineUse
from dit_run.export.stock_pipelines import StockPipeline, stock_pipeline
from dit_run.hub import quiet_transformers
from dit_run.model.codec import LatentShape
from dit_run.model.denoiser import TEXT_ENCODER_PREFIX, check_tensors, model_keywords
from dit_run.problems import NotInDiffusers
from dit_run.registry.factories import make
from dit_run.settings import Choice, Config
from dit_run.system.json_files import read_object

__all__ = ["StockExport"]

_PLACE_OPTIONS = ("subfolder", "revision")
"""Options that say where in a repository the files of a frozen part are; its copy has them at the top."""


class StockExport:
    """The parts of a run as modules of diffusers and transformers, and the pipeline that takes them."""

    def __init__(self, config: Config, tensors: Mapping[str, Tensor], parts: FrozenParts) -> None:
        """Load the parts. Raises NotInDiffusers where one does not fit, and InputError for weights that are broken."""
        self._config, self._parts = config, parts
        _check_encoding(config)
        _check_sampling(config)
        if len(parts.texts) > 1:
            raise NotInDiffusers("the pipelines of diffusers do not take these text encoders together")
        model = _empty_model(config, parts)
        self._transformer = getattr(model, "diffusers_module", None)
        if self._transformer is None:
            raise NotInDiffusers(f"no pipeline of diffusers has the model {config.model.type}")
        self._pipeline = stock_pipeline(self._transformer)
        size = config.data.common.image_size
        self._latent_shape = LatentShape.of(parts.vae.part)(size, size)
        self._scheduler = self._made_scheduler()
        self._max_length = self._checked_length(getattr(model, "text_length", None))
        text, vae = parts.texts[0], parts.vae
        self._text_encoder, self._tokenizer = _seam(text.part, text.choice, "to_transformers")()
        self._pipeline.check("text_encoder", self._text_encoder)
        self._vae = _seam(vae.part, vae.choice, "to_diffusers")()
        self._pipeline.check("vae", self._vae)
        _fill(model, tensors)

    def write(self, folder: Path) -> PipelineUse:
        """Write the pipeline into the folder."""
        import diffusers

        pipeline = getattr(diffusers, self._pipeline.name)(
            transformer=self._transformer,
            text_encoder=self._text_encoder,
            tokenizer=self._tokenizer,
            vae=self._vae,
            scheduler=self._scheduler,
        )
        with quiet_transformers():
            pipeline.save_pretrained(folder)
        _load_in_float32(folder / "text_encoder" / "config.json")
        return PipelineUse(
            {"text_encoder": [_places(self._parts.texts[0], "text_encoder")], "vae": [_places(self._parts.vae, "vae")]},
            class_name=self._pipeline.name,
            arguments=self._arguments(self._pipeline),
            latent_shape=self._latent_shape,
            lower_case=self._pipeline.lower_case,
            rounding=", ".join(self._rounding()),
        )

    def _rounding(self) -> Iterator[str]:
        """Yield the lower precisions in which dit-run samples, and a pipeline of diffusers does not."""
        precision, states = self._config.training.mixed_precision, self._config.cache.text_dtype
        dtype = self._text_encoder.dtype
        if precision != "no":
            yield f"training.mixed_precision {precision}"
        if states not in (None, "fp32"):
            yield f"cache.text_dtype {states}"
        if dtype != torch.float32:
            yield f"a text encoder in {str(dtype).removeprefix('torch.')}"

    def _arguments(self, pipeline: StockPipeline) -> dict[str, str]:
        sampling, size = self._config.sampling, self._config.data.common.image_size
        steps = sampling.steps
        takes_sigmas = "sigmas" in inspect.signature(self._scheduler.set_timesteps).parameters
        return {
            "height": str(size),
            "width": str(size),
            "num_inference_steps": str(steps),
            **({"sigmas": f"[1 - i / {steps} for i in range({steps})]"} if takes_sigmas else {}),
            "guidance_scale": f"{sampling.guidance_scale:g}",
            "max_sequence_length": str(self._max_length),
            **pipeline.arguments,
        }

    def _checked_length(self, text_length: int | None) -> int:
        """Return the largest number of tokens, to which a network without a mask fills all texts."""
        length: int = self._parts.texts[0].part.max_length
        if text_length not in (None, length):
            raise NotInDiffusers(
                f"text_encoder.max_length is {length} and the model reads {text_length} tokens (model.text_length), "
                f"but {self._pipeline.name} has one number for both"
            )
        return length

    def _made_scheduler(self) -> Any:
        channels, height, width = self._latent_shape
        scheduler = self._scheduler_for((channels, height, width))
        self._pipeline.check("scheduler", scheduler)
        if (
            self._config.has_buckets
            and self._scheduler_for((channels, 2 * height, 2 * width)).config != scheduler.config
        ):
            raise NotInDiffusers("the scheduler depends on the size of an image (scheduler.shift)")
        return scheduler

    def _scheduler_for(self, latent_shape: tuple[int, int, int]) -> Any:
        choice = self._config.scheduler
        process = make(choice.component, choice.options, latent_shape=latent_shape)
        return _seam(process, choice, "to_diffusers")(self._config.sampling.sampler or process.samplers[0])


def _check_encoding(config: Config) -> None:
    """Refuse changes of latents and text states that no pipeline of diffusers makes."""
    settings = {
        "vae.normalize": config.vae.common.normalize is not None,
        "cache.max_tokens": config.cache.max_tokens is not None,
        "cache.text_dtype: fp8": config.cache.text_dtype == "fp8",
    }
    used = [name for name, is_used in settings.items() if is_used]
    if used:
        raise NotInDiffusers(f"the pipelines of diffusers have no {' and no '.join(used)}")


def _check_sampling(config: Config) -> None:
    """Refuse settings that no pipeline of diffusers has."""
    sampling = config.sampling
    if sampling.guidance_scale != 1 and not getattr(config.guidance.options, "in_diffusers", False):
        raise NotInDiffusers(f"the pipelines of diffusers have no guidance {config.guidance.type}")
    settings = {
        "guidance_scale": sampling.guidance_scale < 1,
        "guidance_rescale": sampling.guidance_rescale != 0,
        "guidance_interval": sampling.guidance_interval != (0.0, 1.0),
    }
    used = [f"sampling.{name}" for name, is_used in settings.items() if is_used and sampling.guidance_scale != 1]
    if used:
        raise NotInDiffusers(f"the pipelines of diffusers have no {' and no '.join(used)} like that of the run")


def _empty_model(config: Config, parts: FrozenParts) -> nn.Module:
    """Return the model on the meta device, without values."""
    keywords = model_keywords([text.part for text in parts.texts], parts.vae.part)
    with torch.device("meta"):
        model: nn.Module = make(config.model.component, config.model.options, **keywords)
    return model


def _fill(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put the trained weights into the model, which holds them without a copy."""
    own = {name: value for name, value in tensors.items() if not name.startswith(TEXT_ENCODER_PREFIX)}
    check_tensors(model.state_dict(), own, where="the run")
    model.load_state_dict(own, assign=True)


def _seam(part: Any, choice: Choice, name: str) -> Callable[..., Any]:
    """Return a part's method. Raises NotInDiffusers for a part without it."""
    method: Callable[..., Any] | None = getattr(part, name, None)
    if method is None:
        raise NotInDiffusers(f"no pipeline of diffusers has the {choice.component.kind} {choice.type}")
    return method


def _load_in_float32(file: Path) -> None:
    """Let a text encoder be loaded in float32, as diffusers loads the parts that are its own.

    transformers else takes the precision of the file, whose states the model in float32 could not read.
    """
    config = read_object(file)
    file.write_text(json.dumps({**config, "dtype": "float32"}, indent=2) + "\n", encoding="utf-8")


def _places(files: FrozenFiles, folder: str) -> dict[str, str | None]:
    """Return the options of a frozen part that find its copy in this folder."""
    options = files.choice.options
    elsewhere: dict[str, str | None] = {name: None for name in _PLACE_OPTIONS if getattr(options, name, None)}
    return elsewhere | dict.fromkeys(files.names, folder)
