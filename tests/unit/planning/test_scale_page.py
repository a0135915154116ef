"""The page on scale: its table is that of the model in the code, which agrees with processes that are measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dit_run import load_config, train
from dit_run.planning.cluster_estimate import Cluster, Needs, estimate_needs, sharded_step, shards_of

ROOT = Path(__file__).resolve().parents[3]
BILLIONS = (0.16, 3.4, 12)
GPUS = (8, 64, 1024)
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


def rows() -> Iterator[str]:
    """Yield the rows of the table: a model of AdamW with averages, in fp32, gathered in bf16."""
    for billions in BILLIONS:
        trained = round(billions * 1e9)
        needs = Needs(trained, 16 * trained, sample=1.0, fixed=0.0, gathered_bytes=2)
        for gpus in GPUS:
            cluster = Cluster(gpus, 8, 80 * 10**9)
            for shards in shards_of(cluster):
                step = sharded_step(needs, cluster, shards, 0)
                cells = (
                    f"{billions:g} B",
                    f"{gpus:,}",
                    f"{shards:,}",
                    f"{step.memory / 1e9:.3g} GB",
                    f"{step.traffic / 1e9:.3g} GB",
                    f"{step.seconds:.2g} s",
                    f"{needs.held / 1e9:.3g} GB",
                )
                yield f"| {' | '.join(cells)} |"


def test_the_table_is_that_of_the_model() -> None:
    page = (ROOT / "docs" / "scale.md").read_text()
    table = [line for line in page.splitlines() if line.startswith(tuple(f"| {each:g} B" for each in BILLIONS))]
    assert table == list(rows())


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
    needs = estimate_needs(config)
    for count in (1, 2, 4):
        expected = (needs.held + 4 * needs.trained) / count
        for size in measured[str(count)]:
            assert size == pytest.approx(expected, rel=0.05)
    files = (train(config).path / "checkpoints").rglob("*.safetensors")
    assert sum(file.stat().st_size for file in files) == pytest.approx(needs.held, rel=0.1)


if __name__ == "__main__":
    print("\n".join(rows()))
