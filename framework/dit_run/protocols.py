"""What each kind of component is made from and must be: the manual for plugin authors.

A component's factory is called as ``build(options, **runtime)``. ``options`` is its own options object; of the runtime
keywords listed for its kind it receives those that its signature names, so a new keyword breaks nobody. A factory may
raise :class:`dit_run.problems.InputError` for something the user can mend; anything else is reported as the
plugin's fault.

Shapes: n samples, c latent channels, h and w latent rows and columns, H and W pixels, l text tokens, d text width.
Everything random is handed in: a component draws from no generator of its own, except dropout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import Tensor

    from dit_run.problems import Problem
    from dit_run.settings import Config

__all__ = [
    "VAE",
    "Adjustment",
    "Callback",
    "Dataset",
    "Facts",
    "LearningRateFactor",
    "Metric",
    "Model",
    "NamedParameters",
    "ParameterRole",
    "Predict",
    "Progress",
    "Rule",
    "RuleContext",
    "Sample",
    "Scheduler",
    "StepNoise",
    "TextEncoder",
    "TextStates",
    "Tokens",
    "Tracker",
]

# ------------------------------------------------------------------------------------------------------------ dataset


@dataclass(frozen=True)
class Sample:
    """One image with all its captions. Light: nothing is decoded before the picture is wanted."""

    key: str
    """Unique in the dataset, and the same on every machine: it decides order, split and ``num_samples``."""
    captions: tuple[str, ...]
    """At least one; each visit shows one of them."""
    image: Path | Callable[[], Image.Image]
    """A file, or a picklable function that draws the picture. The core decodes, orients, composites alpha, crops,
    resizes and normalises; it never reads a file twice in one visit."""


class Dataset(Protocol):
    """``build(options, *, image_size: int) -> Dataset``: a sequence of samples.

    ``image_size`` is the square side in pixels. Picklable (it travels to spawned loading processes), and the same
    samples in the same order at each build. Raises InputError for a path that is missing or an index that is broken,
    naming the file.
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
    """How many of the captions were longer than the encoder takes and were cut."""


class TextStates(NamedTuple):
    """Captions as the model sees them."""

    tokens: Tensor
    """float [n, l, d]."""
    mask: Tensor
    """bool [n, l], True for real tokens; each row has at least one unless ``null`` is True for it."""
    pooled: Tensor
    """float [n, pooled_width]: one vector a caption."""
    null: Tensor
    """bool [n], True where the caption was dropped; the states are then those of the empty caption. A model with a
    learned null condition puts it there; another one needs to do nothing."""


