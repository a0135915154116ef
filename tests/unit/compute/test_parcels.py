"""Parcels: a value arrives as it was, in one file without a name."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from dit_run.compute.parcels import pack, unpack


def open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


@pytest.mark.parametrize(
    "value",
    [
        torch.arange(7, dtype=torch.int64),
        torch.randn(3, 5).T,
        torch.randn(2, 3).to(torch.bfloat16),
        torch.tensor(4.5),
        torch.zeros(0, 3),
        torch.tensor([True, False]),
    ],
    ids=["whole numbers", "transposed", "bfloat16", "scalar", "empty", "bool"],
)
def test_a_tensor_arrives_as_it_was(value: torch.Tensor) -> None:
    arrived = unpack(pack(value))
    assert (arrived.dtype, arrived.shape) == (value.dtype, value.shape)
    assert torch.equal(arrived, value)


def test_arrays_and_other_values_arrive_together() -> None:
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)[:, ::-1]
    keys, arrived, count, none = unpack(pack((("a", "b"), image, 3, np.zeros((0, 2)))))
    assert (keys, count, none.shape) == (("a", "b"), 3, (0, 2))
    assert np.array_equal(arrived, image)


def test_tensors_can_be_written_to() -> None:
    first, second = unpack(pack((torch.zeros(3), torch.zeros(3))))
    first += 1
    assert second.tolist() == [0, 0, 0]


def test_no_descriptor_stays_open() -> None:
    before = open_files()
    kept = [unpack(pack(torch.zeros(1000))) for _ in range(5)]
    assert open_files() == before
    assert len(kept) == 5


def test_a_system_without_files_in_memory_uses_a_temporary_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert torch.equal(unpack(pack(torch.ones(5))), torch.ones(5))
    assert not list(tmp_path.iterdir())
