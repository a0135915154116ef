"""What dit-run brings with it, offered through the hook like anyone's."""

from __future__ import annotations

from dit_run import Component, hookimpl


@hookimpl
def dit_run_components() -> list[Component]:
    return []
