"""An adapter: a trained factor for each output of linear layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dit_run import Component, Kind, hookimpl

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Example:
    """A trained factor for each output of linear layers."""

    targets: tuple[str, ...] = ("blocks",)
    """Patterns of the layers; each `*` stands for any text."""


class ExampleAdapter:
    def __init__(self, targets: tuple[str, ...], layer: Any) -> None:
        self.targets = targets
        self.layer = layer  # the class of the layers below

    def add(self, model: nn.Module) -> None:
        # model has its weights, frozen; change it in place, so that the adapter's parameters train
        from torch.nn import Linear

        from dit_run.model.name_patterns import chosen_names

        layers = [name for name, layer in model.named_modules() if isinstance(layer, Linear)]
        for name in sorted(chosen_names(self.targets, layers, key="adapter.targets", noun="linear layer")):
            model.set_submodule(name, self.layer(model.get_submodule(name)))

    def merged(self, model: nn.Module) -> Mapping[str, Tensor]:
        # the tensors of the model without the adapter, with its changes
        tensors: dict[str, Tensor] = dict(model.state_dict())
        for name in [name for name, layer in model.named_modules() if isinstance(layer, self.layer)]:
            factor = tensors.pop(f"{name}.factor")
            tensors[f"{name}.weight"] = tensors.pop(f"{name}.base.weight") * factor[:, None]
            if f"{name}.base.bias" in tensors:
                tensors[f"{name}.bias"] = tensors.pop(f"{name}.base.bias") * factor
        return tensors

    def save(self, model: nn.Module, folder: Path, *, dtype: torch.dtype, base: str | None) -> None:
        # files for other programs; base is the name of the base weights on a hub
        from safetensors.torch import save_file

        factors = {name: value for name, value in model.state_dict().items() if name.endswith(".factor")}
        save_file({name: value.to(dtype) for name, value in factors.items()}, folder / "factors.safetensors")


def build(options: Example) -> ExampleAdapter:
    """Return the adapter. Its layer is defined here, so that importing this file does not import torch."""
    import torch
    from torch import nn

    class ScaledLinear(nn.Module):
        def __init__(self, base: nn.Linear) -> None:
            super().__init__()
            self.base = base
            self.factor = nn.Parameter(torch.ones(base.out_features))

        def forward(self, x: Tensor) -> Tensor:
            scaled: Tensor = self.base(x) * self.factor
            return scaled

    return ExampleAdapter(options.targets, ScaledLinear)


@hookimpl
def dit_run_components() -> list[Component]:
    return [Component(Kind.ADAPTER, "example", Example, build)]
