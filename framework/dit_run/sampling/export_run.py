"""The export of a loaded run: to a folder, and from there to a hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from dit_run.assembly.adaptation import build_adapter, merged_tensors, without_adapter
from dit_run.export.export_options import ExportOptions
from dit_run.export.folder import TORCH_DTYPES, ExportSource, TrainedWeights, write_export
from dit_run.export.hub_upload import HubUpload
from dit_run.export.model_card import hub_names
from dit_run.problems import ConfigError, InputError
from dit_run.protocols import Adapter
from dit_run.registry.registry import Registry
from dit_run.reporting import Reporter
from dit_run.sampling.pipeline import Pipeline
from dit_run.settings import Config

__all__ = ["Destination", "export_run"]


class Destination(NamedTuple):
    """The repository on a hub that an export goes to."""

    push: str | None
    """Its name; None for an export that stays on this machine."""
    public: bool

    def upload(self) -> HubUpload | None:
        """Return the checked upload, None without one. Raises InputError for a visibility without a name."""
        if self.push is None:
            if self.public:
                raise InputError("--public needs --push, the name of the repository")
            return None
        return HubUpload(self.push, public=self.public)


class Exportable(Protocol):
    """Parts of a loaded run that an export takes; see :class:`dit_run.sampling.load_run.LoadedRun`."""

    @property
    def path(self) -> Path: ...
    @property
    def config(self) -> Config: ...
    @property
    def registry(self) -> Registry: ...
    @property
    def pipeline(self) -> Pipeline: ...
    @property
    def prompts(self) -> Sequence[str]: ...
    @property
    def step(self) -> int: ...
    @property
    def global_batch(self) -> int: ...
    @property
    def average(self) -> str | None: ...
    @property
    def left_out(self) -> ConfigError | None: ...
    def metrics(self) -> list[dict[str, Any]]: ...


def export_run(
    run: Exportable, folder: Path, options: ExportOptions, destination: Destination, reporter: Reporter
) -> None:
    """Write a run to a new folder and upload it; see ``LoadedRun.export``."""
    if run.left_out is not None:
        raise InputError(f"an export needs the whole config of {run.path}; {run.left_out}") from run.left_out
    if run.pipeline.other is not None:
        raise InputError(
            f"guidance {run.config.guidance.type} samples with two sets of weights, and an exported folder holds one; "
            "add guidance.type=cfg"
        )
    adapter, upload = build_adapter(run.config), destination.upload()
    if adapter is not None and not options.merge:
        save = partial(_save_adapter, run, adapter, options.dtype)
        write_export(folder, _model(run), run.config, _source(run), options, save_adapter=save)
        reporter.notice("the folder holds the adapter alone; --merge exports the whole model with it")
    else:
        use = write_export(folder, *_merged(run, adapter, options), _source(run), options)
        if use is not None:
            reporter.notice(str(use))
    if upload is not None:
        upload.send(folder)
        reporter.notice(f"uploaded to {upload.url}, a {upload.visibility} repository")


def _model(run: Exportable) -> TrainedWeights:
    denoiser = run.pipeline.denoiser
    return TrainedWeights(denoiser.tensors(), run.step, run.global_batch, run.average, denoiser.base)


def _merged(run: Exportable, adapter: Adapter | None, options: ExportOptions) -> tuple[TrainedWeights, Config]:
    """Return the whole model, merged with its adapter if there is one, and its config."""
    if adapter is None:
        if options.merge:
            raise InputError(f"--merge is for a run with an adapter, and that in {run.path} has none")
        return _model(run), run.config
    tensors = merged_tensors(run.pipeline.denoiser, adapter)
    return replace(_model(run), tensors=tensors, base=""), without_adapter(run.config)


def _save_adapter(run: Exportable, adapter: Adapter, dtype: str, folder: Path) -> None:
    base = next(hub_names(run.config.model), None)
    adapter.save(run.pipeline.denoiser.model, folder, dtype=TORCH_DTYPES[dtype], base=base)


def _source(run: Exportable) -> ExportSource:
    grids = sorted((run.path / "samples").glob("step-*.png"))
    return ExportSource(
        plugin_files=run.registry.files.files,
        prompts=run.prompts,
        scalars=run.pipeline.scalars,
        metrics=run.metrics(),
        samples=grids[-1] if grids else None,
        folder=run.path,
    )
