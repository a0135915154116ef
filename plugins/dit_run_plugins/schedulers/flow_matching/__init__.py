"""flow_matching: options of a straight path from noise to latents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from dit_run.options import PositiveFloat, acts_if

__all__ = ["FlowMatching"]


@dataclass(frozen=True, kw_only=True)
class FlowMatching:
    """Rectified flow (Liu et al. 2023, Lipman et al. 2023): x_t = (1 - t) latents + t noise, t from 0 (clean) to 1."""

    samplers = ("euler", "heun", "dpm-solver++")

    prediction_type: Literal["velocity", "sample"] = "velocity"
    """Output of the model: the velocity noise - latents, or the clean latents, which are easier to predict in pixel
    space (Li and He 2025). The loss is that of the velocity for both."""
    timestep_sampling: Literal["uniform", "logit_normal"] = "logit_normal"
    """Distribution of training timesteps: uniform, or mostly in the middle (Esser et al. 2024)."""
    logit_mean: Annotated[float, acts_if("timestep_sampling", "logit_normal")] = 0.0
    """Mean of the logit of t with `logit_normal`; above 0 means more noise."""
    logit_std: Annotated[PositiveFloat, acts_if("timestep_sampling", "logit_normal")] = 1.0
    """Standard deviation of the logit of t with `logit_normal`."""
    shift: PositiveFloat | None = 1.0
    """Shift of timesteps towards noise, in training and in sampling: t becomes shift t / (1 + (shift - 1) t). 1 shifts
    nothing; null computes it from the size of the latents."""
    shift_by: Annotated[Literal["pixels", "values"], acts_if("shift", None)] = "pixels"
    """Size of latents c × h × w that gives the shift: `pixels` sqrt(h w / 32²), as Stable Diffusion 3 does (Esser et
    al. 2024, equation 23), or `values` sqrt(c h w / (4 · 32²)), which counts channels too (Zheng et al. 2025)."""
