"""Use of the pipeline in an exported folder by other programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from dit_run.compute.random_streams import keyed_hash
from dit_run.export.frozen_places import FrozenPlaces

__all__ = ["PipelineUse", "usage"]

_FIRST_NOISE = keyed_hash("sampling_start")
"""The word of the noise generator's key for the noise from which sampling starts, next to the seed."""
_WITH_CODE = """
With torch, diffusers and transformers, without dit-run. Loading runs the Python files of this folder, so read them
first (`trust_remote_code`). The pipeline is not one of diffusers' own classes because {reason}.

```python
from diffusers import DiffusionPipeline

pipeline = DiffusionPipeline.from_pretrained("FOLDER", trust_remote_code=True)
pipeline([{prompt}], seed={seed}).images[0].save("image.png")
```

The images are those of `dit-run sample` with the same seed and settings.
"""
_WITHOUT_CODE = """
With torch, diffusers and transformers, without dit-run:

```python
import numpy
import torch
from diffusers import DiffusionPipeline

pipeline = DiffusionPipeline.from_pretrained("FOLDER")
philox = numpy.random.Philox(key=numpy.array([{seed}, {word}], numpy.uint64))
noise = numpy.random.Generator(philox).standard_normal((1, {shape}), numpy.float32)
image = pipeline(
    {prompt},
    latents=torch.from_numpy(noise),
{arguments}
).images[0]
image.save("image.png")
```

The pipeline is diffusers' own {class_name}, and the folder has no code. With this noise, that of seed {seed}, the image
is the one of `dit-run sample`{rounding}. Without `latents` diffusers draws noise of its own. The
other arguments are the settings of the run, in place of the defaults of the class.{case}
"""


@dataclass(frozen=True)
class PipelineUse:
    """The class of a written pipeline, and its call."""

    places: FrozenPlaces
    class_name: str | None = None
    """The class of diffusers; None for a pipeline with code in the folder."""
    reason: str = ""
    """Why the pipeline has code in the folder."""
    arguments: Mapping[str, str] = field(default_factory=dict)
    """Arguments of a call of diffusers' class with the settings of the run, as Python expressions."""
    latent_shape: tuple[int, int, int] = (0, 0, 0)
    """(c, h, w) of the noise of such a call."""
    lower_case: bool = False
    """True for a class that changes prompts to lower case."""
    rounding: str = ""
    """Lower precisions in which dit-run samples, and diffusers' class does not; empty for none."""

    def __str__(self) -> str:
        if self.class_name is not None:
            return f"the folder holds a {self.class_name} of diffusers, without code"
        return f"the folder holds code (trust_remote_code), because {self.reason}"


def usage(use: PipelineUse, prompt: str, seed: int) -> str:
    """Return the part of a model card about the pipeline, with a program that makes an image."""
    quoted = json.dumps(prompt, ensure_ascii=False)
    if use.class_name is None:
        return _WITH_CODE.format(prompt=quoted, seed=seed, reason=use.reason)
    return _WITHOUT_CODE.format(
        prompt=quoted,
        seed=seed,
        word=_FIRST_NOISE,
        shape=", ".join(map(str, use.latent_shape)),
        arguments="\n".join(f"    {name}={value}," for name, value in use.arguments.items()),
        class_name=use.class_name,
        rounding=f" but for rounding, because dit-run samples with {use.rounding}" if use.rounding else "",
        case=" The class changes prompts to lower case, and dit-run does not." if use.lower_case else "",
    )
