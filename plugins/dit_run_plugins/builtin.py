"""The built-in components, registered through the same hook as those of any other package."""

from __future__ import annotations

from dit_run import Component, Kind, hookimpl
from dit_run_plugins.adapters.lora import Lora
from dit_run_plugins.averages.ema import Ema
from dit_run_plugins.averages.power import Power
from dit_run_plugins.datasets.coco import Coco
from dit_run_plugins.datasets.cub import Cub
from dit_run_plugins.datasets.custom import Custom
from dit_run_plugins.datasets.huggingface import HuggingFace
from dit_run_plugins.datasets.mixture import Mixture
from dit_run_plugins.datasets.parquet import Parquet
from dit_run_plugins.datasets.shapes import Shapes
from dit_run_plugins.datasets.webdataset import WebDataset
from dit_run_plugins.guidance.apg import Apg
from dit_run_plugins.guidance.autoguidance import Autoguidance
from dit_run_plugins.guidance.cfg import Cfg
from dit_run_plugins.guidance.cfg_zero import CfgZero
from dit_run_plugins.guidance.tread import Tread
from dit_run_plugins.lr_schedulers.constant import Constant
from dit_run_plugins.lr_schedulers.cosine import Cosine
from dit_run_plugins.lr_schedulers.linear import Linear
from dit_run_plugins.lr_schedulers.warmup_stable_decay import WarmupStableDecay
from dit_run_plugins.metrics.clip_score import ClipScore
from dit_run_plugins.metrics.cmmd import Cmmd
from dit_run_plugins.metrics.frechet_distance import FrechetDistance
from dit_run_plugins.metrics.kernel_distance import KernelDistance
from dit_run_plugins.metrics.objects import Objects
from dit_run_plugins.metrics.shapes import ShapesScore
from dit_run_plugins.models.diffusers_transformer import DiffusersTransformer
from dit_run_plugins.models.dit import Dit
from dit_run_plugins.models.pixart import Pixart
from dit_run_plugins.objectives.contrastive import Contrastive
from dit_run_plugins.objectives.denoising import Denoising
from dit_run_plugins.objectives.perceptual import Perceptual
from dit_run_plugins.objectives.repa import Repa
from dit_run_plugins.optimizers.adamw import AdamW
from dit_run_plugins.optimizers.adamw_8bit import AdamW8bit
from dit_run_plugins.optimizers.muon import Muon
from dit_run_plugins.optimizers.prodigy import Prodigy
from dit_run_plugins.optimizers.schedule_free_adamw import ScheduleFreeAdamW
from dit_run_plugins.optimizers.torch_class import TorchClass
from dit_run_plugins.schedulers.ddpm import Ddpm
from dit_run_plugins.schedulers.flow_matching import FlowMatching
from dit_run_plugins.text_encoders.clip import Clip
from dit_run_plugins.text_encoders.transformers import Transformers
from dit_run_plugins.text_encoders.words import Words
from dit_run_plugins.trackers.csv import Csv
from dit_run_plugins.trackers.mlflow import Mlflow
from dit_run_plugins.trackers.tensorboard import TensorBoard
from dit_run_plugins.trackers.wandb import Wandb
from dit_run_plugins.vaes.autoencoder_dc import AutoencoderDc
from dit_run_plugins.vaes.autoencoder_kl import AutoencoderKl
from dit_run_plugins.vaes.autoencoder_tiny import AutoencoderTiny
from dit_run_plugins.vaes.diffusers_autoencoder import DiffusersAutoencoder
from dit_run_plugins.vaes.identity import Identity

DIT_RUN_CONTRACT = 1
MODEL_RULES = ("dit_run_plugins.models.dit.rules:heads_divide", "dit_run_plugins.models.dit.rules:channels_agree")
SAMPLER_RULE = "dit_run_plugins.schedulers.shared_rules:sampler_fits"
WHOLE_WEIGHTS_RULE = "dit_run_plugins.optimizers.whole_weights:not_sharded"
EXACT_SHARES_RULE = "dit_run_plugins.optimizers.whole_weights:shares_exactly"
WARMUP_RULE = "dit_run_plugins.lr_schedulers.warmup:warmup_fits"
DECAY_RULE = "dit_run_plugins.lr_schedulers.decay:ends_below_peak"


