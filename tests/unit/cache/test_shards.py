from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dit_run.cache import space
from dit_run.cache.shards import BITS, FORMAT, DamagedShard, Shard, checksum, write_shard

KEYS = [bytes([number]) * 32 for number in (1, 2, 3)]
RECORDS = [np.arange(count, dtype=np.int16) for count in (4, 1, 7)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_shard(tmp_path / "a.safetensors", KEYS, RECORDS, torch.bfloat16)
    return tmp_path / "a.safetensors"


def test_records_come_back(path: Path) -> None:
    shard = Shard(path)
    assert [shard.keys[row].tobytes() for row in range(len(shard))] == KEYS
    for row, record in enumerate(RECORDS):
        values = shard.values(row)
        assert shard.holds(row, values) and values.tolist() == record.tolist()


def test_the_file_is_plain_safetensors(path: Path) -> None:
    tensors = load_file(path)
    assert tensors["values"].dtype == torch.bfloat16
    assert tensors["values"].view(torch.int16).tolist() == np.concatenate(RECORDS).tolist()
    assert tensors["starts"].tolist() == [0, 4, 5, 12]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_shards_written_by_the_library_are_read_too(tmp_path: Path, dtype: torch.dtype) -> None:
    write_shard(tmp_path / "ours", KEYS, [np.arange(4, dtype=BITS[dtype])] * 3, dtype)
    save_file(load_file(tmp_path / "ours"), tmp_path / "theirs")
    assert what_it_says(tmp_path / "theirs") == what_it_says(tmp_path / "ours") != {}
    assert (tmp_path / "theirs").stat().st_size == (tmp_path / "ours").stat().st_size


def test_shards_grow_with_what_was_written(tmp_path: Path) -> None:
    of = space.Space.of(tmp_path, "latents", {})
    with space.Writer(of, torch.float32, smallest=8) as writer:
        for number in range(100):
            writer.add(KEYS[0], torch.tensor([float(number)]))
    counts = [len(Shard(of.folder / name)) for name in writer.names]
    assert counts[:4] == [2, 2, 2, 2] and sum(counts) == 100
    assert counts[:-1] == sorted(counts[:-1]) and max(counts) == 6


def test_the_checksum_is_that_of_its_format() -> None:
    assert (FORMAT, checksum(KEYS[0], RECORDS[0])) == (2, 5337943293363441292)


def test_shards_of_another_format_are_in_another_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    present = space.Space.of(tmp_path, "latents", {"encoder": "e"})
    monkeypatch.setattr(space, "FORMAT", FORMAT + 1)
    assert space.Space.of(tmp_path, "latents", {"encoder": "e"}) != present


def test_float32_values_are_kept_as_they_are(tmp_path: Path) -> None:
    write_shard(tmp_path / "b.safetensors", KEYS[:1], [np.array([1.5, -2.25], dtype=np.float32)], torch.float32)
    assert Shard(tmp_path / "b.safetensors").values(0).tolist() == [1.5, -2.25]


def what_it_says(path: Path) -> dict[bytes, list[int]]:
    """Keys and values of all records that pass their check; nothing for a shard that is refused."""
    try:
        shard = Shard(path)
    except DamagedShard:
        return {}
    rows = [(row, shard.values(row)) for row in range(len(shard))]
    return {shard.keys[row].tobytes(): values.tolist() for row, values in rows if shard.holds(row, values)}


def test_no_flipped_byte_gives_a_wrong_record(path: Path) -> None:
    truth, data = what_it_says(path), path.read_bytes()
    assert len(truth) == 3
    for position in range(len(data)):
        path.write_bytes(data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :])
        assert what_it_says(path).items() <= truth.items(), position


def test_no_truncated_file_gives_a_wrong_record(path: Path) -> None:
    truth, data = what_it_says(path), path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        assert what_it_says(path).items() <= truth.items(), length


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        write_shard(tmp_path / "missing" / "a.safetensors", KEYS, RECORDS, torch.bfloat16)
    assert list(tmp_path.iterdir()) == []
