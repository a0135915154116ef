"""The processes of a run: a single one, or those that a launcher started."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Self, TypeVar, cast

import torch

from dit_run.compute.devices import choose_device
from dit_run.compute.launchers import find_launch
from dit_run.compute.liveness import Liveness
from dit_run.compute.process_progress import ProcessLost, ProcessProgress, unreachable
from dit_run.problems import DitRunError, portable
from dit_run.system.signals import timeout_seconds

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup
    from torch.distributed.distributed_c10d import Store

__all__ = [
    "ProcessLost",
    "Processes",
    "join_processes",
    "translate_lost_process",
]

T = TypeVar("T")


_LOST = (
    "gloo", "NCCL", "pair closure", "Connection closed by peer", "Connection reset by peer", "Broken pipe",
    "Failed to recv",
)  # fmt: skip
"""Parts of the texts of errors that mean a lost process; gloo does not always name itself."""
_NAMED_WITHIN = 2.0
"""Time after such an error in which it is known which process has ended (seconds)."""


@dataclass(frozen=True)
class Processes:
    """The rank of this process, the number of processes, and collective operations. Call every method in all processes.

    A single process needs no communication and does not import torch.distributed.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    progress: ProcessProgress | None = field(default=None, compare=False)
    """Progress that the processes show each other; None for a single process."""
    local_count: int = 1
    """Number of processes of this machine."""
    group: ProcessGroup | None = field(default=None, compare=False)
    """The connection of the collective operations; None for the default one."""

    def __enter__(self) -> Self:
        """Begin the work of a process that leaves the others at its end."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        self.leave(failed=kind is not None)

    @property
    def first(self) -> bool:
        """True in the process that writes files."""
        return self.rank == 0

    @property
    def store(self) -> Store | None:
        """Values that all processes read; None for a single process."""
        return None if self.progress is None else self.progress.store

    def any(self, flag: bool) -> bool:
        """Return True if the flag is set in any process."""
        return bool(self.largest(int(flag)))

    def largest(self, number: int) -> int:
        """Return the largest number of all processes."""
        if self.count == 1:
            return number
        import torch.distributed as dist

        value = torch.tensor([number])
        dist.all_reduce(value, op=dist.ReduceOp.MAX, group=self.group)
        return int(value.item())

    def broadcast(self, value: T) -> T:
        """Return the picklable value of the first process in every process."""
        if self.count == 1:
            return value
        import torch.distributed as dist

        values = [value]
        dist.broadcast_object_list(values, src=0, group=self.group, device=torch.device("cpu"))
        return values[0]

    def gather(self, value: T) -> list[T]:
        """Return the picklable values of all processes, by rank, in every process."""
        if self.count == 1:
            return [value]
        import torch.distributed as dist

        values: list[T | None] = [None] * self.count
        dist.all_gather_object(values, value, group=self.group)
        return cast(list[T], values)

    def apart(self) -> Processes:
        """Return the same processes with a connection of their own, for collective operations of another thread."""
        if self.count == 1:
            return self
        import torch.distributed as dist

        timeout = timedelta(seconds=timeout_seconds())
        return replace(self, group=dist.new_group(backend="gloo", timeout=timeout))

    def on_first(self, work: Callable[[], T]) -> T:
        """Call ``work`` in the first process and return its picklable value in every process.

        A DitRunError of ``work`` is raised in every process, so that no process waits for one that has left.
        """
        value, failure, own = None, None, None
        if self.first:
            try:
                value = work()
            except DitRunError as error:
                own, failure = error, portable(error)
        value, failure = self.broadcast((value, failure))
        if own is not None:
            raise own
        if failure is not None:
            raise failure
        return cast(T, value)

    def barrier(self) -> None:
        """Wait until every process gets here."""
        self.any(False)

    @contextlib.contextmanager
    def first_alone(self, name: str, meanwhile: Callable[[], object] | None = None) -> Iterator[None]:
        """Let the first process work in the block for any time; the others wait after it while that shows progress.

        ``name`` is the same in all processes and was not used before. ``meanwhile`` is called again and again in the
        processes that wait. Raises ProcessLost in a process that sees no progress for :func:`timeout_seconds`.
        """
        try:
            yield
        finally:
            if self.store is not None and self.first:
                self.store.set(f"done/{name}", "")
        if self.progress is not None and not self.first:
            store = self.progress.store

            def done() -> bool:
                if store.check([f"done/{name}"]):
                    return True
                if meanwhile is not None:
                    meanwhile()
                return False

            self.progress.wait_for(0, done)

    def show_progress(self) -> None:
        """Let the other processes see that this one works; call it often in work for which they wait."""
        if self.progress is not None:
            self.progress.show()

    def require_all(self) -> None:
        """Raise ProcessLost if another process has ended; call it often in work that is useless without the others."""
        if self.progress is not None and (lost := self.progress.lost()):
            raise self.progress.without(lost)

    def missing_connections(self) -> str:
        """Return, in every process, why the end of some of them is not known at once; empty where it is."""
        if self.progress is None or self.progress.liveness is None:
            return ""
        missing = [reason for reason in self.gather(self.progress.liveness.missing) if reason]
        if not missing:
            return ""
        return (
            f"if a process is killed or fails, the others may notice it only after {timeout_seconds():g} seconds, "
            f"because {len(missing)} of {self.count} processes have no connection for that: {missing[0]}"
        )

    def at_work(self) -> contextlib.AbstractContextManager[object]:
        """Return a context that shows progress all the time, for work that never calls :meth:`show_progress`."""
        return contextlib.nullcontext() if self.progress is None else self.progress.shown()

    def leave(self, *, failed: bool = False) -> None:
        """Close the connection to the other processes, which take this one for lost if it has ``failed``."""
        if self.progress is not None:
            self.progress.leave()
            if self.progress.liveness is not None:
                self.progress.liveness.close(failed=failed)
        if self.count > 1:
            import torch.distributed as dist

            dist.destroy_process_group()


def join_processes(device: str) -> Processes:
    """Connect the processes that torchrun or srun started: see :func:`dit_run.compute.launchers.find_launch`.

    GPU tensors use NCCL, others gloo. A frozen process is noticed after :func:`timeout_seconds`. Raises InputError if
    the device does not exist.
    """
    launch = find_launch(os.environ)
    if launch.count == 1:
        return Processes(device=choose_device(device))
    import torch.distributed as dist
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    chosen = choose_device(device, local_rank=launch.local_rank, local_count=launch.local_count)
    backend = "cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo"
    timeout = timedelta(seconds=timeout_seconds())
    store, rank, count = next(rendezvous(launch.address, launch.rank, launch.count, timeout=timeout))
    dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=timeout)
    own = PrefixStore("dit-run", store)
    progress = ProcessProgress(own, rank, count, Liveness.join(own, rank, count, launch.host))
    return Processes(rank, count, chosen, progress, launch.local_count)


@contextlib.contextmanager
def translate_lost_process(processes: Processes, continues: str = "from the last checkpoint") -> Iterator[None]:
    """Translate torch.distributed's errors about unreachable processes into ProcessLost.

    ``continues`` is how the same command continues.
    """
    try:
        yield
    except RuntimeError as error:
        reason = str(error)
        if processes.count == 1 or not any(sign in reason for sign in _LOST):
            raise
        if processes.progress is not None and (lost := processes.progress.lost(_NAMED_WITHIN)):
            raise processes.progress.without(lost, continues) from error
        said = f", which was killed, failed or froze ({reason.splitlines()[0][-120:]})"
        raise unreachable(processes.rank, said, continues) from error
