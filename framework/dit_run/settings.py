"""The config as typed values: the core's own sections, and the components that a config chose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeVar

from dit_run.options import (
    LocalPath,
    NonNegativeFloat,
    NonNegativeInt,
    Operational,
    PositiveFloat,
    PositiveInt,
    Probability,
    bounds,
    plain,
)
from dit_run.problems import KeyPath, Place, Problem

if TYPE_CHECKING:
    from dit_run.registry.components import Component

__all__ = [
    "SECTIONS",
    "CacheOptions",
    "Choice",
    "Config",
    "SamplingOptions",
    "TrainingOptions",
    "ValidationOptions",
    "put",
]


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How a run trains, and what it writes."""

    output_dir: Annotated[str, LocalPath, Operational] = "./outputs"
    """The run folder. The same command continues an unfinished run that it finds there."""
    seed: Annotated[int, bounds(ge=0, lt=2**63)] = 42
    """All randomness: initial weights, data order, noise, timesteps, dropout."""
    batch_size: PositiveInt = 96
    """Samples per process and micro-step."""
    gradient_accumulation_steps: PositiveInt = 1
    """Micro-steps per optimizer step; gradients are averaged over all of them."""
    learning_rate: PositiveFloat = 1e-4
    """Peak learning rate."""
    num_epochs: PositiveInt = 1000
    """Passes over the training samples."""
    max_steps: PositiveInt | None = None
    """Optimizer steps after which the run ends, where that is before its epochs end."""
    save_every_n_epochs: Annotated[PositiveInt | None, Operational] = 10
    """A checkpoint on the first step that completes so many epochs; null turns it off."""
    save_steps: Annotated[PositiveInt | None, Operational] = 500
    """A checkpoint every so many optimizer steps; null turns it off."""
    save_total_limit: Annotated[Annotated[int, bounds(ge=2)] | None, Operational] = 3
    """How many checkpoints are kept, the best by validation loss among them; null keeps all."""
    logging_steps: Annotated[PositiveInt, Operational] = 50
    """Log every so many optimizer steps."""
    mixed_precision: Literal["no", "fp16", "bf16"] = "bf16"
    """Precision of the forward and backward pass; weights, optimizer and averages stay fp32."""
    max_grad_norm: PositiveFloat | None = 1.0
    """Gradients are scaled down to this norm; null clips nothing."""
    use_ema: bool = False
    """Keep an exponential moving average of the weights, and use it for samples and validation."""
    ema_decay: Annotated[float, bounds(ge=0, lt=1)] = 0.9999
    """Decay of the average, reached after its warm-up."""
    ema_warmup: NonNegativeFloat = 0.75
    """Power p of the average's warm-up: at update s its decay is min(ema_decay, 1 - (1 + s)^-p). 0: no warm-up."""
    caption_dropout: Probability = 0.1
    """Share of captions that are dropped in training, so that guidance has a condition to move away from."""
    init_from: Annotated[str, LocalPath] | None = None
    """A run folder or checkpoint whose weights this run begins with, for fine-tuning."""
    device: Annotated[str, bounds(pattern=r"^(auto|cpu|mps|cuda(:[0-9]+)?)$"), Operational] = "auto"
    """`auto` takes a GPU where there is one; or `cpu`, `mps`, `cuda`, `cuda:1`."""
    num_threads: Annotated[PositiveInt | None, Operational] = None
    """CPU threads of a process; null leaves torch's own choice. A run that continues takes the count it began with."""
    num_workers: Annotated[NonNegativeInt, Operational] = 8
    """Data loading processes; 0 loads in the training process. More than the cores are lowered with a notice."""
    prefetch_factor: Annotated[PositiveInt, Operational] = 4
    """Batches fetched ahead per worker; without effect at 0 workers."""
    compile_model: Annotated[bool, Operational] = False
    """torch.compile the model's blocks; checkpoints are the same with and without."""
    deterministic: bool = False
    """Ask torch for deterministic algorithms, so that a GPU run repeats bit for bit."""
    elastic_exact: bool = False
    """Reduce gradients in a fixed binary tree, so that 1, 2 and 4 processes learn the same bytes. `num_threads` is 1
    where it is not set."""
    max_bad_steps: NonNegativeInt = 0
    """How many optimizer steps in a row may be skipped for a loss or gradient that is not finite."""


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """Pictures made while training, and the defaults of `dit-run sample`."""

    every_n_steps: Annotated[PositiveInt | None, Operational] = 500
    """A grid of pictures every so many optimizer steps, and at the end; null makes none."""
    prompts: Annotated[tuple[str, ...], Operational] = ()
    """What the pictures show; empty takes captions of held-out samples."""
    num_images: Annotated[PositiveInt, Operational] = 16
    """Pictures in a grid where `prompts` is empty."""
    sampler: str | None = None
    """The sampler's name, one of those that the scheduler offers; null takes its first."""
    steps: PositiveInt = 50
    """Sampling steps."""
    guidance_scale: NonNegativeFloat = 4.0
    """Classifier-free guidance: 1 is none, more follows the caption more closely."""
    guidance_rescale: Probability = 0.0
    """Share of the guided output's standard deviation that is brought back to the conditional one's."""
    guidance_interval: tuple[Probability, Probability] = (0.0, 1.0)
    """The part of the way from clean (0) to noise (1) on which guidance works."""
    seed: NonNegativeInt = 0
    """Picture i depends on seed + i alone."""


