"""Which keys may change when a run continues: a decision for every key of the core's own sections and of all data."""

from __future__ import annotations

from dit_run.options import options_of
from dit_run.registry.kind_options import DatasetCommon
from dit_run.settings import SECTIONS

REFUSED = {
    "training.seed",
    "training.use_ema",
    "training.ema_decay",
    "training.ema_warmup",
    "training.caption_dropout",
    "training.freeze",
    "training.learning_rate_factors",
    "cache.text_dtype",
    "cache.max_tokens",
    "data.image_size",
    "data.buckets",
    "data.max_crop",
    "data.upscale",
    "data.min_side",
    "data.num_samples",
    "data.train_split",
    "data.random_flip",
    "data.crop",
    "data.alpha_background",
    "data.caption_template",
    "data.tag_separator",
    "data.shuffle_tags",
    "data.tag_dropout",
    "data.keep_tags",
    "data.shuffle_window",
}
"""They decide what a run learns from its first step on: a new key without a marker must be put here on purpose."""
ADJUSTABLE = {
    "training.batch_size",
    "training.gradient_accumulation_steps",
    "training.learning_rate",
    "training.num_epochs",
    "training.max_steps",
    "training.mixed_precision",
    "training.max_grad_norm",
    "training.init_from",
    "training.init_rename",
    "training.deterministic",
    "training.elastic_exact",
    "training.shard",
    "validation.num_samples",
    "validation.timestep_bins",
    "cache.mode",
}
"""They may change with a note."""


def keys_marked(*markers: str) -> set[str]:
    """The keys that have exactly these of the two markers."""
    return {
        f"{section}.{option.name}"
        for section, cls in {**SECTIONS, "data": DatasetCommon}.items()
        for option in options_of(cls)
        if option.markers & {"adjustable", "operational"} == set(markers)
    }


def test_every_key_that_is_refused_is_refused_on_purpose() -> None:
    assert keys_marked() == REFUSED


def test_adjustable_keys() -> None:
    assert keys_marked("adjustable") == ADJUSTABLE
    assert keys_marked("adjustable", "operational") == set()
