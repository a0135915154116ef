"""The protocol of each kind of component: the keywords of its factory, and the object to return. For plugin authors.

A factory is called as ``build(options, **runtime)``. ``options`` is the component's own options object. Of the runtime
keywords of its kind the factory receives those that its signature names, so that a new keyword breaks no plugin. A
factory, and the object it returns, may raise :class:`dit_run.problems.InputError` for a mistake that the user can
correct; only its text is shown. Any other exception ends the run as a fault of the plugin, with the plugin's name and a
traceback that starts in its code. Trackers, metrics and callbacks only watch a run: once it trains, an exception of
theirs is reported and kept in ``status.json``, and the run continues. A signal to stop interrupts a metric at once, to
be computed when the run continues; trackers and callbacks have a second to return.

Shapes: n samples, c latent channels, h and w latent rows and columns, H and W pixels, l text tokens, d text width.
Tensors are on the run's device. float means float32; under autocast (``training.mixed_precision``) a model or encoder
may return the lower precision. All random numbers are arguments: a component has no generator of its own, except for a
model's initial weights and dropout, for which the core seeds torch's generator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from dit_run.system.file_ranges import FilePart, FileRange

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import Tensor

    from dit_run.problems import Problem
    from dit_run.settings import Config

__all__ = [
    "EVENTS",
    "VAE",
    "Adjustment",
    "Callback",
    "Dataset",
    "Facts",
    "FilePart",
    "FileRange",
    "LearningRateFactor",
    "LeavesOut",
    "LeftOut",
    "Metric",
    "Model",
    "NamedParameters",
    "Optimizer",
    "ParameterRole",
    "Predict",
    "Progress",
    "Rule",
    "RuleContext",
    "Sample",
    "Scheduler",
    "SchedulerOf",
    "StepNoise",
    "TextEncoder",
    "TextStates",
    "Tokens",
    "Tracker",
    "unknown_event",
]

# ------------------------------------------------------------------------------------------------------------ dataset


@dataclass(frozen=True)
class Sample:
    """An image with all its captions. Cheap to make: the image is decoded only when a run needs it."""

    key: str
    """Name of the sample, unique in the dataset and the same on every machine: it decides order, split and
    ``num_samples``."""
    captions: tuple[str, ...]
    """One caption or more; each visit of the sample uses one of them."""
    image: Path | FilePart | Callable[[], Image.Image]
    """A file, a part of a file, or a picklable function that returns the image, of any size and mode.

    The core decodes, rotates by EXIF, converts to sRGB by the embedded ICC profile, composites alpha, crops, resizes
    and normalises the image. It calls the function, or reads the file or its part, once per visit. A function may raise
    InputError for a broken image; ``data.on_bad_sample`` decides what happens then."""
    weights: tuple[float, ...] = ()
    """Weight of each caption, above 0: its share of the visits in the long run is its share of their sum. Empty: all
    captions are used equally often."""


@dataclass(frozen=True)
class LeftOut:
    """Images, captions or other parts of the data that a dataset does not use, for one reason."""

    reason: str
    """Noun phrase in the singular: ``image without a caption``."""
    count: int
    example: str
    """One of them, such as the path of a file."""


@runtime_checkable
class LeavesOut(Protocol):
    """A dataset that reports what it left out of its samples; optional."""

    @property
    def left_out(self) -> Sequence[LeftOut]:
        """What was left out, one entry per reason; a run and ``dit-run check`` list it when they start."""
        ...


class Dataset(Protocol):
    """``build(options, *, image_size: int, on_bad_sample: str) -> Dataset``: a sequence of samples.

    ``image_size`` is the side in pixels of the square images that the run trains on. With ``on_bad_sample`` "skip", the
    value of ``data.on_bad_sample``, a dataset leaves out an image whose file or caption is missing; with "error" the
    factory raises InputError. Whatever it leaves out it should report, see :class:`LeavesOut`.

    A dataset is picklable, because it is sent to data-loading workers, and has the same samples in the same order every
    time it is built. A run reads all items when it starts, because their keys decide the split, so an item must be
    cheap. The factory raises InputError
    for a missing path or a broken index, naming the file.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...


