"""The parts of a tiny run, assembled as a real one is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dit_run import load_config
from dit_run.assembly.parts import Encoders, build_denoiser, build_guidance, build_schedulers
from dit_run.assembly.prepare import Data, prepare
from dit_run.model.denoiser import Denoiser
from dit_run.protocols import Scheduler
from dit_run.sampling.pipeline import Pipeline
from dit_run.settings import Config

__all__ = ["CONFIG", "CPU", "Parts", "assembled"]

CPU = torch.device("cpu")

CONFIG = """
data: {type: shapes, image_size: 16, size: 40, num_samples: null, train_split: 0.75}
model: {hidden_size: 16, num_layers: 1, num_heads: 2, patch_size: 4, in_channels: 3, out_channels: 3, dropout: 0.0}
vae: {type: identity}
text_encoder: {type: words, width: 8, num_layers: 1, num_heads: 2, buckets: 16}
scheduler: {type: flow_matching}
training: {batch_size: 4, max_steps: 6, mixed_precision: "no", num_workers: 0}
"""


@dataclass(frozen=True)
class Parts:
    """A denoiser whose every weight is drawn, so that its output depends on all it is given."""

    config: Config
    data: Data
    encoders: Encoders
    denoiser: Denoiser
    scheduler: Scheduler

    @property
    def pipeline(self) -> Pipeline:
        guidance = build_guidance(self.config, self.denoiser)
        return Pipeline.of(self.config, self.encoders, self.denoiser, lambda shape: self.scheduler, guidance, CPU)


def assembled(folder: Path, *overrides: str) -> Parts:
    """The parts of :data:`CONFIG` under ``section.key=value`` overrides."""
    path = folder / "tiny.yaml"
    path.write_text(CONFIG)
    config, data, encoders = prepare(load_config(path, *overrides), device=CPU)
    denoiser = build_denoiser(config, encoders, CPU)
    generator = torch.Generator().manual_seed(0)
    for parameter in denoiser.parameters():
        _draw(parameter, generator)
    shape = encoders.latent_shape(*[config.data.common.image_size] * 2)
    return Parts(config, data, encoders, denoiser.eval(), build_schedulers(config, encoders)(shape))


@torch.no_grad()
def _draw(parameter: Any, generator: torch.Generator) -> None:
    parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
