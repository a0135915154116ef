"""Weights of a transformer in diffusers' layout: checked by their headers, then read file by file."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dit_run.hub import Pretrained, WeightFiles, tensor_shapes
from dit_run.model.denoiser import check_tensors
from dit_run.problems import InputError

__all__ = ["load_weights"]

_LEFT_OUT = ("caption_projection.y_embedding",)
"""Tensors of published files that no class of diffusers has any more."""


@torch.no_grad()
def load_weights(module: nn.Module, weights: Pretrained, files: WeightFiles) -> str:
    """Put pretrained weights into a module, in the module's own precision, and return a notice about them.

    A module on the meta device is only checked. Raises InputError, before any value is read of safetensors, for names
    and shapes that are not those of the module.
    """
    own = module.state_dict()
    left_out = {name for name, _ in module.named_buffers() if name not in own} | set(_LEFT_OUT)
    check_tensors(own, _shapes(files, left_out), where=f"{weights.name} ({weights.key})")
    dtypes: set[str] = set()
    for path in files.files if not next(module.parameters()).is_meta else ():
        for name, value in weights.tensors(path, own.__contains__).items():
            own[name].copy_(value)
            dtypes.add(str(value.dtype).removeprefix("torch."))
    count = sum(value.numel() for value in own.values())
    kind = f"{type(module).__name__}, {' and '.join(sorted(dtypes))}"
    return f"{len(own):,} tensors with {count:,} values loaded from {weights.name} ({kind})"


def _shapes(files: WeightFiles, left_out: set[str]) -> Mapping[str, Tensor]:
    """Return tensors without values that have the names and shapes of those in the files."""
    found: dict[str, Tensor] = {}
    for path in files.files:
        try:
            shapes = tensor_shapes(path)
        except InputError as error:
            raise InputError(f"{files.key}: {error}") from error
        found |= {name: torch.empty(shape, device="meta") for name, shape in shapes.items() if name not in left_out}
    return found
