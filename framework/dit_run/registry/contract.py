"""The contract of plugins: its version here, and the version that a plugin states."""

from __future__ import annotations

import ast

from dit_run import __version__

__all__ = ["CONTRACT", "contract_fault", "contract_of_source", "stated_contract"]

CONTRACT = 1
"""Version of the contract between this dit-run and its plugins; a later one has all that the earlier ones have."""
_NAME = "DIT_RUN_CONTRACT"
"""Name in the module of a plugin of the version that it was written for."""


def stated_contract(plugin: object) -> object:
    """Return the version that a plugin states, whatever it is; None if it states none."""
    return getattr(plugin, _NAME, None)


def contract_fault(stated: object) -> str | None:
    """Return the reason why a plugin that states this version cannot load, or None."""
    if stated is None:
        return None
    if not isinstance(stated, int) or isinstance(stated, bool) or stated < 1:
        return f"{_NAME} should be a whole number of at least 1, not {stated!r}"
    if stated <= CONTRACT:
        return None
    return (
        f"it was written for contract {stated} of plugins, and dit-run {__version__} has contract {CONTRACT}; upgrade "
        "dit-run: pip install --upgrade dit-run"
    )


def contract_of_source(error: BaseException) -> object:
    """Return the version that a module states which could not be imported: it may need names of a later dit-run.

    The module's source is read, because the import may have failed before it came to the statement.
    """
    import linecache  # only needed after a failure
    import traceback

    for frame, _ in traceback.walk_tb(error.__traceback__):
        source = "".join(linecache.getlines(frame.f_code.co_filename, frame.f_globals))
        for statement in ast.parse(source).body if _NAME in source else ():
            match statement:
                case (
                    ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=value))
                    | ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant(value=value))
                ) if name == _NAME:
                    return value
    return None
