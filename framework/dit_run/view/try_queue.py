"""The queue of images to make: one job at a time, in one process that ends when it is idle for a while."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dit_run.problems import InputError
from dit_run.runs.reading.run_files import RunFiles
from dit_run.view.library import run_id
from dit_run.view.try_settings import TrySettings

__all__ = ["TryJob", "TryQueue"]

_MOST_WAITING = 20
_MOST_IMAGES = 200
"""Images of finished jobs that are kept."""
_PATIENCE = 5.0
"""Time in which a cancelled job must end before its process is killed (s)."""


@dataclass
class TryJob:
    """Images that are made, or were."""

    name: str
    files: RunFiles
    settings: TrySettings
    state: str = "queued"
    """``queued``, ``working``, ``done``, ``failed`` or ``cancelled``."""
    progress: float = 0.0
    error: str = ""
    notices: list[str] = field(default_factory=list)
    images: list[bytes] = field(default_factory=list)
    """PNG files, the same as those of ``dit-run sample``."""
    seconds: float = 0.0
    """Time that it took."""

    def plain(self) -> dict[str, Any]:
        """Return the job for the page, without its images."""
        shown = {name: getattr(self, name) for name in ("name", "state", "progress", "error", "notices", "seconds")}
        return {**shown, "run": run_id(self.files), "settings": asdict(self.settings), "images": len(self.images)}


class TryQueue:
    """Jobs in the order in which they came."""

    def __init__(self, *, idle_seconds: float = 300.0, allow_plugins: bool = False) -> None:
        self._idle_seconds = idle_seconds
        self._allow_plugins = allow_plugins
        self._jobs: list[TryJob] = []
        self._changed = threading.Condition()
        self._process: subprocess.Popen[str] | None = None
        self._closed = False
        self._thread: threading.Thread | None = None

    @property
    def loaded(self) -> bool:
        """True while a process holds memory for models."""
        return self._process is not None

    def jobs(self) -> list[TryJob]:
        """Return all jobs that are kept, the newest first."""
        with self._changed:
            return self._jobs[::-1]

    def job(self, name: str) -> TryJob | None:
        return next((job for job in self.jobs() if job.name == name), None)

    def add(self, files: RunFiles, settings: TrySettings) -> TryJob:
        """Add a job. Raises InputError if too many wait."""
        with self._changed:
            if sum(job.state == "queued" for job in self._jobs) >= _MOST_WAITING:
                raise InputError(f"{_MOST_WAITING} jobs are waiting already; cancel some or wait")
            job = TryJob(secrets.token_hex(8), files, settings)
            self._jobs.append(job)
            self._forget()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True)
                self._thread.start()
            self._changed.notify_all()
            return job

    def cancel(self, job: TryJob) -> None:
        """Give up a job; one that is being made is asked to end, and killed if it does not."""
        with self._changed:
            if job.state == "queued":
                job.state = "cancelled"
            elif job.state == "working" and self._process is not None:
                self._send({"cancel": job.name})
                threading.Thread(target=self._kill_late, args=(job, self._process), daemon=True).start()
            self._changed.notify_all()

    def close(self) -> None:
        """End the process; no job is done any more."""
        with self._changed:
            self._closed = True
            self._release()
            self._changed.notify_all()

    def _work(self) -> None:
        while (job := self._next()) is not None:
            began = time.monotonic()
            folder = Path(tempfile.mkdtemp(prefix="dit-run-view-"))
            try:
                self._do(job, folder)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
                with self._changed:
                    job.seconds = time.monotonic() - began
                    self._changed.notify_all()

    def _next(self) -> TryJob | None:
        """Return the next job, and release the process while there is none; None when the queue is closed."""
        with self._changed:
            while not self._closed:
                waiting = [job for job in self._jobs if job.state == "queued"]
                if waiting:
                    waiting[0].state = "working"
                    return waiting[0]
                if not self._changed.wait(self._idle_seconds if self.loaded else None):
                    self._release()
            return None

    def _do(self, job: TryJob, folder: Path) -> None:
        message = {"job": job.name, "run": str(job.files.path), "settings": asdict(job.settings), "output": str(folder)}
        with self._changed:
            if self._closed:
                return
            process = self._started()
            self._send({**message, "allow_plugins": self._allow_plugins})
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            if event["job"] == job.name and self._take(job, event):
                return
        self._lost(job, process)

    def _take(self, job: TryJob, event: Mapping[str, Any]) -> bool:
        """Take over what the process reports of a job; return True if that is its end."""
        images = [Path(path).read_bytes() for path in event.get("paths", ())]
        with self._changed:
            job.progress = event.get("progress", job.progress)
            job.error = event.get("error", "")
            job.notices = event.get("notices", [])
            job.images = images
            job.state = event["state"]
            self._changed.notify_all()
        return job.state != "working"

    def _lost(self, job: TryJob, process: subprocess.Popen[str]) -> None:
        status = process.wait()
        with self._changed:
            if self._process is process:
                self._process = None
            if job.state == "working":
                job.state = "failed"
                job.error = f"the process that makes images ended with status {status}; memory may have run out"
            self._changed.notify_all()

    def _kill_late(self, job: TryJob, process: subprocess.Popen[str]) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: job.state != "working", _PATIENCE):
                job.state = "cancelled"
                process.kill()

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "dit_run.view.try_worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,  # Ctrl-C reaches the page only, which ends this process
            )
        return self._process

    def _send(self, message: Mapping[str, Any]) -> None:
        if self._process is not None and self._process.stdin is not None:
            try:
                self._process.stdin.write(json.dumps(message) + "\n")
                self._process.stdin.flush()
            except OSError:
                return  # the end of its output says so

    def _release(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _forget(self) -> None:
        """Forget the oldest jobs beyond the number of images that are kept."""
        kept = 0
        for job in reversed(list(self._jobs)):
            kept += len(job.settings.prompts)
            if kept > _MOST_IMAGES and job.state not in ("queued", "working"):
                self._jobs.remove(job)
