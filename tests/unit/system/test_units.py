from __future__ import annotations

import pytest

from dit_run.system.units import duration_text, read_size, size_text


@pytest.mark.parametrize(
    ("text", "count"), [("0", 0), ("1.5k", 1500), ("50GB", 50 * 10**9), (" 24 GiB ", 24 * 2**30), ("2t", 2 * 10**12)]
)
def test_a_size_is_read(text: str, count: int) -> None:
    assert read_size(text) == count


@pytest.mark.parametrize("text", ["", "much", "5QQ", "-1", "-1GB", "nan", "inf", "1e400"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a size such as 24GB or 800MB is expected, not"):
        read_size(text)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 kB"), (3_000, "3 kB"), (1_440_000, "1.4 MB"), (99_000_000, "99 MB"), (1_500_000_000, "1.50 GB")],
)
def test_the_unit_of_a_size_follows_from_its_magnitude(count: int, text: str) -> None:
    assert size_text(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.26, "0.3s"), (14, "14s"), (125, "2m05s"), (3720, "1h02m"), (100 * 3600, "4d04h")],
)
def test_a_duration_is_told_in_its_two_largest_units(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
