"""Denoisers with trained weights: those that make images, and the weaker ones that guidance moves away from."""

from __future__ import annotations

from pathlib import Path

import torch

from dit_run.assembly.adaptation import refuse_other_base
from dit_run.assembly.parts import Encoders, build_denoiser
from dit_run.config.weaker_predictions import weaker_prediction
from dit_run.export.folder import TrainedWeights
from dit_run.model.denoiser import Denoiser
from dit_run.problems import InputError
from dit_run.protocols import OtherWeights
from dit_run.runs.checkpoint.weights import FIRST
from dit_run.runs.run_folder import RunFolder
from dit_run.sampling.checkpoint_names import named_checkpoint
from dit_run.sampling.trained_weights import read_weights
from dit_run.settings import Config

__all__ = ["trained_denoiser", "weaker_denoiser"]


def trained_denoiser(
    config: Config, encoders: Encoders, device: torch.device, source: Path, *, average: str | None
) -> tuple[Denoiser, TrainedWeights]:
    """Return the denoiser with the weights of a verified checkpoint or exported file, and what was read of these.

    Raises InputError for weights that do not fit.
    """
    denoiser = build_denoiser(config, encoders, device, base=True)
    weights = read_weights(source, average=average)
    refuse_other_base(denoiser, weights.base, where=str(source))
    denoiser.load_tensors(weights.tensors, where=str(source))
    denoiser.eval().requires_grad_(False)
    return denoiser, weights


def weaker_denoiser(
    config: Config,
    encoders: Encoders,
    device: torch.device,
    folder: RunFolder,
    source: Path,
    *,
    guided: tuple[Path, str | None] | None,
) -> Denoiser | None:
    """Return the denoiser that guidance moves away from, or None where that has no other weights.

    ``source`` is the checkpoint of a guidance that names none; ``guided`` has that of the weights that make images, and
    the name of its average; None for weights of no checkpoint. Raises InputError where the folder has no other weights.
    """
    weaker = weaker_prediction(config)
    if not isinstance(weaker, OtherWeights):
        return None
    if source.is_file():
        raise InputError(
            f"guidance {config.guidance.type} needs other weights of the run, and {folder.path} holds one set of "
            "weights; sample from the run, or add guidance.type=cfg"
        )
    name = source.name if weaker.checkpoint is None else str(weaker.checkpoint)
    average = FIRST if weaker.averaged else None
    path, _ = named_checkpoint(folder, name, average=average)
    denoiser, weights = trained_denoiser(config, encoders, device, path, average=average)
    if (path, weights.average) == guided:
        averaged = "" if weights.average is None else "averaged "
        raise InputError(
            f"guidance {config.guidance.type} would move away from the {averaged}weights of "
            f"{source.name} that it guides; choose others with guidance.checkpoint or guidance.weights"
        )
    return denoiser
