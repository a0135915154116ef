"""Pipelines of diffusers that an exported model can use without code of its own, and what they expect of its parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from dit_run.problems import NotInDiffusers

__all__ = ["StockPipeline", "stock_pipeline"]


@dataclass(frozen=True)
class StockPipeline:
    """A pipeline class of diffusers with one text encoder."""

    name: str
    text_encoder: str
    """Class of transformers."""
    vae: str
    """Class of diffusers, as of the scheduler."""
    scheduler: str
    arguments: Mapping[str, str] = field(default_factory=dict)
    """Arguments of a call, as Python expressions, that turn off what the training of a run does not have."""
    lower_case: bool = True
    """True for a class that changes prompts to lower case."""

    def check(self, section: Literal["scheduler", "text_encoder", "vae"], part: Any) -> None:
        """Raise NotInDiffusers where the part of this section does not fit."""
        name, wanted = type(part).__name__, getattr(self, section)
        if name != wanted:
            raise NotInDiffusers(f"the {section} is a {name}, and {self.name} takes a {wanted}")
        if section == "vae":
            self._check_vae(part)

    def _check_vae(self, vae: Any) -> None:
        changed = [key for key in _NOT_APPLIED if vae.config.get(key)]
        if changed:
            raise NotInDiffusers(f"{self.name} does not apply the {' and '.join(changed)} of the VAE")
        if not vae.config.get("scaling_factor"):
            raise NotInDiffusers(f"{self.name} needs a scaling_factor, and the VAE has none")


_NOT_APPLIED = ("shift_factor", "latents_mean", "latents_std")
"""Keys of a VAE's config that only pipelines of other models read."""
_ANY_SIZE = {"use_resolution_binning": "False"}
_FLOW, _DPM = "FlowMatchEulerDiscreteScheduler", "DPMSolverMultistepScheduler"
_PIXART = StockPipeline(
    "PixArtSigmaPipeline",
    "T5EncoderModel",
    "AutoencoderKL",
    _DPM,
    arguments={**_ANY_SIZE, "clean_caption": "False"},
)
_PIPELINES: Mapping[str, StockPipeline] = {
    "AuraFlowTransformer2DModel": StockPipeline(
        "AuraFlowPipeline", "UMT5EncoderModel", "AutoencoderKL", _FLOW, lower_case=False
    ),
    "PixArtTransformer2DModel": _PIXART,
    "SanaTransformer2DModel": StockPipeline(
        "SanaPipeline",
        "Gemma2Model",
        "AutoencoderDC",
        _FLOW,
        arguments={**_ANY_SIZE, "complex_human_instruction": "None"},
    ),
}
_OTHERS: Mapping[str, str] = {
    "Lumina2Transformer2DModel": "Lumina2Pipeline keeps the states of a prompt of its own, which a template cuts",
    "SD3Transformer2DModel": "StableDiffusion3Pipeline takes CLIP's states before the last layer, which no type has",
    "ZImageTransformer2DModel": "ZImagePipeline keeps the states of a chat around captions, which a template cuts",
}
"""Classes whose pipelines read texts in a way that no config has, with the reason."""
_MICRO_CONDITIONED = 128
"""The sample_size for which PixArtAlphaPipeline tells the model the size of an image."""


def stock_pipeline(transformer: Any) -> StockPipeline:
    """Return the pipeline of this module of diffusers. Raises NotInDiffusers where none fits."""
    name = type(transformer).__name__
    if name not in _PIPELINES:
        raise NotInDiffusers(_OTHERS.get(name, f"no pipeline is known for {name}"))
    found = _PIPELINES[name]
    if found is not _PIXART or not transformer.use_additional_conditions:
        return found
    if transformer.config.sample_size != _MICRO_CONDITIONED:
        raise NotInDiffusers(
            f"PixArtAlphaPipeline has micro-conditions only with model.sample_size {_MICRO_CONDITIONED}, not "
            f"{transformer.config.sample_size}"
        )
    return replace(_PIXART, name="PixArtAlphaPipeline")
