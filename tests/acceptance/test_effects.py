"""Keys without effect: a written key that cannot act in its config is reported, any other key is not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from dead_keys import CHANGES, SETTINGS, metric
from runs import CONFIG

from dit_run import Config, Kind, load_config
from dit_run.config.rule_checks import check_rules
from dit_run.options import Option, options_of
from dit_run.protocols import Facts
from dit_run.registry.registry import discover
from dit_run.settings import SECTIONS

WITHOUT_EFFECT: Mapping[str, tuple[str, ...]] = {
    "data.keep_tags": ("data.keep_tags=1",),
    "data.shuffle_tags": ("data.shuffle_tags=true",),
    "data.tag_dropout": ("data.tag_dropout=0.5",),
    "training.ema_decay": ("training.use_ema=false", "training.ema_decay=0.9"),
    "training.ema_warmup": ("training.use_ema=false", "training.ema_warmup=0"),
    "training.init_rename": ('training.init_rename={"a.*": "*"}',),
    "training.prefetch_factor": ("training.num_workers=0", "training.prefetch_factor=8"),
    "sampling.num_images": ("sampling.prompts=[a, b]", "sampling.num_images=2"),
    "sampling.guidance_rescale": ("sampling.guidance_scale=1", "sampling.guidance_rescale=0.7"),
    "sampling.guidance_interval": ("sampling.guidance_scale=1", "sampling.guidance_interval=[0, 0.5]"),
    **{
        f"guidance.apg.{option}": ("guidance.type=apg", "sampling.guidance_scale=1", f"guidance.{option}=0.25")
        for option in ("parallel", "norm", "momentum")
    },
    "guidance.autoguidance.checkpoint": (
        "guidance={type: autoguidance, checkpoint: 3}",
        "sampling.guidance_scale=1",
    ),
    "guidance.autoguidance.weights": (
        "guidance={type: autoguidance, weights: live}",
        "sampling.guidance_scale=1",
    ),
    "guidance.cfg_zero.zero_calls": (
        "guidance.type=cfg_zero",
        "sampling.guidance_scale=1",
        "guidance.zero_calls=2",
    ),
    "guidance.tread.share": (
        "guidance.type=tread",
        "model={num_layers: 3, routed_share: 0.5}",
        "sampling.guidance_scale=1",
        "guidance.share=0.25",
    ),
    "validation.num_samples": ("validation.every_n_steps=null", "validation.num_samples=3"),
    "validation.timestep_bins": ("validation.every_n_steps=null", "validation.timestep_bins=3"),
    "validation.metrics_every_n_steps": ("metrics=[]", "validation.metrics_every_n_steps=3"),
    "cache.num_workers": ("data.crop=random", "cache.num_workers=2"),
    "text_encoder.clip.revision": ("text_encoder={type: clip, pretrained_model_name: here, revision: main}",),
    "text_encoder.transformers.revision": (
        "text_encoder={type: transformers, pretrained_model_name: here, revision: main}",
    ),
    "vae.autoencoder_kl.revision": ("vae={type: autoencoder_kl, pretrained_model_name: here, revision: main}",),
    "vae.autoencoder_dc.revision": ("vae={type: autoencoder_dc, pretrained_model_name: here, revision: main}",),
    "vae.diffusers_autoencoder.revision": (
        "vae={type: diffusers_autoencoder, pretrained_model_name: here, revision: main}",
    ),
    "vae.autoencoder_tiny.revision": ("vae={type: autoencoder_tiny, pretrained_model_name: here, revision: main}",),
    "metric.objects.revision": (metric("objects", "here", more=", revision: main"),),
    "metric.cmmd.revision": (metric("cmmd", "here", more=", revision: main"),),
    "metric.frechet_distance.revision": (metric("frechet_distance", "here", more=", revision: main"),),
    "metric.kernel_distance.revision": (metric("kernel_distance", "here", more=", revision: main"),),
    "metric.clip_score.revision": (metric("clip_score", "here", more=", revision: main"),),
    "model.diffusers_transformer.revision": (
        "model={type: diffusers_transformer, pretrained_model_name: px, revision: main}",
        "scheduler={type: ddpm}",
    ),
    "model.pixart.revision": (
        "model={type: pixart, pretrained_model_name: px, revision: main}",
        "scheduler={type: ddpm}",
    ),
    "objective.perceptual.revision": ("objective={type: perceptual, pretrained_model_name: here, revision: main}",),
    "objective.repa.revision": ("objective={type: repa, pretrained_model_name: here, revision: main}",),
    "model.dit.routed_blocks": ("model.num_layers=3", "model.routed_blocks=[0, 1]"),
    "model.dit.null_condition": (
        "training.caption_dropout=0",
        "sampling.guidance_scale=1",
        "model.null_condition=encoded",
    ),
    "scheduler.ddpm.beta_start": ("scheduler={type: ddpm, beta_schedule: squaredcos_cap_v2, beta_start: 0.001}",),
    "scheduler.ddpm.beta_end": ("scheduler={type: ddpm, beta_schedule: squaredcos_cap_v2, beta_end: 0.01}",),
    "scheduler.flow_matching.logit_mean": ("scheduler={timestep_sampling: uniform, logit_mean: 1.0}",),
    "scheduler.flow_matching.shift_by": ("scheduler={shift: 2.0, shift_by: values}",),
    "scheduler.flow_matching.logit_std": ("scheduler={timestep_sampling: uniform, logit_std: 2.0}",),
    "optimizer.muon.nesterov": ("optimizer={type: muon, momentum: 0, nesterov: true}",),
    "lr_scheduler.cosine.cycle_growth": ("lr_scheduler={type: cosine, cycle_growth: 2}",),
    "lr_scheduler.warmup_stable_decay.decay_shape": (
        "lr_scheduler={type: warmup_stable_decay, decay_share: 0, decay_shape: linear}",
    ),
}
"""For every key with a condition: arguments that write it although its condition does not hold."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(CONFIG)
    Path("here").mkdir()
    Path("px").mkdir()
    shape = {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 1, "in_channels": 3}
    shape |= {"out_channels": 3, "sample_size": 16, "patch_size": 4}
    Path("px/config.json").write_text(json.dumps({"_class_name": "PixArtTransformer2DModel", **shape}))
    Path("px/diffusion_pytorch_model.safetensors").touch()  # rules look for the file alone


