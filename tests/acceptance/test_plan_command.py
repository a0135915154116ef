"""``dit-run plan``: what a run will need, without starting it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from builders import tiny_autoencoder_kl, tiny_clip, tiny_dinov2
from runs import Command, Train

from dit_run.planning.measurements import Measurements, SamplingCost
from dit_run.planning.probe import ProbeResult, probe
from dit_run.settings import Config

Change = Callable[[Measurements], Measurements]


@pytest.fixture(autouse=True)
def measure(monkeypatch: pytest.MonkeyPatch) -> Callable[[Change], None]:
    """Probes with a clock that moves on by 0.1 s at each reading; call it to change what they measure."""

    def measure(change: Change) -> None:
        def changed(config: Config, **rest: Any) -> ProbeResult:
            found = probe(config, **rest, clock=partial(next, count(step=0.1)))
            return replace(found, measured=change(found.measured))

        monkeypatch.setattr("dit_run.planning.probe.probe", changed)

    measure(lambda measured: measured)
    return measure


@pytest.mark.slow
def test_a_plan_says_what_a_run_needs_and_writes_nothing(command: Command, config: Path) -> None:
    result = command("plan", config)
    assert result.status == 0, result.words
    for name in ("device   cpu", "memory   ", "disk     no cache;", "time     ", "step     "):
        assert f"\n{name}" in f"\n{result.out}"
    assert result.out.splitlines()[-1].startswith("this config fits into ")
    assert "; 6 steps over " in result.words
    assert sorted(path.name for path in Path().iterdir()) == ["tiny.yaml"]


@pytest.mark.slow
def test_the_size_of_a_checkpoint_is_predicted(command: Command, config: Path, train: Train) -> None:
    result = command("plan", config, "--output", "plan.json")
    folder = train().file("")
    real = sum(path.stat().st_size for path in folder.iterdir())
    said = (
        float(result.words.split(" kB each")[0].split()[-1]) * 1e3
        if " kB each" in result.words
        else (float(result.words.split(" MB each")[0].split()[-1]) * 1e6)
    )
    assert said == pytest.approx(real, abs=1.1e6)
    kept = json.loads(Path("plan.json").read_text())
    assert kept["checkpoint_bytes"] == pytest.approx(real, abs=1.1e6)
    assert (kept["step_seconds"] > 0, kept["total_seconds"] > 0, kept["peak_bytes"] > 0) == (True, True, True)


@pytest.mark.slow
def test_the_splits_of_an_effective_batch_are_shown(command: Command, config: Path) -> None:
    result = command("plan", config, "training.gradient_accumulation_steps=3")
    rows = [line.split() for line in result.out.splitlines() if line.strip()[:1].isdigit()]
    assert [(int(row[0]), int(row[1])) for row in rows] == [(12, 1), (6, 2), (4, 3), (3, 4), (2, 6), (1, 12)]
    assert "this config" in next(" ".join(row) for row in rows if row[0] == "4")


@pytest.mark.slow
def test_too_little_memory_is_said_in_numbers(command: Command, config: Path) -> None:
    result = command("plan", config, "--memory", "10MB")
    assert result.status == 1
    assert "no batch size fits 4 samples per step into 10 MB" in result.words


@pytest.mark.slow
def test_a_part_that_does_not_fit_is_reported_with_what_to_lower(
    command: Command, config: Path, measure: Callable[[Change], None]
) -> None:
    sampling = SamplingCost(peaks=[(1, 2e9), (3, 4e9)], evaluation=0.0, fixed=0.0)
    measure(lambda measured: replace(measured, sampling=sampling))
    words = ("plan", config, "sampling.every_n_steps=2", "metrics=[{type: shapes, count: 7}]")
    result = command(*words, "--memory", "3.5GB")
    assert result.status == 1
    assert result.out.splitlines()[-3:] == [
        "training fits into 3.50 GB",
        "previews do not fit into 3.50 GB (4.00 GB for 3 images at a time): reduce sampling.num_images to 2",
        "metrics do not fit into 3.50 GB (8.00 GB for 7 images at a time): reduce their count to 2",
    ]
    result = command(*words, "--memory", "2GB", "sampling.prompts=[a cross]")
    assert "or turn previews off with sampling.every_n_steps=null" in result.words
    assert "data.image_size, or remove them" in result.words
    assert command(*words, "--memory", "9GB").status == 0


@pytest.mark.slow
def test_the_proposed_split_is_in_the_table(command: Command, config: Path, measure: Callable[[Change], None]) -> None:
    costs = {"peaks": [(1, 1e9), (2, 2e9)], "passes": [(1, 1.0), (2, 1.9)], "update": 0.0}
    measure(lambda measured: replace(measured, **costs))
    result = command("plan", config, "training.batch_size=720", "--memory", "1.5GB")
    rows = [line.split() for line in result.out.splitlines() if line.strip()[:1].isdigit()]
    assert len(rows) == 7
    assert rows[-1][:2] == ["1", "720"]
    assert "proposed: training.batch_size=1 training.gradient_accumulation_steps=720" in result.words


@pytest.mark.slow
def test_what_hardly_fits_is_too_large_in_the_table_as_it_is_for_the_proposal(
    command: Command, config: Path, measure: Callable[[Change], None]
) -> None:
    measure(lambda measured: replace(measured, peaks=[(1, 1e9)], passes=[(1, 1.0)], update=0.0))
    result = command("plan", config, "--memory", "1.01GB")
    assert "no batch size fits 4 samples per step into 1.01 GB" in result.words
    assert "1.01 GB, of which 5% stays free" in result.words
    assert result.words.count("too large") == 3


@pytest.mark.slow
@pytest.mark.parametrize(("written", "shown"), [("24GB", "24.00 GB"), ("24GiB", "25.77 GB"), ("800m", "800 MB")])
def test_sizes_are_powers_of_1000_or_1024(command: Command, config: Path, written: str, shown: str) -> None:
    assert f", {shown}, of which" in command("plan", config, "--memory", written).words


@pytest.mark.slow
def test_an_endless_run_is_planned(command: Command, config: Path) -> None:
    words = ("training.num_epochs=100000000", "training.max_steps=null", "lr_scheduler.warmup_steps=0")
    result = command("plan", config, *words)
    assert result.status == 0, result.words
    samples = int(result.words.split(" samples batch_size")[0].split()[-1])
    assert f"; {100_000_000 * samples // 4:,} steps over {samples} samples" in result.words


def test_a_size_that_is_none_is_refused(command: Command, config: Path) -> None:
    result = command("plan", config, "--memory", "lots")
    assert result.status == 2
    assert "a size such as 24GB or 800MB is expected, not 'lots'" in result.words


REPA = "objective=[{type: denoising}, {type: repa, projector_width: 8, start: 0.5, pretrained_model_name: dino}]"


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["objective.type=denoising", REPA])
def test_the_cache_of_frozen_encoders_is_predicted(
    command: Command, config: Path, tmp_path: Path, objective: str
) -> None:
    clip, vae = tiny_clip(tmp_path / "clip"), tiny_autoencoder_kl(tmp_path / "vae")
    tiny_dinov2(tmp_path / "dino")
    text = config.read_text().replace("vae: {type: identity}", f"vae: {{pretrained_model_name: {vae}}}")
    text = text.replace(
        "text_encoder: {type: words, width: 8, num_layers: 1, num_heads: 2, buckets: 64}",
        f"text_encoder: {{pretrained_model_name: {clip}}}",
    )
    config.write_text(text.replace("in_channels: 3, out_channels: 3", "in_channels: 4, out_channels: 4"))
    result = command("plan", config, objective, "cache.dir=kept")
    assert result.status == 0, result.words
    assert "filling the cache" in result.words
    said = float(result.words.split(" kB of cache")[0].split()[-1]) * 1e3
    assert command("cache", config, objective, "cache.dir=kept").status == 0
    real = sum(path.stat().st_size for path in Path("kept").rglob("*.safetensors"))
    assert said == pytest.approx(real, rel=0.1)


@pytest.mark.slow
def test_a_card_that_is_not_at_hand_is_estimated(command: Command, config: Path) -> None:
    result = command("plan", config, "--device", "cuda", "--memory", "1GB", "training.gradient_accumulation_steps=2")
    assert result.status == 0, result.words
    assert "cuda, 1.00 GB, is not on this machine: the memory is estimated" in result.words
    assert "this config fits into 1.00 GB" in result.words
    assert [line.split()[0] for line in result.out.splitlines()[4:8]] == ["8", "4", "2", "1"]
    small = command("plan", config, "--device", "cuda", "--memory", "500MB")
    assert small.status == 1
    assert "no batch size fits 4 samples per step into 500 MB" in small.words


def test_a_card_that_is_not_at_hand_needs_its_memory(command: Command, config: Path) -> None:
    result = command("plan", config, "--device", "cuda")
    assert result.status == 2
    assert "this machine has no cuda; name the memory of the card with --memory, such as 24GB" in result.words


@pytest.mark.slow
def test_a_plan_for_many_gpus_proposes_the_fewest_shards_that_fit(command: Command, config: Path) -> None:
    large = ("model.hidden_size=1024", "model.num_layers=2", "model.num_heads=16", "model.patch_size=8")
    plan = ("plan", config, *large, "--gpus", "16", "--gpu-memory")
    shared, whole, small = (command(*plan, memory, "--assume", "writer=2GB") for memory in ("1.3GB", "80GB", "700MB"))
    assert [each.status for each in (shared, whole, small)] == [0, 0, 1]
    assert "machines 2 with 8 GPUs of 1.30 GB" in shared.words
    assert shared.out.splitlines()[-1] == "proposed: training.shard=node, the fewest shards that fit"
    assert whole.out.splitlines()[-1] == "proposed: training.shard=1, the fewest shards that fit"
    assert "not even one sample fits into 700 MB" in small.words
    assert "writes its part, writer=2.00 GB/s, to a disk that takes storage=20.00 GB/s from all" in shared.words


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ("--gpus", "12", "--gpu-memory", "80GB"),
            "12 GPUs are no whole number of machines with 8; set --gpus-per-node",
        ),
        (("--gpus", "0", "--gpu-memory", "80GB"), "--gpus and --gpus-per-node need at least 1 GPU"),
        (("--gpus", "8"), "name the memory of a GPU with --gpu-memory, such as 80GB"),
        (("--gpus-per-node", "4"), "--gpus-per-node has no effect without --gpus N"),
        (("--assume", "between=25GB"), "--assume has no effect without --gpus N"),
        (("--gpus", "8", "--memory", "80GB"), "--memory has no effect with --gpus; leave one of the two out"),
    ],
)
def test_a_plan_for_gpus_needs_their_memory_and_whole_machines_and_no_device(
    command: Command, config: Path, words: tuple[str, ...], told: str
) -> None:
    result = command("plan", config, *words)
    assert result.status == 2 and told in result.words
