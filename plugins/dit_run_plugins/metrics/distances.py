"""Distances between two sets of images, each given as features: float [n, d].

Each returns the distances of many draws of these images at once, as :data:`Distance` describes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dit_run_plugins.metrics.standard_errors import Counts, Features

__all__ = ["clip_discrepancy", "frechet_distance", "kernel_distance"]

_BANDWIDTH, _SCALE = 10.0, 1000.0
"""Width of the Gaussian kernel of embeddings of length 1, and factor on the discrepancy (Jayasumana et al. 2024)."""


def frechet_distance(one: Features, other: Features, counts: Counts, other_counts: Counts) -> NDArray[np.float64]:
    """Return |μ₁ - μ₂|² + tr(Σ₁ + Σ₂ - 2 (Σ₁ Σ₂)^½) of Gaussians fitted to the two sets (Heusel et al. 2017).

    With Σ = AᵀA for the centred rows over the root of n - 1, the trace of the root is the sum of the singular values of
    A₁A₂ᵀ, which exists for any n and d. Biased upwards for few images (Chong and Forsyth 2020), so compare only
    distances of equal numbers of images. Raises ValueError for fewer than two rows.
    """
    x, y = _checked(one, other)
    pairs = zip(counts, other_counts, strict=True)
    return np.array([_frechet(np.repeat(x, n, axis=0), np.repeat(y, m, axis=0)) for n, m in pairs])


def kernel_distance(one: Features, other: Features, counts: Counts, other_counts: Counts) -> NDArray[np.float64]:
    """Return the unbiased squared maximum mean discrepancy under the kernel (x·y / d + 1)³ (Bińkowski et al. 2018).

    Around 0, above or below, for images of the same distribution, whatever their number. Raises ValueError for fewer
    than two rows.
    """
    x, y = _checked(one, other)
    within = _pairs_within(_cubic(x, x), counts) + _pairs_within(_cubic(y, y), other_counts)
    return within - 2 * _pairs_between(_cubic(x, y), counts, other_counts)


def clip_discrepancy(one: Features, other: Features, counts: Counts, other_counts: Counts) -> NDArray[np.float64]:
    """Return 1000 times the squared maximum mean discrepancy of embeddings of length 1 under a Gaussian kernel.

    As Jayasumana et al. 2024 define it, with exp(-|x - y|² / 200) and with the pairs of each image with itself, so
    that it is at least 0 and a little larger for few images. Raises ValueError for fewer than two rows.
    """
    x, y = (features / np.linalg.norm(features, axis=1, keepdims=True) for features in _checked(one, other))
    within = _pairs_between(_gaussian(x, x), counts, counts) + _pairs_between(
        _gaussian(y, y), other_counts, other_counts
    )
    return _SCALE * (within - 2 * _pairs_between(_gaussian(x, y), counts, other_counts))


def _checked(one: Features, other: Features) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    for features in (one, other):
        if features.ndim != 2 or len(features) < 2:
            raise ValueError(f"a distance needs at least two images in each set, not features {features.shape}")
    return one.astype(np.float64), other.astype(np.float64)


def _frechet(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    roots = [_root(features) for features in (one, other)]
    shift = np.sum((one.mean(axis=0) - other.mean(axis=0)) ** 2)
    spread = sum(np.sum(root**2) for root in roots)
    shared = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    return max(0.0, float(shift + spread - 2 * shared))


def _root(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return A [min(n, d), d] with AᵀA = Σ."""
    centred = (features - features.mean(axis=0)) / np.sqrt(len(features) - 1)
    return np.asarray(np.linalg.qr(centred, mode="r") if len(centred) > centred.shape[1] else centred)


def _cubic(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((one @ other.T / one.shape[1] + 1) ** 3)


def _gaussian(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the kernel of rows of length 1, whose squared distance is 2 - 2 x·y."""
    return np.asarray(np.exp((one @ other.T - 1) / _BANDWIDTH**2))


def _pairs_between(kernel: NDArray[np.float64], counts: Counts, other_counts: Counts) -> NDArray[np.float64]:
    """Return the mean of a kernel [n, m] over all pairs of images of two sets, for each draw of both."""
    sums = np.einsum("rm,rm->r", counts.astype(np.float64) @ kernel, other_counts)
    return np.asarray(sums / (counts.sum(1) * other_counts.sum(1)))


def _pairs_within(kernel: NDArray[np.float64], counts: Counts) -> NDArray[np.float64]:
    """Return the mean of a kernel [n, n] over the pairs of different images, for each draw; nan without such pairs."""
    of_one = np.diagonal(kernel)
    pairs = counts.sum(1) ** 2 - (counts**2).sum(1)
    sums = np.einsum("rm,rm->r", counts.astype(np.float64) @ kernel, counts) - counts**2 @ of_one
    return np.asarray(np.divide(sums, pairs, out=np.full(len(counts), np.nan), where=pairs > 0))
