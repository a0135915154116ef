"""What each kind of component is made from and must be: the manual for plugin authors.

A component's factory is called as ``build(options, **runtime)``. ``options`` is its own options object; of the runtime
keywords listed for its kind it receives those that its signature names, so a new keyword breaks nobody. A factory, and
what it makes, may raise :class:`dit_run.problems.InputError` for something the user can mend: its text is shown alone.
Anything else ends the run as the plugin's fault, with the plugin's name and the traceback from its code on.

Shapes: n samples, c latent channels, h and w latent rows and columns, H and W pixels, l text tokens, d text width.
Tensors are on the run's device and float is float32, but where a model or encoder works under autocast
(``training.mixed_precision``) and returns what comes of it. Everything random is handed in: a component draws from no
generator of its own, except a model's initial weights and dropout, for which the core seeds torch's.
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
    "EVENTS",
    "VAE",
    "Adjustment",
    "Callback",
    "Dataset",
    "Facts",
    "LearningRateFactor",
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
    """One image with all its captions. Light: nothing is decoded before the picture is wanted."""

    key: str
    """Unique in the dataset, and the same on every machine: it decides order, split and ``num_samples``."""
    captions: tuple[str, ...]
    """At least one; each visit shows one of them."""
    image: Path | Callable[[], Image.Image]
    """A file, or a picklable function that draws the picture, of any size and mode. The core decodes, orients,
    composites alpha, crops, resizes and normalises; it never reads a file twice in one visit. A function may raise
    InputError for a picture that is broken: ``data.on_bad_sample`` says what follows."""


class Dataset(Protocol):
    """``build(options, *, image_size: int) -> Dataset``: a sequence of samples.

    ``image_size`` is the square side in pixels that the run trains on. Picklable (it travels to spawned loading
    processes), and the same samples in the same order at each build. All items are asked for when a run begins, because
    keys decide the split, so an item costs little. The factory raises InputError for a path that is missing or an index
    that is broken, naming the file.
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
    """How many of the n captions were longer than the encoder takes and were cut: a run tells it."""


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
        """Pure, without parameters: works in any process, on the CPU. Pads to the longest of the batch or to
        max_length; any number of captions from 1, the empty one among them."""
        ...

    def __call__(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Token states, float [n, l, d], and pooled vectors, float [n, pooled_width]. A caption's states do not depend
        on its neighbours nor on the amount of padding: the core pads further, with id 0 and mask False, up to
        max_length. Frozen ones are called without gradients."""
        ...

    def fingerprint(self) -> str:
        """Hex digest, 16 digits or more, of all that decides a frozen encoder's output: weights, tokenizer, settings.
        Kept states are found by it; a trainable one is never asked."""
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
        """Mean and standard deviation of the latents; None for an encoder without a posterior. Called without
        gradients, on squares of ``data.image_size``; each image's answer is its own."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Images, float [n, 3, H, W], clamped to [-1, 1]; of any height and width that are multiples of ``factor``."""
        ...

    def fingerprint(self) -> str:
        """Hex digest, 16 digits or more, of all that decides what ``encode`` gives; asked only where ``cacheable``."""
        ...


# -------------------------------------------------------------------------------------------------------------- model


class Model(Protocol):
    """``build(options, *, latent_channels, text_width, pooled_width) -> Model``: the torch module that is trained.

    ``latent_channels`` is the VAE's, ``text_width`` and ``pooled_width`` the text encoder's. Its parameters are made
    on the CPU in float32; the core seeds torch's generator before the call and moves the module afterwards. Repeated
    blocks belong into a ``torch.nn.ModuleList``: ``training.compile_model`` compiles its members one by one, and
    optimizers know the linear weights inside as ``matrix``.
    """

    patch_size: int
    """Latent rows and columns must be multiples of it."""

    def __call__(self, latents: Tensor, timesteps: Tensor, text: TextStates) -> Tensor:
        """The prediction, float [n, c, h, w], for noisy latents, float [n, c, h, w], at ``timesteps``, float [n] in
        [0, 1000]. Any h and w that are multiples of ``patch_size``, any number of tokens; each sample's prediction is
        its own."""
        ...


# ---------------------------------------------------------------------------------------------------------- scheduler

Predict = Callable[["Tensor", "Tensor"], "Tensor"]
"""``predict(noisy latents [n, c, h, w], timesteps float [n]) -> model output``, guidance already applied.

All timesteps of one call must be the same. The output has the shape and dtype of the noisy latents."""

StepNoise = Callable[[int], "Tensor"]
"""``step_noise(i)``: standard normal noise [n, c, h, w] of sampling step i, counted from 0; every picture has its own,
and the same i gives the same noise."""


class Scheduler(Protocol):
    """``build(options, *, latent_shape: tuple[int, int, int]) -> Scheduler``: objective and samplers of one process.

    ``latent_shape`` is (c, h, w) in training; pictures may be drawn in other sizes. All methods are pure functions of
    their arguments; tensors of coefficients follow device and dtype of the arguments. Timesteps are float [n] in the
    scale that the model sees, [0, 1000]; latents, noise, x_t, targets and model outputs are [n, c, h, w]. The training
    loss of a sample is ``weight(t) * mean((model(x_t, t) - target)²)``.
    """

    prediction_type: str
    """What the model returns, for reports: ``epsilon``, ``velocity`` and the like."""
    samplers: tuple[str, ...]
    """Names of the samplers that fit this process and prediction, the default first."""

    def timesteps(self, uniform: Tensor) -> Tensor:
        """Training timesteps, float [n], for uniform draws, float [n] in [0, 1): a monotone map, so stratified draws
        stay stratified."""
        ...

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """x_t."""
        ...

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the model should return for x_t."""
        ...

    def weight(self, timesteps: Tensor) -> Tensor:
        """Loss weights, float [n], none below 0."""
        ...

    def to_x0(self, output: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """The clean latents that a model output stands for."""
        ...

    def sample(self, predict: Predict, noise: Tensor, *, sampler: str, steps: int, step_noise: StepNoise) -> Tensor:
        """Latents [n, c, h, w] from standard normal ``noise`` of that shape in ``steps`` steps, 1 or more; ``sampler``
        is one of ``samplers``. Scales the noise itself where its process starts elsewhere than N(0, 1); clips nothing.
        Deterministic samplers never call ``step_noise``. Called without gradients."""
        ...


# ---------------------------------------------------------------------------------------------------------- optimizer

NamedParameters = Sequence[tuple[str, "torch.nn.Parameter"]]

ParameterRole = str
"""``matrix`` (weight of a linear layer inside a member of a ``ModuleList`` or ``Sequential``, as repeated blocks are),
``edge`` (weight of any other linear layer or convolution: input, output, conditioning), ``embedding``, ``norm``,
``bias`` or ``other``."""


class Optimizer(Protocol):
    """``build(options, *, named_parameters, roles, learning_rate, device) -> torch.optim.Optimizer``.

    ``named_parameters`` is a list of (name, parameter) of everything that trains, float32 on ``device``, a
    torch.device; ``roles`` maps each name (and those of parameters that do not train) to its :data:`ParameterRole`
    (weight decay belongs on ``matrix`` and ``edge`` only); ``learning_rate`` is the peak rate, a float above 0. Each
    param group may set its own ``lr`` from it, the group's peak; before each step the core sets ``group["lr"]`` to that
    times the learning-rate scheduler's factor, which is 0 where a warm-up begins.

    ``step()`` is called without a closure, after clipping (``training.max_grad_norm``); a parameter that took no part
    has ``grad`` None. A step whose loss or gradient is not finite is left out. The state_dict must hold only tensors
    and plain values and continue bit for bit after a round trip.
    """

    param_groups: list[dict[str, Any]]

    def step(self) -> None: ...

    def zero_grad(self) -> None: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...


# ------------------------------------------------------------------------------------------------------- lr_scheduler


class LearningRateFactor(Protocol):
    """``build(options, *, total_steps: int) -> LearningRateFactor``: a pure function of the optimizer step.

    Nothing is saved and nothing is stepped: a run that continues asks for the factor of its next step.
    """

    def __call__(self, step: int) -> float:
        """The factor, 0 to 1, on the peak learning rate for update ``step``, counted from 0 to total_steps - 1."""
        ...


# ------------------------------------------------------------------------------------------------------------ tracker


class Tracker(Protocol):
    """``build(options, *, run_dir: Path, start_step: int) -> Tracker``: where numbers and pictures go.

    ``run_dir`` is the run folder, which exists. A run that continues after ``start_step`` optimizer steps (0 for a new
    one) gets a new tracker; what an earlier one wrote for later steps must not show. Only the first process of a run
    has trackers. A method that raises OSError, because a disk is full or a service out of reach, is called again later,
    before the next one; the run goes on.
    """

    command: str
    """How to watch, shown when the run begins; empty where there is nothing to say."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Named numbers after ``step`` optimizer steps, such as ``loss`` and ``validation/loss``; other names may come
        at other steps, and values may be nan or inf."""
        ...

    def image(self, step: int, name: str, image: Image.Image) -> None:
        """A picture, RGB: the grid of a preview, named ``samples``."""
        ...

    def text(self, step: int, name: str, text: str) -> None:
        """A text: the resolved config, as YAML, named ``config``, at step 0 of a new run."""
        ...

    def flush(self) -> None:
        """Everything logged is on disk when this returns; called before a checkpoint commits."""
        ...

    def close(self) -> None:
        """The last call: everything is on disk, and nothing is held any more."""
        ...


# ------------------------------------------------------------------------------------------------------------- metric


class Metric(Protocol):
    """``build(options, *, config: Config, references) -> Metric``: scores pictures made from prompts, at a
    run's end, every ``validation.metrics_every_n_steps``, and in ``dit-run eval``.

    ``config`` is the whole checked config. ``references(count) -> list[(PIL image, caption)]`` gives at most ``count``
    held-out samples, or training samples where none are held out: RGB, ``data.image_size`` square, for metrics that
    compare with them. The factory raises InputError for a config that lacks what the metric needs.
    """

    def prompts(self, count: int) -> Sequence[str] | None:
        """``count`` prompts that it wants, or None for captions of held-out samples, of which there may be fewer."""
        ...

    @property
    def count(self) -> int:
        """How many pictures it scores: what ``prompts`` is called with."""
        ...

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Mapping[str, float]:
        """Named finite scores of ``images``, RGB, ``data.image_size`` square, one of each prompt; the metric's type is
        put before each name: ``shapes/wholly_right``."""
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


class Callback:
    """``build(options, *, run_dir: Path) -> Callback``: an object that watches a run and changes nothing of it.

    Subclass this class and override the methods that you need; an object of another class with some of these methods
    works as well. Any other method whose name begins with ``on_`` is an error, because no run would call it.

    ``run_dir`` is the run folder, which exists. Callbacks are called in the first process of a run only. An exception
    ends the run with an error that names the plugin.
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
        """After each optimizer step, before a checkpoint of it; ``values`` has what was logged, often nothing."""

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
