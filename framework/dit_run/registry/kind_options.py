"""Kind options: the keys that every type of a kind takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from dit_run.options import (
    Adjustable,
    NonNegativeInt,
    Operational,
    PositiveFloat,
    PositiveInt,
    Probability,
    acts_unless,
    bounds,
)

__all__ = ["AUTO", "AverageCommon", "DatasetCommon", "ObjectiveCommon", "TextEncoderCommon", "VaeCommon"]

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
    """Part of the image that is used where its shape is not that of its training size: the middle, or a random part in
    each visit, whose latents are not cached."""
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
    shuffle_window: PositiveInt | None = None
    """Number of shards whose samples are shuffled among themselves, for tar shards and parquet files: each epoch takes
    all shards in another order, this many at a time, so that few shards are read at once. null shuffles all samples."""
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
class VaeCommon:
    """Options of every VAE. They keep their values when the VAE's type changes."""

    normalize: Literal["data"] | None = None
    """`data` gives each channel of the latents mean 0 and standard deviation 1: a new run measures both over the first
    1,024 training samples of its order and keeps them in its checkpoints. null takes the latents as the VAE scales
    them."""


@dataclass(frozen=True, kw_only=True)
class ObjectiveCommon:
    """Options of every objective."""

    weight: Annotated[PositiveFloat, Adjustable] = 1.0
    """Factor on this loss in the sum of all objectives."""
    start: Annotated[float, bounds(ge=0, lt=1), Adjustable] = 0.0
    """Share of the run's steps after which this objective begins to act."""
    until: Annotated[float, bounds(gt=0, le=1), Adjustable] = 1.0
    """Share of the run's steps after which this objective no longer acts."""


AverageName = Annotated[str, bounds(pattern="^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


@dataclass(frozen=True, kw_only=True)
class AverageCommon:
    """Options of every average."""

    name: AverageName | None = None
    """Name of the average for `--average`: letters, digits, `_`, `.` and `-`. null takes the type, from the second
    average of a type on with a number, such as `power_2`; `ema` is that of `training.use_ema`."""
