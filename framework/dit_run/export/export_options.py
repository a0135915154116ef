"""Choices of an export."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dit_run.problems import InputError

__all__ = ["DTYPES", "FORMATS", "UNKNOWN", "ExportOptions"]

FORMATS = ("diffusers", "safetensors")
"""A pipeline for programs with diffusers, or one file of weights for programs with code of their own."""
DTYPES = ("fp32", "fp16", "bf16")
UNKNOWN = "unknown"
"""The licence of a model card whose writer named none."""
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]*")


@dataclass(frozen=True)
class ExportOptions:
    """The choices of one export. Raises InputError for a value that there is not."""

    format: str = "diffusers"
    dtype: str = "fp32"
    """Precision of the trained weights."""
    frozen: bool = True
    """True copies the pretrained files of frozen parts, False leaves them under their names on a hub."""
    license: str = UNKNOWN
    """Licence of the trained weights in the model card, by its name on a hub."""
    merge: bool = False
    """True exports the model of a run with an adapter, merged with it, False the adapter alone."""

    def __post_init__(self) -> None:
        if not _LICENSE.fullmatch(self.license):
            raise InputError(
                f"the license of an export is a name of small letters, digits, - and ., such as apache-2.0 or other, "
                f"not {self.license!r}"
            )
        for name, value, known in (("format", self.format, FORMATS), ("dtype", self.dtype, DTYPES)):
            if value not in known:
                raise InputError(f"the {name} of an export is one of {', '.join(known)}, not {value!r}")
