from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("orjson", reason="the extra dit-run[view] is not installed")

from dit_run.runs.reading.metrics_log import Series
from dit_run.view.curves import reduced


def series(steps: list[int], values: list[float]) -> Series:
    return Series(np.array(steps, float), np.array(steps, float) / 2, np.array(values, np.float32))


numbers = st.one_of(st.floats(-100, 100, width=32), st.just(float("nan")), st.just(float("inf")))


@given(st.lists(st.tuples(st.integers(0, 1000), numbers), min_size=1, max_size=200), st.integers(1, 50))
def test_no_peak_is_lost(points: list[tuple[int, float]], most: int) -> None:
    found = reduced(series([step for step, _ in points], [value for _, value in points]), most)
    finite = [np.float32(value) for _, value in points if np.isfinite(value)]
    assert found["count"] == len(points)
    assert found["bad"] == len(points) - len(finite)
    assert len(found["x"]) == len(found["y"]) == len(found["t"]) <= max(most, len(points) if len(points) <= most else 0)
    if "high" in found and finite:
        assert (np.nanmax(found["high"]), np.nanmin(found["low"])) == (max(finite), min(finite))
        assert list(found["x"]) == sorted(found["x"])


def test_a_bucket_has_the_mean_of_its_values() -> None:
    found = reduced(series([0, 1, 2, 3, 4, 5, 6, 7], [1, 3, 5, 7, 2, float("nan"), 4, 6]), 2)
    assert found["y"].tolist() == [4.0, 4.0]
    assert (found["x"].tolist(), found["t"].tolist()) == ([2.0, 6.0], [0.75, 2.75])
    assert (found["low"].tolist(), found["high"].tolist(), found["bad"]) == ([1.0, 2.0], [7.0, 6.0], 1)
