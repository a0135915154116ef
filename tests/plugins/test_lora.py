"""lora: the layers that it changes, and its files as peft and diffusers load them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from image_transformers import CONFIGS
from safetensors.torch import load_file
from torch import Tensor, nn

from dit_run.problems import InputError
from dit_run.registry.components import Kind
from dit_run.registry.registry import discover
from dit_run.testing.contract_error import Subject

peft = pytest.importorskip("peft")


class Network(nn.Module):
    """Layers of every kind, one of whose names is the end of another's."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 2, 2)
        self.depthwise = nn.Conv2d(8, 8, 1, groups=8)
        self.embedding = nn.Embedding(4, 8)
        self.blocks = nn.ModuleList(nn.ModuleDict({"out": nn.Linear(8, 8)}) for _ in range(2))
        self.attention = nn.MultiheadAttention(8, 2)
        self.out = nn.Linear(8, 4)

    def forward(self, images: Tensor) -> Tensor:
        states = self.depthwise(self.patches(images)).flatten(2).transpose(1, 2)
        for block in self.blocks:
            states = states + block["out"](states)
        output: Tensor = self.out(states)
        return output


def adapter(**options: Any) -> Any:
    component = discover(third_party=False).component(Kind.ADAPTER, "lora")
    return Subject.of(Kind.ADAPTER, component, options).make()


def adapted(network: nn.Module, **options: Any) -> Any:
    """Return the adapter of a network whose every parameter of it is drawn, so that it has an effect."""
    torch.manual_seed(1)
    made = adapter(**options)
    made.add(network.requires_grad_(False))
    for parameter in network.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.5)
    return made


def network() -> Network:
    torch.manual_seed(0)
    return Network().eval()


def changed(model: nn.Module) -> list[str]:
    return [name.removesuffix(".base_layer") for name, _ in model.named_modules() if name.endswith(".base_layer")]


@pytest.mark.parametrize(
    ("targets", "layers"),
    [
        ((), ["blocks.0.out", "blocks.1.out"]),
        (("out",), ["out"]),
        (("blocks.1", "patches"), ["patches", "blocks.1.out"]),
        (("*",), ["patches", "blocks.0.out", "blocks.1.out", "out"]),
    ],
)
def test_targets_are_patterns_of_layers_that_are_called(targets: tuple[str, ...], layers: list[str]) -> None:
    model = network()
    adapter(targets=targets).add(model)
    assert changed(model) == layers


def test_a_model_without_blocks_needs_targets() -> None:
    with pytest.raises(InputError, match=r"adapter\.targets is empty, and the model has no linear layers in repeated"):
        adapter().add(nn.Sequential())


def test_alpha_over_rank_scales_the_product() -> None:
    model, images = network(), torch.randn(2, 3, 4, 4)
    adapted(model, targets=("out",), rank=2, alpha=6.0)
    states, base = [], model.out.base_layer
    model.out.register_forward_hook(lambda _, given, output: states.extend((given[0], output)))
    model(images)
    first, second = model.out.lora_A.default.weight, model.out.lora_B.default.weight
    expected = base(states[0]) + 3 * states[0] @ first.T @ second.T
    assert torch.allclose(states[1], expected, atol=1e-5)


@pytest.mark.parametrize("options", [{"rank": 2, "alpha": 5.0}, {"rank": 2, "use_dora": True}, {"targets": ("*",)}])
@torch.no_grad()
def test_peft_loads_the_files_on_the_base(tmp_path: Path, options: dict[str, Any]) -> None:
    model, images = network(), torch.randn(2, 3, 4, 4)
    adapted(model, **options).save(model, tmp_path, dtype=torch.float32, base="owner/base")
    loaded = peft.PeftModel.from_pretrained(network(), str(tmp_path)).eval()
    assert torch.allclose(loaded(images), model(images), atol=1e-5)
    assert not torch.allclose(network()(images), model(images), atol=1e-2)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["base_model_name_or_path"] == "owner/base"
    assert not (tmp_path / "pytorch_lora_weights.safetensors").exists()


def test_files_may_have_a_lower_precision(tmp_path: Path) -> None:
    model = network()
    adapted(model).save(model, tmp_path, dtype=torch.bfloat16, base=None)
    assert {value.dtype for value in load_file(tmp_path / "adapter_model.safetensors").values()} == {torch.bfloat16}


class Wrapped(nn.Module):
    """A network of diffusers as models of dit-run hold it."""

    def __init__(self, transformer: nn.Module) -> None:
        super().__init__()
        self.inner = transformer

    @property
    def diffusers_module(self) -> nn.Module:
        return self.inner


def sana() -> Any:
    import diffusers

    torch.manual_seed(0)
    config = {**CONFIGS["SanaTransformer2DModel"], "caption_channels": 8, "in_channels": 3, "out_channels": 3}
    return diffusers.SanaTransformer2DModel(**config).eval()


def prediction(model: Any) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    latents, text = torch.randn(2, 3, 8, 8, generator=generator), torch.randn(2, 4, 8, generator=generator)
    output: Tensor = model(latents, encoder_hidden_states=text, timestep=torch.tensor([3.0, 700.0]))[0]
    return output


@torch.no_grad()
def test_peft_alone_loads_an_adapter_of_pixart(tmp_path: Path) -> None:
    def pixart() -> Any:
        import diffusers

        torch.manual_seed(0)
        config = {**CONFIGS["PixArtTransformer2DModel"], "caption_channels": 8, "in_channels": 3, "out_channels": 3}
        return diffusers.PixArtTransformer2DModel(**config).eval()

    model = Wrapped(pixart())
    adapted(model, rank=2).save(model, tmp_path, dtype=torch.float32, base=None)
    assert {path.name for path in tmp_path.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    loaded = peft.PeftModel.from_pretrained(pixart(), str(tmp_path)).eval()
    assert torch.allclose(prediction(loaded), prediction(model.inner), atol=1e-5)
    assert not torch.allclose(prediction(pixart()), prediction(model.inner), atol=1e-3)


@pytest.mark.parametrize("options", [{"rank": 2, "alpha": 5.0}, {"rank": 3, "targets": ("*.attn2", "inner.proj_out")}])
@torch.no_grad()
def test_diffusers_and_peft_load_the_files_of_its_own_networks(tmp_path: Path, options: dict[str, Any]) -> None:
    model = Wrapped(sana())
    adapted(model, **options).save(model, tmp_path, dtype=torch.float32, base=None)
    expected = prediction(model.inner)
    plain = sana()
    assert not torch.allclose(prediction(plain), expected, atol=1e-2)
    plain.load_lora_adapter(str(tmp_path), weight_name="pytorch_lora_weights.safetensors", prefix="transformer")
    assert torch.allclose(prediction(plain), expected, atol=1e-5)
    loaded = peft.PeftModel.from_pretrained(sana(), str(tmp_path)).eval()
    assert torch.allclose(prediction(loaded), expected, atol=1e-5)
