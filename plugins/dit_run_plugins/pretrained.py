"""Networks of transformers, loaded from files that are on this machine, whole or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from dit_run.hub import Pretrained

__all__ = ["load"]


def load(cls: Any, weights: Pretrained, file: Path, what: str) -> nn.Module:
    """A ``cls`` of transformers from the folder of a weights file, in eval mode, float32 and without gradients.

    Raises InputError when the file does not load, or lacks weights of ``what`` (``"a CLIP text encoder"``), which
    transformers would draw at random.
    """
    try:
        with torch.random.fork_rng(devices=[]), _quiet():
            model, report = cls.from_pretrained(
                file.parent,
                local_files_only=True,
                use_safetensors=file.suffix == ".safetensors",
                dtype=torch.float32,
                output_loading_info=True,
            )
    except (OSError, RuntimeError, ValueError, SafetensorError, EOFError, UnpicklingError) as error:
        raise weights.error(f"has weights that do not load: {file}: {error}") from error
    if report["missing_keys"]:
        names = ", ".join(sorted(report["missing_keys"])[:3])
        raise weights.error(f"lacks weights of {what}: {file} has no {names}")
    network: nn.Module = model
    return network.requires_grad_(False).eval()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' bars, and its notes on weights that a file has beyond those of the model."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
