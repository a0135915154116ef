"""Adaptation of a denoiser: which tensors it has afterwards, the digest of its base, and adapters that break it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_parts import assembled
from torch import Tensor, nn

from dit_run.assembly.adaptation import adapt, merged_tensors, refuse_other_base, weights_digest, without_adapter
from dit_run.model.denoiser import Denoiser, trainable_parameters
from dit_run.problems import InputError
from dit_run.registry.factories import PluginFault


class Shift:
    """Adds a trained vector to the output of the last layer; the least that an adapter does."""

    def add(self, model: Any) -> None:
        model.output.register_parameter("shift", nn.Parameter(torch.zeros(model.output.out_features)))

    def merged(self, model: Any) -> dict[str, Tensor]:
        tensors = dict(model.state_dict())
        tensors["output.bias"] = tensors["output.bias"] + tensors.pop("output.shift")
        return tensors

    def save(self, model: nn.Module, folder: Path, *, dtype: torch.dtype, base: str | None) -> None:
        raise NotImplementedError


def adapted(folder: Path, *, base: bool = True) -> tuple[Denoiser, dict[str, Tensor]]:
    """Return a denoiser with an adapter, and its tensors before."""
    denoiser = assembled(folder).denoiser
    before = {name: value.clone() for name, value in denoiser.tensors().items()}
    adapt(denoiser, Shift(), "shift", base=base)
    return denoiser, before


@pytest.mark.slow
def test_checkpoints_have_the_adapter_alone_and_all_else_is_frozen(tmp_path: Path) -> None:
    denoiser, before = adapted(tmp_path)
    assert list(denoiser.tensors()) == ["output.shift"]
    assert [name for name, _ in trainable_parameters(denoiser)] == ["model.output.shift"]
    assert denoiser.base == weights_digest(before)
    assert list(copy.deepcopy(denoiser).requires_grad_(False).tensors()) == ["output.shift"]


def test_the_normalisation_of_latents_stays_in_checkpoints(tmp_path: Path) -> None:
    denoiser = assembled(tmp_path, "vae.normalize=data").denoiser
    adapt(denoiser, Shift(), "shift", base=True)
    assert set(denoiser.tensors()) == {"output.shift", "latent_normalization.mean", "latent_normalization.deviation"}


def test_merged_tensors_are_those_of_the_base_with_the_changes(tmp_path: Path) -> None:
    denoiser, before = adapted(tmp_path)
    with torch.no_grad():
        denoiser.model.get_parameter("output.shift").fill_(2.0)
    merged = merged_tensors(denoiser, Shift())
    assert set(merged) == set(before)
    for name, value in before.items():
        assert torch.equal(merged[name], value + 2 if name == "output.bias" else value)


def test_the_digest_depends_on_names_shapes_types_and_values() -> None:
    given = {"a": torch.arange(6.0), "b": torch.tensor(1)}
    others = [
        {"a": torch.arange(6.0), "c": torch.tensor(1)},
        {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(1)},
        {"a": torch.arange(6.0), "b": torch.tensor(1, dtype=torch.int32)},
        {"a": torch.arange(6.0) + 1e-7, "b": torch.tensor(2)},
    ]
    digests = {weights_digest(each) for each in [given, *others]}
    assert len(digests) == 5
    assert weights_digest(dict(reversed(given.items()))) == weights_digest(given)


def test_an_adapter_of_another_base_is_refused(tmp_path: Path) -> None:
    denoiser, _ = adapted(tmp_path)
    refuse_other_base(denoiser, denoiser.base, where="run")
    refuse_other_base(denoiser, "", where="run")
    with pytest.raises(InputError, match="run holds an adapter of other base weights than this config names"):
        refuse_other_base(denoiser, "0" * 64, where="run")
    unread, _ = adapted(tmp_path, base=False)
    refuse_other_base(unread, "0" * 64, where="run")


class Nothing(Shift):
    def add(self, model: Any) -> None:
        pass


class Everything(Shift):
    def add(self, model: Any) -> None:
        super().add(model)
        model.output.weight.requires_grad_(True)


@pytest.mark.parametrize(
    ("adapter", "fault"),
    [(Nothing(), "adds no parameter that trains"), (Everything(), "lets weights of the base train")],
)
def test_an_adapter_that_trains_other_weights_is_a_fault_of_its_plugin(
    tmp_path: Path, adapter: Shift, fault: str
) -> None:
    with pytest.raises(PluginFault, match=f"adapter mine {fault}"):
        adapt(assembled(tmp_path).denoiser, adapter, "mine", base=True)


def test_the_config_of_a_merged_model_has_no_keys_about_the_adapter(tmp_path: Path) -> None:
    config = assembled(tmp_path, "training.learning_rate_factors={blocks: 0.5}").config
    training = without_adapter(config).training
    assert (training.learning_rate_factors, training.freeze) == ({}, ())
    assert "adapter" not in without_adapter(config).to_dict()
