"""Worker pool: processes that do the same work on many items; they start alike on every system, none outlives it."""

from __future__ import annotations

import contextlib
import os
import pickle
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import recv_handle, send_handle
from typing import Any, Generic, TypeVar, cast

import torch

from dit_run.compute.fork_server import worker_context
from dit_run.compute.parcels import pack, unpack
from dit_run.problems import DitRunError
from dit_run.system.limits import LimitReached, describe_limit, limit_of, require_tasks
from dit_run.system.signals import ignore_signals, timeout_seconds

__all__ = ["WorkerFailed", "WorkerPool"]

In = TypeVar("In")
Out = TypeVar("Out")

_ASKED_EVERY = 1.0
"""Time between two calls of ``waiting`` (seconds)."""
_TASKS = 3
"""Processes and threads that a worker takes for a moment (number)."""


class WorkerFailed(DitRunError):
    """A worker cannot be started, was killed, or does not answer any more."""


class WorkerPool(Generic[In, Out]):
    """Processes that call ``work`` with items, and return what it returns.

    A worker needs two pipes and a place in the process table: no semaphore, no shared memory with a name. Use it as a
    context: at its end no worker is left. ``role`` and ``advice`` stand in error messages.
    """

    def __init__(
        self,
        work: Callable[[In], Out],
        count: int,
        *,
        ahead: int,
        role: str,
        advice: str,
        waiting: Callable[[], None] = lambda: None,
        pin: bool = False,
    ) -> None:
        """Start ``count`` workers. Raises WorkerFailed where the system does not allow that.

        ``ahead`` is how many results each worker prepares, ``waiting`` is called about once per second while this
        process waits and may raise, ``pin`` puts tensors into pinned memory.
        """
        self._ahead = ahead
        self._role = role
        self._advice = advice
        self._waiting = waiting
        self._pin = pin
        self._workers: list[_Worker] = []
        content = pickle.dumps(work)
        try:
            require_tasks(_TASKS * count)
            context = worker_context()
            for _ in range(count):
                self._workers.append(_Worker.start(context))
            for worker in self._workers:
                worker.requests.send_bytes(content)
        except (OSError, EOFError, RuntimeError, LimitReached) as error:
            self.close()
            raise WorkerFailed(f"no {role} can be started: {describe_limit(error)}. {advice}") from error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> WorkerPool[In, Out]:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def map(self, items: Iterable[In]) -> Iterator[Out]:
        """Yield the results in the order of the items. Begin another call only after the end of this one.

        Raises what the work raises, and WorkerFailed where a worker was killed, or did not answer for half an hour (or
        the seconds in the environment variable DIT_RUN_TIMEOUT).
        """
        rest = iter(items)
        first = zip(cycle(self._workers), islice(rest, self._ahead * len(self._workers)), strict=False)
        turns = deque(self._ask(worker, item) for worker, item in first)
        while turns:
            worker = turns.popleft()
            result = self._result(worker)
            turns.extend(self._ask(worker, item) for item in islice(rest, 1))
            yield result

    def kill(self) -> None:
        """Kill the workers. SIGKILL is needed: they ignore other signals, and may be frozen."""
        for worker in self._workers:
            worker.process.kill()

    def close(self) -> None:
        """Kill the workers and wait for their end."""
        self.kill()
        for worker in self._workers:
            worker.close()
        self._workers.clear()

    def _ask(self, worker: _Worker, item: In) -> _Worker:
        try:
            worker.requests.send(item)
        except OSError as error:
            raise self._killed() from error
        return worker

    def _result(self, worker: _Worker) -> Out:
        seconds, since = timeout_seconds(), time.monotonic()
        while not worker.results.poll(min(seconds, _ASKED_EVERY)):
            self._waiting()
            if time.monotonic() - since > seconds:
                raise WorkerFailed(f"no {self._role} answered for {seconds:g} seconds. {self._advice}")
        result = unpack(self._received(worker), pin=self._pin)
        if isinstance(result, _Raised):
            result.throw()
        return cast(Out, result)

    def _received(self, worker: _Worker) -> int:
        try:
            return recv_handle(worker.results)
        except (EOFError, ConnectionError) as error:
            self._waiting()
            raise self._killed() from error
        except (OSError, RuntimeError) as error:
            raise WorkerFailed(f"no result of a {self._role} can be opened: {describe_limit(error)}") from error

    def _killed(self) -> WorkerFailed:
        return WorkerFailed(f"a {self._role} was killed, perhaps because memory ran out. {self._advice}")


@dataclass(frozen=True)
class _Worker:
    """A process and the two pipes to it."""

    process: BaseProcess
    requests: Connection
    results: Connection

    @classmethod
    def start(cls, context: Any) -> _Worker:
        asked, requests = context.Pipe(duplex=False)
        results, answers = context.Pipe(duplex=True)
        try:
            process = context.Process(target=_serve, args=(asked, answers), daemon=True)
            process.start()
        except BaseException:
            requests.close()
            results.close()
            raise
        finally:
            asked.close()  # the end of a worker closes the other side, which this process notices
            answers.close()
        return cls(process, requests, results)

    def close(self) -> None:
        self.process.join()
        self.requests.close()
        self.results.close()


@dataclass(frozen=True)
class _Raised:
    """An exception in a worker."""

    error: Exception
    trace: str

    @classmethod
    def of(cls, error: Exception) -> _Raised:
        trace = "".join(traceback.format_exception(error))
        try:
            pickle.dumps(error)
        except Exception:  # noqa: BLE001  an exception may hold anything
            error = RuntimeError(f"{type(error).__name__} in a worker: {error}")
        return cls(error, trace)

    def throw(self) -> None:
        if isinstance(self.error, DitRunError):
            raise self.error
        if limit := limit_of(self.error):
            raise DitRunError(f"a worker failed: {limit}") from self.error
        self.error.add_note(f"in a worker:\n{self.trace}")
        raise self.error


def _serve(requests: Connection, results: Connection) -> None:
    """Answer requests until the process ends: ignore the signals that stop a run, and compute in one thread."""
    ignore_signals()
    torch.set_num_threads(1)
    with contextlib.suppress(EOFError, ConnectionError):  # the other process has ended
        content, work = requests.recv_bytes(), None
        while True:
            item = requests.recv()
            try:
                with _spare_descriptors():
                    work = work or cast(Callable[[Any], object], pickle.loads(content))
                    parcel = pack(work(item))
            except Exception as error:  # noqa: BLE001  raised again in the process that waits
                parcel = pack(_Raised.of(error))
            send_handle(results, parcel, os.getppid())
            os.close(parcel)


@contextlib.contextmanager
def _spare_descriptors() -> Iterator[None]:
    """Keep two descriptors, so that an error can be sent where work has opened too many files."""
    spare = os.pipe()
    try:
        yield
    finally:
        for descriptor in spare:
            os.close(descriptor)
