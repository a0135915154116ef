"""The parts that a run, a check and a plan build alike: what trains, its averages, its scheduler and its data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from dit_run.assembly.averages import build_average_shares
from dit_run.assembly.objectives import ActiveObjective, build_objectives, features_of
from dit_run.assembly.optimization import build_learning_rate_factor, build_optimizer
from dit_run.assembly.parts import Encoders, build_denoiser, build_guidance, build_schedulers
from dit_run.assembly.prepare import Data
from dit_run.compute.precision import Precision
from dit_run.compute.sharding import Sharding
from dit_run.config.weaker_predictions import weaker_prediction, weaker_step
from dit_run.data.samples import Samples
from dit_run.model.conditioning import Conditions
from dit_run.model.denoiser import Denoiser
from dit_run.protocols import Guidance, LearningRateFactor, OtherWeights, SchedulerOf
from dit_run.sampling.pipeline import Pipeline
from dit_run.settings import Config
from dit_run.training.average import Average
from dit_run.training.batches import FeatureVisits, Visits
from dit_run.training.encoding import BatchEncoder
from dit_run.training.shared_encoders import shareable, shared_conditions
from dit_run.training.step import Gradients, TrainingStep
from dit_run.training.step_loss import StepLoss
from dit_run.training.step_timer import StepTimer
from dit_run.training.weaker_weights import WeakerWeights
from dit_run.training.whole_copies import WholeCopies

__all__ = ["RunParts"]


@dataclass(frozen=True)
class RunParts:
    """The parts of a config on one device."""

    config: Config
    data: Data
    encoders: Encoders
    device: torch.device
    denoiser: Denoiser
    averages: Mapping[str, Average[Denoiser]]
    """Averages of the denoiser's weights by name. The first one makes images and is evaluated."""
    scheduler_of: SchedulerOf
    """The scheduler of each latent shape that is trained on."""
    objectives: tuple[ActiveObjective, ...]
    """The losses whose sum is trained."""
    guidance: Guidance
    """The guidance of previews and of images for metrics."""
    weaker: WeakerWeights
    """The weights of an earlier checkpoint, for a guidance that moves away from them."""
    sharding: Sharding | None = None
    """Shards of the denoiser and its averages; None where each process has all weights."""
    whole: WholeCopies | None = None
    """Copies to evaluate in place of sharded denoisers and text encoders; :attr:`encoders` has those of the latter."""
    step_conditions: Conditions | None = None
    """Captions to conditions in a step, where text encoders are sharded; all processes call them together."""

    @classmethod
    def build(
        cls,
        config: Config,
        data: Data,
        encoders: Encoders,
        device: torch.device,
        *,
        denoiser: Denoiser | None = None,
        objectives: tuple[ActiveObjective, ...] | None = None,
        sharding: Sharding | None = None,
    ) -> RunParts:
        """Build the denoiser with initial weights, unless it is given, its averages, the scheduler and the guidance.

        ``objectives`` are those of a denoiser that is given; without them all act at every step, as in a trial. With
        ``sharding`` weights and averages stay in main memory, from where they are sharded before the first step;
        frozen text encoders that work in the step are sharded here.
        """
        place = device if sharding is None else torch.device("cpu")
        denoiser = build_denoiser(config, encoders, place) if denoiser is None else denoiser
        if objectives is None:
            objectives = build_objectives(config, denoiser, device, latent_factor=encoders.vae.factor)
        denoiser = denoiser.to(place)
        averages = {name: Average(denoiser, share) for name, share in build_average_shares(config).items()}
        whole, step_conditions = None, None
        if sharding is not None:
            shared = shareable(encoders, device)
            whole = WholeCopies(_by_ending(denoiser, averages), device, [*shared.values()])
            step_conditions = shared_conditions(encoders, shared, sharding)
            encoders = encoders.with_texts(dict(zip(shared, whole.encoders, strict=True)))
        return cls(
            sharding=sharding,
            whole=whole,
            step_conditions=step_conditions,
            config=config,
            data=data,
            encoders=replace(encoders, features=features_of(objectives)),
            device=device,
            denoiser=denoiser,
            averages=averages,
            scheduler_of=build_schedulers(config, encoders),
            objectives=objectives,
            guidance=build_guidance(config, denoiser),
            weaker=WeakerWeights(config, encoders, device),
        )

    @property
    def precision(self) -> Precision:
        return Precision.of(self.config.training.mixed_precision, self.device)

    @property
    def logged(self) -> tuple[str, ...]:
        """Names of the values that the objectives log."""
        return tuple(name for each in self.objectives for name in each.logged)

    def step_loss(self) -> StepLoss:
        """Return the loss of a micro-batch, with all that trains."""
        return StepLoss(self.denoiser, self.objectives, self.precision)

    @property
    def evaluated(self) -> Mapping[str, Denoiser]:
        """The denoisers to evaluate, by the ending of names of values: the live weights and their first average."""
        return _by_ending(self.denoiser, self.averages) if self.whole is None else self.whole.copies

    @property
    def pipeline(self) -> Pipeline:
        """Pipeline of the first average where there is one, else of the live weights."""
        denoiser = list(self.evaluated.values())[-1]
        guidance, other = self._guided()
        return Pipeline.of(
            self.config,
            self.encoders,
            denoiser,
            self.scheduler_of,
            guidance,
            self.device,
            self.data.scalar_means,
            other,
        )

    def _guided(self) -> tuple[Guidance | None, Denoiser | None]:
        """Return the guidance and the denoiser that it moves away from; neither before its checkpoint is saved."""
        if not isinstance(weaker_prediction(self.config), OtherWeights):
            return self.guidance, None
        other = self.evaluated[""] if weaker_step(self.config) is None else self.weaker.denoiser()
        return (self.guidance, other) if other is not None else (None, None)

    def visits(
        self, samples: Samples | None = None, *, caption_dropout: float | None = None, features: bool = True
    ) -> Visits:
        """Return the visits to some samples, by default to the training samples.

        Without ``features`` they leave out what objectives alone read.
        """
        chosen = self.data.train if samples is None else samples
        visits = Visits.of(self.config, chosen, self.encoders, caption_dropout=caption_dropout)
        return replace(visits, features=self._feature_visits) if features else visits

    @property
    def _feature_visits(self) -> dict[str, FeatureVisits]:
        step, cached = self.data.run_length.global_batch, self.encoders.cached.features
        return {
            each.name: FeatureVisits(cached.get(each.name), each.start * step, each.end * step)
            for each in self.objectives
            if each.name in self.encoders.features
        }

    def encoder(self) -> BatchEncoder:
        """Return the encoder of batches for evaluation, in which each process works by itself."""
        return BatchEncoder(self.encoders, self.device, normalization=self.denoiser.normalization)

    def step_encoder(self, timer: StepTimer) -> BatchEncoder:
        """Return the encoder of the micro-batches of steps, which all processes encode together."""
        return replace(self.encoder(), timer=timer, conditions=self.step_conditions)

    def learning_rate_factor(self) -> LearningRateFactor:
        """Return the factor on the peak learning rate as a function of the step."""
        return build_learning_rate_factor(self.config, self.data.run_length.total_steps)

    def training_step(
        self,
        *,
        learning_rate_factor: LearningRateFactor,
        forward: nn.Module | None = None,
        gradients: Gradients | None = None,
        timer: StepTimer | None = None,
    ) -> TrainingStep:
        """Build the step over all that trains.

        ``forward`` is the loss or its wrapper, if it has one; without ``gradients`` a step is one micro-batch of this
        process.
        """
        return TrainingStep(
            forward=forward or self.step_loss(),
            scheduler_of=self.scheduler_of,
            optimizer=build_optimizer(
                self.config, self.denoiser, self.device, whole=self.sharding is not None and self.sharding.exact
            ),
            learning_rate_factor=learning_rate_factor,
            precision=self.precision,
            max_grad_norm=self.config.training.max_grad_norm or None,
            seed=self.config.training.seed,
            gradients=gradients or Gradients(1),
            timer=timer,
        )


def _by_ending(denoiser: Denoiser, averages: Mapping[str, Average[Denoiser]]) -> dict[str, Denoiser]:
    first = next(iter(averages.values()), None)
    return {"": denoiser} | ({} if first is None else {"_ema": first.module})
