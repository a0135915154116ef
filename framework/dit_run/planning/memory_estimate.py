"""An estimate of a run's memory on a GPU that is not at hand: the real step, done with fake tensors."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from dit_run.assembly.model_cost import META
from dit_run.assembly.objectives import build_objectives, features_of
from dit_run.assembly.optimization import build_optimizer
from dit_run.assembly.parts import Encoders, build_denoiser, build_schedulers
from dit_run.compute.precision import Precision
from dit_run.hub import deferred_weights
from dit_run.model.codec import LatentShape
from dit_run.model.conditioning import TextIds
from dit_run.planning.device_kernels import device_kernels
from dit_run.protocols import TextEncoder, TextStates
from dit_run.settings import Config
from dit_run.training.step import EncodedBatch
from dit_run.training.step_loss import StepLoss

__all__ = ["StepMemory", "estimate_step"]

CPU = torch.device("cpu")
GPU = torch.device("cuda")
_BLOCK = 512
"""Unit in which torch's allocator gives memory of a GPU (bytes)."""
_LIBRARIES = 640 * 2**20
"""Memory of the driver, kernels and the workspaces of cuBLAS (bytes)."""
_FRAGMENTS = 0.03
"""Memory between tensors that nothing fits into (share of the tensors)."""


@dataclass(frozen=True)
class StepMemory:
    """The memory of training steps (bytes)."""

    parameters: int
    """Parameters that train (number)."""
    held: int
    """Weights, optimizer state and averages, which stay between steps."""
    tensors: int
    """Most memory of all tensors at a time."""
    weights: int
    """Weights, those that train and those that an adapter changes."""

    @property
    def peak(self) -> int:
        """Most memory of the process on the card."""
        return round(self.tensors * (1 + _FRAGMENTS)) + _LIBRARIES


def estimate_step(config: Config, encoders: Encoders, *, batch_size: int, accumulates: bool) -> StepMemory:
    """Return the memory of steps with captions of the greatest length, in which gradients are added up or not.

    No data are read, and no memory is taken. Of the encoders their shapes count.
    """
    # Encoders that train become a part of the denoiser, whose tensors are replaced.
    encoders = replace(encoders, texts=tuple(copy.deepcopy(t) if t.trainable else t for t in encoders.texts))
    with META:
        denoiser = build_denoiser(config, encoders, META).train()
    with FakeTensorMode(allow_non_fake_inputs=True), Ledger() as ledger, device_kernels():
        _materialise(denoiser)
        with deferred_weights():
            objectives = build_objectives(config, denoiser, CPU, latent_factor=encoders.vae.factor)
        training = config.training
        trains = [each for each in denoiser.parameters() if each.requires_grad]
        averages = [torch.empty_like(each) for each in trains for _ in config.average_names]
        optimizer = build_optimizer(config, denoiser, GPU)
        batch = _batch(config, replace(encoders, features=features_of(objectives)), batch_size)
        scheduler = build_schedulers(config, encoders)(batch.shape)
        precision = Precision(CPU.type, Precision.of(training.mixed_precision, GPU).dtype)
        loss = StepLoss(denoiser, objectives, precision)
        for parameter in trains:
            parameter.grad = torch.empty_like(parameter)
        optimizer.step()
        if not accumulates:  # else these gradients are those of the micro-batch before
            optimizer.zero_grad(set_to_none=True)
        loss(batch, scheduler, 0)[0].mean().backward()
        optimizer.zero_grad(set_to_none=True)
        trained = sum(parameter.numel() for parameter in trains)
        held = ledger.live
        weights = sum(parameter.nbytes for parameter in denoiser.parameters())
        del averages
        return StepMemory(trained, held, ledger.peak, weights)


def _materialise(module: nn.Module) -> None:
    """Replace tensors without memory by tensors of the surrounding mode; shared ones stay shared."""
    known: dict[Tensor, Tensor] = {}
    for part in module.modules():
        for name, value in [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]:
            if value not in known:
                fresh = torch.empty_like(value, device=CPU)
                is_parameter = isinstance(value, nn.Parameter)
                known[value] = nn.Parameter(fresh, requires_grad=value.requires_grad) if is_parameter else fresh
            setattr(part, name, known[value])


class Ledger(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The memory of all tensors that operations return (bytes)."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = 0
        self.peak = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in tree_flatten(out)[0]:
            if isinstance(value, Tensor):
                self._add(value)
        return out

    def _add(self, value: Tensor) -> None:
        storage = value.untyped_storage()
        key = storage._cdata
        if key in self._sizes:
            return
        self._sizes[key] = -(-storage.nbytes() // _BLOCK) * _BLOCK
        self.live += self._sizes[key]
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._remove, key)

    def _remove(self, key: int) -> None:
        self.live -= self._sizes.pop(key, 0)


def _batch(config: Config, encoders: Encoders, size: int) -> EncodedBatch:
    side = config.data.common.image_size
    shape = encoders.latent_shape(side, side)
    texts = tuple(_text(encoder, size) for encoder in encoders.texts)
    names = config.scalar_names
    return EncodedBatch(
        latents=torch.empty(size, *shape),
        noise=torch.empty(size, *shape),
        uniform=torch.empty(size),
        text=texts[0] if len(texts) == 1 else texts,
        scalars=torch.empty(size, len(names)) if names else None,
        features={
            name: torch.empty(size, *LatentShape.of(encoder)(side, side)) for name, encoder in encoders.features.items()
        },
    )


def _text(encoder: TextEncoder, size: int) -> TextStates | TextIds:
    mask, null = torch.ones(size, encoder.max_length, dtype=torch.bool), torch.zeros(size, dtype=torch.bool)
    if encoder.trainable:
        return TextIds(torch.zeros(mask.shape, dtype=torch.int64), mask, null)
    return TextStates(torch.empty(*mask.shape, encoder.width), mask, torch.empty(size, encoder.pooled_width), null)
