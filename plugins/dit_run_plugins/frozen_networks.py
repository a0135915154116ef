"""Frozen networks: loaded at the first call, and loaded from transformers' files completely or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from dit_run.hub import Pretrained, WeightFiles, quiet_transformers, unsafe_pickle

__all__ = ["LazyNetwork", "load_transformers_network", "refuse_incomplete"]


class LazyNetwork(nn.Module):
    """A frozen network that is made at the first call: with a warm cache, never.

    It is made on the device and in the dtype to which this module was moved, ``dtype`` at first, in eval mode, and
    draws from no generator that others use. Inputs of floating point are cast to its dtype. A network that overflows
    float16 (``upcast``) computes in float32 in its place.
    """

    def __init__(
        self, make: Callable[[], nn.Module], dtype: torch.dtype = torch.float32, *, upcast: bool = False
    ) -> None:
        super().__init__()
        self._make, self._upcast = make, upcast
        self.network: nn.Module | None = None
        self._place: Tensor
        self.register_buffer("_place", torch.empty(0, dtype=dtype), persistent=False)

    @property
    def loaded(self) -> bool:
        return self.network is not None

    def release(self) -> None:
        """Free the memory of the network; the next call loads the weights again."""
        self.network = None

    def train(self, mode: bool = True) -> LazyNetwork:
        return super().train(False)

    def load(self) -> nn.Module:
        """Return the network, which is made now if it is not there."""
        if self.network is None:
            with torch.random.fork_rng(devices=[]):
                network = self._make().requires_grad_(False).eval()
            self.network = network.to(device=self._place.device, dtype=self._dtype)
        return self.network

    def forward(self, *inputs: Tensor) -> Any:
        network = self.load()
        given = (value.to(self._dtype) if value.is_floating_point() else value for value in inputs)
        with self._autocast():
            return network(*given)

    @property
    def _dtype(self) -> torch.dtype:
        dtype = self._place.dtype
        return torch.float32 if self._upcast and dtype is torch.float16 else dtype

    def _autocast(self) -> AbstractContextManager[object]:
        """Turn autocast to float16 off for a network that overflows it."""
        device = self._place.device.type
        halves = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) is torch.float16
        return torch.autocast(device, enabled=False) if self._upcast and halves else nullcontext()


def load_transformers_network(
    cls: Any, weights: Pretrained, files: WeightFiles, noun: str, *, dtype: torch.dtype = torch.float32
) -> nn.Module:
    """Load a ``cls`` of transformers from the folder of its weights, in eval mode, ``dtype`` and without gradients.

    Raises InputError if the files do not load, or have other shapes or not all weights of the ``noun`` (``"a CLIP text
    encoder"``), which transformers would initialise at random.
    """
    file = files.file
    try:
        with torch.random.fork_rng(devices=[]), quiet_transformers():
            model, report = cls.from_pretrained(
                file.parent,
                local_files_only=True,
                use_safetensors=files.is_safetensors,
                variant=files.variant,
                dtype=dtype,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are refused here, by name
            )
    except UnpicklingError as error:
        raise weights.error(f"has weights that do not load: {unsafe_pickle(file, error)}") from error
    except (OSError, RuntimeError, ValueError, SafetensorError, EOFError) as error:
        raise weights.error(f"has weights that do not load: {file}: {error}") from error
    refuse_incomplete(weights, files, noun, report["mismatched_keys"], report["missing_keys"])
    network: nn.Module = model
    return network.requires_grad_(False).eval()


def refuse_incomplete(
    weights: Pretrained,
    files: WeightFiles,
    noun: str,
    mismatched: Iterable[tuple[str, Sequence[int], Sequence[int]]],
    missing: Iterable[str],
) -> None:
    """Raise InputError if tensors of the ``noun`` are missing or mismatched (name, shape in the file, expected one)."""
    if mismatched := sorted(mismatched):
        shown = [f"{name} is {list(shape)}, expected {list(expected)}" for name, shape, expected in mismatched[:3]]
        more = f" and {len(mismatched) - 3} more" if len(mismatched) > 3 else ""
        raise weights.error(
            f"has weights that are not those of its config.json: {files.file}: {'; '.join(shown)}{more}"
        )
    if missing := sorted(missing):
        raise weights.error(f"does not have all weights of {noun}: {', '.join(missing[:3])} missing from {files.file}")
