"""A profile of a run: where the time of a step goes, how near it comes to the device's limit, and a trace."""

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

from dit_run.compute.timing import gemm_peak, operations, synchronise
from dit_run.training.compile import as_written
from dit_run.training.step_timer import PHASES, Phase

__all__ = ["Profile", "verdict"]

TRACED_STEPS = 3
BEFORE_TRACE = 5
"""Steps before those, so that everything is warm."""
MUCH = 0.2
"""Share of the time from which on something beside the model is said to bound a run."""
Mode = Literal["counting", "measuring", "tracing"]


@dataclass
class _Taken:
    """What some steps took."""

    steps: int = 0
    flops: int = 0
    own: float = 0.0
    """Seconds from the first phase of each step to its end."""
    seconds: float = 0.0
    """With what was between the steps, once that is known."""
    phases: dict[Phase, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))

    def add(self, other: _Taken) -> None:
        self.steps += other.steps
        self.flops += other.flops
        self.own += other.own
        self.seconds += other.seconds
        for name, seconds in other.phases.items():
            self.phases[name] += seconds


class Profile:
    """Implements :class:`dit_run.training.step_timer.Clock`, waiting for the device between phases.

    The first step counts floating-point operations, a few later ones are traced; neither counts for the split, nor
    does a step in which something was compiled. Those before the trace count as long as there are no others.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype, folder: Path, *, steps: int) -> None:
        """``dtype`` is that of matrix products; the trace goes to ``folder``; ``steps`` are to come, fewer when the
        run is stopped."""
        self._device, self._folder = device, folder
        self._peak = gemm_peak(device, dtype)
        self._before_trace = max(2, min(BEFORE_TRACE, steps - TRACED_STEPS))
        self._mode: Mode = "counting"
        self._seen, self._done, self._graphs = 0, 0, 0
        self._began: float | None = None
        self._left_out = 0.0
        self._step, self._warming, self._warm = _Taken(), _Taken(), _Taken()
        self._all_warming, self._all_warm = _Taken(), _Taken()
        self._flops = 0
        self._counting = contextlib.ExitStack()
        self._profiler: profile | None = None
        self._untraced = ""
        self.trace: Path | None = None
        """Where the trace is, once it is written."""

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
        """A step that counts operations runs as written to its end: what is computed again in its backward pass has to
        be what its forward pass was."""
        self._began, self._graphs = time.perf_counter(), _compiled_graphs()
        if self._mode == "counting":
            self._counting.enter_context(as_written())

    @contextlib.contextmanager
    def _counted(self, name: Phase) -> Iterator[None]:
        """The operations of a step are those of its forward passes times three (Kaplan et al. 2020)."""
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
        self._began, self._step = None, _Taken()
        self._mode = "measuring" if self._profiler is None else "tracing"

    def _take(self, seconds: float) -> None:
        self._step.steps, self._step.flops, self._step.own = 1, self._flops, seconds
        (self._warm if self._seen > self._before_trace else self._warming).add(self._step)

    def _activities(self) -> list[ProfilerActivity]:
        return [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (self._device.type == "cuda")

    def _write_trace(self) -> None:
        """Of the steps so far; a disk that does not take it does not end the run."""
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
        """Shares of the time: ``profile/data`` and so on, ``profile/other``; ``profile/share_of_peak``."""
        warming, warm = self._warming, self._warm
        warm.seconds = warming.seconds = seconds - self._left_out
        if warm.steps:
            warm.seconds -= warming.own
            self._all_warm.add(warm)
        elif warming.steps:
            self._all_warming.add(warming)
        self._left_out, self._warming, self._warm = 0.0, _Taken(), _Taken()
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
        said = (
            verdict({name.removeprefix("profile/"): share for name, share in _shares(counted, self._peak).items()})
            if counted.steps
            else "the run was too short for a profile"
        )
        return f"{said} (peak: {self._peak / 1e9:,.0f} GFLOP/s; {self._traced()})"

    def _traced(self) -> str:
        if self.trace is not None:
            return f"the trace for https://ui.perfetto.dev is {self.trace}"
        return self._untraced or f"no trace: it begins after {self._before_trace} steps, and there were {self._seen}"


def _compiled_graphs() -> int:
    """How many graphs torch has compiled in this process."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    return 0 if dynamo is None else int(dynamo.counters["stats"]["unique_graphs"])


def _shares(taken: _Taken, peak: float) -> dict[str, float]:
    seconds = max(taken.seconds, 1e-9)
    shares = {f"profile/{name}": taken.phases[name] / seconds for name in PHASES}
    shares["profile/other"] = max(0.0, 1 - sum(shares.values()))
    shares["profile/share_of_peak"] = taken.flops / seconds / peak
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
