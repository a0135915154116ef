"""Files of a LoRA for other programs: the layouts of peft and of diffusers."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn

__all__ = ["write_files"]

_PEFT, _DIFFUSERS = "adapter_model.safetensors", "pytorch_lora_weights.safetensors"
_METADATA = "lora_adapter_metadata"
"""Key under which diffusers reads the config, in the metadata of the file."""
_PART = "transformer."
"""Name of the model in pipelines of diffusers, before the names of its tensors."""


def write_files(
    model: nn.Module, config: Any, tensors: Mapping[str, Tensor], folder: Path, *, base: str | None
) -> None:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors``, which ``PeftModel.from_pretrained`` loads.

    Names are those of the network of diffusers in the model, where it calls one. If its class loads adapters, there is
    ``pytorch_lora_weights.safetensors`` too, which its pipelines load.
    """
    network = getattr(model, "diffusers_module", None)
    prefix = _prefix_of(network, model)
    own = {name.removeprefix(prefix or ""): value.contiguous() for name, value in tensors.items()}
    config = _portable(config, prefix or "", base)
    save_file({f"base_model.model.{name}": value for name, value in own.items()}, folder / _PEFT, _PYTORCH)
    config.save_pretrained(str(folder))
    if prefix is not None and hasattr(network, "load_lora_adapter"):
        settings = {f"{_PART}{key}": _plain(value) for key, value in config.to_dict().items()}
        facts = {**_PYTORCH, _METADATA: json.dumps(settings, indent=2, sort_keys=True)}
        save_file({f"{_PART}{name}": value for name, value in own.items()}, folder / _DIFFUSERS, facts)


_PYTORCH = {"format": "pt"}


def _prefix_of(network: nn.Module | None, model: nn.Module) -> str | None:
    """Return the path of a network in the model that calls it, with a dot; None without a network."""
    path = next((name for name, module in model.named_modules() if module is network), None)
    return None if path is None else f"{path}." if path else ""


def _portable(config: Any, prefix: str, base: str | None) -> Any:
    """Return the config with the names of its targets in the network of diffusers."""
    found = copy.deepcopy(config)
    targets = found.target_modules
    if isinstance(targets, str):
        found.target_modules = "|".join(part.removeprefix(re.escape(prefix)) for part in targets.split("|"))
    else:
        found.target_modules = sorted(name.removeprefix(prefix) for name in targets)
    found.base_model_name_or_path, found.inference_mode = base, True
    return found


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, set) else value
