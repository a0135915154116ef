"""Adaptation: a model with base weights gets the adapter of the config, which trains in place of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from dit_run.model.denoiser import Denoiser
from dit_run.problems import InputError
from dit_run.protocols import Adapter
from dit_run.registry.factories import PluginFault, make
from dit_run.settings import Config

__all__ = ["adapt", "build_adapter", "merged_tensors", "refuse_other_base", "without_adapter"]


def build_adapter(config: Config) -> Adapter | None:
    """Return the adapter of the config, which is in no model yet; None for a config without one."""
    if config.adapter is None:
        return None
    adapter: Adapter = make(config.adapter.component, config.adapter.options)
    return adapter


def adapt(denoiser: Denoiser, adapter: Adapter, name: str, *, base: bool) -> None:
    """Freeze all weights, and add the adapter of this ``name`` to the model.

    ``base`` is True where the weights are those that the adapter changes, and not just of their shape. Raises
    InputError as the adapter does, and PluginFault where it trains other weights than its own.
    """
    digest = weights_digest(denoiser.tensors()) if base else ""
    own = {id(parameter) for parameter in denoiser.requires_grad_(False).parameters()}
    adapter.add(denoiser.model)
    trained = [parameter for parameter in denoiser.parameters() if parameter.requires_grad]
    if not trained or any(id(parameter) in own for parameter in trained):
        what = "adds no parameter that trains" if not trained else "lets weights of the base train"
        raise PluginFault(f"adapter {name} {what}; its add() must add parameters and freeze all others")
    denoiser.keep_base_apart(digest)


def weights_digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the hex SHA-256 of the names, types, shapes and values of tensors on the CPU."""
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def refuse_other_base(denoiser: Denoiser, recorded: str, *, where: str) -> None:
    """Raise InputError if the adapter in ``where`` belongs to base weights with another digest."""
    if denoiser.base and recorded and denoiser.base != recorded:
        raise InputError(
            f"{where} holds an adapter of other base weights than this config names: it was trained on those with the "
            f"digest {recorded[:12]}, and these have {denoiser.base[:12]}. Let model.pretrained_model_name or "
            "training.init_from name the weights that it was trained on (of a run, the same checkpoint)"
        )


def merged_tensors(denoiser: Denoiser, adapter: Adapter) -> dict[str, Tensor]:
    """Return what checkpoints of the base hold, with the adapter's changes in the weights of the model."""
    return {**adapter.merged(denoiser.model), **denoiser.other_tensors()}


def without_adapter(config: Config) -> Config:
    """Return the config of the model that an adapter was merged with; keys about the adapter are left out."""
    training = replace(config.training, learning_rate_factors={}, freeze=())
    return replace(config, sections={**config.sections, "adapter": None, "training": training})
