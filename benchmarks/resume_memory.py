"""Print the memory that each process takes to load its part of a checkpoint, as a share of the checkpoint's tensors.

``python benchmarks/resume_memory.py MIB COUNT ...`` writes, with as many processes as each COUNT, a checkpoint of
weights of MIB mebibytes, an average of them and the state of AdamW, so of four times MIB. Then new processes load it
into a sharded module, its average and its optimizer. The memory is the largest private one (RssAnon of Linux, which
leaves out pages of mapped files) beyond that before loading: the optimizer's own rows, and what loading needs besides.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
import torch.distributed.fsdp
from forked import in_processes
from torch import nn

from dit_run.compute.distributed import Processes
from dit_run.compute.precision import Precision
from dit_run.compute.sharding import Sharding, copy_into, take_parts
from dit_run.compute.split_tensor import StoredTensor
from dit_run.runs.checkpoint.checkpoint_files import CheckpointContents, load_checkpoint
from dit_run.runs.checkpoint.part_files import Part
from dit_run.runs.checkpoint.store import Checkpoints

LAYERS = 16
"""Matrices of the module."""
STEP = 1


class Stack(nn.Module):
    """Square matrices of ``mebibytes`` together."""

    def __init__(self, mebibytes: int) -> None:
        super().__init__()
        side = int((mebibytes * (1 << 20) / 4 / LAYERS) ** 0.5)
        self.blocks = nn.ModuleList(nn.Linear(side, side, bias=False) for _ in range(LAYERS))


def save(folder: Path, mebibytes: int, processes: Processes) -> int:
    """Write a checkpoint with all processes; return its bytes of tensors."""
    module, average, optimizer, sharding = _built(mebibytes, processes)
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    contents = CheckpointContents(
        model=module.state_dict(),
        optimizer=optimizer.state_dict(),
        state={"best": {}},
        config={},
        averages={"ema": average.state_dict()},
    )
    part = Part(sharding.index, sharding.count)
    Checkpoints(folder, "run").save_together(STEP, contents.split(part), processes, limit=None)
    return 4 * sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())


def load(folder: Path, mebibytes: int, processes: Processes) -> int:
    """Load the checkpoint; return the largest memory that this took (bytes)."""
    module, average, optimizer, _ = _built(mebibytes, processes)
    with torch.no_grad():
        for parameter in (*module.parameters(), *average.parameters()):
            parameter.fill_(1)  # so that its memory is there before
    with _Peak() as peak:
        found = load_checkpoint(folder / f"step-{STEP:08d}", verified=True)
        _take(module, found.model)
        _take(average, found.averages["ema"])
        optimizer.load_state_dict(dict(found.optimizer))
    return peak.bytes


@torch.no_grad()
def _take(module: nn.Module, tensors: Mapping[str, StoredTensor]) -> None:
    for name, value in module.state_dict().items():
        copy_into(value, tensors[name])


def _built(mebibytes: int, processes: Processes) -> tuple[nn.Module, nn.Module, torch.optim.Optimizer, Sharding]:
    sharding = Sharding.of(processes.count, processes, Precision.of("no", torch.device("cpu")))
    assert sharding is not None
    modules = Stack(mebibytes), Stack(mebibytes)
    for module in modules:
        sharding.apply(module)
    optimizer = torch.optim.AdamW(modules[0].parameters(), foreach=False)
    optimizer.register_load_state_dict_pre_hook(take_parts)
    return *modules, optimizer, sharding


class _Peak:
    """Watches the private memory of this process in the block."""

    bytes = 0

    def __enter__(self) -> _Peak:
        self._before, self._over = _private(), threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            over = self._over.wait(0.001)
            self.bytes = max(self.bytes, _private() - self._before)
            if over:
                return


def _private() -> int:
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("RssAnon")).split()[1]) * 1024


def main() -> None:
    """Measure each number of processes."""
    torch.set_num_threads(1)
    mebibytes, shares = int(sys.argv[1]), {}
    for count in sys.argv[2:]:
        with tempfile.TemporaryDirectory() as folder:
            total = in_processes(int(count), partial(save, Path(folder), mebibytes))[0]
            peaks = in_processes(int(count), partial(load, Path(folder), mebibytes))
            shares[count] = [round(peak / total, 3) for peak in peaks]
    print(json.dumps(shares))


if __name__ == "__main__":
    main()
