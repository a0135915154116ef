"""Param groups with and without weight decay, by the roles of parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dit_run.protocols import NamedParameters, ParameterRole

__all__ = ["decay_groups"]

_DECAYED = ("matrix", "edge")


def decay_groups(
    named_parameters: NamedParameters, roles: Mapping[str, ParameterRole], weight_decay: float
) -> list[dict[str, Any]]:
    """Return a group with weight decay, of linear and convolution layers, and one without; empty ones are left out."""
    decayed = [parameter for name, parameter in named_parameters if roles[name] in _DECAYED]
    kept = [parameter for name, parameter in named_parameters if roles[name] not in _DECAYED]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
