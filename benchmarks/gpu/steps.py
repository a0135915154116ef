"""Training steps of the shipped configs on made-up latents and captions."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from dit_run import load_config
from dit_run.compute.precision import Precision
from dit_run.protocols import TextStates
from dit_run.settings import Config
from dit_run.training.step import EncodedBatch, Gradients, TrainingStep
from dit_run.training.step_loss import StepLoss

from ..cards import encoders_of, operations_of
from .trial import ROOT, Part, Parts, Trial, Values, choose_device, seconds_of

TINY = (
    "model.hidden_size=32",
    "model.num_layers=2",
    "model.num_heads=2",
    "model.attention_head_dim=null",
    "training.batch_size=2",
    "data.image_size=64",
    "training.mixed_precision=no",
)
CONFIGS = ("medium", "train_config", "small", "large")
TOKENS = 32


def shipped(name: str, trial: Trial, *changes: str) -> Config:
    """Return a shipped config, with a tiny model in a tiny trial."""
    own = (*(TINY if trial.tiny else ()), "training.init_from=null", *changes)
    return load_config(ROOT / "configs" / f"{name}.yaml", *own)


class Step:
    """The training step of a config on one batch, made up unless it is given."""

    def __init__(self, config: Config, encoders: Any = None, batch: EncodedBatch | None = None) -> None:
        from dit_run.assembly.objectives import build_objectives
        from dit_run.assembly.optimization import build_optimizer
        from dit_run.assembly.parts import build_denoiser, build_schedulers

        device = choose_device()
        self.size = config.training.batch_size
        encoders = encoders or encoders_of(config)
        self.denoiser = build_denoiser(config, encoders, device).train()
        self.batch = batch or made_up_batch(config, encoders, device)
        self.precision = Precision.of(config.training.mixed_precision, device)
        objectives = build_objectives(config, self.denoiser, device, total_steps=1)
        self.step = TrainingStep(
            forward=StepLoss(self.denoiser, objectives, self.precision),
            scheduler_of=build_schedulers(config, encoders),
            optimizer=build_optimizer(config, self.denoiser, device),
            learning_rate_factor=lambda step: 1.0,
            precision=self.precision,
            max_grad_norm=config.training.max_grad_norm,
            seed=0,
            gradients=Gradients(1),
        )

    @property
    def text(self) -> TextStates:
        assert isinstance(self.batch.text, TextStates)
        return self.batch.text

    def run(self) -> None:
        self.step.run(0, [self.batch], count=1)


def made_up_batch(config: Config, encoders: Any, device: torch.device) -> EncodedBatch:
    """Return random latents, noise and states of captions of 8 to 32 tokens."""
    count, side = config.training.batch_size, config.data.common.image_size
    shape, width, generator = encoders.latent_shape(side, side), encoders.texts[0].width, torch.Generator()
    lengths = torch.randint(8, TOKENS + 1, (count,), generator=generator)

    def normal(*dims: int) -> torch.Tensor:
        return torch.randn(count, *dims, generator=generator).to(device)

    text = TextStates(
        normal(TOKENS, width),
        (torch.arange(TOKENS) < lengths[:, None]).to(device),
        normal(width),
        torch.zeros(count, dtype=torch.bool, device=device),
    )
    uniform = torch.rand(count, generator=generator).to(device)
    return EncodedBatch(normal(*shape), normal(*shape), uniform, text)


def step(name: str, compiled: bool, trial: Trial) -> Values:
    """Measure a step: images per second, share of the peak, memory and its estimate, waits of the host."""
    from dit_run.compute.memory_meter import MemoryMeter
    from dit_run.planning.memory_estimate import estimate_step
    from dit_run.training.compile import compile_blocks

    config, device = shipped(name, trial, "training.use_ema=false"), choose_device()
    meter = MemoryMeter(device)
    meter.reset()
    own = Step(config)
    if compiled and device.type == "cuda":
        compile_blocks(own.denoiser)
    seconds = seconds_of(own.run, trial, least=1.0)
    memory = meter.peak  # before the products that follow
    estimate = estimate_step(config, encoders_of(config), batch_size=own.size, accumulates=False)
    peak = _peak(own.precision.dtype or torch.float32, trial)
    return {
        "images_per_second": own.size / seconds,
        "milliseconds": 1e3 * seconds,
        "share_of_peak": operations_of(config) * own.size / seconds / peak,
        "peak_tflops": peak / 1e12,
        "memory_gib": memory / 2**30,
        "estimate_gib": estimate.peak / 2**30,
        "waits": waits_of(own.run),
    }


def _peak(dtype: torch.dtype, trial: Trial) -> float:
    from dit_run.compute.timing import gemm_peak

    return 1e9 if trial.tiny else gemm_peak(choose_device(), dtype)


def waits_of(call: Callable[[], object]) -> int:
    """Return how often the host waits for the device in one more call, by torch's own warnings."""
    if choose_device().type != "cuda":
        return 0
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in caught)


def steps(compiled: bool) -> Parts:
    """Return a part for each config."""
    kind, limit = ("compiled", 90) if compiled else ("eager", 45)
    return {f"step-{name}-{kind}": Part(limit, partial(step, name, compiled)) for name in CONFIGS}
