from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, cast

import diffusers
import pytest
import torch
from builders import save_original_vae, tiny_autoencoder_kl, tiny_clip, tiny_flux2_vae, tiny_pipeline
from safetensors.torch import load_file, save_file

from dit_run import hub
from dit_run.problems import InputError
from dit_run_plugins.vaes.autoencoder_kl import AutoencoderKl
from dit_run_plugins.vaes.autoencoder_kl.families import FAMILIES
from dit_run_plugins.vaes.autoencoder_kl.original_layout import current_tensors
from dit_run_plugins.vaes.autoencoder_kl.vae import KlVae, build


def opened(path: Path, **options: object) -> KlVae:
    return build(AutoencoderKl(pretrained_model_name=str(path), **options))  # type: ignore[arg-type]


def images(count: int = 2, side: int = 32) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_latents_are_the_scaled_posterior_of_diffusers(tmp_path: Path) -> None:
    vae = opened(tiny_autoencoder_kl(tmp_path, shift_factor=0.25))
    with torch.no_grad():
        posterior = diffusers.AutoencoderKL.from_pretrained(tmp_path).encode(images()).latent_dist
    mean, std = vae.encode(images())
    torch.testing.assert_close(mean, (posterior.mean - 0.25) * 0.5)
    torch.testing.assert_close(std, posterior.std * 0.5)


def test_decoding_undoes_scale_and_shift_and_clamps(tmp_path: Path) -> None:
    vae = opened(tiny_autoencoder_kl(tmp_path, shift_factor=0.25))
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = diffusers.AutoencoderKL.from_pretrained(tmp_path).decode(latents / 0.5 + 0.25).sample.clamp(-1, 1)
    torch.testing.assert_close(vae.decode(latents), expected)


def test_latents_with_a_mean_and_deviation_per_channel_are_normalised_by_them(tmp_path: Path) -> None:
    mean, std = [0.1, 0.2, 0.3, 0.4], [1.0, 2.0, 3.0, 4.0]
    vae = opened(tiny_autoencoder_kl(tmp_path, latents_mean=mean, latents_std=std))
    with torch.no_grad():
        posterior = diffusers.AutoencoderKL.from_pretrained(tmp_path).encode(images()).latent_dist
    shift, scale = torch.tensor(mean).view(1, 4, 1, 1), 0.5 / torch.tensor(std).view(1, 4, 1, 1)
    torch.testing.assert_close(vae.encode(images())[0], (posterior.mean - shift) * scale)


@pytest.mark.parametrize(("factors", "scale"), [({"scaling_factor": None}, 1.0), ({"shift_factor": None}, 0.5)])
def test_a_factor_of_null_changes_nothing(tmp_path: Path, factors: dict[str, object], scale: float) -> None:
    vae = opened(tiny_autoencoder_kl(tmp_path, **factors))
    with torch.no_grad():
        posterior = diffusers.AutoencoderKL.from_pretrained(tmp_path).encode(images()).latent_dist
    torch.testing.assert_close(vae.encode(images())[0], posterior.mean * scale)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("scaling_factor", "big", "scaling_factor is 'big'; expected a number or null"),
        ("scaling_factor", 0, "scaling_factor is 0, which would make all latents equal; expected another number"),
        ("shift_factor", True, "shift_factor is True; expected a number or null"),
        ("latents_mean", [0.0] * 3, "latents_mean should hold 4 numbers, one per latent channel, or be null"),
        ("latents_std", [1.0, 1.0, 1.0, 0.0], "latents_std should hold numbers above 0"),
        ("latent_channels", None, "latent_channels is None; expected a positive integer"),
    ],
)
def test_values_that_are_no_numbers_are_refused_by_name(tmp_path: Path, key: str, value: object, message: str) -> None:
    tiny_autoencoder_kl(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"latents_mean": [0.0] * 4, "latents_std": [1.0] * 4} if key.startswith("latents") else {}
    (tmp_path / "config.json").write_text(json.dumps({**config, key: value}))
    with pytest.raises(InputError) as caught:
        opened(tmp_path)
    assert str(caught.value) == f"vae.pretrained_model_name: the config of {tmp_path}: {message}"


