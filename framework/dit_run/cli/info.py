"""``dit-run info``: print what a report of a fault needs: versions, devices, plugins, disks and settings."""

from __future__ import annotations

import argparse
import contextlib
import json
import locale
import os
import re
import shutil
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from dit_run.cli.common_options import add_plugin_flags, installed
from dit_run.digests import cache_home
from dit_run.registry.registry import Registry
from dit_run.system.units import size_text

__all__ = ["configure", "run"]

_NAME = re.compile(r"^[\w.-]+")
"""The name at the begin of a requirement."""
_SETTINGS = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "TMPDIR")
_PREFIXES = ("DIT_RUN_", "HF_HUB_", "NCCL_", "TORCH_", "SLURM_")
_SECRET = ("KEY", "PASSWORD", "SECRET", "TOKEN")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    add_plugin_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    found = {
        "versions": _versions(),
        "machine": _machine(),
        "devices": _devices(),
        "disks": _disks(),
        "plugins": _plugins(installed(arguments)),
        "environment": _environment(),
    }
    if arguments.json:
        print(json.dumps(found, indent=2))
        return 0
    for heading, rows in found.items():
        print(heading)
        for name, value in (rows or {"none": ""}).items():
            print(f"  {name:<20} {value}".rstrip())
    return 0


def _versions() -> dict[str, str]:
    """Return the versions of Python and of all packages that dit-run names, with its extras where installed."""
    from dit_run.runs.provenance import versions

    found = dict(versions())
    for line in metadata.requires("dit-run") or ():
        name = _NAME.findall(line)[0]
        with contextlib.suppress(metadata.PackageNotFoundError):
            found.setdefault(name, metadata.version(name))
    return found


def _machine() -> dict[str, str]:
    import platform

    import torch

    from dit_run.compute.memory_meter import MemoryMeter
    from dit_run.runs.provenance import processor
    from dit_run.system.cores import usable_cores

    return {
        "system": platform.platform(),
        "processor": processor(),
        "cores": str(usable_cores()),
        "memory": size_text(MemoryMeter(torch.device("cpu")).total),
        "encoding": f"{locale.getpreferredencoding(False)}, files {sys.getfilesystemencoding()}",
    }


def _devices() -> dict[str, str]:
    import torch

    from dit_run.compute.devices import graphics_card
    from dit_run.compute.memory_meter import MemoryMeter

    found = {}
    for index in range(torch.cuda.device_count()):
        device = torch.device("cuda", index)
        card = graphics_card(device)
        memory = size_text(MemoryMeter(device).total)
        found[str(device)] = f"{card['graphics_card']}, {memory}, CUDA {card['cuda']}, cuDNN {card['cudnn']}"
    if torch.backends.mps.is_available():
        found["mps"] = "available"
    return found or {"cpu": f"torch {torch.__version__} sees no GPU"}


def _disks() -> dict[str, str]:
    """Return the free space where runs, caches, downloads and shared memory go by default, as far as they are there."""
    from huggingface_hub.constants import HF_HUB_CACHE

    shared = Path("/dev/shm")
    folders = {
        "working folder": Path.cwd(),
        "cache": cache_home(),
        "hub": Path(HF_HUB_CACHE),
        "shared memory": shared if shared.is_dir() else None,
    }
    return {name: _free(folder) for name, folder in folders.items() if folder is not None}


def _free(folder: Path) -> str:
    """Return the free space of the disk of a folder, which may be made later."""
    usage = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists()))
    return f"{folder}: {size_text(usage.free)} of {size_text(usage.total)} free"


def _plugins(registry: Registry) -> dict[str, str]:
    return {
        plugin.name: f"did not load: {plugin.failure.message}"
        if plugin.failure
        else f"{plugin.version or 'no version'}, {len(plugin.components)} components"
        for plugin in registry.plugins
    }


def _environment() -> Mapping[str, str]:
    """Return the environment variables that change what dit-run does; values that may be secret are not shown."""
    names = sorted(name for name in os.environ if name in _SETTINGS or name.startswith(_PREFIXES))
    return {name: "(set)" if any(word in name for word in _SECRET) else os.environ[name] for name in names}
