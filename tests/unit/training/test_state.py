"""The state of training: saved and loaded without a loop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny_parts import CPU, assembled

from dit_run.problems import InputError
from dit_run.training.meters import Meters
from dit_run.training.nonfinite import NonFiniteGuard
from dit_run.training.run_parts import RunParts
from dit_run.training.state import TrainState


def advanced(folder: Path, steps: int, *words: str) -> TrainState:
    """Return the state after some steps on the same batches."""
    tiny = assembled(folder, "training.use_ema=true", *words)
    parts = RunParts.build(tiny.config, tiny.data, tiny.encoders, CPU)
    step = parts.training_step(learning_rate_factor=lambda step: 1.0)
    guard = NonFiniteGuard(0, False, print)
    state = TrainState(parts.denoiser, parts.averages, step.optimizer, step.scaler, Meters(CPU), guard)
    for index in range(steps):
        batch = parts.encoder()(parts.visits().__getitems__(range(4 * index, 4 * index + 4)))
        state.meters.add(step.run(index, [batch], count=1))
        for average in state.averages.values():
            average.update(index)
        state.step += 1
    return state


def test_a_loaded_state_is_the_saved_one(tmp_path: Path) -> None:
    saved, loaded = advanced(tmp_path, 2), advanced(tmp_path, 0)
    saved.best, saved.nonfinite.in_a_row = {"loss": 0.5, "step": 1}, 1
    values = saved.state_dict()
    tensors = {name: values.pop(name) for name in ("model", "averages", "optimizer")}
    loaded.load_state_dict({**json.loads(json.dumps(values)), **tensors}, where="here")
    found = loaded.state_dict()
    pairs = [(tensors["model"], found["model"]), (tensors["averages"]["ema"], found["averages"]["ema"])]
    for kept, again in pairs:
        assert all(torch.equal(value, again[key]) for key, value in kept.items())
    assert {name: found[name] for name in values} == values
    assert found["optimizer"]["state"].keys() == tensors["optimizer"]["state"].keys()
    assert loaded.step == 2


def test_a_state_without_averages_is_refused_where_they_are_used(tmp_path: Path) -> None:
    values = advanced(tmp_path, 1, "training.use_ema=true").state_dict()
    with pytest.raises(InputError, match=r"here has no ema\.safetensors, and training\.use_ema is true"):
        advanced(tmp_path, 0).load_state_dict({**values, "averages": {}}, where="here")


def test_a_state_without_a_named_average_is_refused(tmp_path: Path) -> None:
    values = advanced(tmp_path, 1).state_dict()
    with pytest.raises(InputError, match=r"here has no average-power\.safetensors, and the config keeps this average"):
        advanced(tmp_path, 0, "averages=[{type: power}]").load_state_dict(values, where="here")


def test_an_optimizer_of_another_shape_is_refused(tmp_path: Path) -> None:
    values = advanced(tmp_path, 1).state_dict()
    values["optimizer"]["param_groups"][0]["params"] = [0]
    with pytest.raises(InputError, match="the optimizer state in here does not fit this config's optimizer"):
        advanced(tmp_path, 0).load_state_dict(values, where="here")
