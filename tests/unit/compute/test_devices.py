"""Choices by device, as far as a CPU shows them."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dit_run.compute.devices import Flag, graphics_card, move, multiplies_attention, seed_generators, summing_dtype

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


@pytest.mark.parametrize(("dtype", "products"), [(torch.bfloat16, True), (torch.float32, False)])
def test_attention_on_a_cpu_is_products_in_bf16_only(dtype: torch.dtype, products: bool) -> None:
    assert multiplies_attention(CPU, dtype) is products
    assert not multiplies_attention(torch.device("cuda"), dtype)


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


HEAP = """
import torch
from dit_run.compute.devices import keep_freed_memory

keep_freed_memory(torch.device("cpu"))
tensor = torch.ones(2**26)
middle = tensor.data_ptr() + tensor.nbytes // 2
for line in open("/proc/self/smaps"):
    if line.split()[0].count("-") == 1:
        start, end = (int(edge, 16) for edge in line.split()[0].split("-"))
    elif line.startswith("VmFlags:") and start <= middle < end:
        print("hg" in line.split())
"""


SETTLED = """
import ctypes

import torch
from dit_run.compute.devices import keep_freed_memory, settle_memory

def small_pages():
    for line in open("/proc/self/smaps"):
        if line.split()[0].count("-") == 1:
            heap = line.endswith("[heap]\\n")
        elif heap and line.startswith("Rss:"):
            held = int(line.split()[1])
        elif heap and line.startswith("AnonHugePages:"):
            return (held - int(line.split()[1])) // 1024

keep_freed_memory(torch.device("cpu"))
tensors = [torch.ones(2**18) for _ in range(256)]
tensors[::2] = [None] * 128
ctypes.CDLL(None).malloc_trim(0)
tensors[::2] = [torch.ones(2**18) for _ in range(128)]
before = small_pages()
settle_memory(torch.device("cpu"))
print(before > 100, small_pages() < 20, all(bool((tensor == 1).all()) for tensor in tensors))
"""

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
with_huge_pages = pytest.mark.skipif(
    not HUGE_PAGES.exists() or Path("/proc/sys/vm/overcommit_memory").read_text().strip() == "2",
    reason="a system with huge pages, where addresses are free",
)


@with_huge_pages
def test_large_tensors_on_a_cpu_lie_in_huge_pages() -> None:
    done = subprocess.run([sys.executable, "-c", HEAP], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


@with_huge_pages
@pytest.mark.skipif(
    tuple(map(int, platform.release().split(".")[:2])) < (6, 1)
    or (HUGE_PAGES.exists() and "[never]" in HUGE_PAGES.read_text()),
    reason="Linux 6.1 or later, with huge pages",
)
def test_settled_memory_lies_in_huge_pages() -> None:
    done = subprocess.run([sys.executable, "-c", SETTLED], capture_output=True, text=True, check=True)
    assert done.stdout == "True True True\n"
