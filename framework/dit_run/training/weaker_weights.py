"""The weaker weights of a run that guides its previews by an earlier checkpoint of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from dit_run.assembly.parts import Encoders
from dit_run.config.weaker_predictions import weaker_prediction, weaker_step
from dit_run.model.denoiser import Denoiser
from dit_run.protocols import OtherWeights
from dit_run.runs.checkpoint.store import Checkpoints
from dit_run.runs.checkpoint.weights import FIRST
from dit_run.runs.run_folder import RunFolder
from dit_run.sampling.checkpoint_names import named_checkpoint
from dit_run.sampling.trained_denoiser import trained_denoiser
from dit_run.settings import Config

__all__ = ["WeakerWeights"]


@dataclass
class WeakerWeights:
    """The denoiser with the weights of an earlier checkpoint, loaded when it is there and first needed."""

    config: Config
    encoders: Encoders
    device: torch.device
    _denoiser: Denoiser | None = None

    @property
    def saved(self) -> bool:
        """True if the checkpoint is there."""
        step = weaker_step(self.config)
        return step is not None and Checkpoints(self._folder.checkpoints, "").path(step).is_dir()

    def denoiser(self) -> Denoiser | None:
        """Return the denoiser, or None before the checkpoint is saved. Raises InputError for a damaged checkpoint."""
        weaker = weaker_prediction(self.config)
        if self._denoiser is None and self.saved and isinstance(weaker, OtherWeights):
            average = FIRST if weaker.averaged else None
            path, _ = named_checkpoint(self._folder, str(weaker.checkpoint), average=average)
            self._denoiser, _ = trained_denoiser(self.config, self.encoders, self.device, path, average=average)
        return self._denoiser

    @property
    def _folder(self) -> RunFolder:
        return RunFolder(Path(self.config.training.output_dir))
