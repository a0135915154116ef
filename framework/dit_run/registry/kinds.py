"""The kinds of components, in one table: section, default, runtime keywords and everything else about each kind.

The schema, the reference, ``dit-run new``, ``dit-run plugins``, the contract tests and the typed config read it. A new
kind is a member of :class:`Kind` with its row, a protocol in :mod:`dit_run.protocols`, a contract test in
:mod:`dit_run.testing` and a template in :mod:`dit_run.templates`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Literal

from dit_run.options import (
    NonNegativeInt,
    Operational,
    Option,
    PositiveInt,
    Probability,
    acts_unless,
    bounds,
    options_of,
)

__all__ = ["AUTO", "KINDS", "DatasetCommon", "Kind", "KindSpec", "TextEncoderCommon"]


AUTO = "auto"
"""Value of ``data.buckets`` for the preset list of sizes."""
BucketName = Annotated[str, bounds(pattern="^(auto|[1-9][0-9]*x[1-9][0-9]*)$")]
BucketSize = Annotated[str, bounds(pattern="^[1-9][0-9]*x[1-9][0-9]*$")]
"""A height and a width in pixels: ``208x304``."""


@dataclass(frozen=True, kw_only=True)
class DatasetCommon:
    """Options of every dataset. They keep their values when the dataset's type changes."""

    image_size: Annotated[int, bounds(ge=8, multiple_of=8)] = 256
    """Side of the square training images in pixels, a multiple of 8. `buckets: auto` gives sizes of the same area."""
    buckets: BucketName | tuple[BucketSize, ...] | None = None
    """Sizes of the training images, to crop less of images that are no squares: `auto`, which are sizes of about
    image_size² pixels from 1:2 to 2:1, or a list of height x width such as `[256x256, 208x304]`. An image takes the
    size with the nearest aspect ratio, is resized to cover it and cropped. null trains on squares."""
    max_crop: Annotated[float, bounds(gt=0, le=1)] = 1.0
    """Largest share of an image's area that may be cropped; images beyond it are left out and counted."""
    upscale: bool = True
    """Enlarge images that are smaller than their training size; false leaves them out and counts them."""
    min_side: PositiveInt | None = None
    """Images whose shorter side has fewer pixels are left out and counted."""
    num_samples: PositiveInt | None = 5000
    """Number of samples used, chosen by a hash of their keys and the seed; null uses all."""
    train_split: Annotated[float, bounds(gt=0, le=1)] = 0.9
    """Share of the samples used for training; the rest is held out for validation. 1.0 uses all."""
    random_flip: bool = False
    """Mirror the image left to right in half of the visits. Off by default, because captions say left and right."""
    crop: Literal["center", "random"] = "center"
    """Square of the image that is used: its center, or a random square in each visit, whose latents are not cached."""
    alpha_background: Literal["white", "gray", "black"] = "white"
    """Background colour under transparent pixels."""
    caption_template: Annotated[str, bounds(pattern=r"\{text\}")] = "{text}"
    """Text that the model reads for a caption, which stands for `{text}`: `a photo of {text}`."""
    tag_separator: Annotated[str | None, bounds(min_length=1)] = None
    """Separator of tags, such as `", "`, for captions that are lists of tags; white space around tags does not count.
    null: captions are sentences."""
    shuffle_tags: Annotated[bool, acts_unless("tag_separator", None)] = False
    """Put the tags of a caption into another order in each visit; caption states are then not cached."""
    tag_dropout: Annotated[float, bounds(ge=0, lt=1), acts_unless("tag_separator", None)] = 0.0
    """Share of tags that are left out in each visit, drawn tag by tag; caption states are then not cached. Of each
    caption at least one tag stays."""
    keep_tags: Annotated[NonNegativeInt, acts_unless("tag_separator", None)] = 0
    """Number of tags at the start of each caption that always stay there, whatever is shuffled or left out."""
    on_bad_sample: Annotated[Literal["error", "skip"], Operational] = "error"
    """Reaction to an image that cannot be read, is missing or has no caption: stop with an error that names it, or skip
    the sample with a notice."""

    @property
    def varies_captions(self) -> bool:
        """True if visits of one caption read different texts."""
        return self.tag_separator is not None and (self.shuffle_tags or self.tag_dropout > 0)

    def without_augmentation(self) -> DatasetCommon:
        """Return the options with which every visit of a sample is the same, except for the choice of its caption."""
        return replace(self, random_flip=False, crop="center", shuffle_tags=False, tag_dropout=0.0)

    def written_sizes(self) -> tuple[tuple[int, int], ...]:
        """Return the sizes (height, width) that ``buckets`` names, without repeats; none for ``auto`` and null."""
        names = (self.buckets,) if isinstance(self.buckets, str) else self.buckets or ()
        pairs = (name.split("x") for name in dict.fromkeys(names) if name != AUTO)
        return tuple((int(height), int(width)) for height, width in pairs)


@dataclass(frozen=True, kw_only=True)
class TextEncoderCommon:
    """Options of every text encoder. They keep their values when the encoder's type changes."""

    caption_dropout: Probability = 0.0
    """Share of captions that this encoder reads as the empty caption in training, in addition to those that
    `training.caption_dropout` drops for all encoders. With several encoders each draws its own."""


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
        runtime=("image_size", "on_bad_sample", "scalars"),
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
        runtime=("total_steps",),
        members=("__call__",),
    ),
    Kind.TRACKER: KindSpec(
        title="tracker",
        text="Trackers: where metrics and sample images are logged during training.",
        section="trackers",
        listed=True,
        default_list=("tensorboard",),
        observes=True,
        protocol="dit_run.protocols:Tracker",
        runtime=("run_dir", "start_step"),
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
