"""The settings of the process that a run changes, restored afterwards: threads, determinism, signals."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch

from dit_run.compute.devices import prepare_determinism
from dit_run.settings import TrainingOptions
from dit_run.system.signals import STATUS, Interrupted, StopRequest
from dit_run.training.compile import restored_compiler_settings
from dit_run.training.compile_choice import may_compile

__all__ = ["StopSwitch", "process_setup"]


@contextlib.contextmanager
def process_setup(training: TrainingOptions, device: torch.device, *, threads: int | None = None) -> Iterator[None]:
    """Apply the process settings of a config; afterwards they, and torch's random generators, are as before.

    ``threads`` is the number with which a continued run began, for a config without ``num_threads``.
    """
    count = training.num_threads or threads or (1 if training.elastic_exact else None)
    cards = [] if device.type == "cpu" or device.index is None else [device.index]
    with (
        _threads(count),
        _determinism(training.deterministic, device),
        torch.random.fork_rng(devices=cards, device_type=device.type if cards else "cuda"),
        restored_compiler_settings() if may_compile(training.compile_model, device) else contextlib.nullcontext(),
    ):
        yield


@contextlib.contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _determinism(deterministic: bool, device: torch.device) -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    with _restored_environment("CUBLAS_WORKSPACE_CONFIG"):
        if deterministic:
            prepare_determinism(device)
        _set_determinism(deterministic, warn_only=False)
        try:
            yield
        finally:
            _set_determinism(before[0], warn_only=before[1])


def _set_determinism(deterministic: bool, *, warn_only: bool) -> None:
    """Set what torch does, if it does not do it yet: the call imports torch's compiler, which takes two seconds."""
    now = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    if now != (deterministic, warn_only):
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)


@contextlib.contextmanager
def _restored_environment(name: str) -> Iterator[None]:
    before = os.environ.get(name)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before


@dataclass
class StopSwitch:
    """A request to stop a run: by a signal, by the caller, because its time is over, or because its launcher ended."""

    signals: StopRequest
    function: Callable[[], bool] | None = None
    max_hours: float | None = None
    """Time from now on after which a stop is requested (hours)."""
    launcher: int | None = None
    """Number of the process that started this one and ends all others if one is lost; None for a lone process."""
    by_caller: bool = False
    _began: float = field(default_factory=time.monotonic)

    def requested(self) -> bool:
        """Return True once a stop was requested in this process."""
        self.by_caller = self.by_caller or (self.function is not None and self.function())
        return self.by_caller or self.signals.signal is not None or self._time_is_over or self._launcher_is_lost

    def check(self) -> None:
        """Raise Interrupted once a stop was requested."""
        if self.requested():
            raise Interrupted

    def interrupting(self, *, after: float = 0.0) -> contextlib.AbstractContextManager[None]:
        """Return a context that a signal ends by Interrupted: see :meth:`StopRequest.interrupting`."""
        return self.signals.interrupting(after=after)

    def uninterrupted(self) -> contextlib.AbstractContextManager[None]:
        """Return a context in which a signal raises nothing."""
        return self.signals.uninterrupted()

    def take_save_request(self) -> bool:
        """Return True if a checkpoint was requested (SIGUSR1) since the last call."""
        requested, self.signals.save_requested = self.signals.save_requested, False
        return requested

    @property
    def reason(self) -> str:
        if self.signals.signal is not None:
            return f"stopped by {self.signals.signal.name}"
        if self._time_is_over:
            return f"stopped after training.max_hours {self.max_hours:g}"
        if self._launcher_is_lost:
            return "stopped because its launcher ended"
        return f"stopped by {'its caller' if self.by_caller else 'another process'}"

    @property
    def exit_status(self) -> int:
        """Exit status of a run that was stopped."""
        return self.signals.status or STATUS[signal.SIGTERM]

    @property
    def _time_is_over(self) -> bool:
        return self.max_hours is not None and time.monotonic() - self._began >= 3600 * self.max_hours

    @property
    def _launcher_is_lost(self) -> bool:
        return self.launcher is not None and os.getppid() != self.launcher
