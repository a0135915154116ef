"""A profile of a run: where the time of a step goes, how near it comes to the device's limit, and a trace."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from dit_run.training.compiling import as_written
from dit_run.training.peak import gemm_peak, operations, synchronise
from dit_run.training.phases import PHASES, Phase

__all__ = ["Profile", "verdict"]

TRACED_STEPS = 3
BEFORE_TRACE = 5
"""Steps before those, so that everything is warm."""
MUCH = 0.2
"""Share of the time from which on something beside the model is said to bound a run."""
Mode = Literal["counting", "measuring", "tracing"]


class Profile:
    """Implements :class:`dit_run.training.phases.Clock`, waiting for the device between phases.

    The first step counts floating-point operations, a few later ones are traced; neither counts for the split.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype, folder: Path) -> None:
        """``dtype`` is that of matrix products; the trace goes to ``folder``."""
        self._device, self._folder = device, folder
        self._peak = gemm_peak(device, dtype)
        self._mode: Mode = "counting"
        self._seen = 0
        self._began: float | None = None
        self._left_out, self._steps = 0.0, 0
        self._taken: dict[Phase, float] = dict.fromkeys(PHASES, 0.0)
        self._totals: dict[str, float] = dict.fromkeys(["seconds", "flops", *PHASES], 0.0)
        self._flops = 0
        self._profiler: profile | None = None
        self.trace: Path | None = None
        """Where the trace is, once it is written."""

    @contextlib.contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        self._began = self._began or time.perf_counter()
        with record_function(name), self._counted(name):
            synchronise(self._device)
            began = time.perf_counter()
            yield
            synchronise(self._device)
            if self._mode == "measuring":
                self._taken[name] += time.perf_counter() - began

    @contextlib.contextmanager
    def _counted(self, name: Phase) -> Iterator[None]:
        """The operations of a step are those of its forward passes times three (Kaplan et al. 2020)."""
        if self._mode != "counting" or name != "forward":
            yield
            return
        with as_written(), operations() as counter:
            yield
        self._flops += 3 * counter.get_total_flops()

    def step(self, done: int) -> None:
        self._seen += 1
        if self._mode == "measuring":
            self._steps += 1
            self._began = time.perf_counter()
        if self._seen == BEFORE_TRACE:
            self._profiler = profile(activities=self._activities())
            self._profiler.start()
        elif self._seen == BEFORE_TRACE + TRACED_STEPS:
            self._write_trace(done)
        if self._began is not None:
            self._left_out += time.perf_counter() - self._began
        self._began = None
        self._mode = "measuring" if self._profiler is None else "tracing"

    def _activities(self) -> list[ProfilerActivity]:
        return [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (self._device.type == "cuda")

    def _write_trace(self, done: int) -> None:
        assert self._profiler is not None
        self._profiler.stop()
        self._folder.mkdir(parents=True, exist_ok=True)
        self.trace = self._folder / f"step-{done:08d}.json"
        self._profiler.export_chrome_trace(str(self.trace))
        self._profiler = None

    def read(self, seconds: float) -> Mapping[str, float]:
        """Shares of the time: ``profile/data`` and so on, ``profile/other``; ``profile/share_of_peak``."""
        measured = seconds - self._left_out
        counted: dict[str, float] = {"seconds": measured, "flops": float(self._steps * self._flops)}
        counted |= {name: self._taken[name] for name in PHASES}
        values = _shares(counted, self._peak) if self._steps else {}
        if self._steps:
            self._totals = {name: value + counted[name] for name, value in self._totals.items()}
        self._taken = dict.fromkeys(PHASES, 0.0)
        self._left_out, self._steps = 0.0, 0
        return values

    def close(self) -> str:
        if self._profiler is not None:
            self._profiler.stop()
        if not self._totals["seconds"]:
            return "the run was too short for a profile"
        said = verdict(
            {name.removeprefix("profile/"): share for name, share in _shares(self._totals, self._peak).items()}
        )
        trace = f"; the trace for https://ui.perfetto.dev is {self.trace}" if self.trace is not None else ""
        return f"{said} (peak: {self._peak / 1e9:,.0f} GFLOP/s{trace})"


def _shares(counted: Mapping[str, float], peak: float) -> dict[str, float]:
    seconds = max(counted["seconds"], 1e-9)
    shares = {f"profile/{name}": counted[name] / seconds for name in PHASES}
    shares["profile/other"] = max(0.0, 1 - sum(shares.values()))
    shares["profile/share_of_peak"] = counted["flops"] / seconds / peak
    return shares


def verdict(shares: Mapping[str, float]) -> str:
    """What bounds a run, given the shares of its time and the share of the peak, with what may help."""
    beside = {name: share for name, share in shares.items() if name in _HELP}
    most = max(beside, key=lambda name: beside[name])
    model = shares["forward"] + shares["backward"]
    if beside[most] >= MUCH:
        return _HELP[most].format(share=beside[most])
    said = f"the model bounds the run: forward and backward take {model:.0%} of the time, and the whole reaches "
    return said + f"{shares['share_of_peak']:.0%} of the device's peak of matrix products"


_HELP: Mapping[str, str] = {
    "data": "the loader bounds the run: {share:.0%} of the time is spent waiting for data; raise training.num_workers",
    "encode": "encoding bounds the run: it takes {share:.0%} of the time; let the cache keep what frozen encoders make",
    "optimizer": "the optimizer bounds the run: it takes {share:.0%} of the time, whatever the batch; raise "
    "training.batch_size or training.gradient_accumulation_steps",
    "other": "neither model nor data bounds the run: {share:.0%} of the time goes into what is between; raise "
    "training.batch_size",
}
