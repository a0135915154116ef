"""The packages of the page, which are an extra."""

from __future__ import annotations

from importlib.util import find_spec

from dit_run.problems import InputError

__all__ = ["require_view"]

_PACKAGES = ("jinja2", "orjson", "starlette", "uvicorn")


def require_view() -> None:
    """Raise InputError naming the extra where a package of it is missing."""
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise InputError(f"the page needs packages that are missing: {', '.join(missing)}; pip install 'dit-run[view]'")
