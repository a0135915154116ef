"""Fixtures for all tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
"""Tests run side by side, and torch is imported after this."""
os.environ.setdefault("HF_HUB_OFFLINE", "1")
"""Nothing is downloaded, and huggingface_hub reads this once, when it is imported."""

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def nothing_imported_stays(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A module from a folder that is gone would be what the next test imports by its name."""
    before = set(sys.modules)
    yield
    folder = str(tmp_path_factory.getbasetemp())
    new = set(sys.modules) - before
    left = [name for name in new if str(getattr(sys.modules[name], "__file__", "")).startswith(folder)]
    assert not left, f"forget what was imported from temporary folders (tests/distributions.py): {left}"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real test data; the test is skipped where it is absent."""
    folder = Path(os.environ.get("DIT_RUN_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real test data is not at {folder}; set DIT_RUN_TEST_DATA")
    return folder
