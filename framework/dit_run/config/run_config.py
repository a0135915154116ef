"""The ``config.yaml`` of a run folder: it stands for the run that lies next to it."""

from __future__ import annotations

from pathlib import Path

from dit_run.problems import InputError
from dit_run.system.json_files import read_object

__all__ = ["OUTPUT_DIR", "RUN_CONFIG", "RUN_FOLDER", "lies_in_run_folder"]

RUN_CONFIG = "config.yaml"
"""File of a run folder."""
OUTPUT_DIR = ("training", "output_dir")
RUN_FOLDER = "its run folder"
"""Name of the source of ``training.output_dir`` in a run folder's config."""


def lies_in_run_folder(file: Path) -> bool:
    """Return True for the ``config.yaml`` of a folder whose ``provenance.json`` names a run."""
    record = file.parent / "provenance.json"
    if file.name != RUN_CONFIG or not record.is_file():
        return False
    try:
        return "run_id" in read_object(record)
    except InputError:
        return False
