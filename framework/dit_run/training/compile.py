"""torch.compile of a model's repeated blocks: in the training step, and nowhere else."""

from __future__ import annotations

import contextlib
import sys

import torch

from dit_run.model.denoiser import Denoiser

__all__ = ["as_written", "compile_blocks"]

_MOST_GRAPHS = 64
"""Of one block: captions come in buckets of lengths, and each is a shape of its own. torch's own limit is 8."""


def compile_blocks(denoiser: Denoiser) -> None:
    """Compile each repeated block in place, at first use: names of parameters, and so checkpoints, stay as they are.

    Shapes are static, so that each length of captions gets a graph made for it; equal blocks share their graphs, and
    torch keeps the compiled code on the disk for the next run. A model without a list of blocks is compiled whole.
    """
    import torch._dynamo.config

    torch._dynamo.config.optimize_ddp = False  # Blocks are small enough to be sent as they come; it would cut them up.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _MOST_GRAPHS)
    lists = [module for module in denoiser.model.modules() if isinstance(module, torch.nn.ModuleList)]
    for block in (block for blocks in lists for block in blocks):
        block.compile(dynamic=False)
    if not lists:
        denoiser.model.compile(dynamic=False)


def as_written() -> contextlib.AbstractContextManager[object]:
    """Within it compiled blocks run as they are written: validation and pictures come in shapes of their own, and are
    too few to be worth compiling for."""
    if "torch._dynamo" not in sys.modules:
        return contextlib.nullcontext()
    stance: contextlib.AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
    return stance