class TextEncoder(Protocol):
    """``build(options) -> TextEncoder``: a torch module, in eval mode where it is frozen.

    A frozen encoder never changes (no gradients, no dropout) and its states may be cached; a trainable one is
    trained, averaged and saved with the model.

    A frozen one may read its weights at the first call, and have ``release()`` to give their memory back until the
    next: with a warm cache it is never called.
    """

    trainable: bool
    width: int
    """d, the width of a token state."""
    pooled_width: int
    max_length: int
    """The most tokens a caption has, markers included."""

    def tokenize(self, captions: Sequence[str]) -> Tokens:
        """Pure, without parameters: works in any process. Pads to the longest of the batch or to max_length."""
        ...

    def __call__(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Token states [n, l, d] and pooled vectors [n, pooled_width]. A caption's states do not depend on its
        neighbours nor on the amount of padding."""
        ...

    def fingerprint(self) -> str:
        """Hex digest of all that decides a frozen encoder's output: weights, tokenizer, settings."""
        ...


# ---------------------------------------------------------------------------------------------------------------- vae


class VAE(Protocol):
    """``build(options) -> VAE``: a frozen torch module in eval mode that maps images to scaled latents and back.

    Images are float [n, 3, H, W] in [-1, 1]. Latents are float [n, latent_channels, H / factor, W / factor], scaled
    and shifted to about unit variance: what the model is trained on.

    It may read the weights of each half at its first use, and have ``release()`` to give their memory back until the
    next: with a warm cache ``encode`` is never called, and ``decode`` not before the first picture.
    """

    latent_channels: int
    factor: int
    """Pixels per latent pixel along a side; 1 in pixel space."""
    cacheable: bool
    """Whether latents are worth keeping: False where encoding costs nothing."""

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Mean and standard deviation of the latents; None for an encoder without a posterior."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Images [n, 3, H, W], clamped to [-1, 1]."""
        ...

    def fingerprint(self) -> str:
        """Hex digest of all that decides the output of ``encode``."""
        ...


# -------------------------------------------------------------------------------------------------------------- model


class Model(Protocol):
    """``build(options, *, latent_channels, text_width, pooled_width) -> Model``: the torch module that is trained.

    ``latent_channels`` is the VAE's, ``text_width`` and ``pooled_width`` the text encoder's. Its parameters are made
    on the CPU in float32; the core seeds torch's generator before the call and moves the module afterwards.
    """

    patch_size: int
    """Latent rows and columns must be multiples of it."""

    def __call__(self, latents: Tensor, timesteps: Tensor, text: TextStates) -> Tensor:
        """The prediction [n, c, h, w] for noisy latents [n, c, h, w] at ``timesteps``, float [n] in [0, 1000]."""
        ...


# ---------------------------------------------------------------------------------------------------------- scheduler

Predict = Callable[["Tensor", "Tensor"], "Tensor"]
"""``predict(noisy latents [n, c, h, w], timesteps float [n]) -> model output``, guidance already applied."""

StepNoise = Callable[[int], "Tensor"]
"""``step_noise(i)``: standard normal noise [n, c, h, w] of sampling step i; every picture has its own."""


class Scheduler(Protocol):
    """``build(options, *, latent_shape: tuple[int, int, int]) -> Scheduler``: objective and samplers of one process.

    ``latent_shape`` is (c, h, w) in training. All methods are pure functions of their arguments; tensors of
    coefficients follow the device of the arguments. Timesteps are float [n] in the scale that the model sees,
    [0, 1000]. The training loss of a sample is ``weight(t) * mean((model(x_t, t) - target)²)``.
    """

    prediction_type: str
    samplers: tuple[str, ...]
    """Names of the samplers that fit this process and prediction, the default first."""

    def timesteps(self, uniform: Tensor) -> Tensor:
        """Training timesteps for uniform draws in [0, 1): a monotone map, so stratified draws stay stratified."""
        ...

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """x_t."""
        ...

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the model should return for x_t."""
        ...

    def weight(self, timesteps: Tensor) -> Tensor:
        """Loss weights, float [n]."""
        ...

    def to_x0(self, output: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """The clean latents that a model output stands for."""
        ...

    def sample(self, predict: Predict, noise: Tensor, *, sampler: str, steps: int, step_noise: StepNoise) -> Tensor:
        """Latents from standard normal ``noise`` in ``steps`` steps. Scales the noise itself where its process starts
        elsewhere than N(0, 1); clips nothing. Deterministic samplers never call ``step_noise``."""
        ...


# ---------------------------------------------------------------------------------------------------------- optimizer

NamedParameters = Sequence[tuple[str, "torch.nn.Parameter"]]

ParameterRole = str
"""``matrix`` (2-D weight inside a repeated block), ``edge`` (weight of a layer outside the blocks: input, output,
conditioning), ``embedding``, ``norm``, ``bias`` or ``other``."""


class OptimizerFactory(Protocol):
    """``build(options, *, named_parameters, roles, learning_rate, device) -> torch.optim.Optimizer``.

    ``named_parameters`` is a list of (name, parameter) of everything that trains, ``roles`` maps each name to its
    :data:`ParameterRole` (weight decay belongs on ``matrix`` and ``edge`` only), ``learning_rate`` is the peak rate and
    ``device`` a torch.device. Each param group may set its own ``lr``; the learning-rate scheduler multiplies it.
    The state_dict must hold only tensors and plain values and continue bit for bit after a round trip.
    """

    def __call__(self, options: Any, **runtime: Any) -> torch.optim.Optimizer: ...


# ------------------------------------------------------------------------------------------------------- lr_scheduler


class LearningRateFactor(Protocol):
    """``build(options, *, total_steps: int) -> LearningRateFactor``: a pure function of the optimizer step.

    Nothing is saved and nothing is stepped: a run that continues asks for the factor of its next step.
    """

    def __call__(self, step: int) -> float:
        """The factor on the peak learning rate for update ``step``, counted from 0 to total_steps - 1."""
        ...


# ------------------------------------------------------------------------------------------------------------ tracker


class Tracker(Protocol):
    """``build(options, *, run_dir: Path, start_step: int) -> Tracker``: where numbers and pictures go.

    A run that continues at ``start_step`` gets a new tracker; what an earlier one wrote for later steps must not
    show. Only the first process of a run has trackers. ``command`` says how to watch, or is empty.
    """

    command: str

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Named numbers of an optimizer step; other names may come at other steps, and values may be nan or inf."""
        ...

    def image(self, step: int, name: str, image: Image.Image) -> None:
        """A picture, RGB: the grid of a preview."""
        ...

    def text(self, step: int, name: str, text: str) -> None:
        """A text: the resolved config, as YAML."""
        ...

    def flush(self) -> None:
        """Everything logged is on disk when this returns; called before a checkpoint commits."""
        ...

    def close(self) -> None:
        """The last call: everything is on disk, and nothing is held any more."""
        ...


# ------------------------------------------------------------------------------------------------------------- metric


class Metric(Protocol):
    """``build(options, *, config: Config, references) -> Metric``: scores pictures made from prompts.

    ``references(count) -> list[(PIL image, caption)]`` gives held-out samples, for metrics that compare with them.
    """

    def prompts(self, count: int) -> Sequence[str] | None:
        """The prompts it wants, or None for captions of held-out samples."""
        ...

    @property
    def count(self) -> int:
        """How many pictures it scores."""
        ...

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Mapping[str, float]:
        """Named scores; the metric's type is put before each name."""
        ...


# ----------------------------------------------------------------------------------------------------------- callback


@dataclass(frozen=True)
class Progress:
    """Where a run stands, as callbacks see it."""

    step: int
    """Optimizer steps done."""
    total_steps: int
    run_dir: Path
    values: Mapping[str, float] = field(default_factory=dict)
    """What was logged with this event: loss, learning rate and the like."""
    path: Path | None = None
    """The checkpoint that was saved, or the picture that was made."""


class Callback(Protocol):
    """``build(options, *, run_dir: Path) -> Callback``: an object with any of these methods; it watches, and steers
    nothing. Called in the first process of a run only. An exception ends the run with the callback's name."""

    def on_train_start(self, progress: Progress) -> None:
        """Before the first step, or the first one after a continuation; ``step`` is what was done before."""
        ...

    def on_step_end(self, progress: Progress) -> None:
        """After each optimizer step; ``values`` where something was logged."""
        ...

    def on_checkpoint_saved(self, progress: Progress) -> None:
        """A checkpoint is whole and on disk at ``path``."""
        ...

    def on_sample(self, progress: Progress) -> None:
        """A grid of pictures is at ``path``."""
        ...

    def on_train_end(self, progress: Progress) -> None:
        """After the last step; not called for a run that is stopped or fails."""
        ...


# -------------------------------------------------------------------------------------------------------------- rules


@dataclass(frozen=True)
class Facts:
    """What is known beyond the config; None before data and weights are at hand."""

    total_steps: int | None = None
    """Optimizer steps of the whole run; with ``training.max_steps`` written, an upper bound before data is read."""


@dataclass(frozen=True)
class Adjustment:
    """A rule's better value for a key that was left at its default; shown as a notice."""

    path: tuple[str | int, ...]
    value: Any
    reason: str


@dataclass(frozen=True)
class RuleContext:
    """What a cross-field rule sees."""

    config: Config
    path: tuple[str | int, ...]
    """Where the component stands: ``("optimizer",)``, ``("trackers", 0)``."""
    options: Any
    """The component's own options."""
    facts: Facts
    written: frozenset[tuple[str | int, ...]]
    """The keys that the user wrote; the rest are defaults."""


class Rule(Protocol):
    """A cross-field check: imports nothing heavy, reads no data, returns problems and adjustments."""

    def __call__(self, context: RuleContext) -> Iterable[Problem | Adjustment]: ...
