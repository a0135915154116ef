"""LoRA as an adapter of dit-run: peft puts its layers into the model in place."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dit_run_plugins.adapters.lora import Lora
from dit_run_plugins.adapters.lora.files import write_files
from dit_run_plugins.adapters.lora.target_layers import chosen_layers, target_modules
from dit_run_plugins.extras import import_extra

__all__ = ["LoraAdapter", "build"]


def build(options: Lora) -> LoraAdapter:
    """Return the adapter. Raises InputError without the package peft."""
    return LoraAdapter(options, import_extra("peft", "lora", section="adapter"))


class LoraAdapter:
    """Implements :class:`dit_run.protocols.Adapter`."""

    def __init__(self, options: Lora, peft: Any) -> None:
        self._options = options
        self._peft = peft

    def __deepcopy__(self, memo: dict[int, Any]) -> LoraAdapter:
        return self

    def add(self, model: nn.Module) -> None:
        """Replace the chosen layers by those of peft, which hold them. Raises InputError for unknown targets."""
        options = self._options
        names = [name for name, _ in model.named_modules()]
        config = self._peft.LoraConfig(
            r=options.rank,
            lora_alpha=options.rank if options.alpha is None else options.alpha,
            target_modules=target_modules(chosen_layers(model, options.targets), names),
            lora_dropout=options.dropout,
            use_dora=options.use_dora,
        )
        self._peft.inject_adapter_in_model(config, model)

    def merged(self, model: nn.Module) -> dict[str, Tensor]:
        """Return the tensors of the model as they were named before, with the products added to the weights."""
        tensors: dict[str, Tensor] = dict(model.state_dict())
        for name, layer in self._layers(model).items():
            tensors = {key: value for key, value in tensors.items() if not key.startswith(f"{name}.")}
            changed = copy.deepcopy(layer)
            changed.merge()
            tensors |= {f"{name}.{key}": value for key, value in changed.get_base_layer().state_dict().items()}
        return tensors

    def save(self, model: nn.Module, folder: Path, *, dtype: torch.dtype, base: str | None) -> None:
        """Write the layout of peft and, for a network of diffusers, that of its pipelines."""
        tensors = self._peft.get_peft_model_state_dict(model, adapter_name="default", save_embedding_layers=False)
        config = model.peft_config["default"]  # type: ignore[index, union-attr]  # peft sets it
        write_files(model, config, {name: value.to(dtype) for name, value in tensors.items()}, folder, base=base)

    def _layers(self, model: nn.Module) -> dict[str, Any]:
        from peft.tuners.tuners_utils import BaseTunerLayer

        return {name: layer for name, layer in model.named_modules() if isinstance(layer, BaseTunerLayer)}
