"""Components that break their contract, and what the contract test says of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pages import PAGES, programs

from dit_run.registry.components import Component, Kind
from dit_run.testing.contract_error import ContractError, Subject, check_all
from dit_run.testing.contract_table import CONTRACTS

__all__ = ["Nothing", "fault", "keep", "shown_plugin"]


@dataclass(frozen=True, kw_only=True)
class Nothing:
    """No options."""


def keep(kind: Kind, factory: Callable[..., Any]) -> None:
    """Test a component that keeps its contract."""
    check_all(Subject(Component(kind, "broken", Nothing, factory), Nothing()), CONTRACTS[kind])


def fault(kind: Kind, factory: Callable[..., Any]) -> str:
    """What the contract test says, without the component's name."""
    with pytest.raises(ContractError) as caught:
        keep(kind, factory)
    return str(caught.value).removeprefix(f"{kind}.broken: ")


def shown_plugin(page: str, test: str, path: Path) -> Path:
    """Write the plugin of at most 25 lines that a page shows before a test with this line, and return its path."""
    plugin, shown = programs(PAGES[page].read_text(encoding="utf-8"))
    assert len(plugin.splitlines()) <= 25
    assert test in shown
    path.write_text(plugin)
    return path
