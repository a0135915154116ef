"""Small models with random weights, saved as their real counterparts are: what the tests have instead of downloads."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import torch

__all__ = [
    "hub_repository",
    "save_original_vae",
    "tiny_autoencoder_kl",
    "tiny_clip",
    "tiny_clip_pair",
    "tiny_dc_ae",
    "tiny_dinov2",
    "tiny_flux2_vae",
    "tiny_pipeline",
    "tiny_projected_clip",
    "tiny_taesd",
    "tiny_tokenizer",
    "tiny_vq",
]

START, END = "<|startoftext|>", "<|endoftext|>"


def hub_repository(cache: Path, name: str, owner: str = "tiny") -> Path:
    """Where a hub's cache has the files of ``OWNER/NAME``; the folder itself is to be made."""
    repository, commit = cache / f"models--{owner}--{name}", "0" * 40
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    return repository / "snapshots" / commit


def tiny_clip(folder: Path, *, width: int = 32, layers: int = 2, vocabulary: Path | None = None, seed: int = 0) -> Path:
    """A CLIPTextModel with its tokenizer in ``folder``; ``vocabulary`` is CLIP's own byte-pair file, if at hand."""
    from transformers import CLIPTextConfig, CLIPTextModel

    size = tiny_tokenizer(folder, vocabulary)
    config = CLIPTextConfig(
        vocab_size=size,
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        max_position_embeddings=77,
        bos_token_id=size - 2,
        eos_token_id=size - 1,
        pad_token_id=size - 1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        CLIPTextModel(config).save_pretrained(folder)
    return folder


def tiny_clip_pair(folder: Path, *, seed: int = 0) -> Path:
    """A CLIPModel of both towers with its tokenizer and preprocessing in ``folder``; embeddings are 8 wide."""
    from transformers import CLIPConfig, CLIPModel

    size = tiny_tokenizer(folder)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    ids = {"bos_token_id": size - 2, "eos_token_id": size - 1, "pad_token_id": size - 1}
    config = CLIPConfig(
        text_config={**shape, **ids, "vocab_size": size, "max_position_embeddings": 77},
        vision_config={**shape, "image_size": 32, "patch_size": 8},
        projection_dim=8,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        CLIPModel(config).save_pretrained(folder)
    _preprocessing(folder, size={"shortest_edge": 32}, crop_size=32)
    return folder


def tiny_projected_clip(folder: Path, tokenizer: Path | None = None, *, seed: int = 0) -> Path:
    """A CLIPTextModelWithProjection in ``folder``, its tokenizer there or in a folder of its own."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    size = tiny_tokenizer(tokenizer or folder)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    ids = {"bos_token_id": size - 2, "eos_token_id": size - 1, "pad_token_id": size - 1}
    config = CLIPTextConfig(**shape, **ids, vocab_size=size, projection_dim=8)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        CLIPTextModelWithProjection(config).save_pretrained(folder)
    return folder


def tiny_dinov2(folder: Path, *, seed: int = 0) -> Path:
    """A Dinov2Model with its preprocessing in ``folder``; features are 16 wide."""
    from transformers import Dinov2Config, Dinov2Model

    config = Dinov2Config(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        Dinov2Model(config).save_pretrained(folder)
    _preprocessing(folder, size={"shortest_edge": 32}, crop_size={"height": 28, "width": 28})
    return folder


def tiny_detector(folder: Path, *, seed: int = 0) -> Path:
    """A YolosForObjectDetection of the classes cat and dog in ``folder``: all it sees are cats, or dogs for seed 1."""
    from transformers import YolosConfig, YolosForObjectDetection

    config = YolosConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=[32, 32],
        patch_size=8,
        num_detection_tokens=3,
        id2label={0: "cat", 1: "dog"},
        label2id={"cat": 0, "dog": 1},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = YolosForObjectDetection(config)
        network.class_labels_classifier.layers[-1].bias.data[seed % 2] += 10
        network.save_pretrained(folder)
    _preprocessing(folder, size={"shortest_edge": 32, "longest_edge": 64}, do_center_crop=False)
    return folder


def _preprocessing(folder: Path, **sizes: object) -> None:
    values = {"do_center_crop": True, "image_mean": [0.5] * 3, "image_std": [0.25] * 3, "resample": 3, **sizes}
    (folder / "preprocessor_config.json").write_text(json.dumps(values))


def tiny_tokenizer(folder: Path, vocabulary: Path | None = None) -> int:
    """``vocab.json`` and ``merges.txt``: CLIP's own from its byte-pair file, or one of single bytes and a few merges.
    Returns the number of tokens."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    merges = ["a t</w>", "c at</w>", "r e", "re d</w>"]
    if vocabulary is not None:
        lines = gzip.decompress(vocabulary.read_bytes()).decode("utf-8").split("\n")
        merges = lines[1 : 49152 - 256 - 2 + 1]
    tokens = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair.split()) for pair in merges)]
    tokens += [START, END]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    return len(tokens)


