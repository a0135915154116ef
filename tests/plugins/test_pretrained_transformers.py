"""Pretrained transformers: every layout that diffusers saves, and folders that do not fit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from builders import hub_repository
from image_transformers import CONFIGS, tiny_transformer
from runs import CONFIG
from safetensors.torch import load_file, save_file

from dit_run import Config, ConfigError, load_config
from dit_run.config.rule_checks import check_rules
from dit_run.problems import InputError
from dit_run.protocols import Facts
from dit_run_plugins.models.diffusers_transformer import DiffusersTransformer
from dit_run_plugins.models.diffusers_transformer.network import DiffusersNetwork, build
from dit_run_plugins.models.pixart import Pixart
from dit_run_plugins.models.pixart.network import build as build_pixart

pytest.importorskip("diffusers")
PIXART = "PixArtTransformer2DModel"
RUNTIME: dict[str, Any] = {"latent_channels": 3, "latent_factor": 1, "text_width": 8}
WIDTHS = {"in_channels": 3, "out_channels": 6, "caption_channels": 8}
LAYOUTS: dict[str, dict[str, Any]] = {
    "whole": {},
    "sharded": {"max_shard_size": "20KB"},
    "fp16 variant": {"variant": "fp16"},
    "bin": {"safe_serialization": False},
}
"""What save_pretrained is called with."""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(CONFIG)


def pixart(folder: str = "px", **more: Any) -> Path:
    return tiny_transformer(Path(folder), PIXART, **WIDTHS, **more)


def generic(name: str = "px", **more: Any) -> DiffusersNetwork:
    return build(DiffusersTransformer(pretrained_model_name=name, **more), **RUNTIME, pooled_width=8)


def loaded(kind: str, *overrides: str, name: str = "px") -> Config:
    chosen = f"model={{type: {kind}, pretrained_model_name: {name}}}"
    return load_config(Path("tiny.yaml"), chosen, "scheduler={type: ddpm}", *overrides)


def edit_config(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize("saving", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("place", ["px", "px/transformer"], ids=["folder", "pipeline"])
def test_a_model_begins_with_the_weights_of_a_folder(saving: dict[str, Any], place: str) -> None:
    expected = load_file(pixart("expected") / "diffusion_pytorch_model.safetensors")
    pixart(place, saving=saving)
    model = generic()
    own = model.diffusers_module.state_dict()
    assert own.keys() == expected.keys()
    assert all(torch.equal(own[name], expected[name]) for name in own)
    assert model.notices == ("36 tensors with 11,480 values loaded from px (PixArtTransformer2DModel, float32)",)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_family_begins_with_its_weights(name: str) -> None:
    widths = {"in_channels": 3, "out_channels": 3, "caption_channels": 8, "joint_attention_dim": 8, "cap_feat_dim": 8}
    import diffusers

    known = getattr(diffusers, name)._get_init_keys(getattr(diffusers, name))
    shape = {key: value for key, value in widths.items() if key in known}
    shape |= {"pooled_projection_dim": 8} if "pooled_projection_dim" in known else {}
    tiny_transformer(Path("px"), name, **shape)
    model = generic()
    expected = getattr(diffusers, name).from_pretrained("px").state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in model.diffusers_module.state_dict().items())


def test_weights_in_half_precision_are_trained_in_full() -> None:
    folder = pixart()
    file = folder / "diffusion_pytorch_model.safetensors"
    save_file({name: value.half() for name, value in load_file(file).items()}, file)
    model = generic()
    assert {value.dtype for value in model.parameters()} == {torch.float32}
    assert "float16" in model.notices[0]


def test_published_tensors_that_no_class_has_are_left_out() -> None:
    file = pixart() / "diffusion_pytorch_model.safetensors"
    save_file({**load_file(file), "caption_projection.y_embedding": torch.zeros(120, 8)}, file)
    assert generic().notices


def test_a_class_of_earlier_releases_has_its_name_of_today() -> None:
    edit_config(pixart(), _class_name="Transformer2DModel", norm_type="ada_norm_single")
    assert type(generic().diffusers_module).__name__ == PIXART


def test_a_checkpoint_follows_without_the_folder() -> None:
    folder = pixart()
    options = DiffusersTransformer(pretrained_model_name="px", class_name=PIXART, config=loaded_config())
    shutil.rmtree(folder)
    model = build(options, **RUNTIME, pooled_width=8, initial=False)
    assert model.notices == ()
    assert sum(value.numel() for value in model.diffusers_module.state_dict().values()) == 11_480


def loaded_config() -> dict[str, Any]:
    config: dict[str, Any] = dict(loaded("diffusers_transformer").model.options.config)
    return config


def test_weights_come_from_a_revision_on_a_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(Path("hub").absolute()))
    repository = Path("hub/models--tiny--px")
    (repository / "refs").mkdir(parents=True)
    for reference, commit, seed in (("main", "0" * 40, 0), ("other", "1" * 40, 1)):
        (repository / "refs" / reference).write_text(commit)
        pixart(str(repository / "snapshots" / commit), seed=seed)
    first, second = (generic("tiny/px", revision=each).state_dict() for each in ("main", "other"))
    assert not torch.equal(first["transformer.proj_out.weight"], second["transformer.proj_out.weight"])


def test_pixart_takes_its_options_from_the_folder() -> None:
    pixart(num_layers=2, patch_size=4)
    options = loaded("pixart", "model.dropout=0.1").model.options
    assert (options.hidden_size, options.num_layers, options.patch_size) == (16, 2, 4)
    assert (options.learned_sigma, options.dropout, options.interpolation_scale) == (True, 0.1, 1.0)
    model = build_pixart(options, **RUNTIME)
    expected = load_file("px/diffusion_pytorch_model.safetensors")
    assert torch.equal(model.state_dict()["transformer.proj_out.weight"], expected["proj_out.weight"])


def test_pixart_tells_sizes_to_weights_that_know_them() -> None:
    pixart(num_attention_heads=3, cross_attention_dim=24, use_additional_conditions=True)
    model = build_pixart(loaded("pixart").model.options, **RUNTIME).eval()
    from dit_run.protocols import TextStates

    text = TextStates(torch.ones(2, 4, 8), torch.ones(2, 4, dtype=torch.bool), torch.ones(2, 8), torch.zeros(2) > 0)
    latents = torch.randn(2, 3, 8, 4)
    sizes = {"resolution": torch.tensor([[8.0, 4.0]] * 2), "aspect_ratio": torch.tensor([[2.0]] * 2)}
    with torch.no_grad():
        direct = model.diffusers_module(latents, text.tokens, torch.ones(2), sizes, encoder_attention_mask=text.mask)
        assert torch.equal(model(latents, torch.ones(2), text), direct[0][:, :3])


def without(*names: str) -> Callable[[Path], None]:
    def remove(folder: Path) -> None:
        for name in names:
            for path in folder.glob(name):
                path.unlink()

    return remove


GENERIC = "model={type: diffusers_transformer"
RULED: dict[str, tuple[dict[str, Any], Callable[[Path], None], str]] = {
    "other class": (
        {},
        lambda folder: edit_config(folder, _class_name="FluxTransformer2DModel"),
        "FluxTransformer2DModel",
    ),
    "missing shard": ({"max_shard_size": "20KB"}, without("*-00002-of-*"), "has no diffusion_pytorch_model-00002-of"),
    "no weights": ({}, without("*.safetensors"), "has no weights in transformer/ or its top folder"),
    "no config": ({}, without("config.json"), "has no transformer/config.json and no config.json"),
    "no JSON": ({}, lambda folder: (folder / "config.json").write_text("{") and None, "cannot be read"),
}
"""Folders that loading a config refuses: how it is saved, what then changes, and words of the message."""


@pytest.mark.parametrize("kind", ["pixart", "diffusers_transformer"])
@pytest.mark.parametrize(("saving", "change", "words"), RULED.values(), ids=RULED)
def test_a_folder_that_does_not_fit_is_refused_with_its_key(
    saving: dict[str, Any], change: Callable[[Path], None], words: str, kind: str
) -> None:
    change(pixart(saving=saving))
    with pytest.raises(ConfigError) as caught:
        loaded(kind)
    (problem,) = caught.value.problems
    assert problem.code == "folder-does-not-fit"
    assert words in problem.message
    assert "px" in problem.message


def retensor(folder: Path, **changes: torch.Tensor | None) -> None:
    file = folder / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file) | {name.replace("__", "."): value for name, value in changes.items()}
    save_file({name: value for name, value in tensors.items() if value is not None}, file)


class Code:
    """An object whose unpickling would run code."""

    def __reduce__(self) -> Any:
        return print, ("unpickled",)


def pickled(folder: Path) -> None:
    without("*.safetensors")(folder)
    torch.save({"proj_out.weight": Code()}, folder / "diffusion_pytorch_model.bin")


BUILT: dict[str, tuple[Callable[[Path], None], str]] = {
    "other shape": (
        lambda folder: retensor(folder, proj_out__weight=torch.zeros(5, 16)),
        r"proj_out.weight has the shape \[5, 16\], and the model expects \[24, 16\]",
    ),
    "missing tensor": (lambda folder: retensor(folder, proj_out__weight=None), "proj_out.weight is missing"),
    "unknown tensor": (lambda folder: retensor(folder, extra=torch.zeros(1)), "extra is not in the model"),
    "pickle": (pickled, r"holds more than tensors, which could run code \(print\)\n"),
    "other latents": (lambda folder: edit_config(folder, in_channels=4, out_channels=8), "4 latent channels in"),
    "other text": (lambda folder: edit_config(folder, caption_channels=16), "token states of width 16"),
    "other values": (lambda folder: edit_config(folder, num_layers="many"), "config"),
}
"""Weights that building the model refuses, before any data are encoded."""


@pytest.mark.parametrize("kind", ["pixart", "diffusers_transformer"])
@pytest.mark.parametrize(("change", "words"), BUILT.values(), ids=BUILT)
def test_weights_that_do_not_fit_are_refused(
    change: Callable[[Path], None], words: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change(pixart())
    with pytest.raises((InputError, ConfigError), match=words) as caught:
        if kind == "pixart":
            build_pixart(loaded("pixart").model.options, **RUNTIME)
        else:
            generic()
    assert "model.pretrained_model_name" in str(caught.value)
    assert "unpickled" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("model={type: pixart, pretrained_model_name: px, num_layers: 3}",), "config-disagrees"),
        (("scheduler={type: flow_matching}",), "prediction-does-not-fit"),
        (("scheduler={type: ddpm, prediction_type: v_prediction}",), "prediction-does-not-fit"),
        ((GENERIC + ", pretrained_model_name: px, config: {num_layers: 3}}",), "config-disagrees"),
        ((GENERIC + ", pretrained_model_name: px, config: {num_layers: 1}}",), "config-not-needed"),
        (
            (GENERIC + ", pretrained_model_name: px, class_name: SanaTransformer2DModel}",),
            "class-disagrees",
        ),
        ((GENERIC + ", pretrained_model_name: px, text_length: 9}",), "no-effect"),
        (("model={type: diffusers_transformer}",), "no-class"),
        ((GENERIC + ", class_name: DiTTransformer2DModel}",), "unknown-class"),
        (
            (GENERIC + ", class_name: SD3Transformer2DModel, text_length: 20}",),
            "text-does-not-fit",
        ),
        (
            (GENERIC + ", class_name: ZImageTransformer2DModel}",),
            "prediction-does-not-fit",
        ),
        (
            (GENERIC + ", class_name: Lumina2Transformer2DModel, config: {axes_lens: 3}}",
             "scheduler={type: flow_matching}"),
            "config-does-not-fit",
        ),
    ],
)  # fmt: skip
def test_keys_that_contradict_the_weights_are_refused(arguments: tuple[str, ...], code: str) -> None:
    pixart()
    with pytest.raises(ConfigError) as caught:
        loaded("pixart", *arguments)
    assert code in [problem.code for problem in caught.value.problems]


def test_the_schedule_of_the_pipeline_is_taken_and_a_written_one_reported() -> None:
    pixart("px/transformer")
    Path("px/scheduler").mkdir()
    Path("px/scheduler/scheduler_config.json").write_text(json.dumps({"beta_schedule": "linear", "beta_end": 0.03}))
    options = loaded("pixart", "scheduler={type: ddpm, beta_end: 0.01}")
    assert options.scheduler.options.beta_schedule == "linear"
    assert options.scheduler.options.beta_end == 0.01
    assert "scheduler.beta_end is 0.01, but px was trained with 0.03" in [n.message for n in options.notices]


def test_the_schedule_of_a_pipeline_on_a_hub_is_downloaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(Path("hub").absolute()))
    folder, asked = hub_repository(Path("hub"), "scheduled"), []
    pixart(str(folder / "transformer"))
    own = huggingface_hub.hf_hub_download

    def downloaded(name: str, file: str, *, revision: str | None, local_files_only: bool) -> str:
        if not local_files_only:
            asked.append(file)
            (folder / "scheduler").mkdir(exist_ok=True)
            (folder / file).write_text(json.dumps({"beta_schedule": "linear", "beta_end": 0.03}))
        return own(name, file, revision=revision, local_files_only=True)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", downloaded)
    config = loaded("pixart", name="tiny/scheduled")
    assert (config.scheduler.options.beta_schedule, asked) == ("scaled_linear", [])
    for _ in range(2):
        config = check_rules(config, Facts(downloads=True))
        assert (config.scheduler.options.beta_schedule, config.scheduler.options.beta_end) == ("linear", 0.03)
    assert asked == ["scheduler/scheduler_config.json"]


@pytest.mark.parametrize("name", ["SD3Transformer2DModel", "AuraFlowTransformer2DModel", "Lumina2Transformer2DModel"])
def test_sizes_and_texts_without_positions_are_refused(name: str) -> None:
    from dit_run.protocols import TextStates

    few = {"pos_embed_max_size": 16 if name.startswith("Aura") else 4, "axes_lens": (9, 4, 4)}
    config = {key: few.get(key, value) for key, value in CONFIGS[name].items()}
    model = build(DiffusersTransformer(class_name=name, config=config, text_length=None), **RUNTIME, pooled_width=8)
    states = TextStates(torch.ones(1, 4, 8), torch.ones(1, 4, dtype=torch.bool), torch.ones(1, 8), torch.zeros(1) > 0)
    assert model(torch.ones(1, 3, 8, 8), torch.ones(1), states).shape == (1, 3, 8, 8)
    with pytest.raises(InputError, match="has 10 latent positions along a side, and the model positions for 8"):
        model(torch.ones(1, 3, 10, 8), torch.ones(1), states)
    long = states._replace(tokens=torch.ones(1, 400, 8), mask=torch.ones(1, 400, dtype=torch.bool))
    with pytest.raises(InputError, match="captions have up to 400 tokens, and the model reads"):
        model(torch.ones(1, 3, 8, 8), torch.ones(1), long)


def test_unknown_arguments_are_refused_with_the_nearest_name() -> None:
    options = DiffusersTransformer(class_name=PIXART, config={"num_layer": 1})
    with pytest.raises(InputError, match=r"PixArt.* has no argument num_layer; did you mean num_layers"):
        build(options, **RUNTIME, pooled_width=8)


def test_micro_conditions_need_a_width_that_three_divides() -> None:
    with pytest.raises(ConfigError, match="3 does not divide 16"):
        load_config(Path("tiny.yaml"), "model={type: pixart, hidden_size: 16, num_heads: 2, micro_conditions: true}")


def test_new_pixart_has_no_pretrained_weights() -> None:
    options = Pixart(hidden_size=16, num_layers=1, num_heads=2, in_channels=3, out_channels=3)
    assert build_pixart(options, **RUNTIME).notices == ()
