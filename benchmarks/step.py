"""A training step of the medium model beside diffusers' PixArt transformer of the same size, and the machine's limit.

768 wide, 16 layers, 12 heads; batch 8, 256 patches, 77 text tokens, none of them trimmed. Both clip gradients to a
norm of 1 and update by a fused AdamW; in bf16 both run under autocast with fp32 weights. Ours is the step of
`dit-run train`; the peer is ``diffusers.PixArtTransformer2DModel`` in the loop that one writes by hand. The contestants
take turns; medians. Each one's peak memory comes from a process of its own. The peak of matrix products is the best of
squares of 1024 to 4096 in bf16, in the same run.

Run it alone: ``python benchmarks/step.py [--rounds 3] [--compiled] [--width 768 --layers 16 --heads 12]``. Bars: PixArt
in bf16 takes at least 1.5 times as long as ours, in fp32 at least 3.7 times; ours reaches 68 % of the peak, in no more
memory.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from dit_run.precision import Precision
from dit_run.protocols import TextStates
from dit_run.training.footprint import Footprint
from dit_run.training.peak import gemm_peak, operations, synchronise
from dit_run.training.step import Examples, LocalGradients, TrainingStep

BATCH, SIDE, TOKENS, TEXT_WIDTH = 8, 32, 77, 768
NAMES = ("dit-run bf16", "PixArt bf16", "PixArt fp32")
BARS = {"PixArt bf16": 1.5, "PixArt fp32": 3.7}
PEAK_BAR = 0.68
SECONDS = 25.0
"""Of a round on two cores of 2023."""


@dataclass(frozen=True)
class Size:
    width: int
    layers: int
    heads: int


@dataclass(frozen=True)
class Contestant:
    """One step at a time, and the operations of a forward pass."""

    step: Callable[[], object]
    forward: Callable[[], Any]


def make(name: str, size: Size, device: torch.device, *, compiled: bool) -> Contestant:
    """The contestant of this name."""
    torch.manual_seed(0)
    build = _ours if name.startswith("dit-run") else _peer
    return build(size, device, "bf16" if "bf16" in name else "no", compiled)


def _ours(size: Size, device: torch.device, mixed_precision: str, compiled: bool) -> Contestant:
    from dit_run.learner import Learner, parameter_roles, trainable_parameters
    from dit_run.training.compiling import compile_blocks
    from dit_run_plugins.models.dit import Dit
    from dit_run_plugins.models.dit.network import build as build_model
    from dit_run_plugins.optimizers.adamw import AdamW
    from dit_run_plugins.optimizers.adamw import build as build_optimizer
    from dit_run_plugins.schedulers.flow import build as build_scheduler
    from dit_run_plugins.schedulers.flow_matching import FlowMatching

    options = Dit(hidden_size=size.width, num_layers=size.layers, num_heads=size.heads, dropout=0.0)
    model = build_model(options, latent_channels=4, text_width=TEXT_WIDTH, pooled_width=TEXT_WIDTH)
    learner = Learner(model).to(device).train()
    if compiled:
        compile_blocks(learner)
    optimizer = build_optimizer(
        AdamW(),
        named_parameters=trainable_parameters(learner),
        roles=parameter_roles(learner),
        learning_rate=1e-4,
        device=device,
    )
    examples, precision = _examples(device), Precision.of(mixed_precision, device)
    training = TrainingStep(
        forward=learner,
        scheduler=build_scheduler(FlowMatching(), latent_shape=(4, SIDE, SIDE)),
        optimizer=optimizer,
        learning_rate_factor=lambda step: 1.0,
        precision=precision,
        max_grad_norm=1.0,
        seed=0,
        gradients=LocalGradients(1),
    )

    def forward() -> Any:
        with precision.autocast():
            return learner(examples.noise, examples.uniform * 1000, examples.text)

    return Contestant(lambda: training.run(0, [examples], count=1), forward)


def _peer(size: Size, device: torch.device, mixed_precision: str, compiled: bool) -> Contestant:
    from diffusers import PixArtTransformer2DModel

    model = PixArtTransformer2DModel(
        num_attention_heads=size.heads,
        attention_head_dim=size.width // size.heads,
        in_channels=4,
        out_channels=4,
        num_layers=size.layers,
        cross_attention_dim=size.width,
        sample_size=SIDE,
        patch_size=2,
        caption_channels=TEXT_WIDTH,
        use_additional_conditions=False,
    )
    model = model.to(device).train()
    if compiled:
        model.compile()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01, fused=True)
    examples, precision = _examples(device), Precision.of(mixed_precision, device)
    text, timesteps = examples.text, examples.uniform * 1000
    assert isinstance(text, TextStates)

    def forward() -> Any:
        with precision.autocast():
            return model(
                torch.lerp(examples.latents, examples.noise, examples.uniform[:, None, None, None]),
                encoder_hidden_states=text.tokens,
                encoder_attention_mask=text.mask,
                timestep=timesteps,
                return_dict=False,
            )[0]

    def step() -> None:
        loss = (forward().float() - (examples.noise - examples.latents)).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return Contestant(step, forward)


def _examples(device: torch.device) -> Examples:
    generator = torch.Generator().manual_seed(0)
    latents, noise = (torch.randn(BATCH, 4, SIDE, SIDE, generator=generator).to(device) for _ in range(2))
    text = TextStates(
        torch.randn(BATCH, TOKENS, TEXT_WIDTH, generator=generator).to(device),
        torch.ones(BATCH, TOKENS, dtype=torch.bool, device=device),
        torch.randn(BATCH, TEXT_WIDTH, generator=generator).to(device),
        torch.zeros(BATCH, dtype=torch.bool, device=device),
    )
    return Examples(latents, noise, torch.rand(BATCH, generator=generator).to(device), text)


def step_operations(contestant: Contestant) -> int:
    """Floating-point operations of a step: three times those of its forward pass."""
    with operations() as counter, torch.no_grad():
        contestant.forward()
    return 3 * counter.get_total_flops()


def measure(size: Size, device: torch.device, rounds: int, *, compiled: bool) -> dict[str, list[float]]:
    """Seconds of each contestant's steps, in turns; one more before that warms up."""
    contestants = {name: make(name, size, device, compiled=compiled) for name in NAMES}
    taken: dict[str, list[float]] = {name: [] for name in NAMES}
    for number in range(1 + rounds):
        for name, contestant in contestants.items():
            synchronise(device)
            began = time.perf_counter()
            contestant.step()
            synchronise(device)
            if number:
                taken[name].append(time.perf_counter() - began)
    return taken


