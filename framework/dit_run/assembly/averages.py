"""The averages of a run's weights, built from a checked config: the share of the new weights in each update."""

from __future__ import annotations

from functools import partial

from dit_run.model.average_profiles import ema_share
from dit_run.protocols import AverageShare
from dit_run.registry.factories import PluginFault, make
from dit_run.settings import Choice, Config

__all__ = ["build_average_shares"]


def build_average_shares(config: Config) -> dict[str, AverageShare]:
    """Return the shares of each average by its name, in order: first that of ``training.use_ema``."""
    training, shares = config.training, list[AverageShare]()
    if training.use_ema:
        shares.append(partial(ema_share, decay=training.ema_decay, power=training.ema_warmup))
    shares += map(_share, config.averages)
    return dict(zip(config.average_names, shares, strict=True))


def _share(choice: Choice) -> AverageShare:
    share: AverageShare = make(choice.component, choice.options)

    def checked(step: int) -> float:
        value = share(step)
        if not 0 <= value <= 1:
            raise PluginFault(f"average {choice.type} returned the share {value} for step {step}; it must be 0 to 1")
        return value

    return checked
