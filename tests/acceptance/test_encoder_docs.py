"""docs/encoders.md: its numbers are those of the code."""

from __future__ import annotations

from pathlib import Path

from dit_run.training.normalizing import CHECKED_SAMPLES, MEASURED_SAMPLES
from dit_run.training.sanity_check import MIN_PSNR

TEXT = (Path(__file__).resolve().parent.parent.parent / "docs" / "encoders.md").read_text()


def test_the_numbers_are_those_of_the_code() -> None:
    assert f"first {MEASURED_SAMPLES:,} training samples" in TEXT
    assert f"over {CHECKED_SAMPLES} samples" in TEXT
    assert f"below {MIN_PSNR:g} dB" in TEXT
