"""Assembly: from a checked config to the parts of a run."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch

from dit_run.conditions import Conditions, FrozenCaptions, LiveCaptions
from dit_run.config.resolve import with_facts
from dit_run.data.order import Plan
from dit_run.data.samples import Samples
from dit_run.factories import make
from dit_run.problems import InputError
from dit_run.protocols import VAE, Facts, Model, Scheduler, TextEncoder
from dit_run.registry import Registry
from dit_run.settings import Config
from dit_run.training.learner import Learner, seeded_build

__all__ = ["Encoders", "Parts", "assemble", "build_encoders", "build_learner", "build_scheduler"]


@dataclass(frozen=True)
class Encoders:
    """What turns captions and pictures into what the model sees, on its device."""

    text: TextEncoder
    vae: VAE


@dataclass(frozen=True)
class Parts:
    """Everything that a config names, built."""

    config: Config
    """With what became known on the way: adjusted defaults."""
    samples: Samples
    encoders: Encoders
    learner: Learner
    scheduler: Scheduler
    latent_shape: tuple[int, int, int]
    plan: Plan
