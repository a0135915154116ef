"""The context of a run: its config, processes and folder, and the record of them in the folder."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dit_run.compute.devices import graphics_card
from dit_run.compute.distributed import Processes
from dit_run.compute.sharding import Sharding
from dit_run.config.dump import run_config
from dit_run.config.explanation import origins
from dit_run.config.keys import key_name
from dit_run.data.sample_index import SampleIndex
from dit_run.registry.registry import Registry
from dit_run.reporting import Reporter
from dit_run.runs.checkpoint.commit import clean
from dit_run.runs.checkpoint.store import Checkpoints
from dit_run.runs.provenance import collect
from dit_run.runs.run_folder import RunFolder, RunState
from dit_run.settings import Choice, Config
from dit_run.system.durable import make_folder, translate_disk_failure
from dit_run.training.resume_checks import PLUGIN_FACTS
from dit_run.training.setup import StopSwitch
from dit_run.training.watch_record import WatchRecord

__all__ = ["RunContext"]


@dataclass(frozen=True)
class RunContext:
    """A run in one process. Only the first process writes to the folder."""

    config: Config
    registry: Registry
    processes: Processes
    folder: RunFolder
    checkpoints: Checkpoints
    reporter: Reporter
    stop: StopSwitch
    arguments: Sequence[str] = ()
    sharding: Sharding | None = None
    """Shards of what trains; None where each process has all of it."""

    @property
    def device(self) -> torch.device:
        return self.processes.device

    def deciding_plugins(self) -> tuple[dict[str, Any], ...]:
        """Return the plugins whose components decide the weights; not those of parts that only observe."""
        records = [
            self._plugin_record(path, choice)
            for path, choice in self.config.choices()
            if not choice.component.kind.spec.observes
        ]
        return tuple({name: record[name] for name in PLUGIN_FACTS} for record in records)

    def write_record(
        self, step: int, record: WatchRecord, index: SampleIndex, origin: Mapping[str, Any] | None
    ) -> None:
        """Write config, provenance and status of a run that begins after ``step``; drop the metrics of unwatched steps.

        ``index`` is that of the training samples, by which a changed dataset is described. ``origin`` names the
        checkpoint that a fork begins with. Raises DiskFailed where the folder cannot be written.
        """
        with translate_disk_failure(self.folder.path):
            make_folder(self.checkpoints.folder)
            clean(self.checkpoints.folder)
            self.folder.write_config(run_config(self.config, plugins=self._kept_plugins()))
            index.store(self.folder.sample_index)
            self.folder.write_provenance(self._provenance(), run_id=self.checkpoints.run_id, origin=origin)
            self.folder.metrics.rewind(record.watched)
            self.folder.write_status("running", step=step, record=record.to_dict())

    def write_status(self, state: RunState, step: int, reason: str, record: WatchRecord) -> None:
        if self.processes.first:
            self.folder.write_status(state, step=step, reason=reason, record=record.to_dict())

    def write_failure(
        self, step: int, error: BaseException, report: dict[str, Any] | None, record: WatchRecord
    ) -> None:
        """Write the status of a run that failed, and its report if there is one; a failing disk hides no error."""
        with contextlib.suppress(OSError):
            if report is not None:
                self.folder.write_report(f"bad-step-{self.processes.rank}.json", report)
            self.write_status("failed", step, f"{type(error).__name__}: {error}", record)

    def _kept_plugins(self) -> list[str]:
        copies = map(self.folder.keep_plugin, self.registry.files.files)
        return [f"./{copy.relative_to(self.folder.path)}" for copy in copies]

    def _provenance(self) -> dict[str, Any]:
        used = [self._plugin_record(path, choice) for path, choice in self.config.choices()]
        values = collect(self.arguments, used, threads=torch.get_num_threads(), processes=self.processes.count)
        values["machine"] |= graphics_card(self.device)
        return {**values, "origins": origins(self.config)}

    def _plugin_record(self, path: tuple[str | int, ...], choice: Choice) -> dict[str, Any]:
        return {"section": key_name(path), **self.registry.record(choice.component.kind, choice.type)}
