"""Choices by device, as far as a CPU shows them."""

from __future__ import annotations

import pytest
import torch

from dit_run.compute.devices import Flag, graphics_card, move, seed_generators, summing_dtype

CPU = torch.device("cpu")


def test_generators_are_seeded_as_torch_does() -> None:
    torch.manual_seed(12345)
    expected = torch.rand(3)
    seed_generators(CPU, 12345)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("value", [True, False])
def test_a_flag_is_its_value(value: bool) -> None:
    flag = Flag(torch.tensor(value))
    assert bool(flag) is value
    assert not flag.late


def test_what_is_on_the_device_already_stays() -> None:
    values = torch.ones(3)
    assert move(values, CPU) is values


def test_sums_are_exact_where_the_device_can() -> None:
    assert summing_dtype(CPU) is summing_dtype(torch.device("cuda")) is torch.float64
    assert summing_dtype(torch.device("mps")) is torch.float32


def test_a_card_is_known_by_its_name_and_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    assert graphics_card(CPU) == {}
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"card {device.index}")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91002)
    assert graphics_card(torch.device("cuda", 1)) == {"graphics_card": "card 1", "cuda": "13.0", "cudnn": "91002"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_flag_does_not_wait_for_what_comes_after() -> None:
    device = torch.device("cuda")
    flag = Flag(torch.tensor(True, device=device))
    torch.cuda._sleep(2_000_000_000)
    late = torch.cuda.Event()
    late.record()
    assert flag.late
    assert bool(flag)
    assert not late.query()
