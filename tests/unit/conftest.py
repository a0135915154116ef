"""Fixtures for unit tests."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> object:
    """A tiny run's :class:`tiny_parts.Parts` in pixel space; to be left as they are."""
    from tiny_parts import assembled

    return assembled(tmp_path_factory.mktemp("parts"))
