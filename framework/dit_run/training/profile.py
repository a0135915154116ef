"""A profile of a run: the time of each phase of a step, the share of the device's peak, and a trace."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from dit_run.compute.timing import operations, synchronise
from dit_run.training.compile import run_eagerly
from dit_run.training.step_timer import PHASES, Phase, StepTimer

__all__ = ["Profile", "verdict"]

TRACED_STEPS = 3
"""Length of the trace (steps)."""
BEFORE_TRACE = 5
"""Warm-up before the trace (steps)."""
MUCH = 0.2
"""Share of the time from which a part other than the model counts as the bottleneck of a run."""
Mode = Literal["counting", "measuring", "tracing"]


@dataclass
class _TimeTaken:
    """Time and operations of some steps."""

    steps: int = 0
    flops: int = 0
    own: float = 0.0
    """From the first phase of each step to its end (seconds)."""
    seconds: float = 0.0
    """Including the time between steps, once it is known (seconds)."""
    phases: dict[Phase, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))

    def add(self, other: _TimeTaken) -> None:
        self.steps += other.steps
        self.flops += other.flops
        self.own += other.own
        self.seconds += other.seconds
        for name, seconds in other.phases.items():
            self.phases[name] += seconds


class Profile(StepTimer):
    """A timer that waits for the device between phases.

    The first step counts floating-point operations, and a few later ones are traced. The shares leave these out, and
    steps in which a graph was compiled. Steps before the trace count only while there are no others.
    """

    def __init__(self, device: torch.device, folder: Path, *, peak: float, steps: int) -> None:
        """Profile ``steps`` steps, or fewer when the run is stopped; write the trace to ``folder``.

        ``peak`` is the peak of matrix products on the device (operations a second).
        """
        self._device, self._folder = device, folder
        self._peak = peak
        self._before_trace = max(2, min(BEFORE_TRACE, steps - TRACED_STEPS))
        self._mode: Mode = "counting"
        self._seen, self._done, self._graphs = 0, 0, 0
        self._began: float | None = None
        self._left_out = 0.0
        self._step, self._warming, self._warm = _TimeTaken(), _TimeTaken(), _TimeTaken()
        self._all_warming, self._all_warm = _TimeTaken(), _TimeTaken()
        self._flops = 0
        self._counting = contextlib.ExitStack()
        self._profiler: profile | None = None
        self._untraced = ""
        self.trace: Path | None = None
        """The file of the trace, once it is written."""

    @contextlib.contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        if self._began is None:
            self._begin()
        with record_function(name), self._counted(name):
            synchronise(self._device)
            began = time.perf_counter()
            yield
            synchronise(self._device)
            self._step.phases[name] += time.perf_counter() - began

    def _begin(self) -> None:
        """Begin a step.

        A step that counts operations runs eagerly to its end, because its backward pass may compute parts of the
        forward pass again, which have to be the same.
        """
        self._began, self._graphs = time.perf_counter(), _compiled_graphs()
        if self._mode == "counting":
            self._counting.enter_context(run_eagerly())

    @contextlib.contextmanager
    def _counted(self, name: Phase) -> Iterator[None]:
        """Count operations: those of a step are those of its forward passes times three (Kaplan et al. 2020)."""
        if self._mode != "counting" or name != "forward":
            yield
            return
        with operations() as counter:
            yield
        self._flops += 3 * counter.get_total_flops()

    def step(self, done: int) -> None:
        now = time.perf_counter()
        began = now if self._began is None else self._began
        self._seen, self._done = self._seen + 1, done
        self._counting.close()
        if self._mode == "measuring" and _compiled_graphs() == self._graphs:
            self._take(now - began)
            began = now
        if self._seen == self._before_trace:
            self._profiler = profile(activities=self._activities())
            self._profiler.start()
        elif self._seen == self._before_trace + TRACED_STEPS:
            self._write_trace()
        self._left_out += time.perf_counter() - began
        self._began, self._step = None, _TimeTaken()
        self._mode = "measuring" if self._profiler is None else "tracing"

    def _take(self, seconds: float) -> None:
        self._step.steps, self._step.flops, self._step.own = 1, self._flops, seconds
        (self._warm if self._seen > self._before_trace else self._warming).add(self._step)

    def _activities(self) -> list[ProfilerActivity]:
        return [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (self._device.type == "cuda")

    def _write_trace(self) -> None:
        """Write the trace of the steps so far; a disk that fails does not end the run."""
        assert self._profiler is not None
        self._profiler.stop()
        trace = self._folder / f"step-{self._done:08d}.json"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._profiler.export_chrome_trace(str(trace))
            self.trace = trace
        except OSError as error:
            self._untraced = f"{trace} cannot be written: {error.strerror}"
        self._profiler = None

    def read(self, seconds: float) -> Mapping[str, float]:
        """Return shares of the time: ``profile/data`` and so on, ``profile/other``; and ``profile/share_of_peak``."""
        warming, warm = self._warming, self._warm
        warm.seconds = warming.seconds = seconds - self._left_out
        if warm.steps:
            warm.seconds -= warming.own
            self._all_warm.add(warm)
        elif warming.steps:
            self._all_warming.add(warming)
        self._left_out, self._warming, self._warm = 0.0, _TimeTaken(), _TimeTaken()
        shown = warm if warm.steps else warming
        return _shares(shown, self._peak) if shown.steps else {}

    def close(self) -> str:
        self._counting.close()
        if self._profiler is not None and self._seen > self._before_trace:
            self._write_trace()
        elif self._profiler is not None:
            self._profiler.stop()
        self.read(self._left_out + self._warming.own + self._warm.own)
        counted = self._all_warm if self._all_warm.steps else self._all_warming
        result = (
            verdict({name.removeprefix("profile/"): share for name, share in _shares(counted, self._peak).items()})
            if counted.steps
            else "the run was too short for a profile"
        )
        return f"{result} (peak: {self._peak / 1e9:,.0f} GFLOP/s; {self._traced()})"

    def _traced(self) -> str:
        if self.trace is not None:
            return f"the trace for https://ui.perfetto.dev is {self.trace}"
        return self._untraced or f"no trace: it begins after {self._before_trace} steps, and there were {self._seen}"


def _compiled_graphs() -> int:
    """Return the number of graphs that torch has compiled in this process."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    return 0 if dynamo is None else int(dynamo.counters["stats"]["unique_graphs"])


