"""For every option of every built-in: how to change it so that a tiny run must change, or why it is not seen there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["CHANGES", "ELSEWHERE", "PACKAGES", "SETTINGS", "Change"]


@dataclass(frozen=True)
class Change:
    """An argument that changes one option, and arguments for both runs under which it matters."""

    argument: str
    given: tuple[str, ...] = ()
    refused: bool = False
    """Whether its effect is that the run is refused, by name."""


def _change(argument: str, *given: str) -> Change:
    return Change(argument, given)


def _refused(argument: str, *given: str) -> Change:
    return Change(argument, given, refused=True)


def metric(kind: str, name: str = "eye", count: int = 3, more: str = "") -> str:
    """An argument with one metric on features."""
    return f"metrics=[{{type: {kind}, pretrained_model_name: {name}, count: {count}{more}}}]"


PERCEPTUAL = "objective={type: perceptual, pretrained_model_name: eye}"
REPA = "objective={type: repa, pretrained_model_name: eye, projector_width: 8}"

SETTINGS: Mapping[str, tuple[str, ...]] = {
    "dataset.shapes": (),
    "dataset.custom": ("data={type: custom, dataset_path: custom}",),
    "dataset.coco": ("data={type: coco, dataset_path: coco}",),
    "dataset.webdataset": ("data={type: webdataset, dataset_path: tars}",),
    "dataset.huggingface": ("data={type: huggingface, dataset_path: hf}",),
    "dataset.parquet": ("data={type: parquet, dataset_path: parquet}",),
    "dataset.mixture": ("data={type: mixture, parts: [{type: shapes, size: 60}]}",),
    "dataset.cub": ("data={type: cub, dataset_path: cub}",),
    "text_encoder.words": (),
    "text_encoder.clip": ("text_encoder={type: clip, pretrained_model_name: clip}",),
    "text_encoder.transformers": ("text_encoder={type: transformers, pretrained_model_name: t5}",),
    "vae.identity": (),
    "vae.autoencoder_kl": (
        "vae={type: autoencoder_kl, pretrained_model_name: kl}",
        "model={in_channels: 4, out_channels: 4, patch_size: 2}",
    ),
    "vae.autoencoder_dc": (
        "vae={type: autoencoder_dc, pretrained_model_name: dc}",
        "data.image_size=32",
        "model={in_channels: 32, out_channels: 32, patch_size: 1}",
    ),
    "vae.diffusers_autoencoder": (
        "vae={type: diffusers_autoencoder, pretrained_model_name: vq}",
        "model={in_channels: 3, out_channels: 3, patch_size: 2}",
    ),
    "vae.autoencoder_tiny": (
        "vae={type: autoencoder_tiny, pretrained_model_name: taesd}",
        "model={in_channels: 4, out_channels: 4, patch_size: 2}",
    ),
    "model.dit": (),
    "model.diffusers_transformer": (
        "model={type: diffusers_transformer, class_name: SanaTransformer2DModel, config: {num_layers: 1, "
        "num_attention_heads: 2, attention_head_dim: 8, cross_attention_dim: 16, sample_size: 8, patch_size: 2}}",
    ),
    "model.pixart": (
        "model={type: pixart, hidden_size: 16, num_layers: 1, num_heads: 2, patch_size: 4, in_channels: 3, "
        "out_channels: 3, dropout: 0.1, sample_size: 16}",
    ),
    "scheduler.ddpm": ("scheduler.type=ddpm",),
    "scheduler.flow_matching": (),
    "optimizer.adamw": (),
    "optimizer.muon": ("optimizer.type=muon",),
    "optimizer.adamw_8bit": ("optimizer.type=adamw_8bit",),
    "optimizer.prodigy": ("optimizer.type=prodigy",),
    "optimizer.schedule_free_adamw": ("optimizer.type=schedule_free_adamw",),
    "optimizer.torch": ("optimizer={type: torch, name: RAdam}",),
    "lr_scheduler.constant": (),
    "lr_scheduler.cosine": ("lr_scheduler={type: cosine, warmup_steps: 2}",),
    "lr_scheduler.linear": ("lr_scheduler={type: linear, warmup_steps: 2}",),
    "lr_scheduler.warmup_stable_decay": (
        "lr_scheduler={type: warmup_stable_decay, warmup_steps: 2, decay_share: 0.5}",
    ),
    "objective.denoising": (),
    "objective.contrastive": ("objective.type=contrastive",),
    "objective.repa": (REPA,),
    "objective.perceptual": (PERCEPTUAL,),
    "guidance.apg": ("guidance.type=apg",),
    "guidance.autoguidance": ("guidance={type: autoguidance, weights: live}",),
    "guidance.cfg": (),
    "guidance.cfg_zero": ("guidance.type=cfg_zero",),
    "average.ema": ("averages=[{type: ema}]",),
    "average.power": ("averages=[{type: power}]",),
    "guidance.tread": ("guidance.type=tread", "model={num_layers: 3, routed_share: 0.5}"),
    "adapter.lora": ("adapter={type: lora, rank: 2}", "training.init_from=earlier"),
    "tracker.tensorboard": ("trackers=[{type: tensorboard}]",),
    "tracker.csv": ("trackers=[{type: csv}]",),
    "tracker.wandb": ("trackers=[{type: wandb, mode: offline}]",),
    "tracker.mlflow": ("trackers=[{type: mlflow}]",),
    "metric.shapes": ("metrics=[{type: shapes, count: 2}]",),
    "metric.objects": (metric("objects", "finder2", 4, ", threshold: 0"),),
    "metric.cmmd": (metric("cmmd"),),
    "metric.frechet_distance": (metric("frechet_distance"),),
    "metric.kernel_distance": (metric("kernel_distance"),),
    "metric.clip_score": (metric("clip_score"),),
}
"""Arguments that make each built-in part of the tiny run; the files that they name are made by the test."""

PACKAGES: Mapping[str, str] = {
    "adapter.lora": "peft",
    "dataset.parquet": "pyarrow",
    "dataset.huggingface": "datasets",
    "optimizer.adamw_8bit": "bitsandbytes",
    "optimizer.prodigy": "prodigyopt",
    "optimizer.schedule_free_adamw": "schedulefree",
    "tracker.wandb": "wandb",
    "tracker.mlflow": "mlflow",
}
"""The optional package that a built-in needs; without it its tests are skipped."""

DRAWN = "sampling.every_n_steps=3"
_SKIP = "data.on_bad_sample=skip"
PHOTOS = ("data={type: custom, dataset_path: custom}", DRAWN)
MIXED = ("data={type: custom, dataset_path: mixed}",)
TAGS = ('data.tag_separator=" "',)
CACHED = ("text_encoder={type: clip, pretrained_model_name: clip}",)
EVERY_EPOCH = ("training.max_steps=null", "training.num_epochs=1")

CHANGES: Mapping[str, Change] = {
    # data, for every type
    "data.image_size": _change("data.image_size=24"),
    "data.num_samples": _change("data.num_samples=20"),
    "data.train_split": _change("data.train_split=0.5"),
    "data.random_flip": _change("data.random_flip=true"),
    "data.crop": _change("data.crop=random", *PHOTOS),
    "data.on_bad_sample": _refused(
        "data.on_bad_sample=error", "data={type: custom, dataset_path: broken, train_split: 1.0}", _SKIP
    ),
    "data.buckets": _change("data.buckets=[16x16,16x24]", *PHOTOS),
    "data.max_crop": _change("data.max_crop=0.4", *MIXED),
    "data.upscale": _change("data.upscale=false", *MIXED),
    "data.min_side": _change("data.min_side=14", *MIXED),
    "data.alpha_background": _change("data.alpha_background=black", *PHOTOS),
    "data.shuffle_window": _change("data.shuffle_window=1", "data={type: webdataset, dataset_path: tars}"),
    "data.caption_template": _change("data.caption_template=a photo of {text}"),
    "data.tag_separator": _change('data.tag_separator=" "', "data.shuffle_tags=true"),
    "data.shuffle_tags": _change("data.shuffle_tags=true", *TAGS),
    "data.tag_dropout": _change("data.tag_dropout=0.5", *TAGS),
    "data.keep_tags": _change("data.keep_tags=1", *TAGS, "data.shuffle_tags=true"),
    "dataset.mixture.parts": _change(
        "data.parts=[{type: shapes, size: 60, weight: 2}, {type: shapes, size: 60, name: more, seed: 1}]"
    ),
    "dataset.shapes.seed": _change("data.seed=1"),
    "dataset.shapes.size": _change("data.size=50"),
    "dataset.shapes.held_out_pairs": _change("data.held_out_pairs=0.5"),
    "dataset.webdataset.dataset_path": _change("data.dataset_path=tars2"),
    "dataset.webdataset.captions": _change("data.captions=whole"),
    "dataset.huggingface.dataset_path": _change("data.dataset_path=hf2"),
    "dataset.huggingface.split": _change("data.split=other"),
    "dataset.huggingface.image_column": _change("data.image_column=other_image"),
    "dataset.huggingface.caption_columns": _change("data.caption_columns=[text,other_text]"),
    "dataset.parquet.dataset_path": _change("data.dataset_path=parquet2"),
    "dataset.parquet.image_column": _change("data.image_column=other_image"),
    "dataset.parquet.caption_columns": _change("data.caption_columns=[text,other_text]"),
    "dataset.custom.dataset_path": _change("data.dataset_path=custom2"),
    "dataset.custom.captions": _change("data.captions=whole"),
    "dataset.coco.dataset_path": _change("data.dataset_path=coco2"),
    "dataset.coco.subsets": _change("data.subsets=[val2017]"),
    "dataset.cub.dataset_path": _change("data.dataset_path=cub2"),
    "dataset.cub.subset": _change("data.subset=train"),
    # text encoders, VAEs
    "text_encoder.caption_dropout": _change("text_encoder.caption_dropout=0.5"),
    "text_encoder.clip.pretrained_model_name": _change("text_encoder.pretrained_model_name=clip2"),
    "text_encoder.clip.revision": _change(
        "text_encoder.revision=other", "text_encoder.pretrained_model_name=tiny/clip"
    ),
    "text_encoder.clip.subfolder": _change("text_encoder.subfolder=other"),
    "text_encoder.transformers.pretrained_model_name": _change("text_encoder.pretrained_model_name=t52"),
    "text_encoder.transformers.revision": _change(
        "text_encoder.revision=other", "text_encoder.pretrained_model_name=tiny/t5"
    ),
    "text_encoder.transformers.subfolder": _change("text_encoder.subfolder=other"),
    "text_encoder.transformers.max_length": _change("text_encoder.max_length=3"),
    "text_encoder.transformers.layers": _change("text_encoder.layers=[-2]"),
    "text_encoder.transformers.template": _change("text_encoder.template=a red {caption}"),
    "text_encoder.transformers.dtype": _change("text_encoder.dtype=bf16"),
    "text_encoder.transformers.pooling": _change("text_encoder.pooling=last"),
    "vae.normalize": _change("vae.normalize=data"),
    "vae.autoencoder_kl.revision": _change("vae.revision=other", "vae.pretrained_model_name=tiny/kl"),
    "vae.autoencoder_dc.revision": _change("vae.revision=other", "vae.pretrained_model_name=tiny/dc"),
    "vae.diffusers_autoencoder.revision": _change("vae.revision=other", "vae.pretrained_model_name=tiny/vq"),
    "vae.autoencoder_dc.pretrained_model_name": _change("vae.pretrained_model_name=dc2"),
    "vae.diffusers_autoencoder.pretrained_model_name": _change("vae.pretrained_model_name=vq2"),
    "vae.autoencoder_tiny.revision": _change("vae.revision=other", "vae.pretrained_model_name=tiny/taesd"),
    "text_encoder.words.width": _change("text_encoder.width=12"),
    "text_encoder.words.num_layers": _change("text_encoder.num_layers=2"),
    "text_encoder.words.num_heads": _change("text_encoder.num_heads=4"),
    "text_encoder.words.buckets": _change("text_encoder.buckets=32"),
    "text_encoder.words.max_length": _change("text_encoder.max_length=3"),
    "vae.autoencoder_kl.pretrained_model_name": _change("vae.pretrained_model_name=kl2"),
    "vae.autoencoder_tiny.pretrained_model_name": _change("vae.pretrained_model_name=taesd2"),
    # models
    "model.dit.hidden_size": _change("model.hidden_size=24"),
    "model.dit.scalars": _change("model.scalars=[crop_top]"),
    "model.dit.num_layers": _change("model.num_layers=2"),
    "model.dit.num_heads": _change("model.num_heads=1"),
    "model.dit.patch_size": _change("model.patch_size=2"),
    "model.dit.in_channels": _refused("model.in_channels=4"),
    "model.dit.out_channels": _refused("model.out_channels=4"),
    "model.dit.attention_head_dim": _refused("model.attention_head_dim=4"),
    "model.dit.mlp_ratio": _change("model.mlp_ratio=2.0"),
    "model.dit.dropout": _change("model.dropout=0.4"),
    "model.dit.norm": _change("model.norm=layernorm"),
    "model.dit.qk_norm": _change("model.qk_norm=false"),
    "model.dit.attention_convolution": _change("model.attention_convolution=true"),
    "model.dit.mlp": _change("model.mlp=gelu"),
    "model.dit.positions": _change("model.positions=sincos"),
    "model.dit.modulation": _change("model.modulation=adaln_zero"),
    "model.dit.zero_outputs": _change("model.zero_outputs=true"),
    "model.dit.pooled_text": _change("model.pooled_text=false"),
    "model.dit.routed_share": _change("model.routed_share=0.5", "model.num_layers=3"),
    "model.dit.routed_blocks": _change("model.routed_blocks=[0, 1]", "model.num_layers=3", "model.routed_share=0.5"),
    "model.dit.second_time": _change("model.second_time=true"),
    "model.dit.null_condition": _change("model.null_condition=encoded", "training.caption_dropout=0.5"),
    "model.diffusers_transformer.class_name": _change("model.class_name=PixArtTransformer2DModel"),
    "model.diffusers_transformer.config": _change("model.config.num_layers=2"),
    "model.diffusers_transformer.text_length": _refused("model.text_length=100"),
    "model.pixart.pretrained_model_name": _change("model.pretrained_model_name=px", "scheduler={type: ddpm}"),
    "model.pixart.revision": _change(
        "model.revision=other", "model.pretrained_model_name=tiny/px", "scheduler={type: ddpm}"
    ),
    "model.pixart.interpolation_scale": _change("model.interpolation_scale=2"),
    "model.pixart.micro_conditions": _change("model.micro_conditions=true", "model.hidden_size=24"),
    "model.pixart.learned_sigma": _change("model.learned_sigma=true"),
    "model.pixart.hidden_size": _change("model.hidden_size=24"),
    "model.pixart.num_layers": _change("model.num_layers=2"),
    "model.pixart.num_heads": _change("model.num_heads=1"),
    "model.pixart.patch_size": _change("model.patch_size=2"),
    "model.pixart.in_channels": _refused("model.in_channels=4"),
    "model.pixart.out_channels": _refused("model.out_channels=4"),
    "model.pixart.attention_head_dim": _refused("model.attention_head_dim=4"),
    "model.pixart.dropout": _change("model.dropout=0.4"),
    "model.pixart.sample_size": _change("model.sample_size=32"),
    # schedulers
    "scheduler.ddpm.num_train_timesteps": _change("scheduler.num_train_timesteps=100"),
    "scheduler.ddpm.beta_start": _change("scheduler.beta_start=0.002"),
    "scheduler.ddpm.beta_end": _change("scheduler.beta_end=0.02"),
    "scheduler.ddpm.beta_schedule": _change("scheduler.beta_schedule=linear"),
    "scheduler.ddpm.prediction_type": _change("scheduler.prediction_type=v_prediction"),
    "scheduler.ddpm.zero_terminal_snr": _change(
        "scheduler.zero_terminal_snr=true", "scheduler.prediction_type=v_prediction"
    ),
    "scheduler.ddpm.min_snr_gamma": _change("scheduler.min_snr_gamma=1.0"),
    "scheduler.flow_matching.prediction_type": _change("scheduler.prediction_type=sample"),
    "scheduler.flow_matching.timestep_sampling": _change("scheduler.timestep_sampling=uniform"),
    "scheduler.flow_matching.logit_mean": _change("scheduler.logit_mean=1.0"),
    "scheduler.flow_matching.logit_std": _change("scheduler.logit_std=0.5"),
    "scheduler.flow_matching.shift": _change("scheduler.shift=3.0"),
    "scheduler.flow_matching.shift_by": _change(
        "scheduler.shift_by=values", "scheduler.shift=null", "data.image_size=64"
    ),
    # optimizers, learning rates
    "optimizer.adamw.weight_decay": _change("optimizer.weight_decay=0.5"),
    "optimizer.adamw.betas": _change("optimizer.betas=[0.5, 0.9]"),
    "optimizer.adamw.eps": _change("optimizer.eps=0.1"),
    "optimizer.adamw_8bit.weight_decay": _change("optimizer.weight_decay=0.5"),
    "optimizer.adamw_8bit.betas": _change("optimizer.betas=[0.5, 0.9]"),
    "optimizer.adamw_8bit.eps": _change("optimizer.eps=0.1"),
    "optimizer.adamw_8bit.min_8bit_size": _change("optimizer.min_8bit_size=16"),
    "optimizer.prodigy.weight_decay": _change("optimizer.weight_decay=0.5"),
    "optimizer.prodigy.betas": _change("optimizer.betas=[0.5, 0.9]"),
    "optimizer.prodigy.eps": _change("optimizer.eps=0.1"),
    "optimizer.prodigy.d0": _change("optimizer.d0=1e-4"),
    "optimizer.prodigy.d_coef": _change("optimizer.d_coef=0.5"),
    "optimizer.prodigy.bias_correction": _change("optimizer.bias_correction=false"),
    "optimizer.prodigy.safeguard_warmup": _change("optimizer.safeguard_warmup=false"),
    "optimizer.schedule_free_adamw.weight_decay": _change("optimizer.weight_decay=0.5"),
    "optimizer.schedule_free_adamw.betas": _change("optimizer.betas=[0.5, 0.9]"),
    "optimizer.schedule_free_adamw.eps": _change("optimizer.eps=0.1"),
    "optimizer.torch.name": _change("optimizer.name=Adamax"),
    "optimizer.torch.arguments": _change("optimizer.arguments={betas: [0.5, 0.9]}"),
    "optimizer.torch.weight_decay": _change("optimizer.weight_decay=0.5"),
    "optimizer.muon.weight_decay": _change("optimizer.weight_decay=0.5"),
    "optimizer.muon.momentum": _change("optimizer.momentum=0.5"),
    "optimizer.muon.nesterov": _change("optimizer.nesterov=false"),
    "optimizer.muon.ns_steps": _change("optimizer.ns_steps=2"),
    "optimizer.muon.adamw_rate": _change("optimizer.adamw_rate=0.1"),
    "optimizer.muon.betas": _change("optimizer.betas=[0.5, 0.9]"),
    "optimizer.muon.eps": _change("optimizer.eps=0.1"),
    "lr_scheduler.constant.warmup_steps": _change("lr_scheduler.warmup_steps=3"),
    "lr_scheduler.cosine.warmup_steps": _change("lr_scheduler.warmup_steps=3"),
    "lr_scheduler.linear.warmup_steps": _change("lr_scheduler.warmup_steps=3"),
    "lr_scheduler.warmup_stable_decay.warmup_steps": _change("lr_scheduler.warmup_steps=3"),
    **{
        f"lr_scheduler.{kind}.warmup": _change("lr_scheduler={warmup_steps: null, warmup: 0.5}")
        for kind in ("constant", "cosine", "linear", "warmup_stable_decay")
    },
    **{
        f"lr_scheduler.{kind}.min_lr": _change("lr_scheduler.min_lr=1e-5")
        for kind in ("cosine", "linear", "warmup_stable_decay")
    },
    "lr_scheduler.cosine.restarts": _change("lr_scheduler.restarts=1"),
    "lr_scheduler.cosine.cycle_growth": _change("lr_scheduler.cycle_growth=2", "lr_scheduler.restarts=1"),
    "lr_scheduler.warmup_stable_decay.decay_share": _change("lr_scheduler.decay_share=0.2"),
    "lr_scheduler.warmup_stable_decay.decay_shape": _change("lr_scheduler.decay_shape=linear"),
    # objectives
    "objective.weight": _change("objective.weight=3"),
    "objective.start": _change("objective=[{type: denoising}, {start: 0.5}]", "objective=[{type: denoising}, {}]"),
    "objective.until": _change("objective=[{type: denoising}, {until: 0.5}]", "objective=[{type: denoising}, {}]"),
    "objective.contrastive.strength": _change("objective.strength=0.2"),
    "objective.repa.pretrained_model_name": _change("objective.pretrained_model_name=eye2"),
    "objective.repa.revision": _change("objective.revision=other", "objective.pretrained_model_name=tiny/eye"),
    "objective.perceptual.pretrained_model_name": _change("objective.pretrained_model_name=eye2"),
    "objective.perceptual.revision": _change("objective.revision=other", "objective.pretrained_model_name=tiny/eye"),
    "objective.repa.tap": _change("objective.tap=blocks.1", "model.num_layers=2"),
    "objective.repa.projector_width": _change("objective.projector_width=9"),
    # averages
    "averages.name": _change("averages=[{type: power, name: short}]", "averages=[{type: power}]"),
    "average.ema.decay": _change("averages=[{type: ema, decay: 0.3}]"),
    "average.ema.warmup": _change("averages=[{type: ema, warmup: 0}]"),
    "average.power.length": _change("averages=[{type: power, length: 0.2}]"),
    # adapters
    "adapter.lora.rank": _change("adapter.rank=3"),
    "adapter.lora.alpha": _change("adapter.alpha=8"),
    "adapter.lora.targets": _change("adapter.targets=[blocks.*.mlp]"),
    "adapter.lora.dropout": _change("adapter.dropout=0.5"),
    "adapter.lora.use_dora": _change("adapter.use_dora=true"),
    # training
    "training.output_dir": _change("training.output_dir=elsewhere"),
    "training.seed": _change("training.seed=1"),
    "training.batch_size": _change("training.batch_size=3"),
    "training.gradient_accumulation_steps": _change("training.gradient_accumulation_steps=2"),
    "training.learning_rate": _change("training.learning_rate=0.01"),
    "training.num_epochs": _change(
        "training.num_epochs=2", "data.size=10", "training.max_steps=null", *EVERY_EPOCH[1:]
    ),
    "training.max_steps": _change("training.max_steps=4"),
    "training.save_every_n_epochs": _change("training.save_every_n_epochs=1", "data.size=10"),
    "training.save_steps": _change("training.save_steps=2"),
    "training.save_total_limit": _change("training.save_total_limit=2", "training.save_steps=1"),
    "training.logging_steps": _change("training.logging_steps=2"),
    "training.mixed_precision": _change("training.mixed_precision=bf16"),
    "training.max_grad_norm": _change("training.max_grad_norm=0.1"),
    "training.use_ema": _change("training.use_ema=false"),
    "training.ema_decay": _change("training.ema_decay=0.1"),
    "training.ema_warmup": _change("training.ema_warmup=0.1"),
    "training.caption_dropout": _change("training.caption_dropout=0.6"),
    "training.init_from": _change("training.init_from=earlier"),
    "training.init_rename": _change('training.init_rename={"blocks.0.*": "blocks.9.*"}', "training.init_from=earlier"),
    "training.freeze": _change("training.freeze=[blocks.0]"),
    "training.learning_rate_factors": _change("training.learning_rate_factors={blocks.0: 0.1}"),
    "training.device": _refused("training.device=cuda:99"),
    "training.num_threads": _change("training.num_threads=2"),
    "training.deterministic": _change("training.deterministic=true"),
    "training.elastic_exact": _refused("training.elastic_exact=true", "training.gradient_accumulation_steps=3"),
    "training.shard": _refused("training.shard=2"),
    # sampling, validation
    "sampling.every_n_steps": _change("sampling.every_n_steps=2", DRAWN),
    "sampling.prompts": _change("sampling.prompts=[a small red circle on a black background]", DRAWN),
    "sampling.num_images": _change("sampling.num_images=2", DRAWN),
    "sampling.sampler": _change("sampling.sampler=ddpm", DRAWN, "scheduler.type=ddpm"),
    "sampling.steps": _change("sampling.steps=3", DRAWN),
    "sampling.guidance_scale": _change("sampling.guidance_scale=6.0", DRAWN),
    "sampling.guidance_rescale": _change("sampling.guidance_rescale=1.0", DRAWN),
    "sampling.guidance_interval": _change("sampling.guidance_interval=[0.0, 0.4]", DRAWN),
    "guidance.apg.parallel": _change("guidance.parallel=1", DRAWN),
    "guidance.apg.norm": _change("guidance.norm=0.1", DRAWN),
    "guidance.apg.momentum": _change("guidance.momentum=0.9", DRAWN),
    "guidance.autoguidance.checkpoint": _change("guidance.checkpoint=3", DRAWN),
    "guidance.autoguidance.weights": _change("guidance.weights=averaged", DRAWN, "guidance.checkpoint=3"),
    "guidance.cfg_zero.zero_calls": _change("guidance.zero_calls=0", DRAWN),
    "guidance.tread.share": _change("guidance.share=0.8", DRAWN),
    "sampling.seed": _change("sampling.seed=1", DRAWN),
    "sampling.scalars": _change("sampling.scalars=[crop_top=90]", DRAWN, "model.scalars=[crop_top]"),
    "validation.every_n_steps": _change("validation.every_n_steps=2"),
    "validation.num_samples": _change("validation.num_samples=3"),
    "validation.timestep_bins": _change("validation.timestep_bins=2"),
    "validation.metrics_every_n_steps": _change(
        "validation.metrics_every_n_steps=3", "metrics=[{type: shapes, count: 2}]"
    ),
    # metrics
    **{
        f"metric.{kind}.{option}": change
        for kind in ("cmmd", "frechet_distance", "kernel_distance", "clip_score")
        for option, change in {
            "pretrained_model_name": _change(metric(kind, name="eye2")),
            "revision": _change(metric(kind, "tiny/eye", more=", revision: other"), metric(kind, "tiny/eye")),
            "count": _change(metric(kind, count=4)),
        }.items()
    },
    "metric.objects.pretrained_model_name": _change(metric("objects", "finder", 4, ", threshold: 0")),
    "metric.objects.revision": _change(
        metric("objects", "tiny/finder", 4, ", threshold: 0, revision: other"),
        metric("objects", "tiny/finder", 4, ", threshold: 0"),
    ),
    "metric.objects.count": _change(metric("objects", "finder2", 5, ", threshold: 0")),
    "metric.objects.threshold": _change(metric("objects", "finder2", 4, ", threshold: 1")),
    # trackers
    "tracker.csv.file": _change("trackers=[{type: csv, file: numbers.csv}]"),
    # the cache
    "cache.mode": _change("cache.mode=off", *CACHED),
    "cache.dir": _change("cache.dir=kept", *CACHED),
    "cache.text_dtype": _change("cache.text_dtype=fp8", *CACHED),
    "cache.max_tokens": _change("cache.max_tokens=2", *CACHED),
}

ELSEWHERE: Mapping[str, tuple[str, str]] = {
    **{
        f"tracker.wandb.{option}": (
            "it names the run at Weights & Biases",
            "tests/plugins/test_wandb.py::test_values_images_config_and_end_are_in_the_files",
        )
        for option in ("project", "entity", "name", "group", "tags")
    },
    "tracker.wandb.mode": (
        "a service, which tests do not reach",
        "tests/acceptance/test_trackers.py::test_a_service_out_of_reach_is_reported_once_and_stops_nothing",
    ),
    **{
        f"tracker.mlflow.{option}": (
            "it names the run in MLflow",
            "tests/plugins/test_mlflow.py::test_values_images_config_and_end_are_in_the_database",
        )
        for option in ("tracking_uri", "experiment", "name")
    },
    "dataset.huggingface.subset": (
        "a name on the Hub, which tests do not reach",
        "tests/plugins/test_huggingface.py::test_a_name_is_loaded_from_the_hub",
    ),
    "dataset.huggingface.revision": (
        "a name on the Hub, which tests do not reach",
        "tests/plugins/test_huggingface.py::test_a_name_is_loaded_from_the_hub",
    ),
    "vae.autoencoder_kl.use_slicing": (
        "less memory, the same latents and pictures",
        "tests/plugins/test_autoencoder_kl.py::test_slicing_passes_one_image_at_a_time",
    ),
    "vae.autoencoder_kl.family": (
        "the scale of a single file of full size",
        "tests/plugins/test_autoencoder_kl.py::test_a_family_that_is_named_has_its_own_scale",
    ),
    "vae.autoencoder_dc.use_slicing": (
        "less memory, the same latents and pictures",
        "tests/plugins/test_diffusers_autoencoder.py::test_slices_pass_one_image_at_a_time",
    ),
    "vae.diffusers_autoencoder.use_slicing": (
        "less memory, the same latents and pictures",
        "tests/plugins/test_diffusers_autoencoder.py::test_slices_pass_one_image_at_a_time",
    ),
    "vae.autoencoder_tiny.use_slicing": (
        "less memory, the same latents and pictures",
        "tests/plugins/test_autoencoder_tiny.py::test_slices_pass_one_image_at_a_time",
    ),
    "model.dit.gradient_checkpointing": (
        "less memory, the same gradients",
        "tests/plugins/test_dit.py::test_gradient_checkpointing_changes_no_gradient",
    ),
    "model.diffusers_transformer.pretrained_model_name": (
        "it has a config of its own, so that no key of the tiny run may be written",
        "tests/plugins/test_pretrained_transformers.py::test_a_model_begins_with_the_weights_of_a_folder",
    ),
    "model.diffusers_transformer.revision": (
        "as for its name",
        "tests/plugins/test_pretrained_transformers.py::test_weights_come_from_a_revision_on_a_hub",
    ),
    "model.diffusers_transformer.gradient_checkpointing": (
        "less memory, the same gradients",
        "tests/plugins/test_diffusers_transformer.py::test_gradient_checkpointing_gives_the_same_gradients",
    ),
    "model.pixart.gradient_checkpointing": (
        "less memory, the same gradients",
        "tests/plugins/test_pixart.py::test_gradient_checkpointing_gives_the_same_gradients",
    ),
    "metric.shapes.count": (
        "pictures of a model that has learnt nothing score nothing, however many they are",
        "tests/plugins/test_shapes.py::test_scores_of_true_pictures_are_one",
    ),
    "training.num_workers": (
        "any number of workers gives the same batches",
        "tests/unit/training/test_batches.py::test_a_batch_is_the_same_in_another_process",
    ),
    "training.prefetch_factor": (
        "how early a worker begins changes no batch",
        "tests/unit/training/test_batches.py::test_a_batch_is_the_same_in_another_process",
    ),
    "training.async_save": (
        "a checkpoint is the same, whenever it is written",
        "tests/acceptance/test_async_saves.py::test_checkpoints_written_behind_training_are_those_written_at_once",
    ),
    "training.compile_model": (
        "compiling is slow, and gives the same kind of run",
        "tests/acceptance/test_continue.py::test_compiled_or_not_it_is_the_same_kind_of_run",
    ),
    "training.max_bad_steps": (
        "a step goes bad in no healthy run",
        "tests/acceptance/test_train.py::test_some_bad_steps_in_a_row_are_allowed",
    ),
    "training.max_hours": (
        "a tiny run is over before any number of hours",
        "tests/acceptance/test_stopping.py::test_a_run_ends_when_its_hours_are_over_and_continues",
    ),
    "training.on_watch_error": (
        "nothing fails in a healthy run",
        "tests/acceptance/test_watching.py::test_a_failure_decides_the_exit_status_only_if_asked",
    ),
    "cache.shards_gb": (
        "remote shards, of which copies are kept",
        "tests/unit/data/test_shard_cache.py::test_the_copies_unused_for_longest_are_removed",
    ),
    "cache.num_workers": (
        "any number of reading processes builds the same cache",
        "tests/unit/cache/test_builder.py::test_reading_processes_change_nothing",
    ),
}
"""Options that leave the tiny run as it is: the reason, and the test that sees their effect."""
