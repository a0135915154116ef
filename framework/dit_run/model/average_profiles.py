"""Averages as profiles: the share of each step's weights in an average, and the mixture that is nearest to a profile.

An average of weights is linear in them, so it is known by its shares alone. The averages of several checkpoints mixed
by least squares of their shares give averages of other lengths after training (Karras et al. 2024, "Analyzing and
Improving the Training Dynamics of Diffusion Models", section 3 and appendix C). The paper integrates over time; here
the shares are those of the steps themselves, for any decay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "LONGEST",
    "AverageMixture",
    "Profile",
    "decay_at",
    "ema_share",
    "mixture",
    "power_decay",
    "power_of_length",
    "power_profile",
    "profile",
]

Profile = NDArray[np.float64]
"""float64 [n + 1]: shares of the initial weights and of those after each of n steps; their sum is 1."""

LONGEST = 0.28
"""Largest relative length; a power of 0, which weights all steps equally, has 0.2887 (relative standard deviation)."""
_SMALLEST_SINGULAR = 1e-8
"""Singular values below this share of the largest one are left out of a solution, which keeps its numbers small."""


def decay_at(step: int, *, decay: float, power: float) -> float:
    """Return the decay of update ``step``, counted from 0: min(decay, 1 - (1 + step)^-power), or ``decay`` for power 0.

    With a warm-up the first update copies the weights, so that the initial weights do not count.
    """
    return min(decay, 1 - (1 + step) ** -power) if power > 0 else decay


def ema_share(step: int, *, decay: float, power: float) -> float:
    """Return the share of the new weights in update ``step`` of an exponential moving average."""
    return 1 - decay_at(step, decay=decay, power=power)


def power_decay(step: int, *, power: float) -> float:
    """Return the decay of update ``step``, counted from 0, of a power function average: (1 - 1 / t)^(power + 1)."""
    return float((1 - 1 / (step + 1)) ** (power + 1))


def profile(decay: Callable[[int], float], steps: int) -> Profile:
    """Return the profile of an average after ``steps`` updates; ``decay`` is that of each update, counted from 0."""
    kept = np.array([decay(step) for step in range(steps)])
    after = np.append(np.cumprod(kept[::-1])[::-1], 1.0)  # the share that all updates from each one on keep
    return np.append(after[0], (1 - kept) * after[1:])


def power_of_length(length: float) -> float:
    """Return the power of the power function average whose relative standard deviation is ``length``.

    It is the positive root of the paper's equation 7 (its algorithm 2).
    """
    inverse = length**-2
    return float(np.roots([1, 7, 16 - inverse, 12 - inverse]).real.max())


def power_profile(length: float, steps: int) -> Profile:
    """Return the profile of a power function average of this length."""
    return profile(partial(power_decay, power=power_of_length(length)), steps)


@dataclass(frozen=True)
class AverageMixture:
    """The mixture of some averages that is nearest to another one."""

    factors: tuple[float, ...]
    """Factor of each average; their sum is 1."""
    error: float
    """Reconstruction error: the norm of the difference of both profiles, over that of the one that is wanted."""


def mixture(profiles: Sequence[Profile], wanted: Profile) -> AverageMixture:
    """Return the mixture of averages, at least one, whose profile is nearest to the wanted one by least squares.

    Each profile may end before the wanted one, which has all steps.
    """
    columns = np.stack([np.pad(each, (0, len(wanted) - len(each))) for each in profiles], axis=1)
    last, rest = columns[:, -1], columns[:, :-1] - columns[:, -1:]  # factors of sum 1: the last follows from the others
    found = np.linalg.lstsq(rest, wanted - last, rcond=_SMALLEST_SINGULAR)[0] if len(profiles) > 1 else np.empty(0)
    factors = (*found.tolist(), 1 - float(found.sum()))
    error = np.linalg.norm(columns @ np.array(factors) - wanted) / np.linalg.norm(wanted)
    return AverageMixture(factors, float(error))
