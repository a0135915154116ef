"""The beginning of a run, or of its continuation, in its folder: what is written before the first step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dit_run.assembly.parts import Encoders
from dit_run.assembly.prepare import Data
from dit_run.config.dump import run_config
from dit_run.config.keys import key_name
from dit_run.model.denoiser import trainable_parameters
from dit_run.registry.registry import Registry
from dit_run.runs.checkpoint.commit import clean
from dit_run.runs.provenance import collect
from dit_run.runs.run_folder import RunFolder
from dit_run.settings import Choice, Config
from dit_run.system.durable import make_folder, translate_disk_failure
from dit_run.training.loop import Loop

__all__ = ["Beginning", "opening", "plugin_record"]


@dataclass(frozen=True)
class Beginning:
    """Who runs what, and where; only the first process writes it."""

    config: Config
    registry: Registry
    folder: RunFolder
    checkpoints: Path
    run_id: str
    arguments: Sequence[str]
    processes: int

    def write(self, step: int) -> None:
        """Config, provenance and status of a run that goes on from ``step``; what was logged of later steps goes.

        Raises DiskFailed where the folder cannot be written.
        """
        with translate_disk_failure(self.folder.path):
            make_folder(self.checkpoints)
            clean(self.checkpoints)
            self.folder.write_config(run_config(self.config, plugins=self._kept_plugins()))
            self.folder.write_provenance(self._provenance(), run_id=self.run_id)
            self.folder.rewind_metrics(step)
            self.folder.write_status("running", step=step)

    def _kept_plugins(self) -> list[str]:
        copies = map(self.folder.keep_plugin, self.registry.files.files)
        return [f"./{copy.relative_to(self.folder.path)}" for copy in copies]

    def _provenance(self) -> dict[str, Any]:
        used = [plugin_record(self.registry, path, choice) for path, choice in self.config.choices()]
        return collect(self.arguments, used, threads=torch.get_num_threads(), processes=self.processes)


def plugin_record(registry: Registry, path: tuple[str | int, ...], choice: Choice) -> dict[str, Any]:
    """Who makes the component of the section at ``path``."""
    return {"section": key_name(path), **registry.record(choice.component.kind, choice.type)}


_LOOKED_AT = 1000
"""Captions whose length is looked at."""


def opening(loop: Loop, data: Data, encoders: Encoders) -> Iterator[str]:
    """What is trained, on what, and for how long; where it goes on; captions that are not seen whole."""
    parameters = sum(parameter.numel() for _, parameter in trainable_parameters(loop.denoiser))
    held_out = f", {len(data.validation):,} held out" if data.validation is not None else ""
    begin = f"goes on after step {loop.done:,}: " if loop.done else ""
    yield (
        f"{begin}{parameters:,} parameters on {loop.processes.device}; {len(data.train):,} samples{held_out}; "
        f"{loop.total_steps:,} steps of {loop.layout.global_batch}"
    )
    if encoders.cached.captions is None:  # else they were counted when the cache was made
        yield from _cut(data, encoders)


def _cut(data: Data, encoders: Encoders) -> Iterator[str]:
    visits = data.train.visits(range(min(len(data.train), _LOOKED_AT)))
    cut = encoders.text.tokenize([visit.caption for visit in visits]).truncated
    if cut:
        yield (
            f"{cut:,} of {len(visits):,} captions are longer than the {encoders.text.max_length} tokens that the text "
            "encoder takes; the model does not see the rest of them"
        )
