"""Program of another user: samples exported pipelines where nothing of dit-run can be imported.

Usage: exported_images.py FOLDER ...; each FOLDER holds call.json, how to load and call the pipeline, and gets
image-N.png.
"""

import importlib.abc
import json
import sys
from pathlib import Path

MISSING = {"dit_run", "dit_run_plugins", "pluggy", "jsonschema", "argcomplete", "xxhash"}
"""Packages that a program with torch, diffusers and transformers may lack."""


class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):  # type: ignore[no-untyped-def]
        if name.partition(".")[0] in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Missing())

import torch  # noqa: E402
from diffusers import DiffusionPipeline  # noqa: E402

torch.set_num_threads(1)
for folder in map(Path, sys.argv[1:]):
    given = json.loads((folder / "call.json").read_text())
    if "torch_dtype" in given["load"]:
        given["load"]["torch_dtype"] = getattr(torch, given["load"]["torch_dtype"])
    pipeline = DiffusionPipeline.from_pretrained(str(folder), trust_remote_code=True, **given["load"])
    for index, image in enumerate(pipeline(**given["call"]).images):
        image.save(folder / f"image-{index}.png")
