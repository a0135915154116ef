"""The cores that a process may use."""

from __future__ import annotations

import os

import pytest

from dit_run.system.cores import usable_cores


def test_only_the_cores_that_a_process_may_use_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    assert usable_cores() == 3


@pytest.mark.parametrize(("there", "count"), [(8, 8), (None, 1)])
def test_a_system_without_affinity_counts_all(monkeypatch: pytest.MonkeyPatch, there: int | None, count: int) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: there)
    assert usable_cores() == count