def every_option() -> Iterator[tuple[str, Option]]:
    for section, cls in SECTIONS.items():
        yield from ((f"{section}.{option.name}", option) for option in options_of(cls))
    registry = discover(third_party=False)
    for kind in Kind:
        yield from ((f"{kind.section}.{option.name}", option) for option in kind.spec.common_options())
        for component in registry.components(kind).values():
            yield from ((f"{component.name}.{option.name}", option) for option in options_of(component.options))


def said(config: Config) -> dict[str, str]:
    """The messages about keys without effect, by the last part of the key."""
    return {str(notice.path[-1]): notice.message for notice in config.notices if notice.code == "without-effect"}


def test_every_key_with_a_condition_has_a_case() -> None:
    assert sorted(WITHOUT_EFFECT) == sorted(name for name, option in every_option() if option.conditions)


@pytest.mark.parametrize("name", list(WITHOUT_EFFECT))
def test_a_written_key_that_cannot_act_is_reported(name: str) -> None:
    found = said(load_config("tiny.yaml", *WITHOUT_EFFECT[name]))
    assert " has no effect: " in found[name.rpartition(".")[2]]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, change in CHANGES.items() if not change.refused])
def test_a_key_that_changes_a_run_is_not_reported(name: str) -> None:
    change = CHANGES[name]
    config = load_config("tiny.yaml", *SETTINGS.get(name.rpartition(".")[0], ()), *change.given, change.argument)
    assert name.rpartition(".")[2] not in said(config)


def test_the_reason_is_the_other_key() -> None:
    found = load_config("tiny.yaml", "training.use_ema=false", "training.ema_warmup=0").notices
    assert [(notice.message, notice.severity) for notice in found if notice.path[-1] == "ema_warmup"] == [
        ("training.ema_warmup has no effect: training.use_ema is false", "notice")
    ]
    (notice,) = load_config("tiny.yaml", "metrics=[]", "validation.metrics_every_n_steps=3").notices
    assert notice.message == "validation.metrics_every_n_steps has no effect: metrics is an empty list"


