"""The kinds of components, in one table: section, default, runtime keywords and everything else about each kind.

The schema, the reference, ``dit-run new``, ``dit-run plugins``, the contract tests and the typed config read it. A new
kind is a member of :class:`Kind` with its row, a protocol in :mod:`dit_run.protocols`, a contract test in
:mod:`dit_run.testing` and a template in :mod:`dit_run.templates`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from dit_run.options import Option, options_of
from dit_run.registry.kind_options import AverageCommon, DatasetCommon, ObjectiveCommon, TextEncoderCommon, VaeCommon

__all__ = ["KINDS", "Kind", "KindSpec"]


@dataclass(frozen=True, kw_only=True)
class KindSpec:
    """A row of the table: everything that the engine knows about a kind."""

    title: str
    """Name in messages and editors: ``text encoder``."""
    text: str
    """Description of the section, in one sentence."""
    section: str = ""
    """Top-level key of a config that chooses components of this kind; empty: the kind's own name."""
    default_type: str | None = None
    """Type of a section without the key ``type``. With None a config may leave the section out and choose nothing."""
    listed: bool = False
    """True if the section is a list of components."""
    combines: bool = False
    """True if the section may also be a list of two components or more that work together."""
    default_list: tuple[str, ...] = ()
    """Types in a list that the config leaves out, as far as they are registered."""
    observes: bool = False
    """True if components of this kind do not change what is learnt: they may change when a run continues."""
    aliases: tuple[str, ...] = ()
    """Old names of the key ``type``."""
    common: type | None = None
    """Options class with the keys that every type of this kind takes."""
    protocol: str
    """The class that documents the factory and the object it returns, as ``package.module:Class``."""
    runtime: tuple[str, ...] = ()
    """Keywords that a factory of this kind can ask for."""
    members: tuple[str, ...] = ()
    """Attributes and methods that the object must have."""
    fault: str = ""
    """A function that returns what else is wrong with the object, or None, as ``package.module:function``."""

    def common_options(self) -> tuple[Option, ...]:
        """Return the keys that every type of this kind takes."""
        return options_of(self.common) if self.common else ()


class Kind(StrEnum):
    """The purpose of a component. :mod:`dit_run.protocols` documents the factory of each kind and its result."""

    DATASET = "dataset"
    TEXT_ENCODER = "text_encoder"
    VAE = "vae"
    MODEL = "model"
    SCHEDULER = "scheduler"
    OPTIMIZER = "optimizer"
    LR_SCHEDULER = "lr_scheduler"
    OBJECTIVE = "objective"
    GUIDANCE = "guidance"
    AVERAGE = "average"
    ADAPTER = "adapter"
    TRACKER = "tracker"
    METRIC = "metric"
    CALLBACK = "callback"

    @property
    def spec(self) -> KindSpec:
        """The kind's row of the table."""
        return KINDS[self]

    @property
    def section(self) -> str:
        """The top-level key of a config that chooses components of this kind."""
        return self.spec.section or self.value

    @property
    def listed(self) -> bool:
        """True if the section is a list of components."""
        return self.spec.listed

    @property
    def combines(self) -> bool:
        """True if the section may also be a list of components that work together."""
        return self.spec.combines

    @property
    def default_type(self) -> str | None:
        """The type of a section without the key ``type``; None for lists and for sections that may be left out."""
        return self.spec.default_type

    @property
    def contract(self) -> str:
        """The contract test, as ``package.module:function``; its module has all checks in ``CHECKS``."""
        return f"dit_run.testing.{self}:check_{self}"

    @property
    def template(self) -> str:
        """The file in :mod:`dit_run.templates` that ``dit-run new`` starts from."""
        return f"{self}.py"


_MODULE = ("parameters", "state_dict", "to")
"""Members of a torch module that the engine uses."""

