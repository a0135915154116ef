"""The loss of a micro-batch: the weighted sum of the objectives that act at a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from dit_run.assembly.objectives import ActiveObjective
from dit_run.compute.precision import Precision
from dit_run.protocols import ModelOutput, NoisyBatch, ObjectiveLoss, Scheduler
from dit_run.registry.factories import PluginFault
from dit_run.training.step import EncodedBatch

__all__ = ["StepLoss", "denoising_loss"]


def denoising_loss(denoiser: nn.Module, scheduler: Scheduler, examples: EncodedBatch, precision: Precision) -> Tensor:
    """Return the loss of each sample, float32 [n]: weight(t) · mean((prediction - target)²)."""
    batch = _noised(examples, scheduler)
    return batch.denoising_loss(_Predictions(denoiser, batch, examples, precision, ())().output)


class StepLoss(nn.Module):
    """The loss of a micro-batch. All that trains is in this module, so that a wrapper sees every call of it."""

    def __init__(self, denoiser: nn.Module, objectives: Sequence[ActiveObjective], precision: Precision) -> None:
        """Take the denoiser, which has the modules that the objectives train."""
        super().__init__()
        self.denoiser = denoiser
        self._objectives = tuple(objectives)
        self._precision = precision

    def forward(self, examples: EncodedBatch, scheduler: Scheduler, step: int) -> tuple[Tensor, Tensor]:
        """Return the losses of the samples, float32 [n], and the detached values for the log, [2q].

        The q values are those of :attr:`ActiveObjective.logged` of each objective, 0 where it does not act; then 1 for
        each that acts, else 0.
        """
        batch = _noised(examples, scheduler)
        acting = [each for each in self._objectives if each.acts(step)]
        taps = tuple(dict.fromkeys(tap for each in acting for tap in each.taps))
        predict = _Predictions(self.denoiser, batch, examples, self._precision, taps)
        total: Tensor | None = None
        values: list[Tensor] = []
        acts: list[Tensor] = []
        for each in self._objectives:
            own: list[Tensor] = [batch.timesteps.new_zeros(())] * len(each.logged)
            if each in acting:
                own_batch = replace(batch, features=examples.features.get(each.name))
                with self._precision.autocast():
                    loss = _checked(each, each.objective(own_batch, predict), len(batch.latents))
                total = _added(total, loss.samples, each.weight)
                own = _logged(each, loss)
            values += own
            # Made on the device: a copy of a number of the host would wait for it.
            acts += [batch.timesteps.new_full((), float(each in acting))] * len(own)
        assert total is not None  # a config without an objective for every step is refused
        return total, torch.stack([*values, *acts]) if values else total.new_zeros(0)


def _checked(each: ActiveObjective, loss: ObjectiveLoss, count: int) -> ObjectiveLoss:
    """Return the loss of an objective; raise PluginFault for another shape, which sums would hide."""
    if loss.samples.shape != (count,):
        raise PluginFault(
            f"objective {each.name} returned losses of the shape {list(loss.samples.shape)} for {count} samples; "
            "return one number for each sample (a fault of the plugin)"
        )
    return loss


def _added(total: Tensor | None, losses: Tensor, weight: float) -> Tensor:
    """Return a sum with further losses; a single objective of weight 1 is left as it is, bit for bit."""
    weighted = losses if weight == 1 else weight * losses
    return weighted if total is None else total + weighted


def _logged(each: ActiveObjective, loss: ObjectiveLoss) -> list[Tensor]:
    parts = [loss.parts[name] for name in each.parts]
    means = [values.detach().float().mean() for values in [loss.samples, *parts]]
    return means[-len(each.logged) :] if each.logged else []


def _noised(examples: EncodedBatch, scheduler: Scheduler) -> NoisyBatch:
    timesteps = scheduler.timesteps(examples.uniform)
    return NoisyBatch(
        scheduler=scheduler,
        latents=examples.latents,
        noise=examples.noise,
        timesteps=timesteps,
        noisy=scheduler.add_noise(examples.latents, examples.noise, timesteps),
        target=scheduler.target(examples.latents, examples.noise, timesteps),
    )


@dataclass
class _Predictions:
    """The calls of the model for one micro-batch; see :class:`dit_run.protocols.PredictFor`."""

    denoiser: nn.Module
    batch: NoisyBatch
    examples: EncodedBatch
    precision: Precision
    taps: tuple[str, ...]
    _shared: ModelOutput | None = None

    def __call__(
        self, noisy: Tensor | None = None, timesteps: Tensor | None = None, *, second_timesteps: Tensor | None = None
    ) -> ModelOutput:
        if noisy is not None and timesteps is not None:
            second = {} if second_timesteps is None else {"second_timesteps": second_timesteps}
            return self._predicted(noisy, timesteps, **second)
        if self._shared is None:
            self._shared = self._predicted(self.batch.noisy, self.batch.timesteps)
        return self._shared

    def _predicted(self, noisy: Tensor, timesteps: Tensor, **second: Tensor) -> ModelOutput:
        numbers = () if self.examples.scalars is None else (self.examples.scalars,)
        with self.precision.autocast():
            if not self.taps:
                return ModelOutput(self.denoiser(noisy, timesteps, self.examples.text, *numbers, **second).float())
            output, states = self.denoiser(noisy, timesteps, self.examples.text, *numbers, taps=self.taps, **second)
        return ModelOutput(output.float(), states)
