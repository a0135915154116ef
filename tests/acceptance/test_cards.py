"""Memory of the shipped configs on the cards that their comments name, and the page that tells it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

CARDED = ["train_config", "small", "medium", "large", "stage-256", "stage-512", "stage-1024", "two-encoders"]
"""The shipped configs that name a card; others are one of these with other data."""

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(ROOT))
    yield


@pytest.mark.parametrize("name", CARDED)
def test_a_config_fits_its_card_and_uses_most_of_it(name: str) -> None:
    from benchmarks.cards import card_memory, memory_of

    share = memory_of(name) / 2**30 / card_memory(name)
    assert 0.60 <= share <= 0.92


def test_the_page_has_the_estimates_of_today() -> None:
    from benchmarks.cards import PAGE, page

    assert page() == PAGE.read_text(), f"write it again with {Path(sys.executable).name} -m benchmarks.cards"


def test_the_original_example_needs_less_than_22_gib() -> None:
    from benchmarks.cards import memory_of

    assert memory_of("train_config") < 22 * 2**30
