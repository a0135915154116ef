"""Pretrained weights: files by a hub's name or a local path, and the tensors in them."""

from __future__ import annotations

from dit_run.hub.names import MOVED, hub_name, local_path, on_hub
from dit_run.hub.pretrained import Pretrained, RecordedFile, recorded_files
from dit_run.hub.quiet import quiet_transformers
from dit_run.hub.tensor_files import read_tensors, tensor_shapes, unsafe_pickle
from dit_run.hub.weight_files import DIFFUSERS, TRANSFORMERS, Library, WeightFiles, deferred_weights

__all__ = [
    "DIFFUSERS",
    "MOVED",
    "TRANSFORMERS",
    "Library",
    "Pretrained",
    "RecordedFile",
    "WeightFiles",
    "deferred_weights",
    "hub_name",
    "local_path",
    "on_hub",
    "quiet_transformers",
    "read_tensors",
    "recorded_files",
    "tensor_shapes",
    "unsafe_pickle",
]
