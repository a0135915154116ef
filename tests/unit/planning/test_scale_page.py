"""The page on scale: its tables are those of the model in the code, which agrees with processes that are measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dit_run import load_config, train
from dit_run.assembly.parts import encoder_shapes
from dit_run.cache.builder import cache_bytes
from dit_run.planning.assumptions import Assumptions
from dit_run.planning.cluster_estimate import Cluster, Needs, estimate_needs, sharded_step, shards_of
from dit_run.planning.cluster_times import PIXEL_FLOPS, CacheNeeds, estimate_cache, save_times
from dit_run.system.units import duration_text

ROOT = Path(__file__).resolve().parents[3]
BILLIONS = (0.16, 3.4, 12)
GPUS = (8, 64, 1024)
CLUSTERS = [Cluster(gpus, 8, 80 * 10**9) for gpus in GPUS]
CLIP_L, T5_XXL = 123_060_480, 4_762_310_656
"""Parameters (number)."""
CONFIG = """
data: {type: shapes, image_size: 16, size: 20, num_samples: null, train_split: 0.8}
model: {hidden_size: 64, num_layers: 2, num_heads: 2, patch_size: 4, in_channels: 3, out_channels: 3}
vae: {type: identity}
text_encoder: {type: words, width: 8, num_layers: 1, num_heads: 2, buckets: 16}
scheduler: {type: flow_matching}
training: {batch_size: 4, max_steps: 1, logging_steps: 1, num_workers: 0, mixed_precision: "no", output_dir: run}
validation: {every_n_steps: null}
sampling: {every_n_steps: null}
trackers: []
"""


def state_rows() -> Iterator[str]:
    """Yield the rows of a model of AdamW with an average, in fp32, gathered in bf16."""
    for billions in BILLIONS:
        trained = round(billions * 1e9)
        needs = Needs(trained, 16 * trained, sample=1.0, fixed=0.0, gathered_bytes=2, evaluated=8 * trained)
        for cluster in CLUSTERS:
            for shards in shards_of(cluster):
                step, saving = sharded_step(needs, cluster, shards, 0), save_times(needs.held, shards, cluster.assumed)
                yield row(
                    f"{billions:g} B",
                    f"{cluster.gpus:,}",
                    f"{shards:,}",
                    f"{step.memory / 1e9:.3g} GB",
                    f"{step.evaluation / 1e9:.3g} GB",
                    f"{step.traffic / 1e9:.3g} GB",
                    f"{step.seconds:.2g} s",
                    f"{needs.held / 1e9:.3g} GB",
                    f"{saving.stall:.2g} s",
                    f"{saving.written:.2g} s",
                )


def encoder_rows() -> Iterator[str]:
    """Yield the rows of T5-XXL in bf16 that works in the step."""
    needs = Needs(0, 0, sample=1.0, fixed=0.0, gathered_bytes=2, encoders=2 * T5_XXL)
    for cluster in CLUSTERS:
        for shards in shards_of(cluster):
            step = sharded_step(needs, cluster, shards, 0)
            yield row(f"{cluster.gpus:,}", f"{shards:,}", f"{step.memory / 1e9:.2g} GB", f"{step.seconds:.2g} s")


def cache_rows() -> Iterator[str]:
    """Yield the rows of caches of images of 256 pixels."""
    for name, parameters, width in (("CLIP-L", CLIP_L, 768), ("T5-XXL", T5_XXL, 4096)):
        size = cache_bytes(
            torch.bfloat16, images=1, latent_values=4 * 32 * 32, captions=1, tokens=50, width=width, pooled_width=width
        )
        needs = CacheNeeds(size, PIXEL_FLOPS * 256**2 + 2 * parameters * 64, records=2)
        for images in (1e6, 1e8):
            for gpus in GPUS:
                cluster = Cluster(gpus, 8, 80 * 10**9, Assumptions(images=images))
                cache = estimate_cache(needs, cluster)
                yield row(
                    name,
                    f"{images / 1e6:g} M",
                    f"{gpus:,}",
                    f"{cache.size / 1e12:.2g} TB",
                    duration_text(cache.filling),
                    duration_text(cache.opening),
                )


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def test_the_tables_are_those_of_the_model() -> None:
    page = (ROOT / "docs" / "scale.md").read_text()
    for heading, rows in TABLES.items():
        section = page.split(f"## {heading}\n")[1].split("\n## ")[0]
        assert [line for line in section.splitlines() if line.startswith("| ")][2:] == list(rows()), heading


def test_the_page_has_the_assumptions() -> None:
    given, page = Assumptions(), " ".join((ROOT / "docs" / "scale.md").read_text().split())
    assert f"`inside` {given.inside / 1e9:g} GB/s" in page
    assert f"`between` {given.between / 1e9:g} GB/s" in page
    assert f"`host` {given.host / 1e9:g} GB/s" in page
    assert f"`writer` {given.writer / 1e9:g} GB/s" in page
    assert f"`storage` {given.storage / 1e9:g} GB/s" in page
    assert f"`flops` {given.flops / 1e12:g} · 10¹²" in page
    assert f"`tokens` {given.tokens:g}" in page


@pytest.mark.slow
def test_the_model_agrees_with_processes_that_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(CONFIG)
    script = ROOT / "benchmarks" / "sharded_state.py"
    said = subprocess.run(
        [sys.executable, script, "tiny.yaml", "1", "2", "4"], check=True, capture_output=True, timeout=200, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    measured = json.loads(said.stdout.splitlines()[-1])
    config = load_config("tiny.yaml")
    needs = estimate_needs(config, encoder_shapes(config), [])
    for count in (1, 2, 4):
        expected = (needs.held + 4 * needs.trained) / count
        for size in measured[str(count)]:
            assert size == pytest.approx(expected, rel=0.05)
    files = (train(config).path / "checkpoints").rglob("*.safetensors")
    assert sum(file.stat().st_size for file in files) == pytest.approx(needs.held, rel=0.1)


TABLES = {"State and checkpoints": state_rows, "Text encoders in the step": encoder_rows, "The cache": cache_rows}

if __name__ == "__main__":
    for heading, rows in TABLES.items():
        print(heading, *rows(), sep="\n")
