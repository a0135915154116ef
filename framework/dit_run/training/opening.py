"""The opening: what a run says of itself before its first step."""

from __future__ import annotations

from dit_run.assemble import Data
from dit_run.learner import trainable_parameters
from dit_run.training.loop import Loop

__all__ = ["opening"]


def opening(loop: Loop, data: Data) -> str:
    """What is trained, on what, and for how long; where it goes on, if it does."""
    parameters = sum(parameter.numel() for _, parameter in trainable_parameters(loop.learner))
    held_out = f", {len(data.validation):,} held out" if data.validation is not None else ""
    begin = f"goes on after step {loop.done:,}: " if loop.done else ""
    return (
        f"{begin}{parameters:,} parameters on {loop.processes.device}; {len(data.train):,} samples{held_out}; "
        f"{loop.total_steps:,} steps of {loop.layout.global_batch}"
    )
