"""The layers that LoRA changes, by patterns of their names."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from dit_run.model.denoiser import parameter_roles
from dit_run.model.name_patterns import chosen_names
from dit_run.problems import InputError

__all__ = ["chosen_layers", "target_modules"]

_KEY = "adapter.targets"


def chosen_layers(model: nn.Module, patterns: tuple[str, ...]) -> list[str]:
    """Return the names of the layers that the patterns mean; without any, the linear layers of the repeated blocks.

    Raises InputError, with similar names, for a pattern without a layer, and for a model without such blocks.
    """
    layers = [name for name, layer in model.named_modules() if _is_changeable(layer)]
    if patterns:
        return sorted(chosen_names(patterns, layers, key=_KEY, noun="linear or convolution layer"))
    roles = parameter_roles(model)
    chosen = [name for name in layers if roles[f"{name}.weight"] == "matrix"]
    if not chosen:
        raise InputError(
            f"{_KEY} is empty, and the model has no linear layers in repeated blocks; name layers, such as "
            f"{', '.join(layers[:5]) or '(it has none)'}"
        )
    return chosen


def _is_changeable(layer: nn.Module) -> bool:
    """Return True for a layer whose weight can have a low-rank change: it is called, and is one matrix."""
    if isinstance(layer, nn.Conv2d):
        return layer.groups == 1
    # torch's own attention reads the weight of this subclass without a call of the layer.
    return isinstance(layer, nn.Linear) and not isinstance(layer, NonDynamicallyQuantizableLinear)


def target_modules(chosen: Iterable[str], names: Collection[str]) -> list[str] | str:
    """Return the chosen names as peft takes them; as one expression where the end of another name is one of them."""
    wanted = set(chosen)
    ends = tuple(f".{name}" for name in wanted)
    if any(name.endswith(ends) for name in names if name not in wanted):
        return "|".join(re.escape(name) for name in sorted(wanted))
    return sorted(wanted)