@hookimpl
def dit_run_components() -> list[Component]:
    return [
        _component(Kind.DATASET, "coco", Coco, ":build", ":splits_chosen"),
        _component(Kind.DATASET, "cub", Cub, ":build"),
        _component(Kind.DATASET, "custom", Custom, ":build", ":path_is_written"),
        _component(Kind.DATASET, "mixture", Mixture, ":build", ":names_differ"),
        _component(Kind.DATASET, "huggingface", HuggingFace, ":build", ":hub_keys_apply"),
        _component(Kind.DATASET, "parquet", Parquet, ":build"),
        _component(Kind.DATASET, "shapes", Shapes, ".dataset:build", ":painted_images"),
        _component(Kind.DATASET, "webdataset", WebDataset, ":build"),
        _component(Kind.TEXT_ENCODER, "clip", Clip, ".text_encoder:build"),
        _component(Kind.TEXT_ENCODER, "transformers", Transformers, ".text_encoder:build"),
        _component(Kind.TEXT_ENCODER, "words", Words, ".text_encoder:build", ":heads_divide"),
        _component(Kind.VAE, "autoencoder_dc", AutoencoderDc, ".vae:build", ":dc_latents_fit"),
        _component(Kind.VAE, "autoencoder_kl", AutoencoderKl, ".vae:build", ":kl_latents_fit"),
        _component(Kind.VAE, "autoencoder_tiny", AutoencoderTiny, ".vae:build", ":tiny_latents_fit"),
        _component(Kind.VAE, "diffusers_autoencoder", DiffusersAutoencoder, ".vae:build", ":channels_fit"),
        _component(Kind.VAE, "identity", Identity, ".vae:build", ":pixels_fit"),
        _component(Kind.MODEL, "diffusers_transformer", DiffusersTransformer, ".network:build", ".rules:class_fits"),
        _component(
            Kind.MODEL, "dit", Dit, ".network:build", *MODEL_RULES, ".rules:route_fits", ".rules:convolution_has_a_grid"
        ),
        _component(
            Kind.MODEL,
            "pixart",
            Pixart,
            ".network:build",
            *MODEL_RULES,
            ".rules:folder_fits",
            ".rules:micro_conditions_fit",
        ),
        _component(
            Kind.SCHEDULER, "ddpm", Ddpm, ".diffusion_process:build", SAMPLER_RULE, ":combinations_fit", ":steps_fit"
        ),
        _component(Kind.SCHEDULER, "flow_matching", FlowMatching, ".flow_process:build", SAMPLER_RULE),
        _component(Kind.OPTIMIZER, "adamw", AdamW, ":build"),
        _component(Kind.OPTIMIZER, "adamw_8bit", AdamW8bit, ":build", WHOLE_WEIGHTS_RULE),
        _component(Kind.OPTIMIZER, "muon", Muon, ":build", EXACT_SHARES_RULE),
        _component(Kind.OPTIMIZER, "prodigy", Prodigy, ":build", ":rate_is_a_factor", WHOLE_WEIGHTS_RULE),
        _component(
            Kind.OPTIMIZER, "schedule_free_adamw", ScheduleFreeAdamW, ":build", ":needs_no_decay", ":needs_no_average"
        ),
        _component(Kind.OPTIMIZER, "torch", TorchClass, ":build", ":class_fits", ":shards_fit"),
        _component(Kind.LR_SCHEDULER, "constant", Constant, ":build", WARMUP_RULE),
        _component(Kind.LR_SCHEDULER, "cosine", Cosine, ":build", ":cycles_fit", DECAY_RULE),
        _component(Kind.LR_SCHEDULER, "linear", Linear, ":build", WARMUP_RULE, DECAY_RULE),
        _component(Kind.LR_SCHEDULER, "warmup_stable_decay", WarmupStableDecay, ":build", ":phases_fit", DECAY_RULE),
        _component(Kind.OBJECTIVE, "contrastive", Contrastive, ":build", ":has_other_samples"),
        _component(Kind.OBJECTIVE, "perceptual", Perceptual, ":build", ":sees_images"),
        _component(Kind.OBJECTIVE, "repa", Repa, ".objective:build"),
        _component(Kind.OBJECTIVE, "denoising", Denoising, ":build"),
        _component(Kind.GUIDANCE, "apg", Apg, ":build"),
        _component(Kind.GUIDANCE, "autoguidance", Autoguidance, ":build", ":weights_differ"),
        _component(Kind.GUIDANCE, "cfg", Cfg, ":build"),
        _component(Kind.GUIDANCE, "cfg_zero", CfgZero, ":build", ":fits_velocities"),
        _component(Kind.GUIDANCE, "tread", Tread, ":build", ":model_routes"),
        _component(Kind.AVERAGE, "ema", Ema, ":build"),
        _component(Kind.AVERAGE, "power", Power, ":build"),
        _component(Kind.ADAPTER, "lora", Lora, ".adapter:build"),
        _component(Kind.TRACKER, "csv", Csv, ":build"),
        _component(Kind.TRACKER, "mlflow", Mlflow, ".tracker:build"),
        _component(Kind.TRACKER, "tensorboard", TensorBoard, ".tracker:build"),
        _component(Kind.TRACKER, "wandb", Wandb, ".tracker:build"),
        _component(Kind.METRIC, "clip_score", ClipScore, ":build"),
        _component(Kind.METRIC, "cmmd", Cmmd, ":build"),
        _component(Kind.METRIC, "frechet_distance", FrechetDistance, ":build"),
        _component(Kind.METRIC, "kernel_distance", KernelDistance, ":build"),
        _component(Kind.METRIC, "objects", Objects, ".metric:build"),
        _component(Kind.METRIC, "shapes", ShapesScore, ".metric:build"),
    ]


def _component(kind: Kind, name: str, options: type, factory: str, *rules: str) -> Component:
    """Return a component; references that start with "." or ":" are relative to the module of its options."""
    references = [options.__module__ + each if each[0] in ".:" else each for each in (factory, *rules)]
    return Component(kind, name, options, references[0], tuple(references[1:]))
