"""Throughput: tokens per second since the last reading, and the share of the device's peak that they take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from dit_run.assembly.model_cost import cost_of
from dit_run.compute.distributed import Processes
from dit_run.compute.timing import gemm_peak
from dit_run.reporting import Reporter
from dit_run.training.run_parts import RunParts
from dit_run.training.step import EncodedBatch

__all__ = ["Throughput", "build_throughput"]


@dataclass
class Throughput:
    """Counts the tokens of a run, which are the patches of its images; those of captions are not counted."""

    patch_size: int
    """Side of a patch in latent pixels."""
    processes: int
    """Number of processes; each has as many images in a step as this one."""
    flops_per_token: float = 0.0
    """Floating-point operations of a training step for a token."""
    peak: float = 0.0
    """Peak of matrix products on the device of this process (operations per second); 0 where it was not measured."""
    _tokens: int = 0
    """Tokens of this process since the last reading."""

    def add(self, batches: Sequence[EncodedBatch]) -> None:
        """Add the micro-batches of a step."""
        for batch in batches:
            _, height, width = batch.shape
            self._tokens += len(batch.latents) * (height // self.patch_size) * (width // self.patch_size)

    def read(self, seconds: float) -> dict[str, float]:
        """Return the values to log about the steps since the last reading, which took this long, and start again.

        ``tokens_per_second`` is that of all processes, ``share_of_peak``, where the peak is known, that of this one.
        """
        rate = self._tokens / max(seconds, 1e-9)
        self._tokens = 0
        share = {"share_of_peak": rate * self.flops_per_token / self.peak} if self.peak else {}
        return {"tokens_per_second": rate * self.processes, **share}


def build_throughput(parts: RunParts, processes: Processes, reporter: Reporter, *, profiled: bool) -> Throughput:
    """Return the counter of a run, in the process that logs with the peak of its device.

    A profile has a share of its own. The peak of a processor is not measured: that takes seconds, and depends on what
    else the machine does. A model whose operations cannot be counted without its weights trains all the same, with a
    notice.
    """
    patch_size: int = parts.denoiser.model.patch_size  # type: ignore[assignment]
    unmeasured = Throughput(patch_size, processes.count)
    if profiled or not processes.first or parts.device.type == "cpu":
        return unmeasured
    try:
        cost = cost_of(parts.config)  # with shapes of its own: building a model takes over encoders that train
    except Exception as error:  # noqa: BLE001 (the code of plugins fails in many ways, and the run can do without)
        reporter.notice(f"share_of_peak is not logged: the model's operations cannot be counted: {error}")
        return unmeasured
    _, height, width = cost.latents
    tokens = (height // patch_size) * (width // patch_size)
    # A backward pass takes twice the operations of a forward pass (Kaplan et al. 2020).
    flops = 3 * sum(part.training_flops for part in cost.parts)
    peak = gemm_peak(parts.device, parts.precision.dtype or torch.float32)
    return replace(unmeasured, flops_per_token=flops / tokens, peak=peak)