def tiny_autoencoder_kl(folder: Path, *, latent_channels: int = 4, seed: int = 0, **config: object) -> Path:
    """An AutoencoderKL of three resolutions (factor 4) in diffusers' layout in ``folder``."""
    from diffusers import AutoencoderKL

    settings = {
        "block_out_channels": (8, 8, 16),
        "down_block_types": ("DownEncoderBlock2D",) * 3,
        "up_block_types": ("UpDecoderBlock2D",) * 3,
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "latent_channels": latent_channels,
        "scaling_factor": 0.5,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        AutoencoderKL(**{**settings, **config}).save_pretrained(folder)
    return folder


def tiny_pipeline(folder: Path, *, width: int = 32) -> Path:
    """The parts of a Stable Diffusion pipeline that a run uses, in its subfolders."""
    tiny_autoencoder_kl(folder / "vae")
    tiny_clip(folder / "text_encoder", width=width)
    (folder / "tokenizer").mkdir()
    for name in ("vocab.json", "merges.txt"):
        (folder / "text_encoder" / name).rename(folder / "tokenizer" / name)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    return folder


def tiny_flux2_vae(folder: Path, *, seed: int = 0) -> Path:
    """An AutoencoderKLFlux2 of factor 4 and 32 channels, with statistics of its latents, in ``folder``."""
    from diffusers import AutoencoderKLFlux2

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoencoderKLFlux2(
            block_out_channels=(8, 8, 16),
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            layers_per_block=1,
            norm_num_groups=4,
        )
        model.bn.running_mean.normal_()
        model.bn.running_var.uniform_(0.5, 2.0)
        model.save_pretrained(folder)
    return folder


def tiny_dc_ae(folder: Path, *, seed: int = 0) -> Path:
    """An AutoencoderDC of factor 32 and 32 channels in ``folder``."""
    from diffusers import AutoencoderDC

    levels = 6
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        AutoencoderDC(
            attention_head_dim=8,
            encoder_block_types=("ResBlock",) * 3 + ("EfficientViTBlock",) * 3,
            decoder_block_types=("ResBlock",) * 3 + ("EfficientViTBlock",) * 3,
            encoder_block_out_channels=(8,) * (levels - 1) + (32,),
            decoder_block_out_channels=(8,) * (levels - 1) + (32,),
            encoder_layers_per_block=(1,) * levels,
            decoder_layers_per_block=(1,) * levels,
            scaling_factor=0.41407,
        ).save_pretrained(folder)
    return folder


def tiny_vq(folder: Path, *, seed: int = 0) -> Path:
    """A VQModel of factor 2 and 3 channels in ``folder``."""
    from diffusers import VQModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        VQModel(
            block_out_channels=(8, 8),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            norm_num_groups=4,
            num_vq_embeddings=16,
            scaling_factor=0.5,
        ).save_pretrained(folder)
    return folder


def tiny_taesd(folder: Path, *, latent_channels: int = 4, seed: int = 0) -> Path:
    """An AutoencoderTiny in diffusers' layout in ``folder``."""
    from diffusers import AutoencoderTiny

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        AutoencoderTiny(latent_channels=latent_channels).save_pretrained(folder)
    return folder


def save_original_vae(path: Path, tensors: dict[str, torch.Tensor], levels: int) -> Path:
    """Write an AutoencoderKL's weights under the names and shapes of the original layout.

    ``.safetensors`` as such, else as a checkpoint that nests them in ``state_dict``.
    """
    from safetensors.torch import save_file

    renamed = {}
    for name, value in tensors.items():
        name = _original_name(name, levels)
        renamed[name] = value[:, :, None, None].clone() if ".attn_1." in name and value.ndim == 2 else value
    if path.suffix == ".safetensors":
        save_file(renamed, path)
    else:
        torch.save({"state_dict": renamed, "global_step": 7}, path)
    return path


def _original_name(name: str, levels: int) -> str:
    parts = name.split(".")
    if parts[1] == "mid_block" and parts[2] == "attentions":
        kinds = {"to_q": "q", "to_k": "k", "to_v": "v", "to_out": "proj_out", "group_norm": "norm"}
        return ".".join([parts[0], "mid", "attn_1", kinds[parts[4]], parts[-1]])
    if parts[1] == "mid_block":
        parts[1:4] = ["mid", f"block_{int(parts[3]) + 1}"]
    elif parts[1] in ("down_blocks", "up_blocks"):
        side = parts[1].removesuffix("_blocks")
        level = parts[2] if side == "down" else str(levels - 1 - int(parts[2]))
        kind = {"resnets": ["block", parts[4]], "downsamplers": ["downsample"], "upsamplers": ["upsample"]}[parts[3]]
        parts[1:5] = [side, level, *kind]
    elif parts[1] == "conv_norm_out":
        parts[1] = "norm_out"
    return ".".join("nin_shortcut" if part == "conv_shortcut" else part for part in parts)
