"""Choices by device, as far as a CPU shows them."""

from __future__ import annotations

import platform

import pytest
import torch

from dit_run.compute.devices import Flag, choose_device, graphics_card, move, seed_generators, summing_dtype
from dit_run.compute.precision import Precision
from dit_run.problems import InputError

CPU = torch.device("cpu")


def test_generators_are_seeded_as_torch_does() -> None:
    torch.manual_seed(12345)
    expected = torch.rand(3)
    seed_generators(CPU, 12345)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("supported", [True, False])
def test_automatic_precision_is_that_in_which_a_card_is_faster(
    monkeypatch: pytest.MonkeyPatch, supported: bool
) -> None:
    asked = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **words: asked.append(words) or supported)
    card = torch.device("cuda", 1)
    assert Precision.of("auto", card).dtype is (torch.bfloat16 if supported else None)
    assert Precision.of("bf16", card).dtype is torch.bfloat16
    assert Precision.of("no", card).dtype is None
    assert asked == [{"including_emulation": False}]


@pytest.mark.parametrize("machine", ["x86_64", "AMD64"])
def test_automatic_precision_of_a_processor_needs_its_matrix_unit(
    monkeypatch: pytest.MonkeyPatch, machine: str
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert Precision.of("auto", CPU).dtype is None


def test_automatic_precision_of_a_card_that_is_not_at_hand_is_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert Precision.of("auto", torch.device("cuda")).dtype is torch.bfloat16


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


def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match=r"training\.device is cuda:63, but torch sees \d+ CUDA devices; use auto"):
        choose_device("cuda:63")


@pytest.mark.parametrize(("name", "rank", "index"), [("auto", 0, 0), ("auto", 1, 1), ("cuda", 3, 1), ("cuda:1", 0, 1)])
def test_the_chosen_gpu_becomes_the_current_one(
    monkeypatch: pytest.MonkeyPatch, name: str, rank: int, index: int
) -> None:
    current: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    assert choose_device(name, local_rank=rank) == torch.device("cuda", index)
    assert current == [torch.device("cuda", index)]


def test_one_gpu_for_all_processes_of_a_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match="is cuda:1, so all 2 processes of this machine would use one GPU; use cuda,"):
        choose_device("cuda:1", local_rank=1, local_count=2)
