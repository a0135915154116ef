"""Safetensors files of ours: the library reads them, and no pickle is ever run."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save

from dit_run.problems import InputError
from dit_run.runs.checkpoint.safetensors_file import read_safetensors, tensor_bytes, write_safetensors

TENSORS = {
    "weight": torch.arange(6.0).reshape(2, 3),
    "strided": torch.arange(6.0).reshape(2, 3).T,
    "half": torch.tensor([1.5, float("nan")], dtype=torch.bfloat16),
    "count": torch.tensor(7),
    "empty": torch.empty(0, 4),
    "mask": torch.tensor([True, False, True]),
}


def test_the_library_reads_what_we_write(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "x.safetensors", TENSORS)
    read = load_file(tmp_path / "x.safetensors")
    assert {name: (t.dtype, t.shape) for name, t in read.items()} == {n: (t.dtype, t.shape) for n, t in TENSORS.items()}
    assert all(torch.equal(read[name], TENSORS[name]) for name in ("weight", "strided", "count", "empty", "mask"))
    assert torch.equal(read["half"].view(torch.int16), TENSORS["half"].view(torch.int16))


def test_we_write_the_bytes_that_the_library_writes(tmp_path: Path) -> None:
    contiguous = {name: tensor.contiguous() for name, tensor in TENSORS.items()}
    write_safetensors(tmp_path / "x.safetensors", TENSORS, {"key": "text"})
    assert (tmp_path / "x.safetensors").read_bytes() == save(contiguous, {"key": "text"})


def test_texts_come_back(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "x.safetensors", {}, {"skeleton": '{"ä": 1}'})
    assert read_safetensors(tmp_path / "x.safetensors") == ({}, {"skeleton": '{"ä": 1}'})


def test_the_order_of_names_leaves_no_trace(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "a", TENSORS)
    write_safetensors(tmp_path / "b", dict(reversed(TENSORS.items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_bytes_are_counted() -> None:
    assert tensor_bytes(TENSORS) == 24 + 24 + 4 + 8 + 0 + 3


def test_a_type_without_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"tensor 'z' \(torch\.complex128"):
        write_safetensors(tmp_path / "x", {"z": torch.zeros(1, dtype=torch.complex128)})


class Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.marker,)


def test_a_pickle_is_refused_and_never_runs(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
    with pytest.raises(InputError, match=r"x\.safetensors cannot be read as safetensors"):
        read_safetensors(tmp_path / "x.safetensors")
    assert not (tmp_path / "ran").exists()
