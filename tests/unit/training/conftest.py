"""Fixtures for the tests of training."""

from __future__ import annotations

import pytest
from tiny_parts import Parts, assembled


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    """A tiny run's parts in pixel space; to be left as they are."""
    return assembled(tmp_path_factory.mktemp("parts"))
