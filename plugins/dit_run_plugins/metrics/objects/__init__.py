"""objects: whether sampled images show the objects of their prompts, as an object detector sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from dit_run.hub import on_hub
from dit_run.options import HubOrPath, PositiveInt, Probability, acts_if

__all__ = ["Objects"]


@dataclass(frozen=True, kw_only=True)
class Objects:
    """Share of images that show what prompts of objects ask for, as a detector sees them.

    After GenEval (Ghosh et al. 2023): one object, two objects, a number of objects, and one object left of, right of,
    above or below another, each a quarter of the prompts. The classes are those of the detector. Unlike GenEval it asks
    for no colours.
    """

    pretrained_model_name: Annotated[str, HubOrPath] = "hustvl/yolos-small"
    """Hub name or local folder of a detector of transformers, such as a DETR, an RT-DETR or a YOLOS, with its
    preprocessor_config.json. Part of the score's name."""
    revision: Annotated[str | None, acts_if("pretrained_model_name", on_hub)] = None
    """Branch, tag or commit on the hub; null uses the newest."""
    count: PositiveInt = 400
    """Number of prompts. Part of the score's name."""
    threshold: Probability = 0.5
    """Least confidence of an object that counts."""
