"""Distances between two sets of images, each given as features: float [n, d]."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["frechet_distance", "kernel_distance"]

Features = NDArray[np.floating]


def frechet_distance(one: Features, other: Features) -> float:
    """Return |μ₁ - μ₂|² + tr(Σ₁ + Σ₂ - 2 (Σ₁ Σ₂)^½) of Gaussians fitted to the two sets (Heusel et al. 2017).

    With Σ = AᵀA for the centred rows over the root of n - 1, the trace of the root is the sum of the singular values of
    A₁A₂ᵀ, which exists for any n and d. Biased upwards for few images (Chong and Forsyth 2020), so compare only
    distances of equal numbers of images. Raises ValueError for fewer than two rows.
    """
    one, other = _checked(one, other)
    roots = [_root(features) for features in (one, other)]
    shift = np.sum((one.mean(axis=0) - other.mean(axis=0)) ** 2)
    spread = sum(np.sum(root**2) for root in roots)
    shared = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    return max(0.0, float(shift + spread - 2 * shared))


def kernel_distance(one: Features, other: Features) -> float:
    """Return the unbiased squared maximum mean discrepancy under the kernel (x·y / d + 1)³ (Bińkowski et al. 2018).

    Around 0, above or below, for images of the same distribution, whatever their number. Raises ValueError for fewer
    than two rows.
    """
    one, other = _checked(one, other)
    within = sum(_mean_of_pairs(_kernel(features, features)) for features in (one, other))
    return float(within - 2 * _kernel(one, other).mean())


def _checked(one: Features, other: Features) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    for features in (one, other):
        if features.ndim != 2 or len(features) < 2:
            raise ValueError(f"a distance needs at least two images in each set, not features {features.shape}")
    return one.astype(np.float64), other.astype(np.float64)


def _root(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return A [min(n, d), d] with AᵀA = Σ."""
    centred = (features - features.mean(axis=0)) / np.sqrt(len(features) - 1)
    return np.asarray(np.linalg.qr(centred, mode="r") if len(centred) > centred.shape[1] else centred)


def _kernel(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((one @ other.T / one.shape[1] + 1) ** 3)


def _mean_of_pairs(kernel: NDArray[np.float64]) -> float:
    """Return the mean without the diagonal."""
    count = len(kernel)
    return float((kernel.sum() - np.trace(kernel)) / (count * (count - 1)))
