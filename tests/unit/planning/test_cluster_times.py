"""Times of checkpoints and of the cache on many GPUs, and the assumptions that they rest on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from text_models import tiny_text_model
from tiny_parts import CONFIG

from dit_run import load_config
from dit_run.assembly.parts import encoder_shapes
from dit_run.planning.assumptions import Assumptions
from dit_run.planning.cluster_estimate import Cluster
from dit_run.planning.cluster_times import CacheNeeds, estimate_cache, estimate_cache_needs, save_times
from dit_run.planning.text_weights import TextWeights, live_size
from dit_run.problems import InputError

GIVEN = Assumptions()


def test_a_checkpoint_is_copied_and_written_in_parts_until_the_disk_is_full() -> None:
    """A writer takes 1 GB/s, the disk 20 GB/s, and a copy to the host 20 GB/s."""
    for shards, stall, written in ((1, 5.0, 100.0), (8, 0.625, 12.5), (64, 5 / 64, 5.0)):
        times = save_times(100e9, shards, GIVEN)
        assert (times.stall, times.written) == (stall, written)


def test_a_cache_is_filled_by_all_gpus_until_the_disk_is_full() -> None:
    needs = CacheNeeds(size=20e3, flops=1.2e12, records=2)
    few, many = (estimate_cache(needs, Cluster(gpus, 8, 10**9)) for gpus in (8, 1024))
    assert (few.size, few.opening) == (many.size, many.opening) == (20e9, 1.0)
    assert few.filling == pytest.approx(1.2e18 / (8 * 300e12))
    assert many.filling == pytest.approx(1.2e18 / (1024 * 300e12))
    assert estimate_cache(replace(needs, size=200e3), Cluster(1024, 8, 10**9)).filling == 10


def test_the_cache_of_a_config_has_latents_and_the_states_of_frozen_encoders(tmp_path: Path) -> None:
    path, encoder = tmp_path / "tiny.yaml", tiny_text_model(tmp_path / "t5", "t5")
    path.write_text(CONFIG)
    words = [f"text_encoder={{type: transformers, pretrained_model_name: {encoder}}}", "training.device=cpu"]
    config = load_config(path, *words)
    encoders = encoder_shapes(config)
    texts = TextWeights.of(config, encoders)
    (text,) = texts
    assert text is not None and live_size(texts) == 0
    needs = estimate_cache_needs(config, encoders, texts, replace(GIVEN, tokens=20))
    assert (needs.size, needs.records) == (4 * (20 * 16 + 16), 1)  # the VAE of the tiny config needs no cache
    assert needs.flops == 2 * text.parameters * 32  # 20 tokens are padded to 32
    loaded = encoders.texts[0]
    loaded.load()  # type: ignore[attr-defined]
    weights = list(loaded.parameters())  # type: ignore[attr-defined]
    assert text.parameters == sum(each.numel() for each in weights)
    assert text.size == sum(each.nbytes for each in weights)
    live = load_config(path, *words, "cache.mode=off")
    assert live_size(TextWeights.of(live, encoders)) == text.size
    assert estimate_cache_needs(live, encoders, texts, GIVEN) == CacheNeeds()


def test_assumptions_are_changed_by_name() -> None:
    changed = GIVEN.changed(["between=25GB", "images=20M", "flops=400T", "tokens=80"])
    assert changed == replace(GIVEN, between=25e9, images=20e6, flops=400e12, tokens=80)


@pytest.mark.parametrize(
    ("word", "told"),
    [
        (
            "beween=25GB",
            "--assume beween=25GB: there is no assumption beween; choose from inside, between, host, writer",
        ),
        ("between=fast", "--assume between=fast: a size such as 24GB or 800MB is expected, not 'fast'"),
        ("images=0", "--assume images=0: a number greater than 0 is expected"),
    ],
)
def test_an_assumption_without_a_name_or_a_number_is_refused(word: str, told: str) -> None:
    with pytest.raises(InputError) as raised:
        GIVEN.changed([word])
    assert str(raised.value).startswith(told)
