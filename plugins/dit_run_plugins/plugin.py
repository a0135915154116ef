"""What dit-run brings with it, offered through the hook like anyone's."""

from __future__ import annotations

from dit_run import Component, Kind, hookimpl
from dit_run_plugins.datasets.coco import Coco
from dit_run_plugins.datasets.cub import Cub
from dit_run_plugins.datasets.custom import Custom
from dit_run_plugins.datasets.shapes import Shapes
from dit_run_plugins.lr_schedulers.constant import Constant
from dit_run_plugins.lr_schedulers.cosine import Cosine
from dit_run_plugins.lr_schedulers.linear import Linear
from dit_run_plugins.lr_schedulers.warmup_stable_decay import WarmupStableDecay
from dit_run_plugins.metrics.clip_score import ClipScore
from dit_run_plugins.metrics.frechet_distance import FrechetDistance
from dit_run_plugins.metrics.kernel_distance import KernelDistance
from dit_run_plugins.metrics.shapes.metric import ShapesScore
from dit_run_plugins.models.dit import Dit
from dit_run_plugins.models.pixart import Pixart
from dit_run_plugins.optimizers.adamw import AdamW
from dit_run_plugins.optimizers.muon import Muon
from dit_run_plugins.schedulers.ddpm import Ddpm
from dit_run_plugins.schedulers.flow_matching import FlowMatching
from dit_run_plugins.text_encoders.clip import Clip
from dit_run_plugins.text_encoders.words import Words
from dit_run_plugins.trackers.tensorboard import TensorBoard
from dit_run_plugins.vaes.autoencoder_kl import AutoencoderKl
from dit_run_plugins.vaes.autoencoder_tiny import AutoencoderTiny
from dit_run_plugins.vaes.identity import Identity

HERE = "dit_run_plugins"
DIT_RULES = (f"{HERE}.models.dit.rules:heads_divide", f"{HERE}.models.dit.rules:channels_agree")
FLOW_RULES = (f"{HERE}.schedulers.flow_matching:sampling_fits", f"{HERE}.schedulers.flow_matching:sampler_fits")
WORDS_RULES = (f"{HERE}.text_encoders.words:heads_divide",)
PIXART_RULES = (f"{HERE}.models.dit.rules:heads_divide", f"{HERE}.models.dit.rules:channels_agree")
DDPM_RULES = (f"{HERE}.schedulers.ddpm:combinations_fit", f"{HERE}.schedulers.ddpm:sampler_fits")
CUSTOM_RULES = (f"{HERE}.datasets.custom:path_is_written",)
WARMUP_RULES = (f"{HERE}.lr_schedulers.warmup:warmup_fits",)
WSD_RULES = (f"{HERE}.lr_schedulers.warmup_stable_decay:phases_fit",)


@hookimpl
def dit_run_components() -> list[Component]:
    return [
        Component(Kind.OPTIMIZER, "muon", Muon, f"{HERE}.optimizers.muon:build"),
        Component(
            Kind.SCHEDULER,
            "flow_matching",
            FlowMatching,
            f"{HERE}.schedulers.flow_matching.flow_process:build",
            FLOW_RULES,
        ),
        Component(Kind.TEXT_ENCODER, "words", Words, f"{HERE}.text_encoders.words.text_encoder:build", WORDS_RULES),
        Component(Kind.MODEL, "dit", Dit, f"{HERE}.models.dit.network:build", DIT_RULES),
        Component(Kind.MODEL, "pixart", Pixart, f"{HERE}.models.pixart.network:build", PIXART_RULES),
        Component(Kind.METRIC, "shapes", ShapesScore, f"{HERE}.metrics.shapes.metric:build"),
        Component(Kind.METRIC, "frechet_distance", FrechetDistance, f"{HERE}.metrics.frechet_distance:build"),
        Component(Kind.METRIC, "kernel_distance", KernelDistance, f"{HERE}.metrics.kernel_distance:build"),
        Component(Kind.METRIC, "clip_score", ClipScore, f"{HERE}.metrics.clip_score:build"),
        Component(Kind.DATASET, "shapes", Shapes, f"{HERE}.datasets.shapes:build"),
        Component(Kind.DATASET, "coco", Coco, f"{HERE}.datasets.coco:build"),
        Component(Kind.DATASET, "cub", Cub, f"{HERE}.datasets.cub:build"),
        Component(Kind.DATASET, "custom", Custom, f"{HERE}.datasets.custom:build", CUSTOM_RULES),
        Component(Kind.TRACKER, "tensorboard", TensorBoard, f"{HERE}.trackers.tensorboard:build"),
        Component(Kind.TEXT_ENCODER, "clip", Clip, f"{HERE}.text_encoders.clip:build"),
        Component(
            Kind.VAE,
            "autoencoder_kl",
            AutoencoderKl,
            f"{HERE}.vaes.autoencoder_kl.vae:build",
            (f"{HERE}.vaes.autoencoder_kl:fits",),
        ),
        Component(
            Kind.VAE,
            "autoencoder_tiny",
            AutoencoderTiny,
            f"{HERE}.vaes.autoencoder_tiny:build",
            (f"{HERE}.vaes.autoencoder_tiny:fits",),
        ),
        Component(Kind.VAE, "identity", Identity, f"{HERE}.vaes.identity:build", (f"{HERE}.vaes.identity:fits",)),
        Component(Kind.SCHEDULER, "ddpm", Ddpm, f"{HERE}.schedulers.ddpm.diffusion_process:build", DDPM_RULES),
        Component(Kind.OPTIMIZER, "adamw", AdamW, f"{HERE}.optimizers.adamw:build"),
        Component(Kind.LR_SCHEDULER, "cosine", Cosine, f"{HERE}.lr_schedulers.cosine:build", WARMUP_RULES),
        Component(Kind.LR_SCHEDULER, "constant", Constant, f"{HERE}.lr_schedulers.constant:build", WARMUP_RULES),
        Component(Kind.LR_SCHEDULER, "linear", Linear, f"{HERE}.lr_schedulers.linear:build", WARMUP_RULES),
        Component(
            Kind.LR_SCHEDULER,
            "warmup_stable_decay",
            WarmupStableDecay,
            f"{HERE}.lr_schedulers.warmup_stable_decay:build",
            WSD_RULES,
        ),
    ]
