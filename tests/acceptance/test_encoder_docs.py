"""docs/encoders.md: every config in it is valid, and the numbers are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dit_run import load_config
from dit_run.training.normalizing import CHECKED_SAMPLES, MEASURED_SAMPLES
from dit_run.training.sanity_check import MIN_PSNR

TEXT = (Path(__file__).resolve().parent.parent.parent / "docs" / "encoders.md").read_text()
BLOCKS = re.findall(r"```yaml\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_every_config_is_valid(block: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(block)
    config = load_config(tmp_path / "config.yaml")
    assert [notice.message for notice in config.notices if notice.code == "without-effect"] == []


def test_the_numbers_are_those_of_the_code() -> None:
    assert f"first {MEASURED_SAMPLES:,} training samples" in TEXT
    assert f"over {CHECKED_SAMPLES} samples" in TEXT
    assert f"below {MIN_PSNR:g} dB" in TEXT
