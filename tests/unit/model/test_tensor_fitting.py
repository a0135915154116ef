"""Fitting of weights: every tensor of both sides is in the record once."""

from __future__ import annotations

import torch

from dit_run.model.tensor_fitting import added_prefix, fit

EXPECTED = {
    "a.weight": torch.zeros(2, 2), "b.0.weight": torch.zeros(3), "b.1.weight": torch.zeros(3), "c": torch.zeros(4)
}  # fmt: skip


def test_every_tensor_is_in_the_record() -> None:
    given = {
        "a.weight": torch.ones(2, 2), "b.0.weight": torch.ones(5), "b.1.weight": torch.ones(5), "c": torch.ones(2),
        "d.0": torch.ones(1), "d.1": torch.ones(1),
    }  # fmt: skip
    found = fit(EXPECTED, given, lambda name, value, initial: torch.full((4,), 2.0) if name == "c" else None)
    assert found.summary == ("1 tensors taken, 1 resized, 4 left out; 2 of the model begin with initial weights")
    assert list(found.lines()) == [
        "resized: c [2] -> [4]",
        "left out because of another shape: b.*.weight (2) [5] -> [3]",
        "left out because the model has no such tensor: d.* (2)",
    ]
    assert sorted(found.tensors) == ["a.weight", "c"]
    assert found.share_of(EXPECTED) == 8 / 14


def test_what_the_source_lacks_is_in_the_record() -> None:
    found = fit(EXPECTED, {"c": torch.ones(4)}, lambda *given: None)
    assert found.summary == "1 tensors taken, 0 resized, 0 left out; 3 of the model begin with initial weights"
    assert list(found.lines()) == ["not in the source: a.weight, b.*.weight (2)"]


def test_a_prefix_that_most_names_lack_or_have() -> None:
    bare = ["a.weight", "b.0.weight", "x"]
    assert added_prefix([f"net.{name}" for name in EXPECTED], bare) == ("*", "net.*")
    assert added_prefix(EXPECTED, [f"module.{name}" for name in bare]) == ("module.*", "*")
    assert added_prefix(EXPECTED, ["q", "r"]) is None
    assert added_prefix(EXPECTED, []) is None
