from __future__ import annotations

from pathlib import Path

from dit_run.config.explanation import explanations, origins
from dit_run.config.resolve import load_config


def test_each_value_that_is_no_default_has_the_place_where_it_is_written(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("training: {batch_size: 2, max_steps: 4}\noptimizer: {type: adamw}\n")
    config = load_config(file, "training.seed=7")
    found = origins(config)
    assert found["training.batch_size"] == f"{file}:1:24"
    assert found["optimizer.type"] == f"{file}:2:19"
    assert found["training.seed"].startswith("command line:1:")
    assert "training.save_total_limit" not in found
    shown = [item.origin for item in explanations(config) if item.origin != "default"]
    assert sorted(found.values()) == sorted(shown)
