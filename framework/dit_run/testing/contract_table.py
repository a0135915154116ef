"""The checks of every kind's contract, found by the table of kinds."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from dit_run.registry.kinds import Kind
from dit_run.testing.contract_error import Check

__all__ = ["CONTRACTS"]


def _checks(kind: Kind) -> tuple[Check, ...]:
    checks: tuple[Check, ...] = importlib.import_module(kind.contract.partition(":")[0]).CHECKS
    return checks


CONTRACTS: Mapping[Kind, tuple[Check, ...]] = {kind: _checks(kind) for kind in Kind}
