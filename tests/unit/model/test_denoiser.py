"""The denoiser: names, roles and weights of all that trains."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dit_run.model.denoiser import Denoiser, parameter_roles, trainable_parameters
from dit_run.model.latent_normalization import LatentNormalization
from dit_run.problems import InputError


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4)
        self.mlp = nn.Linear(4, 4)
        self.shift = nn.Parameter(torch.zeros(4))
        self.out_bias = nn.Parameter(torch.zeros(4))


class Model(nn.Module):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.entry = nn.Conv2d(3, width, 2)
        self.blocks = nn.ModuleList([Block()])
        self.exit = nn.Linear(4, 4)
        self.register_buffer("counts", torch.zeros(2))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(5, 4)


def test_tensors_have_the_models_names_and_the_encoders_prefixed() -> None:
    names = set(Denoiser(Model(), Encoder()).tensors())
    assert {"entry.weight", "blocks.0.mlp.weight", "counts", "text_encoder.words.weight"} <= names
    assert not any(name.startswith("model.") for name in names)


def test_the_normalisation_of_latents_belongs_to_the_tensors() -> None:
    normalization = LatentNormalization(2)
    normalization.set([1.0, 0.0], [2.0, 1.0])
    denoiser = Denoiser(Model(), normalization=normalization)
    tensors = denoiser.tensors()
    assert tensors["latent_normalization.mean"].tolist() == [1.0, 0.0]
    assert tensors["latent_normalization.deviation"].tolist() == [2.0, 1.0]
    assert denoiser.latents_of_vae(torch.ones(1, 2, 1, 1)).flatten().tolist() == [3.0, 1.0]
    assert Denoiser(Model()).latents_of_vae(torch.ones(1, 2, 1, 1)).flatten().tolist() == [1.0, 1.0]


def test_trained_encoders_of_several_are_named_by_their_place() -> None:
    denoiser = Denoiser(Model(), None, Encoder(), Encoder())
    assert {name for name in denoiser.tensors() if name.startswith("text_encoder.")} == {
        "text_encoder.encoder1.words.weight",
        "text_encoder.encoder2.words.weight",
    }
    assert denoiser.trained_encoder(0) is None
    assert isinstance(denoiser.trained_encoder(2), Encoder)


def test_roles_follow_the_layers() -> None:
    assert parameter_roles(Denoiser(Model(), Encoder())) == {
        "model.entry.weight": "edge",
        "model.entry.bias": "bias",
        "model.exit.weight": "edge",
        "model.exit.bias": "bias",
        "model.blocks.0.norm.weight": "norm",
        "model.blocks.0.norm.bias": "norm",
        "model.blocks.0.mlp.weight": "matrix",
        "model.blocks.0.mlp.bias": "bias",
        "model.blocks.0.shift": "other",
        "model.blocks.0.out_bias": "bias",
        "text_encoder.words.weight": "embedding",
    }


def test_every_trainable_parameter_has_a_role() -> None:
    denoiser = Denoiser(Model(), Encoder())
    denoiser.model.entry.requires_grad_(False)
    names = [name for name, _ in trainable_parameters(denoiser)]
    assert set(names) < set(parameter_roles(denoiser))
    assert "model.entry.weight" not in names


def test_weights_come_back() -> None:
    denoiser, other = Denoiser(Model(), Encoder()), Denoiser(Model(), Encoder())
    other.load_tensors({name: value.clone() for name, value in denoiser.tensors().items()}, where="here")
    assert all(torch.equal(value, denoiser.tensors()[name]) for name, value in other.tensors().items())


def refused(**changes: torch.Tensor | None) -> str:
    """What is said of weights with some changed or, where None, left out."""
    denoiser = Denoiser(Model(), Encoder())
    before = {name: value.clone() for name, value in denoiser.tensors().items()}
    given = {name: value + 1 for name, value in before.items()}
    given = {name: value for name, value in {**given, **changes}.items() if value is not None}
    with pytest.raises(InputError) as caught:
        denoiser.load_tensors(given, where="runs/a/step-00000100")
    assert all(torch.equal(value, before[name]) for name, value in denoiser.tensors().items())
    return str(caught.value).removeprefix("the weights in runs/a/step-00000100 do not fit the model of this config: ")


def test_another_shape_is_refused_naming_both_and_nothing_changes() -> None:
    other = Denoiser(Model(width=6)).tensors()["entry.weight"]
    assert (
        refused(**{"entry.weight": other})
        == "entry.weight has the shape [6, 3, 2, 2], and the model expects [4, 3, 2, 2]"
    )


def test_missing_and_left_over_tensors_are_named() -> None:
    said = refused(**{"counts": None, "pool.weight": torch.zeros(1)})
    assert said == "counts is missing; pool.weight is not in the model"


def test_many_faults_are_counted() -> None:
    said = refused(**{f"extra.{index}": torch.zeros(1) for index in range(8)})
    assert said.endswith("extra.4 is not in the model; and 3 more")
