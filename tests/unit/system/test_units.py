from __future__ import annotations

import pytest

from dit_run.system.units import read_size, size_text


@pytest.mark.parametrize(
    ("text", "count"), [("0", 0), ("1.5k", 1500), ("50GB", 50 * 10**9), (" 24 GiB ", 24 * 2**30), ("2t", 2 * 10**12)]
)
def test_a_size_is_read(text: str, count: int) -> None:
    assert read_size(text) == count


@pytest.mark.parametrize("text", ["", "much", "5QQ", "-1", "-1GB", "nan", "inf", "1e400"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a size such as 24GB or 800MB is expected, not"):
        read_size(text)


def test_what_is_small_is_told_in_mb() -> None:
    assert [size_text(count) for count in (3_000, 99_000_000, 100_000_000)] == ["0.00 MB", "99.00 MB", "0.10 GB"]