def _shares(taken: _TimeTaken, peak: float) -> dict[str, float]:
    seconds = max(taken.seconds, 1e-9)
    shares = {f"profile/{name}": taken.phases[name] / seconds for name in PHASES}
    shares["profile/other"] = max(0.0, 1 - sum(shares.values()))
    shares["profile/share_of_peak"] = taken.flops / seconds / peak
    return shares


def verdict(shares: Mapping[str, float]) -> str:
    """Return a sentence on the bottleneck of a run with these shares, and what may help."""
    others = {name: share for name, share in shares.items() if name in _HELP}
    most = max(others, key=lambda name: others[name])
    model = shares["forward"] + shares["backward"]
    if others[most] >= MUCH:
        return _HELP[most].format(share=others[most])
    return (
        f"the model bounds the run: forward and backward take {model:.0%} of the time, and the whole reaches "
        f"{shares['share_of_peak']:.0%} of the device's peak of matrix products"
    )


_HELP: Mapping[str, str] = {
    "data": "the loader bounds the run: {share:.0%} of the time is spent waiting for data; raise training.num_workers",
    "encode": "encoding bounds the run: it takes {share:.0%} of the time; let the cache keep the output of frozen "
    "encoders",
    "optimizer": "the optimizer bounds the run: it takes {share:.0%} of the time, whatever the batch; raise "
    "training.batch_size or training.gradient_accumulation_steps",
    "other": "neither model nor data bounds the run: {share:.0%} of the time is between the phases; raise "
    "training.batch_size",
}
