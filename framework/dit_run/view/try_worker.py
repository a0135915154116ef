"""The process that makes images for the page: it loads a checkpoint, samples, and ends when its input ends.

It reads one JSON object per line from standard input, a job or the cancellation of one, and writes one per line to
standard output: progress, and the end of each job. Run as ``python -m dit_run.view.try_worker``.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from dit_run.problems import DitRunError

if TYPE_CHECKING:
    from dit_run.sampling.load_run import LoadedRun

__all__ = ["Worker"]

Job = Mapping[str, Any]


class Cancelled(Exception):
    """The job was cancelled."""


@dataclass
class Worker:
    """Maker of the images of one job after another, with the model of the last job kept."""

    send: Callable[[Mapping[str, Any]], None]
    cancelled: set[str] = field(default_factory=set)
    """Ids of jobs to give up; another thread adds to it."""
    _loaded: tuple[object, LoadedRun] | None = None

    def do(self, job: Job) -> None:
        """Make the images of a job and report how it ends."""
        name = job["job"]
        try:
            self.send({"job": name, "state": "done", **self._images(job)})
        except Cancelled:
            self.send({"job": name, "state": "cancelled"})
        except DitRunError as error:
            self.send({"job": name, "state": "failed", "error": str(error)})
        except Exception as error:  # noqa: BLE001 (the page shows it)
            traceback.print_exc()
            self.send({"job": name, "state": "failed", "error": f"{type(error).__name__}: {error}"})

    def _images(self, job: Job) -> dict[str, Any]:
        from dit_run.sampling.generate import generate_images
        from dit_run.sampling.sampling_request import PREVIEW_BATCH
        from dit_run.training.polling import polled

        run = self._run(job)
        settings = job["settings"]
        total = (settings["steps"] or run.config.sampling.steps) * -(-len(settings["prompts"]) // PREVIEW_BATCH)
        calls = 0

        def poll() -> None:
            nonlocal calls
            self._check(job)
            self.send({"job": job["job"], "state": "working", "progress": min(0.99, calls / total)})
            calls += 1

        with polled([run.pipeline.denoiser], poll):
            made = generate_images(
                run,
                settings["prompts"],
                batch_size=PREVIEW_BATCH,
                output=Path(job["output"]),
                steps=settings["steps"],
                guidance_scale=settings["guidance_scale"],
                sampler=settings["sampler"],
                seed=settings["seed"],
                size=tuple(settings["size"]) if settings["size"] else None,
                negative_prompt=settings["negative_prompt"],
            )
        return {"paths": list(map(str, made.paths)), "notices": list(run.notices)}

    def _run(self, job: Job) -> LoadedRun:
        """Return the run with the weights of a job's checkpoint: those of the last job where they are the same."""
        from dit_run.sampling.load_run import load_run

        settings = job["settings"]
        checkpoint = Path(job["run"]) / "checkpoints" / f"step-{settings['checkpoint']:08d}"
        saved = (checkpoint / "MANIFEST.json").stat().st_mtime_ns if checkpoint.is_dir() else None
        key = (job["run"], settings["checkpoint"], settings["averaged"], settings["device"], saved)
        if self._loaded is None or self._loaded[0] != key:
            self._loaded = None  # two models may not fit
            run = load_run(
                job["run"],
                checkpoint=str(settings["checkpoint"]),
                ema=settings["averaged"],
                device=settings["device"],
                allow_plugins=job["allow_plugins"],
            )
            self._loaded = (key, run)
        self._check(job)
        return self._loaded[1]

    def _check(self, job: Job) -> None:
        if job["job"] in self.cancelled:
            raise Cancelled


def main() -> None:
    """Do the jobs that come over standard input."""
    output = _own_output()
    lock = threading.Lock()

    def send(event: Mapping[str, Any]) -> None:
        with lock:
            output.write(json.dumps(event) + "\n")
            output.flush()

    worker = Worker(send)
    jobs: queue.Queue[Job] = queue.Queue()

    def listen() -> None:
        for line in sys.stdin:
            message = json.loads(line)
            if "cancel" in message:
                worker.cancelled.add(message["cancel"])
            else:
                jobs.put(message)
        os._exit(0)  # the page is gone, and nobody waits for the image that is being made

    threading.Thread(target=listen, daemon=True).start()
    while True:
        worker.do(jobs.get())


def _own_output() -> TextIO:
    """Return standard output, and send what libraries print there to standard error."""
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return output


if __name__ == "__main__":
    main()
