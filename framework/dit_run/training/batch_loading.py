"""Loading of batches: the remaining micro-batches of a run, in order, encoded on the device."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dit_run.assembly.layout import Layout
from dit_run.compute.devices import pins_memory
from dit_run.data.bad_samples import BadSamples
from dit_run.data.remote_shards import RemoteShards
from dit_run.registry.plugin_files import PluginFiles
from dit_run.reporting import Reporter
from dit_run.system.cores import usable_cores
from dit_run.training.batches import Batch, Loading, Visits, batches
from dit_run.training.run_parts import RunParts
from dit_run.training.shards_ahead import ShardsAhead
from dit_run.training.step import EncodedBatch
from dit_run.training.step_timer import StepTimer, timed

__all__ = ["BatchLoader"]


@dataclass(frozen=True)
class BatchLoader:
    """Loads and encodes this process's batches."""

    parts: RunParts
    layout: Layout
    plugins: PluginFiles
    """Those of the run's config, for workers."""
    reporter: Reporter

    @contextlib.contextmanager
    def open(self, first_step: int, end_step: int, timer: StepTimer) -> Iterator[Iterator[EncodedBatch]]:
        """Give the encoded micro-batches of a range of steps; afterwards no worker is left."""
        training = self.parts.config.training
        loading = Loading(
            workers=self._workers(),
            prefetch=training.prefetch_factor,
            pin=pins_memory(self.parts.device),
            plugins=self.plugins,
        )
        visits = self.parts.visits()
        loaded = batches(visits, self.layout.micro_batches(first_step, end_step), loading)
        with contextlib.closing(loaded), self._shards_ahead(visits, first_step, end_step) as taken:
            yield map(self.parts.step_encoder(timer), self._reported(timed(taken(loaded), timer, "data")))

    @contextlib.contextmanager
    def _shards_ahead(
        self, visits: Visits, first_step: int, end_step: int
    ) -> Iterator[Callable[[Iterator[Batch]], Iterator[Batch]]]:
        """Download remote shards ahead while batches are taken from what the given function returns."""
        remote = RemoteShards.of(visits.samples) if visits.latents is None else None
        if remote is None:
            yield iter
            return
        if (notice := remote.notice()) is not None:
            self.reporter.notice(notice)
        with ShardsAhead(remote, self.layout.micro_batches(first_step, end_step)) as ahead:
            yield ahead.counted

    def _reported(self, loaded: Iterator[Batch]) -> Iterator[Batch]:
        """Yield the batches; report each sample that could not be read once."""
        seen = BadSamples(len(self.parts.data.train))
        for batch in loaded:
            for bad in seen.add(batch.bad) if batch.bad else ():
                self.reporter.notice(f"sample {bad.key} is skipped: {bad.reason}")
            yield batch

    def _workers(self) -> int:
        wanted, cores = self.parts.config.training.num_workers, usable_cores()
        if wanted > cores:
            self.reporter.notice(f"training.num_workers is {wanted} and this machine has {cores} cores: using {cores}")
        return min(wanted, cores)
