"""The record of the work that only watches a run: what is done of it, and what failed. Part of ``status.json``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["WatchFailure", "WatchRecord"]


@dataclass
class WatchFailure:
    """A failure of work that only watches; equal ones are counted."""

    work: str
    """Name of the work: ``validation``, ``metrics[0] (kernel_distance)``."""
    error: str
    step: int
    """The step after which it failed first."""
    last_step: int
    times: int = 1

    def __str__(self) -> str:
        when = f"after step {self.step}" if self.times == 1 else f"{self.times} times from step {self.step} on"
        return f"{self.work} failed {when}: {self.error}"


@dataclass
class WatchRecord:
    """Keeps what of the due work is done, so that a continued run does the rest of it, and nothing twice."""

    watched: int = 0
    """All that is due after this step and after earlier ones is done."""
    done: list[str] = field(default_factory=list)
    """Names of the work that is done after the next step."""
    values: dict[str, float] = field(default_factory=dict)
    """Values of the next step that are not logged yet."""
    failures: list[WatchFailure] = field(default_factory=list)
    best: dict[str, Any] = field(default_factory=dict)
    """The saved step with the lowest validation loss so far: see :attr:`dit_run.training.state.TrainState.best`."""

    @classmethod
    def of(cls, status: Mapping[str, Any] | None, step: int) -> WatchRecord:
        """Return the record of a run that continues from its checkpoint of ``step``.

        Without a readable status, all work after that step is done again.
        """
        kept = status or {}
        record = cls(watched=max(step - 1, 0))
        with suppress(TypeError, ValueError, KeyError):
            record.failures = [known for known in _failures(kept) if known.step <= step]
        watched = kept.get("watched", step)  # without it, an older release watched before it saved
        if kept and isinstance(watched, int) and watched >= step:
            record.watched = step
        with suppress(TypeError, ValueError, KeyError):
            if kept["unfinished"]["step"] == record.watched + 1 == step:
                record.done, record.values = list(kept["unfinished"]["done"]), dict(kept["unfinished"]["values"])
        return record

    def finish(self, step: int) -> None:
        """Note that all that was due after ``step`` is done."""
        self.watched, self.done, self.values = step, [], {}

    def add_failure(self, work: str, error: str, step: int) -> WatchFailure | None:
        """Count a failure and return it; return None where the same work has failed in the same way before."""
        for known in self.failures:
            if (known.work, known.error) == (work, error):
                known.last_step, known.times = step, known.times + 1
                return None
        self.failures.append(WatchFailure(work, error, step, step))
        return self.failures[-1]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for ``status.json``."""
        rest = {"step": self.watched + 1, "done": self.done, "values": self.values}
        unfinished = {"unfinished": rest} if self.done or self.values else {}
        failures = {"failures": [asdict(failure) for failure in self.failures]} if self.failures else {}
        best = {"best": self.best} if self.best else {}
        return {"watched": self.watched, **best, **unfinished, **failures}


def _failures(status: Mapping[str, Any]) -> Iterator[WatchFailure]:
    for values in status.get("failures", ()):
        yield WatchFailure(**values)
