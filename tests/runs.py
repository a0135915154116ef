"""Runs as tests see them: a tiny config, what a command answered, a run folder, read, and how a run is stopped."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forks import Forks

__all__ = [
    "CONFIG",
    "STOPPER",
    "AllStages",
    "Command",
    "Repository",
    "Result",
    "Run",
    "Train",
    "advised",
    "as_if_killed_after_saving",
    "stopped_on_two_processes",
    "stopped_twice",
    "stopping",
]

STOPPER = Path(__file__).parent / "acceptance" / "stopper.py"

CONFIG = """
data: {type: shapes, image_size: 16, size: 60, num_samples: null, train_split: 0.8}
model: {hidden_size: 16, num_layers: 1, num_heads: 2, patch_size: 4, in_channels: 3, out_channels: 3, dropout: 0.1}
vae: {type: identity}
text_encoder: {type: words, width: 8, num_layers: 1, num_heads: 2, buckets: 64}
scheduler: {type: flow_matching}
lr_scheduler: {type: constant, warmup_steps: 0}
training:
  output_dir: run
  batch_size: 4
  learning_rate: 0.02
  max_steps: 6
  save_steps: 3
  save_every_n_epochs: null
  logging_steps: 1
  mixed_precision: "no"
  use_ema: true
  ema_decay: 0.5
  num_workers: 0
  num_threads: 1
validation: {every_n_steps: 3, num_samples: 4, timestep_bins: 1}
sampling: {every_n_steps: null, num_images: 3, steps: 2, guidance_scale: 2.0}
trackers: []
"""


@dataclass(frozen=True)
class Result:
    """What a command answered."""

    status: int
    out: str
    err: str

    @property
    def words(self) -> str:
        """All that it said, on one line."""
        return " ".join((self.out + self.err).split())


def advised(result: Result) -> list[str]:
    """The words of the command that an error proposes, without the program."""
    (line,) = (line for line in result.err.splitlines() if line.startswith("  dit-run "))
    return shlex.split(line)[1:]


Command = Callable[..., Result]
Train = Callable[..., "Run"]
Repository = Callable[[str], Path]
AllStages = Callable[..., None]


@dataclass(frozen=True)
class Run:
    """A run folder, read."""

    path: Path

    @property
    def status(self) -> dict[str, Any]:
        return dict(json.loads((self.path / "status.json").read_text()))

    @property
    def metrics(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.path / "metrics.jsonl").read_text().splitlines()]

    @property
    def checkpoints(self) -> list[str]:
        return sorted(path.name for path in (self.path / "checkpoints").iterdir())

    def values(self, name: str) -> list[Any]:
        """What was logged under a name, in order."""
        return [line[name] for line in self.metrics if name in line]

    def tensors(self, file: str = "model", step: int | None = None) -> dict[str, Any]:
        """The tensors of a checkpoint's file, of the newest checkpoint where no step is given."""
        from safetensors.torch import load_file

        return load_file(self.file(f"{file}.safetensors", step))

    def file(self, name: str, step: int | None = None) -> Path:
        newest = self.checkpoints[-1] if step is None else f"step-{step:08d}"
        return self.path / "checkpoints" / newest / name

    def learnt(self, step: int | None = None) -> dict[str, bytes]:
        """The bytes of all that a checkpoint has learnt, by file: ``model``, ``ema`` and ``optimizer``, or parts."""
        files = {path.stem: path.read_bytes() for path in self.file("", step).glob("*.safetensors")}
        assert {stem.split("-")[0] for stem in files} - {"average"} == {"model", "ema", "optimizer"}
        return files

    def everything(self) -> dict[str, tuple[int, bytes]]:
        """Every file with its time and content, but for the lock."""
        files = sorted(path for path in self.path.rglob("*") if path.is_file() and path.name != "lock")
        return {str(path.relative_to(self.path)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def stopping(after: int, signal: str = "SIGTERM") -> tuple[str, str]:
    """Arguments with which a run sends itself a signal after a step; 0 sends none."""
    return f"plugins=[{STOPPER}]", f"callbacks=[{{type: stopper, after: {after}, signal: {signal}}}]"


def as_if_killed_after_saving(run: Run, step: int) -> None:
    """Bring a finished run to the state after the checkpoint of a step was saved, and nothing more."""
    for name in run.checkpoints:
        if name > f"step-{step:08d}":
            shutil.rmtree(run.path / "checkpoints" / name)
    for image in (run.path / "samples").iterdir():
        if image.stem >= f"step-{step:08d}":
            image.unlink()
    lines = (run.path / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run.path / "metrics.jsonl").write_text("".join(line for line in lines if json.loads(line)["step"] < step))
    (run.path / "status.json").write_text(json.dumps({"state": "running", "step": 0, "watched": 0}))


def stopped_twice(command: Command, words: Sequence[object], first: int, second: int) -> tuple[Run, Run]:
    """An uninterrupted run, and one that stops after two steps and continues, each time with other workers."""
    assert command(*words, "training.output_dir=whole").status == 0
    for after, workers, status in ((first, 1, 143), (second, 4, 143), (0, 0, 0)):
        said = command(*words, *stopping(after), f"training.num_workers={workers}", "training.output_dir=stopped")
        assert said.status == status, said.words
    return Run(Path("whole")), Run(Path("stopped"))


def stopped_on_two_processes(
    forks: Forks, words: Sequence[object], after: int, signal: str = "SIGTERM"
) -> tuple[Run, Run]:
    """An uninterrupted run on two processes, and one that a signal ends after a step and that continues."""
    for output, more, failed in (
        ("whole", (), False),
        ("run", stopping(after, signal), True),
        ("run", stopping(0), False),
    ):
        ended = forks.run(*words, "training.device=cpu", f"training.output_dir={output}", *more, processes=2)
        assert all(status != 0 if failed else status == 0 for status in ended.statuses), ended
    return Run(Path("whole")), Run(Path("run"))
