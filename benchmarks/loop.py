"""Time of a step of `dit-run train`, compared with a bare PyTorch loop and with Accelerate.

All loops train the same model on the same batches from the same loader, with the same clipping and fused AdamW, in fp32
with batch 16. dit-run runs the whole command without checkpoints, samples and validation: random numbers by position,
meters, logs, signals. The three take turns of a few steps; ratios are medians over neighbouring turns. Bars: at most
1.05 times the bare loop, at most 1.0 times Accelerate (skipped if it is not installed).

Run it alone: ``python benchmarks/loop.py [--width 64 --layers 2] [--rounds 40]``; it takes about a minute.

This file is also a plugin file: the other loops take their turns in a callback.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dit_run import Component, Kind, hookimpl

if TYPE_CHECKING:
    from dit_run.protocols import Progress
    from dit_run.settings import Config

STEPS = 4
"""Steps per turn."""
WARM_UP = 4
"""Turns before the measured ones."""
BARS = {"bare PyTorch": 1.05, "Accelerate": 1.0}
Loop = Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class Turns:
    """Let other loops take turns between the steps of dit-run."""


@dataclass
class Rivals:
    """Time the steps of dit-run from one call to the next; after each of its turns every other loop has one."""

    loops: dict[str, Loop]
    seconds: dict[str, list[float]] = field(default_factory=dict)
    _since: float = 0.0

    def on_train_start(self, progress: Progress) -> None:
        self._since = time.perf_counter()

    def on_step_end(self, progress: Progress) -> None:
        self._note("dit-run", time.perf_counter() - self._since)
        if progress.step % STEPS == 0:
            for name, loop in self.loops.items():
                for _ in range(STEPS):
                    began = time.perf_counter()
                    loop()
                    self._note(name, time.perf_counter() - began)
        self._since = time.perf_counter()

    def on_train_end(self, progress: Progress) -> None:
        (progress.run_dir / "turns.json").write_text(json.dumps(self.seconds))

    def _note(self, name: str, seconds: float) -> None:
        self.seconds.setdefault(name, []).append(seconds)


def build(options: Turns, *, run_dir: Path) -> Rivals:
    from dit_run.config.resolve import resolve

    config = resolve(run_dir / "config.yaml").config
    loops = {"bare PyTorch": bare(config)}
    if importlib.util.find_spec("accelerate") is not None:
        loops["Accelerate"] = accelerated(config)
    return Rivals(loops)


@hookimpl
def dit_run_components() -> Iterable[Component]:
    return [Component(Kind.CALLBACK, "turns", Turns, build)]


def _parts(config: Config) -> tuple[Any, Any, Iterator[Any]]:
    """Return the model with its text encoder, the noise scheduler, and an endless loader of encoded batches."""
    import torch

    from dit_run.assembly.layout import Layout
    from dit_run.assembly.parts import build_denoiser, build_schedulers
    from dit_run.assembly.prepare import prepare
    from dit_run.training.batches import Visits, batches
    from dit_run.training.encoding import BatchEncoder

    device, training = torch.device("cpu"), config.training
    config, data, encoders = prepare(config, device=device)
    visits = Visits.of(config, data.train, encoders)
    loaded = batches(visits, Layout(training.batch_size, 1).micro_batches(0, 10**9))
    denoiser = build_denoiser(config, encoders, device).train()
    return denoiser, build_schedulers(config, encoders)((0, 0, 0)), map(BatchEncoder(encoders, device), loaded)


def _loss(denoiser: Any, scheduler: Any, examples: Any) -> Any:
    timesteps = scheduler.timesteps(examples.uniform)
    noisy = scheduler.add_noise(examples.latents, examples.noise, timesteps)
    target = scheduler.target(examples.latents, examples.noise, timesteps)
    return (denoiser(noisy, timesteps, examples.text) - target).square().mean()


def bare(config: Config) -> Loop:
    """Return a training loop as written by hand."""
    import torch

    denoiser, scheduler, examples = _parts(config)
    parameters = list(denoiser.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=config.training.learning_rate, weight_decay=0.01, fused=True)

    def step() -> None:
        loss = _loss(denoiser, scheduler, next(examples))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, config.training.max_grad_norm)
        optimizer.step()

    return step


def accelerated(config: Config) -> Loop:
    """Return the same loop as in Accelerate's documentation."""
    import torch
    from accelerate import Accelerator

    denoiser, scheduler, examples = _parts(config)
    optimizer = torch.optim.AdamW(
        denoiser.parameters(), lr=config.training.learning_rate, weight_decay=0.01, fused=True
    )
    accelerator = Accelerator(cpu=True)
    denoiser, optimizer = accelerator.prepare(denoiser, optimizer)

    def step() -> None:
        batch = next(examples)
        with accelerator.accumulate(denoiser):
            loss = _loss(denoiser, scheduler, batch)
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(denoiser.parameters(), config.training.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()

    return step


def main() -> int:
    """Print the table; return 1 if a bar is missed."""
    from measuring import Bar, Report, Table, finish, medians, parser, ratio

    options = parser(__doc__)
    options.add_argument("--width", type=int, default=64, help="hidden_size of the model")
    options.add_argument("--layers", type=int, default=2, help="num_layers of the model")
    options.add_argument("--rounds", type=int, default=40, help="measured turns of each loop")
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        taken = _train(Path(folder), arguments.width, arguments.layers, (WARM_UP + arguments.rounds) * STEPS)
    turns = {name: _turns(seconds) for name, seconds in taken.items()}
    rows = [[name, f"{1000 * seconds:.2f}"] for name, seconds in medians(turns).items()]
    bars = [
        Bar(f"time of dit-run ÷ time of {name}", ratio(turns["dit-run"], turns[name]), limit, at_most=True)
        for name, limit in BARS.items()
        if name in turns
    ]
    title = f"The training loop around a model of {arguments.layers} layers, width {arguments.width}"
    return finish(Report(title, [Table(["loop", "ms per step"], rows)], bars), arguments)


def _turns(seconds: list[float]) -> list[float]:
    """Return the median step of each measured turn."""
    starts = range(WARM_UP * STEPS, len(seconds), STEPS)
    return [statistics.median(seconds[start : start + STEPS]) for start in starts]


def _train(folder: Path, width: int, layers: int, steps: int) -> dict[str, list[float]]:
    """Return the seconds of each step, by name."""
    from dit_run.config.resolve import resolve
    from dit_run.reporting import Silent
    from dit_run.training.run import train

    config = folder / "loop.yaml"
    config.write_text(CONFIG.format(width=width, layers=layers, steps=steps, heads=width // 32, folder=folder))
    resolution = resolve(config, [f"plugins=[{Path(__file__).resolve()}]"])
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):  # noqa: PTH123
        train(resolution.config, resolution.registry, reporter=Silent())
    taken: dict[str, list[float]] = json.loads((folder / "run" / "turns.json").read_text())
    return taken


CONFIG = """
data: {{type: shapes, image_size: 32, num_samples: 2000}}
model: {{hidden_size: {width}, num_layers: {layers}, num_heads: {heads}, patch_size: 4, in_channels: 3, out_channels: 3,
  dropout: 0.0}}
vae: {{type: identity}}
text_encoder: {{type: words}}
scheduler: {{type: flow_matching}}
training: {{output_dir: {folder}/run, batch_size: 16, max_steps: {steps}, save_steps: 100000, save_every_n_epochs: null,
  num_workers: 0, mixed_precision: "no", logging_steps: 50, device: cpu}}
validation: {{every_n_steps: null}}
sampling: {{every_n_steps: null}}
callbacks: [{{type: turns}}]
"""

if __name__ == "__main__":
    raise SystemExit(main())
