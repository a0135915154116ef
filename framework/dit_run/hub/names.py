"""Names of pretrained weights: local paths, and names on a hub."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path

__all__ = ["MOVED", "hub_name", "local_path", "on_hub"]

MOVED: Mapping[str, str] = {"runwayml/stable-diffusion-v1-5": "stable-diffusion-v1-5/stable-diffusion-v1-5"}
"""Names that left the hub, and where the same weights are now."""


def local_path(name: str) -> Path | None:
    """Return the file or folder called ``name``, or None. A path that exists is never looked up on a hub."""
    path = os.path.expanduser(name)  # noqa: PTH111 (pathlib's raises for an unknown user)
    return Path(path) if os.path.exists(path) else None  # noqa: PTH110 (pathlib raises for a name too long)


def on_hub(name: str | None) -> bool:
    """Return True for a name that is looked up on a hub, because there is no such local path; False for no name."""
    return name is not None and local_path(name) is None


@functools.cache
def hub_name(name: str) -> str:
    """Return the name under which a hub has these weights today, with one warning if they moved."""
    if name in MOVED:
        import logging

        logging.getLogger("dit_run").warning("%s left the hub; its mirror %s is used instead", name, MOVED[name])
    return MOVED.get(name, name)
