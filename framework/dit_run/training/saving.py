"""Saving: a run's state becomes a checkpoint, and a disk that fails for a while does not end the run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dit_run.compute.distributed import Processes
from dit_run.config.comparison import absolute
from dit_run.problems import DitRunError
from dit_run.reporting import Reporter
from dit_run.runs.checkpoint.commit import SaveFailed
from dit_run.runs.checkpoint.disk_space import room_notice
from dit_run.runs.checkpoint.safetensors_file import tensor_bytes
from dit_run.runs.checkpoint.store import Checkpoints
from dit_run.runs.run_folder import RunFolder
from dit_run.settings import Config
from dit_run.system.durable import DiskFailed, translate_disk_failure
from dit_run.training.loop import Loop
from dit_run.training.state import RunFacts, capture

__all__ = ["Saver"]

_MOST_FAILED_SAVES = 3


@dataclass
class Saver:
    """Saves for the first process; the others have nothing to write."""

    config: Config
    facts: RunFacts
    checkpoints: Checkpoints
    folder: RunFolder
    processes: Processes
    reporter: Reporter
    failed: int = 0
    """How many saves in a row have failed."""

    def save(self, loop: Loop) -> Path | None:
        """The checkpoint of the step that the loop has done, or None where the disk failed and training goes on.

        Raises DitRunError when it failed too often in a row, or at the last step before the run ends or stops.
        """
        if not self.processes.first:
            return None
        contents = capture(loop, self.config, self.facts, absolute(self.config).to_dict())
        try:
            with translate_disk_failure(self.folder.metrics):
                self.folder.sync_metrics()
            limit = self.config.training.save_total_limit
            saved = self.checkpoints.save(loop.done, contents, limit=limit, best_step=loop.best.get("step"))
        except (DiskFailed, SaveFailed) as error:
            self._give_up_after_too_many(error, loop)
            return None
        self.failed = 0
        for notice in saved.notices:
            self.reporter.notice(notice)
        return saved.path

    def forecast(self, loop: Loop) -> None:
        """Warns of a disk that the checkpoints to come will fill."""
        weights = tensor_bytes(loop.denoiser.tensors())
        one = weights * (4 if loop.ema is not None else 3)  # an optimizer usually keeps two numbers for each weight
        limit = self.config.training.save_total_limit
        saves = loop.schedule.saves_after(loop.done) if limit is None else limit + 1
        notice = room_notice(self.checkpoints.folder, one, limit=limit, saves=saves)
        if notice is not None:
            self.reporter.notice(notice)

    def _give_up_after_too_many(self, error: DitRunError, loop: Loop) -> None:
        self.failed += 1
        if self.failed >= _MOST_FAILED_SAVES or loop.done == loop.total_steps or loop.stopping:
            raise error
        self.reporter.notice(f"{error}; training goes on, earlier checkpoints are untouched")
