"""The layout of a step: how its positions are shared out over micro-batches and processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dit_run.compute.distributed import Processes
from dit_run.compute.sharding import shard_count
from dit_run.problems import InputError
from dit_run.settings import Config

__all__ = ["Layout", "continued_accumulation"]


@dataclass(frozen=True)
class Layout:
    """Shares of the processes in a step. Micro-batch v of a step holds ``batch_size`` consecutive positions."""

    batch_size: int
    accumulation: int
    processes: int = 1
    rank: int = 0
    stride: int = 1
    """Processes, one after another, that take turns with the micro-batches that they have together; 1 gives each
    process consecutive ones."""

    @classmethod
    def of(cls, config: Config, processes: Processes | None = None, *, global_batch: int | None = None) -> Layout:
        """Return the config's layout over these processes, by default one.

        ``global_batch`` is that of the run to be continued, which other processes have to keep. Raises InputError where
        they cannot.
        """
        training, processes = config.training, processes or Processes()
        accumulation = training.gradient_accumulation_steps
        if global_batch is not None:
            accumulation = continued_accumulation(global_batch, training.batch_size, processes.count)
        # The shards of the weights add the gradients of a micro-batch each, which are neighbours in the tree.
        shards = shard_count(training.shard, processes) if training.elastic_exact else 1
        stride = 1 if processes.count % shards else shards  # a run refuses what does not divide
        return cls(training.batch_size, accumulation, processes.count, processes.rank, stride)

    @property
    def global_batch(self) -> int:
        """Samples per optimizer step over all processes."""
        return self.batch_size * self.accumulation * self.processes

    @property
    def first_micro_batch(self) -> int:
        """Global index of this process's first micro-batch of a step. The others follow at :attr:`stride`."""
        group, place = divmod(self.rank, self.stride)
        return group * self.stride * self.accumulation + place

    def micro_batches(self, first_step: int, end_step: int) -> Iterator[list[int]]:
        """Yield the positions of this process's micro-batches, in order, of steps first_step to end_step - 1."""
        for step in range(first_step, end_step):
            for index in range(self.accumulation):
                micro_batch = self.first_micro_batch + index * self.stride
                start = step * self.global_batch + micro_batch * self.batch_size
                yield list(range(start, start + self.batch_size))


def continued_accumulation(global_batch: int, batch_size: int, processes: int) -> int:
    """Return the accumulation steps that keep the global batch of a run with another number of processes.

    Raises InputError, with the numbers of processes that fit, if the result is not whole.
    """
    accumulation, rest = divmod(global_batch, batch_size * processes)
    if rest:
        micro_batches = global_batch // batch_size
        fitting = [str(count) for count in range(1, micro_batches + 1) if global_batch % (batch_size * count) == 0]
        smaller = next((size for size in range(batch_size, 0, -1) if global_batch % (size * processes) == 0), None)
        other = "" if smaller is None else f"; with training.batch_size={smaller} the {processes} processes fit"
        raise InputError(
            f"this run's global batch is {global_batch}; {processes} processes of batch_size {batch_size} cannot share "
            f"it evenly. Numbers of processes that fit: {', '.join(fitting) or 'none at this batch_size'}{other}"
        )
    return accumulation
