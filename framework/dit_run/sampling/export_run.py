"""The export of a loaded run: to a folder, and from there to a hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dit_run.export.export_options import ExportOptions
from dit_run.export.folder import ExportedModel, ExportSource, write_export
from dit_run.export.hub_upload import HubUpload
from dit_run.problems import InputError
from dit_run.reporting import Reporter

if TYPE_CHECKING:
    from dit_run.sampling.load_run import LoadedRun

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


def export_run(
    run: LoadedRun, folder: Path, options: ExportOptions, destination: Destination, reporter: Reporter
) -> None:
    """Write a run to a new folder and upload it; see :meth:`LoadedRun.export`."""
    if run.left_out is not None:
        raise InputError(f"an export needs the whole config of {run.path}; {run.left_out}") from run.left_out
    upload = destination.upload()
    use = write_export(folder, _model(run), run.config, _source(run), options)
    if use is not None:
        reporter.notice(str(use))
    if upload is not None:
        upload.send(folder)
        reporter.notice(f"uploaded to {upload.url}, a {upload.visibility} repository")


def _model(run: LoadedRun) -> ExportedModel:
    return ExportedModel(run.pipeline.denoiser.tensors(), run.step, run.global_batch, run.ema)


def _source(run: LoadedRun) -> ExportSource:
    grids = sorted((run.path / "samples").glob("step-*.png"))
    return ExportSource(
        plugin_files=run.registry.files.files,
        prompts=run.prompts,
        scalars=run.pipeline.scalars,
        metrics=run.metrics(),
        samples=grids[-1] if grids else None,
    )