@pytest.mark.parametrize("shards", ["20KB", "10GB"])
@pytest.mark.parametrize("variant", [None, "fp16", "bf16"])
@pytest.mark.parametrize("safe", [True, False])
def test_shards_and_variants_of_the_weights_are_found(
    tmp_path: Path, shards: str, variant: str | None, safe: bool
) -> None:
    model = diffusers.AutoencoderKL.from_pretrained(tiny_autoencoder_kl(tmp_path / "whole"))
    folder = tmp_path / "shards"
    model.save_pretrained(folder, max_shard_size=shards, variant=variant, safe_serialization=safe)
    assert (len(list(folder.glob("*-of-*"))) > 1) is (shards == "20KB")
    assert torch.equal(opened(folder).encode(images())[0], opened(tmp_path / "whole").encode(images())[0])


def test_channels_and_factor_come_from_the_config_without_reading_weights(tmp_path: Path) -> None:
    vae = opened(tiny_autoencoder_kl(tmp_path, latent_channels=8))
    assert (vae.latent_channels, vae.factor, vae.cacheable) == (8, 4, True)
    assert not vae.encoder.loaded and not vae.decoder.loaded


def test_a_decoder_that_overflows_fp16_stays_in_float32(tmp_path: Path) -> None:
    latents = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    plain, upcast, halved = (
        opened(tiny_autoencoder_kl(tmp_path / name, force_upcast=name != "plain"))
        for name in ("plain", "upcast", "halved")
    )
    expected = plain.decode(latents)
    assert torch.equal(halved.to(torch.float16).decode(latents), expected)
    with torch.autocast("cpu", dtype=torch.float16):
        assert torch.equal(upcast.decode(latents), expected)
        assert not torch.equal(plain.decode(latents), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not torch.equal(upcast.decode(latents), expected)


def test_each_half_is_read_when_it_is_used(tmp_path: Path) -> None:
    vae = opened(tiny_autoencoder_kl(tmp_path))
    vae.decode(torch.zeros(1, 4, 8, 8))
    assert vae.decoder.loaded and not vae.encoder.loaded


@pytest.mark.slow
def test_a_pipelines_vae_subfolder_is_found(tmp_path: Path) -> None:
    bare, pipeline = tiny_autoencoder_kl(tmp_path / "bare"), tiny_pipeline(tmp_path / "pipeline")
    assert torch.equal(opened(bare).encode(images())[0], opened(pipeline).encode(images())[0])


@pytest.mark.parametrize("channels", [4, 16, 32])
def test_latents_of_any_number_of_channels_are_those_of_diffusers(tmp_path: Path, channels: int) -> None:
    convolutions = {"use_quant_conv": channels == 4, "use_post_quant_conv": channels == 4}
    vae = opened(tiny_autoencoder_kl(tmp_path, latent_channels=channels, **convolutions))
    with torch.no_grad():
        posterior = diffusers.AutoencoderKL.from_pretrained(tmp_path).encode(images()).latent_dist
    assert vae.latent_channels == channels
    torch.testing.assert_close(vae.encode(images())[0], posterior.mean * 0.5)


def _patches(latents: torch.Tensor) -> torch.Tensor:
    """Latents [n, c, h, w] as patches [n, 4c, h/2, w/2], as the pipeline of Flux.2 makes them."""
    n, c, h, w = latents.shape
    return latents.view(n, c, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 2, 4).reshape(n, 4 * c, h // 2, w // 2)


@pytest.mark.slow
@pytest.mark.parametrize("file", ["diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"])
def test_latents_of_flux2_are_normalised_by_the_statistics_of_its_patches(tmp_path: Path, file: str) -> None:
    reference = diffusers.AutoencoderKLFlux2.from_pretrained(tiny_flux2_vae(tmp_path))
    if file.endswith("bin"):
        (tmp_path / "diffusion_pytorch_model.safetensors").unlink()
        torch.save(reference.state_dict(), tmp_path / file)
    vae = opened(tmp_path)
    with torch.no_grad():
        posterior = reference.encode(images()).latent_dist
    mean = reference.bn.running_mean.view(1, -1, 1, 1)
    std = torch.sqrt(reference.bn.running_var.view(1, -1, 1, 1) + reference.config.batch_norm_eps)
    own_mean, own_std = vae.encode(images())
    torch.testing.assert_close(_patches(own_mean), (_patches(posterior.mean) - mean) / std)
    torch.testing.assert_close(_patches(own_std), _patches(posterior.std) / std)
    with torch.no_grad():
        expected = reference.decode(posterior.mean).sample.clamp(-1, 1)
    torch.testing.assert_close(vae.decode(own_mean), expected, rtol=1e-4, atol=1e-5)


def test_flux2_without_its_statistics_is_refused(tmp_path: Path) -> None:
    file = tiny_flux2_vae(tmp_path) / "diffusion_pytorch_model.safetensors"
    save_file({name: value for name, value in load_file(file).items() if not name.startswith("bn.")}, file)
    with pytest.raises(InputError, match=r"^vae\.pretrained_model_name: .*no statistics of 32 latent channels"):
        opened(tmp_path)


def _first_layer(path: Path, channels: int, *marks: str) -> Path:
    """A file with nothing but the layer next to the latents, and tensors by which a family is recognised."""
    names = {"first_stage_model.decoder.conv_in.weight": torch.zeros(8, channels, 3, 3)}
    save_file(names | {f"{mark}.weight": torch.zeros(1) for mark in marks}, path)
    return path


@pytest.mark.parametrize(
    ("channels", "marks", "scale", "shift"),
    [
        (4, (), 0.18215, 0.0),
        (4, ("conditioner.embedders.0",), 0.13025, 0.0),
        (16, ("model.diffusion_model.joint_blocks.0",), 1.5305, 0.0609),
        (16, ("double_blocks.0",), 0.3611, 0.1159),
    ],
)
def test_the_family_of_a_single_file_is_recognised(
    tmp_path: Path, channels: int, marks: tuple[str, ...], scale: float, shift: float
) -> None:
    vae = opened(_first_layer(tmp_path / "model.safetensors", channels, *marks))
    assert (vae.latent_channels, vae.factor) == (channels, 8)
    assert (vae.scale.item(), vae.shift.item()) == (pytest.approx(scale), pytest.approx(shift))


def test_a_family_that_is_named_has_its_own_scale(tmp_path: Path) -> None:
    file = _first_layer(tmp_path / "ae.safetensors", 16)
    with pytest.raises(InputError, match=r"tensors do not show the family of the autoencoder; set vae\.family"):
        opened(file)
    assert opened(file, family="sd3").scale.item() == pytest.approx(1.5305)
    assert opened(file, family="flux").scale.item() == pytest.approx(0.3611)


def test_a_single_file_of_16_channels_gives_the_latents_of_its_family(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"use_quant_conv": False, "use_post_quant_conv": False, "scaling_factor": 0.3611, "shift_factor": 0.1159}
    folder = tiny_autoencoder_kl(tmp_path / "vae", latent_channels=16, **options)
    monkeypatch.setitem(cast(dict[str, Any], FAMILIES), "flux", json.loads((folder / "config.json").read_text()))
    file = save_original_vae(
        tmp_path / "ae.sft.safetensors", diffusers.AutoencoderKL.from_pretrained(folder).state_dict(), levels=3
    )
    assert torch.equal(opened(file, family="flux").encode(images())[0], opened(folder).encode(images())[0])


@pytest.mark.slow
def test_a_single_file_of_flux2_gives_the_latents_of_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    folder = tiny_flux2_vae(tmp_path / "vae")
    config = json.loads((folder / "config.json").read_text())
    monkeypatch.setitem(cast(dict[str, Any], FAMILIES), "flux2", config)
    current = diffusers.AutoencoderKLFlux2.from_pretrained(folder).state_dict()
    original = load_file(save_original_vae(tmp_path / "plain.safetensors", current, levels=3))
    halves = {"quant_conv": "encoder.", "post_quant_conv": "decoder."}  # Flux.2's file has them inside
    own = {halves.get(name.split(".")[0], "") + name: value for name, value in original.items()}
    file = tmp_path / "flux2-vae.safetensors"
    save_file(own, file)
    vae, reference = opened(file), opened(folder)
    assert vae.latent_channels == 32
    assert all(torch.equal(*pair) for pair in zip(vae.encode(images()), reference.encode(images()), strict=True))
    latents = reference.encode(images())[0]
    assert torch.equal(vae.decode(latents), reference.decode(latents))
    converted = convert_ldm_vae_checkpoint(original, config)  # the library's converter knows the rest of this layout
    assert all(torch.equal(value, current[name]) for name, value in converted.items())
    assert {name.split(".")[0] for name in current if name not in converted} == {"bn"}


def test_a_git_lfs_pointer_as_a_single_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "vae.safetensors"
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7\n")
    with pytest.raises(InputError, match=r"^vae\.pretrained_model_name: .*vae\.safetensors is a Git LFS pointer"):
        opened(file)


@pytest.mark.slow
def test_slices_give_the_latents_and_images_of_one_at_a_time(tmp_path: Path) -> None:
    tiny_autoencoder_kl(tmp_path)
    sliced, whole = opened(tmp_path, use_slicing=True), opened(tmp_path)
    mean, _ = sliced.encode(images(3))
    assert torch.equal(mean, torch.cat([whole.encode(image)[0] for image in images(3).split(1)]))
    assert torch.equal(sliced.decode(mean), torch.cat([whole.decode(each) for each in mean.split(1)]))


def test_slicing_passes_one_image_at_a_time(tmp_path: Path) -> None:
    sizes: list[int] = []
    vae = opened(tiny_autoencoder_kl(tmp_path), use_slicing=True)
    vae.encoder.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    vae.encode(images(3))
    assert sizes == [1, 1, 1]


@pytest.mark.slow
def test_every_weight_of_the_original_layout_finds_its_place(tmp_path: Path) -> None:
    with torch.device("meta"):
        model = diffusers.AutoencoderKL.from_config(dict(FAMILIES["sd"]))
    expected = {name: torch.zeros(value.shape, dtype=torch.int8) for name, value in model.state_dict().items()}
    path = save_original_vae(tmp_path / "vae.safetensors", dict(expected), levels=4)
    original = load_file(path)
    assert "decoder.up.3.upsample.conv.weight" in original and "encoder.mid.attn_1.q.weight" in original
    current = current_tensors({f"first_stage_model.{name}": value for name, value in original.items()}, 4)
    assert {name: value.shape for name, value in current.items()} == {n: v.shape for n, v in expected.items()}


def test_attention_names_of_older_diffusers_are_taken() -> None:
    names = ["query", "key", "value", "proj_attn", "group_norm"]
    old = {f"encoder.mid_block.attentions.0.{name}.weight": torch.zeros(2, 2) for name in names}
    assert [name.split(".", 4)[4] for name in current_tensors(old, 4)] == [
        "to_q.weight",
        "to_k.weight",
        "to_v.weight",
        "to_out.0.weight",
        "group_norm.weight",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vae.safetensors", "vae.ckpt"])
def test_a_single_file_in_the_original_layout_gives_the_same_latents(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_autoencoder_kl(tmp_path / "vae")
    config = json.loads((folder / "config.json").read_text())
    monkeypatch.setitem(cast(dict[str, Any], FAMILIES), "sd", config)
    file = save_original_vae(tmp_path / name, diffusers.AutoencoderKL.from_pretrained(folder).state_dict(), levels=3)
    assert torch.equal(opened(file).encode(images())[0], opened(folder).encode(images())[0])
    latents = torch.ones(1, 4, 8, 8)
    assert torch.equal(opened(file).decode(latents), opened(folder).decode(latents))


@pytest.mark.slow
def test_a_folder_with_nothing_but_such_a_file_is_that_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_autoencoder_kl(tmp_path / "vae")
    config = json.loads((folder / "config.json").read_text())
    monkeypatch.setitem(cast(dict[str, Any], FAMILIES), "sd", config)
    (tmp_path / "original").mkdir()
    tensors = diffusers.AutoencoderKL.from_pretrained(folder).state_dict()
    for kind in ("ckpt", "safetensors"):
        save_original_vae(tmp_path / "original" / f"vae.{kind}", tensors, levels=3)
    assert torch.equal(opened(tmp_path / "original").encode(images())[0], opened(folder).encode(images())[0])


def test_a_checkpoint_that_holds_code_is_refused(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"state_dict": Payload()}, tmp_path / "vae.ckpt")
    with pytest.raises(InputError, match=r"vae\.ckpt: refused, .* could run code"):
        opened(tmp_path / "vae.ckpt").encode(images())
    assert not (tmp_path / "ran").exists()


def test_weights_of_another_shape_are_refused_by_name(tmp_path: Path) -> None:
    folder = tiny_autoencoder_kl(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "latent_channels": 3}))
    with pytest.raises(InputError, match=r"encoder\.conv_out\.weight is \[8, 16, 3, 3\], expected \[6, 16, 3, 3\]"):
        opened(folder).encode(images())


@pytest.mark.parametrize("name", ["vae.ckpt", "vae.safetensors"])
@pytest.mark.parametrize("content", [b"", b"junk\n", b"\x80\x02}q\x01.", bytes(100)])
def test_a_damaged_file_is_refused_by_key_and_name(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        opened(tmp_path / name).encode(images())
    assert str(caught.value).startswith(f"vae.pretrained_model_name: {tmp_path / name}: ")


def test_a_folder_that_lost_its_config_says_what_is_assumed(tmp_path: Path) -> None:
    folder = tiny_autoencoder_kl(tmp_path)
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match=r"safetensors \(without a config\.json; that of the family sd is assumed\): "):
        opened(folder).encode(images())


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    tiny_clip(tmp_path)
    with pytest.raises(InputError, match=r"vae\.pretrained_model_name: .* describes another kind of model, not Auto"):
        opened(tmp_path)


def test_the_fingerprint_follows_weights_and_config_but_not_slicing(tmp_path: Path) -> None:
    first, second = tiny_autoencoder_kl(tmp_path / "a"), tiny_autoencoder_kl(tmp_path / "b", seed=1)
    other = tiny_autoencoder_kl(tmp_path / "c", scaling_factor=0.25)
    prints = [opened(path).fingerprint() for path in (first, second, other)]
    assert len(set(prints)) == 3
    assert opened(first, use_slicing=True).fingerprint() == prints[0]


def test_weights_that_cannot_be_had_are_an_error_with_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError) as caught:
        build(AutoencoderKl(pretrained_model_name="nobody/nothing", revision="v9"))
    for part in ("vae.pretrained_model_name", "nobody/nothing", "revision v9", "hf download", "local folder"):
        assert part in str(caught.value)


def test_a_path_that_does_not_exist_is_not_asked_of_the_hub(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither an existing file or folder nor"):
        opened(tmp_path / "missing" / "vae")


def test_the_name_that_left_the_hub_goes_to_its_mirror_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    hub.hub_name.cache_clear()
    with caplog.at_level(logging.WARNING, logger="dit_run"):
        names = {hub.hub_name("runwayml/stable-diffusion-v1-5") for _ in range(3)}
    assert names == {"stable-diffusion-v1-5/stable-diffusion-v1-5"}
    assert len(caplog.records) == 1 and "mirror" in caplog.text


def test_files_in_the_hubs_cache_are_used_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = tmp_path / "models--stable-diffusion-v1-5--stable-diffusion-v1-5"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    tiny_autoencoder_kl(repository / "snapshots" / ("0" * 40) / "vae")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    mean, _ = build(AutoencoderKl()).encode(images())
    assert mean.shape == (2, 4, 8, 8)