def peak_memory(name: str, arguments: argparse.Namespace) -> float:
    """Bytes, from a process of its own."""
    flags = ["--compiled"] * arguments.compiled
    size = [f"--{key}={getattr(arguments, key)}" for key in ("width", "layers", "heads")]
    command = [sys.executable, __file__, "--memory-of", name, *size, *flags]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[-1])


def _print_memory(name: str, size: Size, device: torch.device, *, compiled: bool) -> None:
    footprint = Footprint(device)
    contestant = make(name, size, device, compiled=compiled)
    for _ in range(2):
        contestant.step()
    print(footprint.peak)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="steps of each that are counted")
    parser.add_argument("--compiled", action="store_true", help="torch.compile both")
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--memory-of", choices=NAMES, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    """Print the table; exit status 1 where a bar is missed."""
    arguments = _arguments()
    size = Size(arguments.width, arguments.layers, arguments.heads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if arguments.memory_of:
        _print_memory(arguments.memory_of, size, device, compiled=arguments.compiled)
        return 0
    print(f"about {SECONDS * (arguments.rounds + 4) / 60:.0f} minutes on two cores", flush=True)
    memory = {name: peak_memory(name, arguments) for name in NAMES}
    flops = {name: step_operations(make(name, size, device, compiled=False)) for name in NAMES[:2]}
    peak = gemm_peak(device, torch.bfloat16)
    taken = measure(size, device, arguments.rounds, compiled=arguments.compiled)
    return _report(taken, memory, flops, peak)


def _report(taken: dict[str, list[float]], memory: dict[str, float], flops: dict[str, int], peak: float) -> int:
    ours = statistics.median(taken[NAMES[0]])
    share = flops[NAMES[0]] / ours / peak
    print("| step | seconds | times ours | peak memory |\n|---|---|---|---|")
    for name, seconds in taken.items():
        median = statistics.median(seconds)
        print(f"| {name} | {median:.3f} | {median / ours:.2f} | {memory[name] / 1e9:.2f} GB |")
    print(f"\nours reaches {share:.0%} of the {peak / 1e9:,.0f} GFLOP/s of matrix products")
    print(f"a step of ours is {flops[NAMES[0]] / flops[NAMES[1]]:.3f} of PixArt's operations")
    missed = [name for name, bar in BARS.items() if statistics.median(taken[name]) < bar * ours]
    return int(bool(missed) or share < PEAK_BAR or memory[NAMES[0]] > memory["PixArt bf16"])


if __name__ == "__main__":
    raise SystemExit(main())
