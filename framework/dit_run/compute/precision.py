"""Mixed precision: autocast for one device."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import torch

from dit_run.compute.devices import multiplies_bfloat16

__all__ = ["Precision"]

_DTYPES = {"no": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Precision:
    """Autocast for one device; weights stay float32."""

    device_type: str
    dtype: torch.dtype | None

    @classmethod
    def of(cls, mixed_precision: str, device: torch.device) -> Precision:
        """Return that of ``training.mixed_precision``, whose ``auto`` depends on the device."""
        if mixed_precision == "auto":
            mixed_precision = "bf16" if multiplies_bfloat16(device) else "no"
        return cls(device.type, _DTYPES[mixed_precision])

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        if self.dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device_type, dtype=self.dtype)