KINDS: Mapping[Kind, KindSpec] = {
    Kind.DATASET: KindSpec(
        title="dataset",
        text="The dataset: images with captions.",
        section="data",
        default_type="coco",
        aliases=("dataset_name",),
        common=DatasetCommon,
        protocol="dit_run.protocols:Dataset",
        runtime=("image_size", "on_bad_sample", "scalars", "shard_cache"),
        members=("__len__", "__getitem__"),
    ),
    Kind.TEXT_ENCODER: KindSpec(
        title="text encoder",
        text="The text encoder: turns captions into the states that the model attends to. A list of encoders gives the "
        "model the states of each, one after another, and their pooled vectors joined.",
        default_type="clip",
        combines=True,
        common=TextEncoderCommon,
        protocol="dit_run.protocols:TextEncoder",
        members=("trainable", "width", "pooled_width", "max_length", "tokenize", "__call__", *_MODULE),
    ),
    Kind.VAE: KindSpec(
        title="VAE",
        text="The VAE: encodes images into latents and decodes latents into images.",
        default_type="autoencoder_kl",
        common=VaeCommon,
        protocol="dit_run.protocols:VAE",
        members=("latent_channels", "factor", "cacheable", "encode", "decode", *_MODULE),
    ),
    Kind.MODEL: KindSpec(
        title="model",
        text="The model: the network that is trained.",
        default_type="dit",
        protocol="dit_run.protocols:Model",
        runtime=(
            "latent_channels",
            "latent_factor",
            "text_width",
            "pooled_width",
            "text_widths",
            "pooled_widths",
            "initial",
        ),
        members=("patch_size", "__call__", *_MODULE),
    ),
    Kind.SCHEDULER: KindSpec(
        title="scheduler",
        text="The noise process: the model's training target, and the samplers that make images.",
        default_type="ddpm",
        protocol="dit_run.protocols:Scheduler",
        runtime=("latent_shape",),
        members=("prediction_type", "samplers", "timesteps", "add_noise", "target", "weight", "to_x0", "sample"),
    ),
    Kind.OPTIMIZER: KindSpec(
        title="optimizer",
        text="The optimizer: turns gradients into updates of the weights.",
        default_type="adamw",
        protocol="dit_run.protocols:Optimizer",
        runtime=("named_parameters", "roles", "learning_rate", "device"),
        members=("param_groups", "step", "zero_grad", "state_dict", "load_state_dict"),
    ),
    Kind.LR_SCHEDULER: KindSpec(
        title="learning-rate scheduler",
        text="The learning-rate scheduler: changes the learning rate over the run.",
        default_type="cosine",
        protocol="dit_run.protocols:LearningRateFactor",
        runtime=("total_steps", "learning_rate"),
        members=("__call__",),
    ),
    Kind.OBJECTIVE: KindSpec(
        title="objective",
        text="The objective: the loss that training lowers. Of a list of objectives it is the weighted sum.",
        default_type="denoising",
        combines=True,
        common=ObjectiveCommon,
        protocol="dit_run.protocols:Objective",
        runtime=("device", "taps", "token_size"),
        members=("__call__",),
    ),
    Kind.GUIDANCE: KindSpec(
        title="guidance",
        text="The guidance: the way in which sampling follows captions more closely than the model alone, as strongly "
        "as `sampling.guidance_scale` says.",
        default_type="cfg",
        observes=True,
        protocol="dit_run.protocols:Guidance",
        members=("__call__",),
    ),
    Kind.AVERAGE: KindSpec(
        title="average",
        text="Averages: averages of the weights that a run keeps, in addition to that of `training.use_ema`. The first "
        "average of a run makes its images and is validated.",
        section="averages",
        listed=True,
        common=AverageCommon,
        protocol="dit_run.protocols:AverageShare",
        members=("__call__",),
    ),
    Kind.ADAPTER: KindSpec(
        title="adapter",
        text="The adapter: small changes, such as LoRA, that are trained in place of the weights of a model. Without "
        "this section the model itself is trained.",
        protocol="dit_run.protocols:Adapter",
        members=("add", "merged", "save"),
    ),
    Kind.TRACKER: KindSpec(
        title="tracker",
        text="Trackers: where metrics and sample images are logged during training.",
        section="trackers",
        listed=True,
        default_list=("tensorboard",),
        observes=True,
        protocol="dit_run.protocols:Tracker",
        runtime=("run_dir", "start_step", "config", "history"),
        members=("command", "log", "image", "text", "flush", "close"),
    ),
    Kind.METRIC: KindSpec(
        title="metric",
        text="Metrics: scores of sampled images, computed during training and by `dit-run eval`.",
        section="metrics",
        listed=True,
        observes=True,
        protocol="dit_run.protocols:Metric",
        runtime=("config", "references"),
        members=("prompts", "count", "score"),
    ),
    Kind.CALLBACK: KindSpec(
        title="callback",
        text="Callbacks: objects that watch a run.",
        section="callbacks",
        listed=True,
        observes=True,
        protocol="dit_run.protocols:Callback",
        runtime=("run_dir",),
        fault="dit_run.protocols:unknown_event",
    ),
}
"""The table."""