# ------------------------------------------------------------------------------------------------------- text_encoder


class Tokens(NamedTuple):
    """Captions as token ids."""

    ids: Tensor
    """int64 [n, l], padded at the end."""
    mask: Tensor
    """bool [n, l], True for real tokens."""
    truncated: int
    """Number of captions, of n, that were cut because they are longer than the encoder takes; a run reports it."""


class TextStates(NamedTuple):
    """Captions as input of the model."""

    tokens: Tensor
    """float [n, l, d]."""
    mask: Tensor
    """bool [n, l], True for real tokens. Each row has one or more, unless ``null`` is True for it."""
    pooled: Tensor
    """float [n, pooled_width]: one vector per caption."""
    null: Tensor
    """bool [n], True where the caption was dropped; the states are then those of the empty caption. A model with a
    learned null condition uses that instead; any other model can ignore this."""


class TextEncoder(Protocol):
    """``build(options) -> TextEncoder``: a torch module; a frozen one is in eval mode.

    A frozen encoder never changes (no gradients, no dropout), and its states may be cached. A trainable encoder is
    trained, averaged and saved with the model.

    A frozen encoder may load its weights at the first call, and have a method ``release()`` that frees their memory
    until the next call: with a complete cache it is never called.
    """

    trainable: bool
    width: int
    """d, the width of a token state."""
    pooled_width: int
    max_length: int
    """Largest number of tokens of a caption, markers included."""

    def tokenize(self, captions: Sequence[str]) -> Tokens:
        """Return the tokens of one caption or more, padded to the longest of them or to ``max_length``.

        A pure function without parameters, which works in any process, on the CPU. A caption may be empty.
        """
        ...

    def __call__(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return token states, float [n, l, d], and pooled vectors, float [n, pooled_width].

        The states of a caption depend neither on the other captions nor on the amount of padding: the core pads
        further, with id 0 and mask False, up to ``max_length``. Frozen encoders are called without gradients.
        """
        ...

    def fingerprint(self) -> str:
        """Return a hex digest, 16 digits or more, of everything that decides the output: weights, tokenizer, settings.

        Cached states are found by it and by the code of the plugin, which the core adds. Never called for a trainable
        encoder.
        """
        ...


# ---------------------------------------------------------------------------------------------------------------- vae


class VAE(Protocol):
    """``build(options) -> VAE``: a frozen torch module in eval mode that maps images to scaled latents and back.

    Images are float [n, 3, H, W] in [-1, 1]. Latents are float [n, latent_channels, H / factor, W / factor], scaled and
    shifted to about unit variance; the model is trained on them.

    A VAE may load the weights of each half at its first use, and have a method ``release()`` that frees their memory
    until the next use: with a complete cache ``encode`` is never called, and ``decode`` only when an image is sampled.
    """

    latent_channels: int
    factor: int
    """Image pixels per latent pixel along a side; 1 in pixel space."""
    cacheable: bool
    """False if latents are not worth caching, because encoding costs nothing."""

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return mean and standard deviation of the latents, or mean and None for an encoder without a posterior.

        Called without gradients, on squares of ``data.image_size``. The latents of an image depend on that image alone.
        """
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Return images, float [n, 3, H, W], clamped to [-1, 1], for latents of any height and width."""
        ...

    def fingerprint(self) -> str:
        """Return a hex digest, 16 digits or more, of everything that decides the output of ``encode``.

        Cached latents are found by it and by the code of the plugin, which the core adds. Called only if ``cacheable``
        is True.
        """
        ...


# -------------------------------------------------------------------------------------------------------------- model


class Model(Protocol):
    """``build(options, *, latent_channels, text_width, pooled_width) -> Model``: the torch module that is trained.

    ``latent_channels`` is that of the VAE; ``text_width`` and ``pooled_width`` are those of the text encoder. The
    factory creates the parameters on the CPU in float32; the core seeds torch's generator before the call and moves the
    module afterwards. Put repeated blocks into a ``torch.nn.ModuleList``: ``training.compile_model`` compiles its
    members one by one, and the linear weights in them have the role ``matrix`` for optimizers.
    """

    patch_size: int
    """Latent rows and columns must be multiples of this number."""

    def __call__(self, latents: Tensor, timesteps: Tensor, text: TextStates) -> Tensor:
        """Return the prediction, float [n, c, h, w], for noisy ``latents``, float [n, c, h, w].

        ``timesteps`` is float [n] in [0, 1000]. h and w are any multiples of ``patch_size``, and the number of tokens
        varies between calls. The prediction for a sample depends on that sample alone.
        """
        ...


# ---------------------------------------------------------------------------------------------------------- scheduler

Predict = Callable[["Tensor", "Tensor"], "Tensor"]
"""``predict(noisy latents [n, c, h, w], timesteps float [n]) -> model output``, with guidance applied.

All timesteps of one call must be the same. The output has the shape and dtype of the noisy latents."""

StepNoise = Callable[[int], "Tensor"]
"""``step_noise(i)``: standard normal noise [n, c, h, w] of sampling step i, counted from 0.

Every image has noise of its own, and the same i always gives the same noise."""


class Scheduler(Protocol):
    """``build(options, *, latent_shape: tuple[int, int, int]) -> Scheduler``: noise process, target and samplers.

    ``latent_shape`` is (c, h, w) in training; images may be sampled in other sizes. All methods are pure functions of
    their arguments, and coefficients take device and dtype of the arguments. Timesteps are float [n] on the model's
    scale of [0, 1000]; latents, noise, x_t, targets and model outputs are [n, c, h, w]. The training loss of a sample
    is ``weight(t) * mean((model(x_t, t) - target)²)``.
    """

    prediction_type: str
    """Name of the quantity that the model predicts, for reports: ``epsilon``, ``velocity`` and the like."""
    samplers: tuple[str, ...]
    """Names of the samplers for this process and prediction type, the default first."""

    def timesteps(self, uniform: Tensor) -> Tensor:
        """Return training timesteps, float [n], for uniform random numbers, float [n] in [0, 1).

        The map is monotone, so that stratified random numbers give stratified timesteps.
        """
        ...

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return x_t, the noisy latents."""
        ...

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return the output that the model is trained to give for x_t."""
        ...

    def weight(self, timesteps: Tensor) -> Tensor:
        """Return loss weights, float [n], of at least 0."""
        ...

    def to_x0(self, output: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """Return the clean latents that a model output stands for."""
        ...

    def sample(self, predict: Predict, noise: Tensor, *, sampler: str, steps: int, step_noise: StepNoise) -> Tensor:
        """Return latents [n, c, h, w], made from standard normal ``noise`` of that shape in one or more ``steps``.

        ``sampler`` is one of ``samplers``. The method scales the noise itself if its process does not start at N(0, 1),
        and clips nothing. Deterministic samplers never call ``step_noise``. Called without gradients.
        """
        ...


SchedulerOf = Callable[[tuple[int, int, int]], Scheduler]
"""The scheduler for latents of a shape (c, h, w): a noise process may depend on the resolution."""


# ---------------------------------------------------------------------------------------------------------- optimizer

NamedParameters = Sequence[tuple[str, "torch.nn.Parameter"]]

ParameterRole = str
"""``matrix`` (weight of a linear layer in a member of a ``ModuleList`` or ``Sequential``, as repeated blocks are),
``edge`` (weight of any other linear layer or convolution: input, output, conditioning), ``embedding``, ``norm``,
``bias`` or ``other``."""


class Optimizer(Protocol):
    """``build(options, *, named_parameters, roles, learning_rate, device) -> torch.optim.Optimizer``.

    ``named_parameters`` is a list of (name, parameter) of all trained parameters, float32 on ``device``, a
    torch.device. ``roles`` maps each name, also of parameters that are not trained, to its :data:`ParameterRole`;
    weight decay belongs on ``matrix`` and ``edge`` only. ``learning_rate`` is the peak rate, a float above 0. A param
    group may set its own ``lr`` from it: the peak of that group. Before each step the core sets ``group["lr"]`` to that
    peak times the factor of the learning-rate scheduler, which is 0 at the start of a warm-up.

    ``step()`` is called without a closure, after clipping (``training.max_grad_norm``). The ``grad`` of a parameter
    that took no part is None. A step whose loss or gradient is not finite is skipped. The state_dict holds only tensors
    and plain values, and training continues from it bit for bit.
    """

    param_groups: list[dict[str, Any]]

    def step(self) -> None: ...

    def zero_grad(self) -> None: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...


# ------------------------------------------------------------------------------------------------------- lr_scheduler


class LearningRateFactor(Protocol):
    """``build(options, *, total_steps: int) -> LearningRateFactor``: a pure function of the optimizer step.

    It has no state to save: a continued run calls it with the number of its next step.
    """

    def __call__(self, step: int) -> float:
        """Return the factor, 0 to 1, on the peak learning rate at ``step``, counted from 0 to total_steps - 1."""
        ...


# ------------------------------------------------------------------------------------------------------------ tracker


class Tracker(Protocol):
    """``build(options, *, run_dir: Path, start_step: int) -> Tracker``: logs numbers and images.

    ``run_dir`` is the run folder, which exists. A run that continues after ``start_step`` optimizer steps (0 for a new
    run) gets a new tracker, which must hide what an earlier tracker wrote for later steps. Only the first process of a
    run has trackers. If a method raises OSError, because a disk is full or a service is out of reach, the run continues
    and the method is called again before the next call. The contract test refuses the network, so a tracker that needs
    a service has an option that keeps it offline.
    """

    command: str
    """Command that shows what was logged, printed at the start of a run; empty for none."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log named numbers after ``step`` optimizer steps, such as ``loss`` and ``validation/loss``.

        The names differ from step to step, and a value may be nan or inf.
        """
        ...

    def image(self, step: int, name: str, image: Image.Image) -> None:
        """Log an image, RGB: the grid of sample images, named ``samples``."""
        ...

    def text(self, step: int, name: str, text: str) -> None:
        """Log a text: the resolved config, as YAML, named ``config``, at step 0 of a new run."""
        ...

    def flush(self) -> None:
        """Write everything that was logged to disk; called before a checkpoint is committed."""
        ...

    def close(self) -> None:
        """Write everything to disk and release all resources; the last call."""
        ...


# ------------------------------------------------------------------------------------------------------------- metric


class Metric(Protocol):
    """``build(options, *, config: Config, references) -> Metric``: scores images sampled from prompts.

    Metrics run at the end of a run, every ``validation.metrics_every_n_steps``, and in ``dit-run eval``. ``config`` is
    the whole checked config. ``references(count) -> list[(PIL image, caption)]`` returns at most ``count`` held-out
    samples, or training samples if none are held out, for metrics that compare with them; their images are RGB squares
    of ``data.image_size``, neither mirrored nor cropped at random. The core appends ``_train`` to the names of scores
    that use training samples as prompts or references. The factory raises InputError if the config does not fit the
    metric.
    """

    def prompts(self, count: int) -> Sequence[str] | None:
        """Return ``count`` prompts, or None for captions of held-out samples, of which there may be fewer."""
        ...

    @property
    def count(self) -> int:
        """Number of images to score; ``prompts`` is called with it."""
        ...

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Mapping[str, float]:
        """Return named finite scores of ``images``, RGB squares of ``data.image_size``, one image per prompt.

        The core puts the metric's type before each name: ``shapes/wholly_right``.
        """
        ...


# ----------------------------------------------------------------------------------------------------------- callback


@dataclass(frozen=True)
class Progress:
    """The state of a run, as callbacks see it."""

    step: int
    """Optimizer steps done."""
    total_steps: int
    run_dir: Path
    values: Mapping[str, float] = field(default_factory=dict)
    """Values logged with this event: loss, learning rate and the like."""
    path: Path | None = None
    """The checkpoint or the image that was written."""


class Callback:
    """``build(options, *, run_dir: Path) -> Callback``: an object that watches a run and changes nothing of it.

    Subclass this class and override the methods that you need; an object of another class with some of these methods
    works as well. Any other method whose name begins with ``on_`` is an error, because no run would call it.

    ``run_dir`` is the run folder, which exists. Callbacks are called in the first process of a run only. An exception
    is reported with the plugin's name, and the run continues.
    """

    def __init_subclass__(cls, **keywords: Any) -> None:
        """Raise TypeError for an unknown event, so that the plugin does not load."""
        super().__init_subclass__(**keywords)
        fault = unknown_event(cls)
        if fault:
            raise TypeError(fault)

    def on_train_start(self, progress: Progress) -> None:
        """Before the first step of this process; ``step`` counts the steps of earlier processes."""

    def on_step_end(self, progress: Progress) -> None:
        """After each optimizer step, its checkpoint and samples; ``values`` has what was logged, often nothing."""

    def on_checkpoint_saved(self, progress: Progress) -> None:
        """After a checkpoint is complete on disk, at ``path``."""

    def on_sample(self, progress: Progress) -> None:
        """After a grid of sample images was written to ``path``, before ``on_step_end`` of the same step."""

    def on_train_end(self, progress: Progress) -> None:
        """After the last step; not called when a run is stopped or fails."""


EVENTS = tuple(name for name in vars(Callback) if name.startswith("on_"))
"""The methods of a callback."""


def unknown_event(callback: object) -> str | None:
    """Return a message about a method ``on_…`` of a callback, or of its class, that no run calls; None without one."""
    for name in dir(callback):
        if name.startswith("on_") and name not in EVENTS and callable(getattr(callback, name)):
            import difflib  # only for a wrong name

            owner = callback if isinstance(callback, type) else type(callback)
            near = difflib.get_close_matches(name, EVENTS, n=1)
            help_ = f" (did you mean {near[0]}()?)" if near else ""
            return (
                f"{owner.__name__}.{name}() is never called{help_}; the methods of a callback are {', '.join(EVENTS)}"
            )
    return None


# -------------------------------------------------------------------------------------------------------------- rules


@dataclass(frozen=True)
class Facts:
    """Facts that the config alone does not show; None until data and weights are read."""

    total_steps: int | None = None
    """Optimizer steps of the whole run. Before data is read: ``training.max_steps`` as an upper bound, or None."""
    samples: int | None = None
    """Training samples."""
    latent_channels: int | None = None
    latent_factor: int | None = None
    """Side of the images divided by that of their latents."""
    cached: bool | None = None
    """True if the cache holds the output of at least one of the encoders."""


@dataclass(frozen=True)
class Adjustment:
    """A better value for a key that has its default; shown to the user as a notice, unless it is ``quiet``."""

    path: tuple[str | int, ...]
    value: Any
    reason: str
    quiet: bool = False
    """True for a value that the documentation of the key announces."""


@dataclass(frozen=True)
class RuleContext:
    """Arguments of a cross-field rule."""

    config: Config
    path: tuple[str | int, ...]
    """Path of the component in the config: ``("optimizer",)``, ``("trackers", 0)``."""
    options: Any
    """The component's own options."""
    facts: Facts
    written: frozenset[tuple[str | int, ...]]
    """The keys that the user wrote; all others have their defaults."""


class Rule(Protocol):
    """A cross-field check: returns problems and adjustments, imports nothing heavy and reads no data."""

    def __call__(self, context: RuleContext) -> Iterable[Problem | Adjustment]: ...