def test_keys_of_copies_of_remote_shards_act_for_urls_alone() -> None:
    written = ("cache.mode=off", "cache.dir=kept", "cache.shards_gb=2")
    assert said(load_config("tiny.yaml", *written)) == {
        "dir": "cache.dir has no effect: cache.mode is off",
        "shards_gb": "cache.shards_gb has no effect: no data.dataset_path is a URL",
    }
    remote = "data={type: webdataset, dataset_path: 'https://host/{0..9}.tar'}"
    assert said(load_config("tiny.yaml", *written, remote)) == {}
    part = "data={type: mixture, parts: [{type: webdataset, dataset_path: 's3://bucket/a.tar'}]}"
    assert said(load_config("tiny.yaml", *written, part)) == {}


def test_defaults_are_not_reported() -> None:
    assert said(load_config("tiny.yaml", "sampling.guidance_scale=1", "sampling.prompts=[a]")) == {
        "num_images": ("sampling.num_images has no effect: sampling.prompts is a list of 1")
    }


@pytest.mark.parametrize("key", ["crop=random", "alpha_background=black", "on_bad_sample=skip"])
def test_painted_images_need_no_options_of_files(key: str) -> None:
    name = key.partition("=")[0]
    assert said(load_config("tiny.yaml", f"data.{key}"))[name] == (
        f"data.{name} has no effect: shapes are painted, square and without transparency"
    )


# ----------------------------------------------------------------------------------------------- the length of a run


def known(*arguments: str, total: int) -> Config:
    return check_rules(load_config("tiny.yaml", *arguments), Facts(total_steps=total, samples=10))


def test_written_steps_alone_end_a_run() -> None:
    config = load_config("tiny.yaml", "training.max_steps=9")
    assert (config.training.num_epochs, config.training.max_steps, config.notices) == (None, 9, ())


def test_epochs_end_a_run_without_written_steps() -> None:
    config = load_config("tiny.yaml", "training.max_steps=null")
    assert (config.training.num_epochs, config.training.max_steps) == (1000, None)


def test_a_limit_that_is_not_reached_is_reported() -> None:
    steps = known("training.max_steps=9", "training.num_epochs=2", total=5)
    assert said(steps) == {"max_steps": "training.max_steps has no effect: training.num_epochs is 2, which are 5 steps"}
    epochs = known("training.max_steps=9", "training.num_epochs=2", total=9)
    assert said(epochs) == {"num_epochs": "training.num_epochs has no effect: training.max_steps is 9"}
    assert said(load_config("tiny.yaml", "training.max_steps=9", "training.num_epochs=2")) == {}


def test_a_cache_that_stays_empty_is_reported() -> None:
    config = load_config("tiny.yaml", "cache.dir=kept")
    assert said(config) == {}
    assert said(check_rules(config, Facts(cached=False))) == {
        "dir": "cache.dir has no effect: no output of the encoders of this config is cached"
    }
    assert said(check_rules(config, Facts(cached=True))) == {}


def test_a_format_of_states_that_no_encoder_keeps_is_reported() -> None:
    config = load_config("tiny.yaml", "cache.text_dtype=fp8", "cache.max_tokens=4", "cache.mode=off")
    assert said(config) == {}
    assert said(check_rules(config, Facts(frozen_text=False))) == {
        name: f"cache.{name} has no effect: no text encoder of this config is frozen"
        for name in ("text_dtype", "max_tokens")
    }
    assert said(check_rules(config, Facts(frozen_text=True))) == {}


def test_the_config_of_a_run_has_no_keys_without_effect() -> None:
    from dit_run.config.dump import run_config

    Path("run.yaml").write_text(
        run_config(load_config("tiny.yaml", "sampling.guidance_scale=1", "training.use_ema=false"))
    )
    assert load_config("run.yaml").notices == ()


def test_a_revision_of_no_pretrained_weights_is_reported() -> None:
    found = said(load_config("tiny.yaml", "model={type: pixart, revision: main}"))
    assert found == {"revision": "model.revision has no effect: model.pretrained_model_name is null"}
