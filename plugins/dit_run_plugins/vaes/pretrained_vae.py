"""The options that all VAEs with pretrained weights share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from dit_run.hub import Pretrained, on_hub
from dit_run.options import HubOrPath, Operational, acts_if
from dit_run.problems import InputError

__all__ = ["CONFIG_FILES", "PretrainedVae", "other_class", "read_config"]

CONFIG_FILES = ("vae/config.json", "config.json")
"""Places of a VAE's config: a pipeline's subfolder, or the top of a repository."""


@dataclass(frozen=True, kw_only=True)
class PretrainedVae:
    """A VAE with pretrained weights. A subclass gives the name a default and documents it."""

    pretrained_model_name: Annotated[str, HubOrPath]
    revision: Annotated[str | None, Operational, acts_if("pretrained_model_name", on_hub)] = None
    """Branch, tag or commit on the hub; null uses the newest."""
    use_slicing: Annotated[bool, Operational] = False
    """Encode and decode image by image: less memory, slower."""

    def weights(self) -> Pretrained:
        """Return the place of the weights."""
        return Pretrained(self.pretrained_model_name, "vae.pretrained_model_name", self.revision)


def other_class(weights: Pretrained, config: Mapping[str, Any], classes: Sequence[str]) -> InputError | None:
    """Return the error of a config of another class than these; None for one of them."""
    name = config.get("_class_name", "another kind of model")
    return None if name in classes else weights.error(f"describes {name}, not {' or '.join(classes)}")


def read_config(
    weights: Pretrained, candidates: Sequence[str], classes: Sequence[str] = ()
) -> tuple[dict[str, Any], str]:
    """Return the content of the first of these configs that exists, and its place as errors name it.

    Raises InputError for a class that is none of ``classes``, of which there may be none for any class.
    """
    config = weights.object(*candidates)
    if classes and (error := other_class(weights, config, classes)) is not None:
        raise error
    return config, f"{weights.key}: the config of {weights.need(*candidates).parent}"
