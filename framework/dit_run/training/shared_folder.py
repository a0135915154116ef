"""The check that all processes see one run folder: on several machines it must lie on a disk that they share."""

from __future__ import annotations

import socket

from dit_run.compute.distributed import Processes
from dit_run.problems import InputError
from dit_run.runs.run_folder import RunFolder

__all__ = ["check_shared"]


def check_shared(folder: RunFolder, processes: Processes, *, patience: float = 30.0) -> None:
    """Raise InputError in all processes if one of them does not see the lock that the first one holds.

    Checkpoints of a folder that only one machine sees could never be continued by the others.
    """
    if processes.count == 1:
        return
    claim, host = processes.on_first(lambda: (folder.claim(), socket.gethostname()))
    missing = processes.largest(-1 if folder.has_claim(claim, patience=patience) else processes.rank)
    if missing >= 0:
        raise InputError(
            f"{folder.path} (training.output_dir) is not one folder for all processes: process {missing} does not see "
            f"what process 0 on {host} wrote there. Put it on a disk that all machines mount at the same path"
        )
