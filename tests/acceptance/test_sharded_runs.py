"""Runs whose processes share the weights: stopped and continued, they learn the same bytes, and as replicas do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from forks import Ended, Forks
from runs import Command, Run, stopping

from dit_run.compute.devices import multiplies_bfloat16
from dit_run.runs.checkpoint.weights import load_weights

SHARDED = ("training.shard=2", "training.gradient_accumulation_steps=3", "training.batch_size=2", "optimizer.type=muon")
ENCODER = Path(__file__).with_name("noting_encoder.py")
EXACT = "training.elastic_exact=true"
WATCHED = ("sampling.every_n_steps=3", "averages=[{type: power, length: 0.2}]")


@pytest.mark.slow
def test_two_processes_share_weights(config: Path, command: Command, forks: Forks) -> None:
    """Sharded, not sharded, and sharded, stopped and continued; then continued by one process."""
    words = (config, *SHARDED, *WATCHED)

    def run(name: str, *more: str) -> Ended:
        return forks.run(*words, f"training.output_dir={name}", *more, processes=2)

    assert run("whole").statuses == (0, 0)
    assert run("replicas", "training.shard=1").statuses == (0, 0)
    assert 0 not in run("stopped", "training.async_save=true", *stopping(2)).statuses
    assert run("stopped", *stopping(0)).statuses == (0, 0)
    refused = run("refused", "training.shard=3")
    assert "training.shard is 3, and 2 processes cannot be shared out over 3 shards" in " ".join(refused.output.split())
    assert not Path("refused").exists()
    whole, replicas, stopped = (Run(Path(name)) for name in ("whole", "replicas", "stopped"))
    assert stopped.learnt() == whole.learnt()
    # Muon in bfloat16 makes more of a difference in the last bits of a gradient.
    rough = multiplies_bfloat16(torch.device("cpu"))
    joined = load_weights(whole.file("", 6), average="power")
    for name, value in replicas.tensors("average-power").items():
        torch.testing.assert_close(joined[name], value, rtol=1e-3, atol=2e-3 if rough else 1e-5)
    for name in ("loss", "grad_norm", "validation/loss", "validation/loss_ema"):
        assert stopped.values(name) == whole.values(name)
        assert whole.values(name) == pytest.approx(replicas.values(name), rel=1e-3 if rough else 1e-5)
    parts = [f"{stem}-0000{number}-of-00002" for stem in ("average-power", "ema") for number in (1, 2)]
    assert sorted(whole.learnt())[:4] == parts
    image = "samples/step-00000006.png"
    assert (whole.path / image).read_bytes() == (stopped.path / image).read_bytes()
    sampled = command("sample", "stopped", "a red circle", "--output", "made.png", "sampling.steps=2")
    assert sampled.status == 0, sampled.words
    flipped = whole.file("optimizer-00002-of-00002.safetensors")
    flipped.write_bytes(flipped.read_bytes()[:-1] + b"\xff")
    continued = command(*words, "training.shard=1", "training.max_steps=7", "training.output_dir=whole")
    assert continued.status == 0, continued.words
    assert "training.shard: 2 -> 1: the weights may differ in their last bits" in continued.words
    told = "passed over: step-00000006 (optimizer-00002-of-00002.safetensors does not match its checksum)"
    assert told in continued.words
    assert whole.checkpoints[-1] == "step-00000007"


@pytest.mark.slow
def test_any_shards_learn_the_bytes_of_one_process(config: Path, command: Command, forks: Forks) -> None:
    """Four processes in two replicas, then four that share one, then one alone; against one process."""
    words = (config, EXACT, *WATCHED, "optimizer.type=muon", "training.device=cpu", "training.max_grad_norm=0.1")
    one = command(*words, "training.output_dir=one", "training.gradient_accumulation_steps=4")
    assert one.status == 0, one.words
    assert 0 not in forks.run(*words, *stopping(2), "training.shard=2", processes=4).statuses
    assert 0 not in forks.run(*words, *stopping(4), "training.shard=4", processes=4).statuses
    last = command(*words)
    assert last.status == 0, last.words
    assert "training.shard: 4 -> 1: the weights stay those of an uninterrupted run" in last.words
    assert Run(Path("run")).learnt() == Run(Path("one")).learnt()
    for name in ("loss", "grad_norm", "validation/loss", "validation/loss_ema"):
        assert Run(Path("run")).values(name) == Run(Path("one")).values(name), name


@pytest.mark.slow
def test_two_processes_share_a_frozen_text_encoder_that_works_in_the_step(config: Path, forks: Forks) -> None:
    """Its states are those that whole weights put into a cache, though the processes call it not equally often."""
    words = (config, f"plugins=[{ENCODER}]", "text_encoder.type=noting", "training.shard=2", "training.max_steps=3")
    more = ("training.caption_dropout=0.5", "sampling.every_n_steps=3", "validation.num_samples=8")
    held = {}
    for mode in ("auto", "off"):
        ended = forks.run(*words, *more, f"cache.mode={mode}", f"training.output_dir={mode}", processes=2)
        assert ended.statuses == (0, 0), ended.output
        held[mode] = [Path(f"held-{rank}").read_text().split() for rank in range(2)]
        for rank in range(2):
            Path(f"held-{rank}").unlink()
    cached, live = Run(Path("auto")), Run(Path("off"))
    assert live.learnt() == cached.learnt()
    for name in ("loss", "validation/loss_ema", "probe/loss"):
        assert live.values(name) == cached.values(name)
    image = "samples/step-00000003.png"
    assert (live.path / image).read_bytes() == (cached.path / image).read_bytes()
    assert [set(each) for each in held["auto"]] == [{"144/144"}] * 2
    assert [set(each) for each in held["off"]] == [{"72/144", "144/144"}] * 2
    assert held["off"][0].count("72/144") == held["off"][1].count("72/144")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["training.mixed_precision=fp16"], "training.mixed_precision is fp16, which sharded weights"),
        (["training.compile_model=whole"], "training.compile_model is whole, which sharded weights"),
        (["optimizer.type=prodigy"], "training.shard is 2, but the optimizer prodigy needs whole weights"),
        (["optimizer.type=adamw_8bit"], "the optimizer adamw_8bit needs whole weights in each process"),
        ([EXACT, "optimizer.type=muon"], "the optimizer muon updates matrices of one shape together on a GPU"),
        ([EXACT, "optimizer={type: torch, name: Adafactor}"], "but optimizer.name Adafactor keeps sums over the rows"),
    ],
)  # fmt: skip
def test_what_sharded_weights_do_not_allow_is_refused(
    command: Command, config: Path, words: list[str], told: str
) -> None:
    result = command("validate", config, "training.shard=2", *words)
    assert result.status == 2
    assert told in result.words
    assert command("validate", config, *words).status == 0
