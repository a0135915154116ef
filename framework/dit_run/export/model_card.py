"""The model card of an exported model: its ``README.md``."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from string import Template

from torch import Tensor

from dit_run.settings import Config

__all__ = ["model_card"]

_CARD = Template("""\
---
library_name: dit-run
pipeline_tag: text-to-image
---

# $name

A text-to-image Diffusion Transformer, trained with dit-run.

| | |
|---|---|
$facts

## Sampling

Install dit-run and replace `FOLDER` by the path of this folder.

```python
import dit_run

run = dit_run.load_run("FOLDER"$python_flag)
images = run.sample([$prompt])
images[0].save("image.png")
```

```shell
dit-run sample FOLDER $word$command_flag
```

## Files

- `model.safetensors`: the trained weights.
- `config.yaml`: the complete config of the training run. `dit-run config.yaml` trains again on the same data.
$plugins""")

_PLUGINS = """\
- `plugins/`: Python files that the model needs. Loading the model runs their code, so read them first.
"""


def model_card(config: Config, *, name: str, tensors: Mapping[str, Tensor], step: int, ema: bool) -> str:
    """Return the text of the card; ``config`` is the exported one."""
    size, training = config.data.common.image_size, config.training
    text = " and ".join(choice.type for choice in config.chosen("text_encoder"))
    trained = any(key.startswith("text_encoder.") for key in tensors)
    facts = {
        "Model": f"{config.model.type}, {sum(tensor.numel() for tensor in tensors.values()):,} weights",
        "Training data": config.data.type,
        "Image size": f"{size}x{size} pixels",
        "Text encoder": f"{text}, trained with the model" if trained else text,
        "VAE": config.vae.type,
        "Scheduler": config.scheduler.type,
        "Training steps": f"{step:,}",
        "Weights": "exponential moving average" if ema else "of the last step",
        "Seed": str(training.seed),
    }
    prompt = config.sampling.prompts[0]
    return _CARD.substitute(
        name=name,
        facts="\n".join(f"| {label} | {value} |" for label, value in facts.items()),
        prompt=json.dumps(prompt, ensure_ascii=False),
        word=shlex.quote(prompt),
        python_flag=", allow_plugins=True" if config.plugins else "",
        command_flag=" --allow-plugins" if config.plugins else "",
        plugins=_PLUGINS if config.plugins else "",
    )
