"""The shipped configs: each is valid as it is, and a trial run of any length needs no second argument."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from dit_run import load_config
from dit_run.config.rule_checks import check_rules
from dit_run.protocols import Facts

FOLDER = Path(__file__).resolve().parent.parent.parent / "configs"
NAMES = sorted(path.name for path in FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("steps", [1, 60])
def test_a_trial_run_needs_no_second_argument(name: str, steps: int) -> None:
    config = check_rules(load_config(FOLDER / name, f"training.max_steps={steps}"), Facts(total_steps=steps))
    assert config.lr_scheduler.options.warmup_length(steps) < steps


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("samples", [1, 30, 374])
def test_a_few_images_are_enough(name: str, samples: int) -> None:
    config = load_config(FOLDER / name)
    batch = config.training.batch_size * config.training.gradient_accumulation_steps
    epochs, most = config.training.num_epochs, config.training.max_steps
    steps = min(-(-epochs * samples // batch) if epochs else 10**9, most or 10**9)
    config = check_rules(config, Facts(total_steps=steps, samples=samples))
    assert config.lr_scheduler.options.warmup_length(steps) <= max(steps // 10, 500 if steps > 500 else 0)


@pytest.mark.parametrize("name", NAMES)
def test_an_editor_finds_nothing_wrong_in_the_file_alone(name: str) -> None:
    schema = json.loads((FOLDER.parent / "schemas/dit-run.schema.json").read_text())
    errors = jsonschema.Draft202012Validator(schema).iter_errors(yaml.safe_load((FOLDER / name).read_text()))
    assert [error.message for error in errors] == []


@pytest.mark.parametrize("name", NAMES)
def test_no_written_key_is_without_effect(name: str) -> None:
    assert [notice.message for notice in load_config(FOLDER / name).notices if notice.code == "without-effect"] == []


def test_own_images_are_shown_often_enough() -> None:
    training = load_config(FOLDER / "custom.yaml").training
    assert (training.num_epochs, training.max_steps) == (None, 10_000)
