"""The model card of an exported model: its ``README.md``."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template

from torch import Tensor

from dit_run.export.export_options import UNKNOWN, ExportOptions
from dit_run.export.frozen_places import PLACES
from dit_run.export.pipeline_use import PipelineUse, usage
from dit_run.hub import on_hub
from dit_run.model.denoiser import TEXT_ENCODER_PREFIX
from dit_run.options import HubOrPath, options_of
from dit_run.runs.checkpoint.weights import EMA
from dit_run.settings import Choice, Config

__all__ = ["CURVES", "SAMPLES", "TrainedWeights", "hub_names", "model_card"]

CURVES, SAMPLES = "curves.svg", "samples.png"
"""Files with the losses over the steps, and with the last samples of the run."""

_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_CARD = Template("""\
---
$fields
library_name: $library
pipeline_tag: text-to-image
tags:
- dit-run
- text-to-image
---

# $name

$summary
$images
| | |
|---|---|
$facts

## Sampling

Replace `FOLDER` by the path of this folder.
$diffusers
With dit-run installed:

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

- `single.safetensors`: the trained weights, with the step and the config in its metadata.
- `config.yaml`: the complete config of the training run. `dit-run config.yaml` trains again on the same data.
$files
## Licence

$licence""")

_ADAPTER = (
    "An adapter of a text-to-image Diffusion Transformer, trained with dit-run. It needs the weights that it changes, "
    "where `config.yaml` names them."
)
_FILES = {
    "model_index.json": "`model_index.json` and the folders next to it: the pipeline for diffusers.",
    PLACES: f"`{PLACES}`: where the copies of frozen parts are, for `dit-run sample`.",
    CURVES: f"`{CURVES}`: the losses over the steps.",
    SAMPLES: f"`{SAMPLES}`: the last samples of the run.",
    "adapter_config.json": (
        "`adapter_model.safetensors` with `adapter_config.json`: the adapter for the package peft, "
        '`peft.PeftModel.from_pretrained(base, "FOLDER")`.'
    ),
    "pytorch_lora_weights.safetensors": (
        "`pytorch_lora_weights.safetensors`: the adapter for pipelines of diffusers with this model, "
        '`pipeline.load_lora_weights("FOLDER")`.'
    ),
    "plugins": "`plugins/`: Python files that the model needs. Loading the model runs their code, so read them first.",
}


@dataclass(frozen=True)
class TrainedWeights:
    """Trained weights, and how they were trained."""

    tensors: Mapping[str, Tensor]
    step: int
    global_batch: int
    """Samples per step."""
    average: str | None
    """Name of the average; None for the weights that train."""
    base: str = ""
    """Digest of the weights that an adapter changes; empty where ``tensors`` are those of a whole model."""


def model_card(
    config: Config, model: TrainedWeights, folder: Path, options: ExportOptions, use: PipelineUse | None
) -> str:
    """Return the text of the card; ``config`` is the exported one, and ``folder`` has all other files.

    ``use`` is that of its pipeline, None without one.
    """
    prompt = config.sampling.prompts[0]
    quoted = json.dumps(prompt, ensure_ascii=False)
    return _CARD.substitute(
        fields="\n".join(_fields(config, options)),
        summary=_ADAPTER
        if config.adapter is not None
        else "A text-to-image Diffusion Transformer, trained with dit-run.",
        library="dit-run" if use is None else "diffusers",
        name=folder.name,
        images="".join(f"\n![{name}]({name})\n" for name in (SAMPLES, CURVES) if (folder / name).exists()),
        facts="\n".join(f"| {label} | {value} |" for label, value in _facts(config, model, options).items()),
        diffusers="" if use is None else usage(use, prompt, config.sampling.seed),
        prompt=quoted,
        word=shlex.quote(prompt),
        python_flag=", allow_plugins=True" if config.plugins else "",
        command_flag=" --allow-plugins" if config.plugins else "",
        files="".join(f"- {text}\n" for name, text in _FILES.items() if (folder / name).exists()),
        licence=_licence(config, options),
    )


def _fields(config: Config, options: ExportOptions) -> Iterator[str]:
    """Yield the lines of the card's head about licence and origin."""
    if options.license == UNKNOWN:
        yield "# The licence of the weights is yours to name, for example: license: apache-2.0"
    yield f"license: {options.license}"
    for name in hub_names(config.model):
        yield f"base_model: {name}"


def _facts(config: Config, model: TrainedWeights, options: ExportOptions) -> dict[str, str]:
    size, names = config.data.common.image_size, [choice.type for choice in config.chosen("text_encoder")]
    trained = any(key.startswith(TEXT_ENCODER_PREFIX) for key in model.tensors)
    text, count = ", ".join(names), f"{sum(tensor.numel() for tensor in model.tensors.values()):,} weights"
    return {
        **({"Adapter": f"{config.adapter.type}, {count}"} if config.adapter is not None else {}),
        "Model": f"{config.model.type}, {count}" if config.adapter is None else f"{config.model.type}, {_base(config)}",
        "Training data": config.data.type,
        "Image size": f"{size}x{size} pixels",
        "Text encoder": f"{text}, trained with the model" if trained else text,
        "VAE": config.vae.type,
        "Scheduler": config.scheduler.type,
        "Training steps": f"{model.step:,}",
        "Samples per step": f"{model.global_batch:,}",
        "Weights": _weights(model),
        "Precision": options.dtype,
        "Seed": str(config.training.seed),
    }


def _weights(model: TrainedWeights) -> str:
    if model.average is None:
        return "of the last step"
    return "exponential moving average" if model.average == EMA else f"average `{model.average}`"


def _base(config: Config) -> str:
    """Return which weights an adapter changes."""
    names = [*_named(config.model), *([config.training.init_from] if config.training.init_from else [])]
    return f"with the weights of {_shown(names[-1])}" if names else "with random weights"


def _licence(config: Config, options: ExportOptions) -> str:
    text = f"The licence of the trained weights is {options.license}.\n"
    if options.license == UNKNOWN:
        text = "The licence of the trained weights is not known to dit-run: name it at the top of this card.\n"
    for name in _named(config.model):
        text += (
            f"\nThe model began with the weights of {_shown(name)}, whose licence may hold for the trained ones too.\n"
        )
    frozen = [
        f"- {choice.component.kind} {choice.type}: {_shown(name)}\n"
        for choice in (*config.chosen("text_encoder"), config.vae)
        for name in _named(choice)
    ]
    if frozen:
        text += "\nThe frozen parts are those of others, and their licences hold for them:\n\n"
    return text + "".join(dict.fromkeys(frozen))


def hub_names(choice: Choice) -> Iterator[str]:
    """Yield the names on a hub of a component's pretrained weights."""
    return filter(_is_hub_name, _named(choice))


def _named(choice: Choice) -> Iterator[str]:
    """Yield the names of a component's pretrained weights."""
    for option in options_of(type(choice.options)):
        value = getattr(choice.options, option.name)
        if HubOrPath.name in option.markers and isinstance(value, str):
            yield value


def _shown(name: str) -> str:
    """Return a name on a hub, of a path only its last part."""
    return name if _is_hub_name(name) else Path(name).name


def _is_hub_name(name: str) -> bool:
    return on_hub(name) and _HUB_NAME.fullmatch(name) is not None
