"""The promises of every kind."""

from __future__ import annotations

from collections.abc import Mapping

from dit_run.registry.components import Kind
from dit_run.testing import (
    callback,
    dataset,
    lr_scheduler,
    metric,
    model,
    optimizer,
    scheduler,
    text_encoder,
    tracker,
    vae,
)
from dit_run.testing.contract_error import Check

__all__ = ["CONTRACTS"]

CONTRACTS: Mapping[Kind, tuple[Check, ...]] = {
    Kind.DATASET: dataset.CHECKS,
    Kind.TEXT_ENCODER: text_encoder.CHECKS,
    Kind.VAE: vae.CHECKS,
    Kind.MODEL: model.CHECKS,
    Kind.SCHEDULER: scheduler.CHECKS,
    Kind.OPTIMIZER: optimizer.CHECKS,
    Kind.LR_SCHEDULER: lr_scheduler.CHECKS,
    Kind.TRACKER: tracker.CHECKS,
    Kind.METRIC: metric.CHECKS,
    Kind.CALLBACK: callback.CHECKS,
}
