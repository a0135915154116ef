"""kernel_distance: the unbiased estimate, in closed form and around zero."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from builders import tiny_dinov2
from feature_metrics import scores_of_three

from dit_run_plugins.metrics import distances
from dit_run_plugins.metrics.kernel_distance import KernelDistance, build
from dit_run_plugins.metrics.standard_errors import measure


def kernel_distance(one: np.ndarray, other: np.ndarray) -> float:
    everything = [np.ones((1, len(features)), dtype=np.int64) for features in (one, other)]
    return float(distances.kernel_distance(one, other, *everything)[0])


def test_is_its_definition() -> None:
    generator = np.random.default_rng(0)
    one, other = generator.normal(size=(4, 3)), generator.normal(size=(5, 3))

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / 3 + 1) ** 3)

    expected = np.mean([kernel(x, y) for x, y in permutations(one, 2)])
    expected += np.mean([kernel(x, y) for x, y in permutations(other, 2)])
    expected -= 2 * np.mean([kernel(x, y) for x, y in product(one, other)])
    assert kernel_distance(one, other) == pytest.approx(expected)


def test_pairs_of_an_image_with_its_own_copy_do_not_count_in_a_draw() -> None:
    """A draw that has the first image twice is the mean over the pairs of different images in it."""
    generator = np.random.default_rng(3)
    one, other = generator.normal(size=(3, 2)), generator.normal(size=(3, 2))
    counts = np.array([[2, 1, 0]])

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / 2 + 1) ** 3)

    within = kernel(one[0], one[1])  # all pairs of different images are this one
    own = np.mean([kernel(x, y) for x, y in permutations(other, 2)])
    between = np.mean([kernel(x, y) for x, y in product([one[0], one[0], one[1]], other)])
    drawn = distances.kernel_distance(one, other, counts, np.ones((1, 3), dtype=np.int64))
    assert drawn == pytest.approx(within + own - 2 * between)


def test_a_draw_of_one_image_alone_has_no_distance() -> None:
    one = np.random.default_rng(4).normal(size=(2, 3))
    alone = np.array([[2, 0]])
    assert np.isnan(distances.kernel_distance(one, one, alone, alone)).all()


def test_its_standard_error_is_the_spread_over_new_images() -> None:
    """The bootstrap within one pair of sets agrees with the spread over many pairs of sets, to a quarter."""
    generator = np.random.default_rng(5)
    pairs = [(generator.normal(size=(60, 3)), generator.normal(size=(60, 3)) + 1) for _ in range(80)]
    spread = np.std([kernel_distance(*pair) for pair in pairs])
    assert np.mean([measure(distances.kernel_distance, *pair)[1] for pair in pairs[:20]]) == pytest.approx(
        spread, rel=0.25
    )


def test_has_no_bias_for_few_pictures() -> None:
    """Its mean over many small draws from one distribution is within 4 standard errors of zero."""
    generator = np.random.default_rng(1)
    values = [kernel_distance(generator.normal(size=(6, 4)), generator.normal(size=(6, 4))) for _ in range(2000)]
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(len(values))


def test_grows_with_a_shift() -> None:
    generator = np.random.default_rng(2)
    one, other = generator.normal(size=(200, 8)), generator.normal(size=(200, 8))
    near, far = (kernel_distance(one, other + shift) for shift in (0.5, 1.0))
    assert 0 < near < far


def test_its_score_is_named_after_its_source_and_count(tmp_path: Path) -> None:
    options = KernelDistance(pretrained_model_name=str(tiny_dinov2(tmp_path / "dino")), count=3)
    assert set(scores_of_three(build, options, tmp_path)) == {"dino_n3", "dino_n3/standard_error"}