@dataclass(frozen=True, kw_only=True)
class ValidationOptions:
    """The held-out loss and the metrics, on fixed noise and timesteps."""

    every_n_steps: Annotated[PositiveInt | None, Operational] = 500
    """Measure every so many optimizer steps, and at the end; null measures never."""
    num_samples: PositiveInt = 256
    """The most held-out samples that are measured; as many training samples are the probe for overfitting."""
    timestep_bins: PositiveInt = 4
    """The loss is measured in so many equal parts of the timestep distribution, one draw of each per sample."""
    metrics_every_n_steps: Annotated[PositiveInt | None, Operational] = None
    """Score pictures with the `metrics` every so many optimizer steps; null scores only at the end."""


@dataclass(frozen=True, kw_only=True)
class CacheOptions:
    """Where outputs of frozen encoders are kept."""

    mode: Literal["auto", "required", "off"] = "auto"
    """`auto` keeps what frozen encoders make and reads it back; `required` refuses a run with an encoder whose output
    cannot be kept; `off` encodes in every step."""
    dir: Annotated[str, bounds(min_length=1), LocalPath, Operational] | None = None
    """The folder, shared by all runs; null is `$XDG_CACHE_HOME/dit-run`, or `~/.cache/dit-run`."""
    num_workers: Annotated[NonNegativeInt, Operational] = 0
    """Processes that read and decode pictures for it; 0 reads them in the training process."""


SECTIONS: Mapping[str, type] = {
    "training": TrainingOptions,
    "sampling": SamplingOptions,
    "validation": ValidationOptions,
    "cache": CacheOptions,
}
"""The core's own sections."""


@dataclass(frozen=True)
class Choice:
    """A component that a config chose, with its options."""

    component: Component
    options: Any
    """The component's own options."""
    common: Any = None
    """The options common to its kind; None for a kind without any."""

    @property
    def type(self) -> str:
        return self.component.type

    def to_dict(self) -> dict[str, Any]:
        """Return ``type`` and all options as plain values."""
        common = plain(self.common) if self.common is not None else {}
        return {"type": self.type, **common, **plain(self.options)}


T = TypeVar("T")


class _Section(Generic[T]):
    """A section of a config as a typed attribute."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, config: Config, owner: type) -> T:
        section: T = config.sections[self.name]
        return section


@dataclass(frozen=True, kw_only=True)
class Config:
    """A checked config with defaults filled in. Its sections are attributes: ``config.training.batch_size``."""

    sections: Mapping[str, Any]
    """Every section by name, in the order of the reference: an options object of the core, the Choice of a kind, a
    tuple of Choices for a kind that is a list, or None for a kind of which the config chooses nothing."""
    plugins: tuple[str, ...] = ()
    """Plugin files, as absolute paths."""
    places: Mapping[KeyPath, Place] = field(default_factory=dict, compare=False, repr=False)
    """Where each key that a layer wrote has its value; all other keys have their defaults."""
    secrets: Mapping[KeyPath, str] = field(default_factory=dict, compare=False, repr=False)
    """The text that was written for each secret value: ``${env:NAME}``."""
    adjusted: Mapping[KeyPath, Any] = field(default_factory=dict, compare=False, repr=False)
    """The defaults that rules replaced, by key."""
    notices: tuple[Problem, ...] = field(default=(), compare=False, repr=False)
    """Facts about this config that the user should see, such as adjusted defaults."""

    data = _Section[Choice]("data")
    model = _Section[Choice]("model")
    vae = _Section[Choice]("vae")
    training = _Section[TrainingOptions]("training")
    scheduler = _Section[Choice]("scheduler")
    text_encoder = _Section[Choice]("text_encoder")
    optimizer = _Section[Choice]("optimizer")
    lr_scheduler = _Section[Choice]("lr_scheduler")
    sampling = _Section[SamplingOptions]("sampling")
    validation = _Section[ValidationOptions]("validation")
    cache = _Section[CacheOptions]("cache")
    trackers = _Section[tuple[Choice, ...]]("trackers")
    metrics = _Section[tuple[Choice, ...]]("metrics")
    callbacks = _Section[tuple[Choice, ...]]("callbacks")

    @property
    def written(self) -> frozenset[KeyPath]:
        """The keys that a layer wrote; all other keys have their defaults."""
        return frozenset(self.places)

    def choices(self) -> Iterator[tuple[KeyPath, Choice]]:
        """Yield every chosen component with its path in the config."""
        for name, section in self.sections.items():
            if isinstance(section, Choice):
                yield (name,), section
            elif isinstance(section, tuple):
                yield from (((name, index), choice) for index, choice in enumerate(section))

    def to_dict(self) -> dict[str, Any]:
        """Return all values as plain ones, secrets as they were written; ``data`` has ``type`` and ``dataset_name``."""
        values = {name: _plain(section) for name, section in self.sections.items() if section is not None}
        values["data"] = {"dataset_name": self.data.type, **values["data"]}
        values["plugins"] = list(self.plugins)
        for path, reference in self.secrets.items():
            put(values, path, reference)
        return values


def _plain(section: Any) -> Any:
    if isinstance(section, tuple):
        return [choice.to_dict() for choice in section]
    return section.to_dict() if isinstance(section, Choice) else plain(section)


def put(values: Any, path: KeyPath, value: Any) -> None:
    """Write one value into nested dicts and lists."""
    for step in path[:-1]:
        values = values[step]
    values[path[-1]] = value
