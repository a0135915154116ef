"""The feed: all examples that are left of a run, in order, ready for the step."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass

from dit_run.assembly.parts import Encoders
from dit_run.assembly.prepare import Data
from dit_run.compute.devices import pins_memory
from dit_run.compute.distributed import Processes
from dit_run.data.samples import BadSamples
from dit_run.registry.registry import Registry
from dit_run.reporting import Reporter
from dit_run.settings import Config
from dit_run.system.cores import usable_cores
from dit_run.training.batches import Batch, Visits, batches
from dit_run.training.encoding import BatchEncoder
from dit_run.training.loop import Loop
from dit_run.training.step import EncodedBatch
from dit_run.training.step_timer import timed

__all__ = ["Feed"]


@dataclass(frozen=True)
class Feed:
    """Reads, draws and encodes what this process shows to the model."""

    config: Config
    registry: Registry
    processes: Processes
    reporter: Reporter
    data: Data
    encoders: Encoders

    def batches(self, loop: Loop) -> Generator[Batch, None, None]:
        """All that is left of the run. Closed, it leaves no process."""
        training, size = self.config.training, self.config.data.common.image_size
        shape, kept = self.encoders.latent_shape(size, size), self.encoders.cached.latents
        return batches(
            Visits(self.data.train, training.seed, shape, training.caption_dropout, kept),
            loop.layout,
            loop.done,
            loop.total_steps,
            workers=self._workers(),
            prefetch=training.prefetch_factor,
            pin=pins_memory(self.processes.device),
            plugins=self.registry.files,
        )

    def examples(self, loop: Loop, loaded: Iterator[Batch]) -> Iterator[EncodedBatch]:
        """Batches on the device, encoded."""
        encode = BatchEncoder(self.encoders, self.processes.device, loop.clock)
        return map(encode, self._reported(timed(loaded, loop.clock, "data"), BadSamples(len(self.data.train))))

    def _reported(self, loaded: Iterator[Batch], seen: BadSamples) -> Iterator[Batch]:
        """The batches as they are; samples that could not be read are named once."""
        for batch in loaded:
            for bad in seen.add(batch.bad) if batch.bad else ():
                self.reporter.notice(f"sample {bad.key} is skipped: {bad.reason}")
            yield batch

    def _workers(self) -> int:
        wanted, cores = self.config.training.num_workers, usable_cores()
        if wanted > cores:
            self.reporter.notice(f"training.num_workers is {wanted} and this machine has {cores} cores: using {cores}")
        return min(wanted, cores)
