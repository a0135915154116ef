"""A training step of `configs/medium.yaml` compared with diffusers' PixArt of the same size.

768 wide, 16 layers, 12 heads; batch 8, 256 patches, 77 text tokens, all of them visible. Both models clip gradients to
a norm of 1 and update with a fused AdamW; in bf16 both run under autocast with fp32 weights. dit-run's step is that of
`dit-run train`; the other is ``diffusers.PixArtTransformer2DModel`` in a hand-written loop. Each model has its own
process, which waits during the steps of the others. The peak of matrix products is the best of squares of 1024 to 4096
in the precision of the steps, measured before and after.

The precision is bf16, or fp32 on a processor that only emulates bf16. Run it alone: ``python benchmarks/step.py
[--rounds 3] [--only eager] [--precision no] [--width 768 --layers 16 --heads 12]``. Bars: dit-run is at least 1.25
times as fast as PixArt, both eager and both compiled, and in bf16 at least 3.7 times as fast as PixArt in fp32; it
reaches 68 % of the peak, in no more memory; parameters and operations of both models differ by at most 5 %.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from measuring import Bar, Report, Table, child_process, finish, in_turn, parser, ratio
from peer_models import pixart_forward, pixart_model, pixart_step
from products import seconds_of_products

from dit_run.compute.devices import multiplies_bfloat16
from dit_run.compute.memory_meter import MemoryMeter
from dit_run.compute.precision import Precision
from dit_run.compute.timing import gemm_peak, operations, synchronise
from dit_run.config.resolve import resolve
from dit_run.protocols import TextStates
from dit_run.training.compile import compile_blocks, run_eagerly
from dit_run.training.step import EncodedBatch, Gradients, TrainingStep
from dit_run.training.step_loss import StepLoss

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "medium.yaml"
BATCH, SIDE, TOKENS, TEXT_WIDTH = 8, 32, 77, 768
OURS, PEER, EXACT = "dit-run", "PixArt", "PixArt in fp32"
GROUPS = {"eager": (OURS, PEER, EXACT), "compiled": (OURS, PEER)}
"""Contestants that take turns with one another; the last of three is left out where all compute in fp32."""
DTYPES = {"bf16": torch.bfloat16, "no": torch.float32}
FASTER, FASTER_THAN_EXACT, SHARE, SAME = 1.25, 3.7, 0.68, 0.05
WARM_UP = 2


@dataclass(frozen=True)
class Size:
    width: int
    layers: int
    heads: int


@dataclass(frozen=True)
class Contestant:
    """A contestant: one training step at a time, and a forward pass."""

    module: torch.nn.Module
    step: Callable[[], object]
    forward: Callable[[], Any]


@dataclass(frozen=True)
class Measured:
    """Measurements of a contestant."""

    seconds: list[float]
    memory: float
    """Peak memory (bytes)."""
    parameters: int
    flops: int
    """Operations of a step: three times those of its forward pass."""


def make(name: str, size: Size, device: torch.device, precision: str, *, compiled: bool) -> Contestant:
    """Build the contestant of this name."""
    torch.manual_seed(0)
    if name == OURS:
        return ours(size, device, precision, compiled=compiled)
    return _peer(size, device, "no" if name == EXACT else precision, compiled)


def ours(
    size: Size, device: torch.device, mixed_precision: str, *, compiled: bool, changes: Sequence[str] = ()
) -> Contestant:
    """Return the step of `dit-run train` for the medium config with this size and these overrides."""
    from dit_run.assembly.objectives import build_objectives
    from dit_run.model.denoiser import Denoiser, parameter_roles, trainable_parameters
    from dit_run.registry.factories import make as make_component

    sizes = [f"model.hidden_size={size.width}", f"model.num_layers={size.layers}", f"model.num_heads={size.heads}"]
    config = resolve(CONFIG, [*sizes, *changes]).config
    model = make_component(
        config.model.component,
        config.model.options,
        latent_channels=4,
        text_width=TEXT_WIDTH,
        pooled_width=TEXT_WIDTH,
        text_widths=(TEXT_WIDTH,),
        pooled_widths=(TEXT_WIDTH,),
    )
    denoiser = Denoiser(model).to(device).train()
    if compiled:
        compile_blocks(denoiser)
    optimizer = make_component(
        config.optimizer.component,
        config.optimizer.options,
        named_parameters=trainable_parameters(denoiser),
        roles=parameter_roles(denoiser),
        learning_rate=1e-4,
        device=device,
    )
    examples, precision = _examples(device), Precision.of(mixed_precision, device)
    training = TrainingStep(
        forward=StepLoss(denoiser, build_objectives(config, denoiser, device, total_steps=1), precision),
        scheduler_of=lambda shape: make_component(
            config.scheduler.component, config.scheduler.options, latent_shape=shape
        ),
        optimizer=optimizer,
        learning_rate_factor=lambda step: 1.0,
        precision=precision,
        max_grad_norm=1.0,
        seed=0,
        gradients=Gradients(1),
    )

    def forward() -> Any:
        with precision.autocast():
            return denoiser(examples.noise, examples.uniform * 1000, examples.text)

    return Contestant(denoiser, lambda: training.run(0, [examples], count=1), forward)


def _peer(size: Size, device: torch.device, mixed_precision: str, compiled: bool) -> Contestant:
    model = pixart_model(
        width=size.width, layers=size.layers, heads=size.heads, latent_side=SIDE, text_width=TEXT_WIDTH, device=device
    )
    if compiled:
        model.compile()
    examples = _examples(device)
    forward = pixart_forward(model, examples, Precision.of(mixed_precision, device))
    return Contestant(model, pixart_step(model, examples, forward), forward)


def _examples(device: torch.device) -> EncodedBatch:
    generator = torch.Generator().manual_seed(0)
    latents, noise = (torch.randn(BATCH, 4, SIDE, SIDE, generator=generator).to(device) for _ in range(2))
    text = TextStates(
        torch.randn(BATCH, TOKENS, TEXT_WIDTH, generator=generator).to(device),
        torch.ones(BATCH, TOKENS, dtype=torch.bool, device=device),
        torch.randn(BATCH, TEXT_WIDTH, generator=generator).to(device),
        torch.zeros(BATCH, dtype=torch.bool, device=device),
    )
    return EncodedBatch(latents, noise, torch.rand(BATCH, generator=generator).to(device), text)


# ----------------------------------------------------------------------------------------------------- taking turns


def serve(link: Connection, name: str, size: Size, precision: str, compiled: bool) -> None:
    """Run a contestant in its process: one step per message, until a message is False."""
    device = choose_device()
    contestant = make(name, size, device, precision, compiled=compiled)
    with run_eagerly(), operations() as counter, torch.no_grad():
        contestant.forward()
    meter, steps = MemoryMeter(device), 0
    while link.recv():
        if steps == 1:
            meter.reset()  # What compiling took is not the step's.
        began = time.perf_counter()
        contestant.step()
        synchronise(device)
        steps += 1
        link.send(time.perf_counter() - began)
    parameters = sum(parameter.numel() for parameter in contestant.module.parameters())
    link.send((meter.peak, parameters, 3 * counter.get_total_flops()))


def measure(group: str, size: Size, precision: str, rounds: int) -> dict[str, Measured]:
    """Measure all contestants of a group, in turn."""
    with ExitStack() as processes:
        links = {
            name: processes.enter_context(child_process(serve, name, size, precision, group == "compiled"))
            for name in GROUPS[group]
            if name != EXACT or precision != "no"
        }
        steps: dict[str, list[float]] = {name: [] for name in links}
        in_turn({name: partial(_turn, links[name], steps[name]) for name in links}, rounds, warm_up=WARM_UP)
        return {name: Measured(steps[name][WARM_UP:], *_end(link)) for name, link in links.items()}


def _turn(link: Connection, seconds: list[float]) -> None:
    link.send(True)
    seconds.append(link.recv())


def _end(link: Connection) -> tuple[float, int, int]:
    link.send(False)
    memory, parameters, flops = link.recv()
    return memory, parameters, flops


def choose_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


# ------------------------------------------------------------------------------------------------------------ report


def main() -> int:
    """Print the table; return 1 if a bar is missed."""
    arguments = _arguments()
    size = Size(arguments.width, arguments.layers, arguments.heads)
    device, precision = choose_device(), arguments.precision
    peak = gemm_peak(device, DTYPES[precision])
    measured = {group: measure(group, size, precision, arguments.rounds) for group in arguments.only or GROUPS}
    peak = max(peak, gemm_peak(device, DTYPES[precision]))
    products = seconds_of_products(make(OURS, size, device, precision, compiled=False).step, device)
    return finish(report(measured, precision, peak, products), arguments)


def _arguments() -> argparse.Namespace:
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=3, help="measured steps of each model")
    options.add_argument("--only", nargs="*", choices=GROUPS, help="groups to measure; the default is both")
    usual = "bf16" if multiplies_bfloat16(choose_device()) else "no"
    options.add_argument("--precision", choices=DTYPES, default=usual, help=f"precision (default here: {usual})")
    options.add_argument("--width", type=int, default=768)
    options.add_argument("--layers", type=int, default=16)
    options.add_argument("--heads", type=int, default=12)
    return options.parse_args()


def report(measured: Mapping[str, Mapping[str, Measured]], precision: str, peak: float, products: float) -> Report:
    """Return tables and bars; ``peak`` is in operations per second, ``products`` in seconds."""
    found = Report("A training step of the medium model")
    rows = [_row(group, name, shown, peak) for group in measured for name, shown in measured[group].items()]
    found.tables = [Table(["step", "seconds", "share of the peak", "peak memory"], rows)]
    for group, shown in measured.items():
        found.bars += _bars(group, shown, "fp32" if precision == "no" else precision)
    best = max(_share(shown[OURS], peak) for shown in measured.values())
    found.bars.append(Bar("share of the peak of matrix products", best, SHARE, ""))
    ours, peer = (next(iter(measured.values()))[name] for name in (OURS, PEER))
    for what, one, other in (("parameters", ours.parameters, peer.parameters), ("operations", ours.flops, peer.flops)):
        found.bars.append(
            Bar(f"relative difference from PixArt in {what}", abs(one / other - 1), SAME, "", at_most=True)
        )
    found.notes = [
        f"The peak is {peak / 1e9:,.0f} GFLOP/s. dit-run's step takes {ours.flops / 1e9:,.0f} GFLOP; the model has "
        f"{ours.parameters:,} parameters. The matrix products of the step alone, each repeated several times, take "
        f"{products:.3f} s, {ours.flops / products / peak:.0%} of the peak: this is the lower limit of the step."
    ]
    return found


def _bars(group: str, shown: Mapping[str, Measured], precision: str) -> list[Bar]:
    ours, peer = shown[OURS], shown[PEER]
    bars = [
        Bar(f"time of PixArt ÷ time of dit-run, {precision}, {group}", ratio(peer.seconds, ours.seconds), FASTER),
        Bar(
            f"memory of dit-run ÷ memory of PixArt, {precision}, {group}", ours.memory / peer.memory, 1.0, at_most=True
        ),
    ]
    if EXACT in shown:
        bars.append(
            Bar(
                f"time of PixArt in fp32 ÷ time of dit-run in {precision}, {group}",
                ratio(shown[EXACT].seconds, ours.seconds),
                FASTER_THAN_EXACT,
            )
        )
    return bars


def _row(group: str, name: str, shown: Measured, peak: float) -> list[str]:
    seconds, memory = statistics.median(shown.seconds), shown.memory / 1e9
    return [f"{name}, {group}", f"{seconds:.3f}", f"{_share(shown, peak):.0%}", f"{memory:.2f} GB"]


def _share(shown: Measured, peak: float) -> float:
    return shown.flops / statistics.median(shown.seconds) / peak


if __name__ == "__main__":
    raise SystemExit(main())
