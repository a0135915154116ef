"""torch.compile of a model's repeated blocks, for the training step alone."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from math import ceil, prod

import torch

from dit_run.assembly.parts import Encoders
from dit_run.data.samples import Samples
from dit_run.model.conditioning import BUCKET
from dit_run.model.denoiser import Denoiser
from dit_run.problems import DitRunError

__all__ = [
    "CompilationFailed",
    "compile_blocks",
    "count_shapes",
    "restored_compiler_settings",
    "run_eagerly",
    "translate_compilation",
]

_GRAPHS = {"triton.cudagraphs": True}
"""Options of torch.compile for CUDA graphs, which launch all kernels of a model at once."""
_LEAST_GRAPHS = 64
"""Least limit of compiled graphs of a block (number); torch's own limit is 8."""


def restored_compiler_settings() -> contextlib.AbstractContextManager[object]:
    """Return a context after which the settings that :func:`compile_blocks` changes are as before."""
    import torch._dynamo.config as dynamo

    context: contextlib.AbstractContextManager[object] = dynamo.patch(
        optimize_ddp=dynamo.optimize_ddp,
        recompile_limit=dynamo.recompile_limit,
        accumulated_recompile_limit=dynamo.accumulated_recompile_limit,
    )
    return context


def count_shapes(samples: Samples, encoders: Encoders) -> int:
    """Return how many shapes micro-batches may have: sizes of images times padded lengths of captions."""
    sizes = 1 if samples.sizes is None else len(samples.sizes.sizes)
    return sizes * prod(ceil(text.max_length / BUCKET) for text in encoders.texts)


def compile_blocks(denoiser: Denoiser, shapes: int = 1, *, backend: str = "inductor", whole: bool = False) -> None:
    """Compile each repeated block in place, at first use; names of parameters, and so checkpoints, do not change.

    Shapes are static, so each of the ``shapes`` of micro-batches gets a graph of its own; equal blocks share their
    graphs, and torch keeps the compiled code on the disk for the next run. ``whole`` compiles the model as one, with
    CUDA graphs on a GPU; a model without a list of blocks is compiled as one, too.
    """
    import torch._dynamo.config as dynamo

    dynamo.optimize_ddp = False  # It would split blocks, which are small enough.
    # Beyond these limits torch runs the block uncompiled.
    dynamo.recompile_limit = max(dynamo.recompile_limit, _LEAST_GRAPHS, 2 * shapes)
    dynamo.accumulated_recompile_limit = max(dynamo.accumulated_recompile_limit, dynamo.recompile_limit)
    if whole:
        denoiser.model.compile(dynamic=False, backend=backend, options=_GRAPHS if backend == "inductor" else None)
        return
    lists = [module for module in denoiser.model.modules() if isinstance(module, torch.nn.ModuleList)]
    for block in (block for blocks in lists for block in blocks):
        block.compile(dynamic=False, backend=backend)
    if not lists:
        denoiser.model.compile(dynamic=False, backend=backend)


def run_eagerly() -> contextlib.AbstractContextManager[object]:
    """Return a context in which compiled blocks run eagerly, as validation and sampling do for their rare shapes."""
    if "torch._dynamo" not in sys.modules:
        return contextlib.nullcontext()
    stance: contextlib.AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
    return stance


class CompilationFailed(DitRunError):
    """torch.compile, or a compiler that it started, failed."""


@contextlib.contextmanager
def translate_compilation() -> Iterator[None]:
    """Translate errors of torch.compile, which hold pages of a compiler's output, into CompilationFailed."""
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith(("torch._inductor.exc", "torch._dynamo.exc")):
            raise
        raise CompilationFailed(
            f"training.compile_model: the model cannot be compiled: {_reason(error)}. Repair the compiler, or set "
            "compile_model: false; -v shows its whole output"
        ) from error


def _reason(error: Exception) -> str:
    """Return the line that says why: the first error of a compiler, or the first line."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    told = next((line for line in lines if "error:" in line.lower() or "No such file" in line), lines[0])
    return told.strip()[:300].rstrip(".")
