"""Changes of the inputs of a run are reported."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dit_run.data.samples import Samples
from dit_run.protocols import Sample
from dit_run.registry.kinds import DatasetCommon
from dit_run.training.resume_checks import changed_inputs, inputs


def given(captions: list[str], *, cacheable: bool = True, trainable: bool = False, vae: str = "v1") -> dict[str, Any]:
    dataset = [Sample(f"{index}", (caption,), lambda: None) for index, caption in enumerate(captions)]  # type: ignore[arg-type, return-value]
    samples = Samples(dataset, np.arange(len(dataset)), DatasetCommon(), 0)  # type: ignore[arg-type]
    data = SimpleNamespace(train=samples)
    encoders = SimpleNamespace(
        vae=SimpleNamespace(cacheable=cacheable, fingerprint=lambda: vae),
        text=SimpleNamespace(trainable=trainable, fingerprint=lambda: "t1"),
    )
    return inputs(data, encoders)  # type: ignore[arg-type]


def test_the_same_is_worth_no_word() -> None:
    assert changed_inputs(given(["a", "b"]), given(["a", "b"])) == []


def test_a_checkpoint_that_remembers_nothing_is_believed() -> None:
    assert changed_inputs({}, given(["a"])) == []


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (given(["a"]), "the number of training samples changed since this run's checkpoint (they were 2 and are 1)"),
        (given(["a", "c"]), "captions or the order of samples changed since this run's checkpoint"),
        (given(["b", "a"]), "captions or the order of samples changed since this run's checkpoint"),
        (given(["a", "b"], vae="v2"), "the VAE's weights changed since this run's checkpoint"),
    ],
)
def test_a_change_is_named(now: dict[str, Any], said: str) -> None:
    (line,) = changed_inputs(given(["a", "b"]), now)
    assert line.startswith(f"{said}: it continues with what is there now")


def test_encoders_that_are_never_asked_have_no_fingerprint() -> None:
    assert sorted(given(["a"], cacheable=False, trainable=True)) == ["captions", "samples"]


def test_of_many_samples_some_are_looked_at() -> None:
    many = [f"caption {index}" for index in range(5000)]
    assert changed_inputs(given(many), given(many)) == []
    assert len(changed_inputs(given(many), given([*many[:-1], "another"]))) == 1
