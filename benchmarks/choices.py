"""Measure each special kernel for CPUs alone: a training step with it and the plain step, in turn.

A special kernel replaces plain PyTorch in the model or in the step: a custom autograd function, a custom operator, or a
setting of the allocator. It stays in the product only if it saves at least 15 % of a step on a CPU. The others are kept
in `arms/special_kernels.py`, so that the measurement can be repeated with other processors and versions of torch.

Each variant runs on one thread in a process of its own, which waits for its turn. The numbers are processor time, so
that other work on the machine changes little.

bfloat16 is the default where the processor has instructions for it. Elsewhere matrix products in bfloat16 are emulated,
up to 200 times slower than in fp32, and hide everything else. With ``--without-products``, matrix products and
attention return zeros at once: the savings are then upper limits for any processor.

Run it alone: ``python benchmarks/choices.py [--rounds 5] [--only NAME ...] [--models NAME ...] [--ways NAME ...]``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

import torch
from arms import special_kernels as special
from measuring import Report, Table, child_process, finish, parser, ratio
from step import Size, ours

CPU = torch.device("cpu")
WARM_UP = 2
WAYS = ("eager", "compiled")
DEFAULTS = ("model.norm=rmsnorm", "model.qk_norm=true", "model.mlp=swiglu")
MODELS = {"medium": (Size(768, 2, 12), ()), "default": (Size(768, 2, 12), DEFAULTS), "small": (Size(128, 6, 2), ())}
"""Sizes and options: the medium config with fewer layers, the default options, and a narrow model."""
Install = Callable[[], None]


@dataclass(frozen=True)
class Choice:
    """A special kernel, and the models and ways that it affects."""

    install: Install
    models: tuple[str, ...] = tuple(MODELS)
    ways: tuple[str, ...] = WAYS
    base: tuple[Install, ...] = ()
    """Changes of the product that both compared steps get."""


CHOICES = {
    "autograd function for RMSNorm": Choice(special.norm_function, models=("default",)),
    "autograd function for modulations": Choice(special.modulation_function),
    "autograd function for rotations": Choice(special.rotation_function),
    "autograd function for split heads": Choice(special.split_function),
    "weight gradients in four parts": Choice(special.weight_gradient_in_parts),
    "GELU left whole by torch.compile": Choice(special.gelu_operator, models=("medium", "small"), ways=("compiled",)),
    "SwiGLU gate computed again, autograd function": Choice(
        special.gate_function, models=("default",), base=(special.plain_gate,)
    ),
    "SwiGLU gate computed again, checkpoint": Choice(
        special.gate_checkpoint, models=("default",), base=(special.plain_gate,)
    ),
    "attention as three products": Choice(special.attention_by_products, base=(special.fused_attention,)),
    "gradient norm by rows": Choice(special.norm_by_rows),
    "allocator keeps freed memory": Choice(special.keep_freed_memory),
    "allocator keeps freed memory in huge pages": Choice(special.huge_pages),
}


def serve(
    link: Connection, installs: Sequence[Install], model: str, compiled: bool, precision: str, products: bool
) -> None:
    """Run a step of a variant for each true message; answer with its processor time in seconds."""
    torch.set_num_threads(1)
    for install in (*installs, *(() if products else (special.without_products,))):
        install()
    size, changes = MODELS[model]
    torch.manual_seed(0)
    step = ours(size, CPU, precision, compiled=compiled, changes=changes).step
    while link.recv():
        began = time.process_time()
        step()
        link.send(time.process_time() - began)


def measure(choice: Choice, rounds: int, *settings: object) -> tuple[list[float], list[float]]:
    """Return the seconds of plain steps and of steps with this choice, taken in turn."""
    variants = choice.base, (*choice.base, choice.install)
    with child_process(serve, variants[0], *settings) as plain, child_process(serve, variants[1], *settings) as other:

        def turn(link: Connection) -> float:
            link.send(True)
            return float(link.recv())

        pairs = [(turn(plain), turn(other)) for _ in range(WARM_UP + rounds)][WARM_UP:]
        for link in (plain, other):
            link.send(False)
    first, second = zip(*pairs, strict=True)
    return list(first), list(second)


def main() -> int:
    """Print the table."""
    arguments = _arguments()
    columns = [(model, way) for model in arguments.models for way in arguments.ways]
    rows, plain = [], {column: 0.0 for column in columns}
    for name in arguments.only:
        row = [name]
        for model, way in columns:
            if model not in CHOICES[name].models or way not in CHOICES[name].ways:
                row.append("")
                continue
            settings = (model, way == "compiled", arguments.precision, not arguments.without_products)
            before, after = measure(CHOICES[name], arguments.rounds, *settings)
            row.append(f"{1 - 1 / ratio(before, after):.1%}")
            plain[model, way] = statistics.median(before)
        rows.append(row)
        print(*row, sep=" | ", flush=True)
    rows.append(["seconds of the plain step", *(f"{plain[column]:.3f}" for column in columns)])
    head = ["share of the step that is saved by", *(f"{model}, {way}" for model, way in columns)]
    return finish(Report("Special kernels on a CPU", [Table(head, rows)]), arguments)


def _arguments() -> argparse.Namespace:
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=5, help="counted pairs of steps of each choice")
    options.add_argument("--only", nargs="*", choices=CHOICES, default=list(CHOICES), help="choices")
    options.add_argument("--models", nargs="*", choices=MODELS, default=list(MODELS))
    options.add_argument("--ways", nargs="*", choices=WAYS, default=list(WAYS))
    native = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    options.add_argument("--precision", choices=("bf16", "no"), default="bf16" if native else "no")
    options.add_argument("--without-products", action="store_true", help="leave matrix products out")
    return options.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
