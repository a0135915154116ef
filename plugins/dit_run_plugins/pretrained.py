"""Networks of transformers, loaded from files that are on this machine, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from dit_run.hub import Pretrained

__all__ = ["load"]


def load(cls: Any, weights: Pretrained, file: Path, what: str) -> nn.Module:
    """A ``cls`` of transformers from the folder of a weights file, in eval mode, float32 and without gradients.

    Raises InputError when the file does not load, or lacks weights of ``what`` (``"a CLIP text encoder"``), which
    transformers would draw at random.
    """
    from transformers.utils import logging

    shown = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with torch.random.fork_rng(devices=[]):
            model, report = cls.from_pretrained(
                file.parent,
                local_files_only=True,
                use_safetensors=file.suffix == ".safetensors",
                dtype=torch.float32,
                output_loading_info=True,
            )
    except (OSError, RuntimeError, ValueError) as error:
        raise weights.error(f"has weights that do not load: {file}: {error}") from error
    finally:
        logging.set_verbosity(shown)
    if report["missing_keys"]:
        names = ", ".join(sorted(report["missing_keys"])[:3])
        raise weights.error(f"lacks weights of {what}: {file} has no {names}")
    network: nn.Module = model
    return network.requires_grad_(False).eval()
