"""Changes of the inputs of a run are named; a run that would continue with them is refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dit_run.data.sample_index import SampleIndex
from dit_run.data.samples import Samples
from dit_run.problems import InputError
from dit_run.protocols import Sample
from dit_run.registry.kind_options import DatasetCommon
from dit_run.training.resume_checks import changed_inputs, inputs, refuse_changed_inputs


def index_of(*captions: str) -> SampleIndex:
    dataset = [Sample(f"{index}", (caption,), lambda: None) for index, caption in enumerate(captions)]  # type: ignore[arg-type, return-value]
    return SampleIndex.of(Samples(dataset, np.arange(len(dataset)), DatasetCommon(), 0))  # type: ignore[arg-type]


def given(index: SampleIndex, *, cacheable: bool = True, trainable: bool = False, vae: str = "v1") -> dict[str, Any]:
    encoders = SimpleNamespace(
        vae=SimpleNamespace(cacheable=cacheable, fingerprint=lambda: vae),
        texts=(SimpleNamespace(trainable=trainable, fingerprint=lambda: "t1"),),
    )
    return inputs(index, encoders)  # type: ignore[arg-type]


def lines(now: SampleIndex, *, known: bool = True, vae: str = "v1") -> list[str]:
    before = index_of("a", "b")
    return changed_inputs(given(before), given(now, vae=vae), index_before=before if known else None, index=now)


def test_the_same_is_no_change() -> None:
    assert lines(index_of("a", "b")) == []


def test_a_checkpoint_without_inputs_is_believed() -> None:
    index = index_of("a")
    assert changed_inputs({}, given(index), index_before=None, index=index) == []


def test_changes_are_counted() -> None:
    assert lines(index_of("a")) == ["data: there were 2 training samples, and there are 1 (1 removed)"]
    assert lines(index_of("b", "b"), vae="v2") == [
        "data: there were 2 training samples, and there are 2 (1 changed in their captions or numbers)",
        "vae: the weights of the VAE are not those that the run was begun with",
    ]


def test_without_the_former_index_only_totals_are_known() -> None:
    assert lines(index_of("a", "c"), known=False) == ["data: there were 2 training samples, and there are 2"]


def test_the_index_of_another_checkpoint_counts_nothing() -> None:
    before, now, other = index_of("a", "b"), index_of("a"), index_of("x", "y", "z")
    found = changed_inputs(given(before), given(now), index_before=other, index=now)
    assert found == ["data: there were 2 training samples, and there are 1"]


def test_encoders_that_are_never_asked_have_no_fingerprint() -> None:
    assert sorted(given(index_of("a"), cacheable=False, trainable=True)) == ["index", "samples"]


def test_changes_are_refused_with_a_command() -> None:
    refuse_changed_inputs([], Path("run"), ["x.yaml"])
    with pytest.raises(InputError, match=r"other data or encoders:\n  data: 1\nRestore .*\n  dit-run x.yaml --fork "):
        refuse_changed_inputs(["data: 1"], Path("run"), ["x.yaml"])
