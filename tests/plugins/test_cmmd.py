"""cmmd: its definition, and its name; and the standard errors of means."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from builders import tiny_clip_pair
from feature_metrics import scores_of_three

from dit_run_plugins.metrics.cmmd import Cmmd, build
from dit_run_plugins.metrics.distances import clip_discrepancy
from dit_run_plugins.metrics.standard_errors import RESAMPLES, mean_with_error, measure, named


def test_is_its_definition() -> None:
    generator = np.random.default_rng(0)
    one, other = generator.normal(size=(4, 3)), generator.normal(size=(5, 3))
    x, y = ([row / np.linalg.norm(row) for row in rows] for rows in (one, other))

    def mean(some: list[np.ndarray], others: list[np.ndarray]) -> float:
        pairs = product(some, others)
        return float(np.mean([np.exp(-np.sum((a - b) ** 2) / (2 * 10**2)) for a, b in pairs]))

    value, error = measure(clip_discrepancy, one, other)
    assert value == pytest.approx(1000 * (mean(x, x) + mean(y, y) - 2 * mean(x, y)))
    assert 0 < error < 10


def test_a_set_is_at_zero_from_itself_whatever_the_length_of_its_embeddings() -> None:
    drawn = np.random.default_rng(1).normal(size=(6, 4))
    assert measure(clip_discrepancy, drawn, 3 * drawn)[0] == pytest.approx(0, abs=1e-9)


def test_its_score_is_named_after_its_source_and_count(tmp_path: Path) -> None:
    options = Cmmd(pretrained_model_name=str(tiny_clip_pair(tmp_path / "clip-l")), count=3)
    scores = scores_of_three(build, options, tmp_path)
    assert scores["clip-l_n3"] == pytest.approx(0, abs=1e-4)
    assert set(scores) == {"clip-l_n3", "clip-l_n3/standard_error"}


def test_the_standard_error_of_a_mean_is_that_of_many_draws() -> None:
    values = np.random.default_rng(2).normal(size=50)
    draws = np.random.default_rng(3).choice(values, size=(20_000, 50))
    mean, error = mean_with_error(values)
    assert mean == pytest.approx(values.mean())
    assert error == pytest.approx(draws.mean(1).std(), rel=0.02)


def test_a_score_without_a_standard_error_is_named_alone() -> None:
    assert named({"a": mean_with_error([2.0]), "b": mean_with_error([1.0, 3.0])}) == {
        "a": 2.0, "b": 2.0, "b/standard_error": pytest.approx(2**-0.5)
    }  # fmt: skip


def test_draws_without_a_distance_are_left_out() -> None:
    def distance(one: object, other: object, counts: np.ndarray, _: np.ndarray) -> np.ndarray:
        assert counts.shape == (1 + RESAMPLES, 2)
        assert counts[0].tolist() == [1, 1]
        return np.array([5.0, 1.0, np.nan, 3.0, *[np.nan] * (RESAMPLES - 3)])

    features = np.zeros((2, 1))
    assert measure(distance, features, features) == (5.0, pytest.approx(2**0.5))
