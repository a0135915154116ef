"""A resolved config: its sections as attributes, and the components that it chose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from dit_run.options import Option, options_of, plain
from dit_run.problems import KeyPath, Place, Problem
from dit_run.settings.core_sections import CacheOptions, SamplingOptions, TrainingOptions, ValidationOptions
from dit_run.settings.numbering import numbered

if TYPE_CHECKING:
    from dit_run.registry.components import Component

__all__ = ["Choice", "Config", "put"]


@dataclass(frozen=True)
class Choice:
    """A component that a config chose, with its options."""

    component: Component
    options: Any
    """The component's own options."""
    common: Any = None
    """The options common to its kind; None for a kind without any."""
    item: Any = None
    """The options of its place in a list that another component holds; None outside of such a list."""
    without: tuple[str, ...] = ()
    """Common keys that it does not take in its place: their values are those of the component that holds it."""

    @property
    def type(self) -> str:
        return self.component.type

    def held_options(self) -> Iterator[tuple[Any, Option]]:
        """Yield the options of this component besides ``type``, each with the object that holds its value."""
        for holder in (self.item, self.common, self.options):
            for option in options_of(type(holder)) if holder is not None else ():
                if option.name not in self.without:
                    yield holder, option

    def nested(self) -> Iterator[tuple[KeyPath, Choice]]:
        """Yield the components that the options hold, with their path below this one."""
        for option in options_of(type(self.options)):
            if option.components is not None:
                for index, choice in enumerate(getattr(self.options, option.name)):
                    yield (option.name, index), choice

    def to_dict(self) -> dict[str, Any]:
        """Return ``type`` and all options as plain values."""
        values = plain(self.item) if self.item is not None else {}
        values |= plain(self.common) if self.common is not None else {}
        values |= plain(self.options)
        return {"type": self.type} | {name: value for name, value in values.items() if name not in self.without}


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
    """Place of the value of each key that a layer wrote; all other keys have their defaults."""
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
    text_encoder = _Section["Choice | tuple[Choice, ...]"]("text_encoder")
    optimizer = _Section[Choice]("optimizer")
    lr_scheduler = _Section[Choice]("lr_scheduler")
    objective = _Section["Choice | tuple[Choice, ...]"]("objective")
    guidance = _Section[Choice]("guidance")
    averages = _Section[tuple[Choice, ...]]("averages")
    adapter = _Section["Choice | None"]("adapter")
    sampling = _Section[SamplingOptions]("sampling")
    validation = _Section[ValidationOptions]("validation")
    cache = _Section[CacheOptions]("cache")
    trackers = _Section[tuple[Choice, ...]]("trackers")
    metrics = _Section[tuple[Choice, ...]]("metrics")
    callbacks = _Section[tuple[Choice, ...]]("callbacks")

    def chosen(self, section: str) -> tuple[Choice, ...]:
        """Return the components of a section that is one component or a list of them."""
        held = self.sections[section]
        return held if isinstance(held, tuple) else (held,)

    @property
    def drops_captions(self) -> bool:
        """True if training drops captions for all text encoders at once, so that the model learns the empty one."""
        each = (choice.common for choice in self.chosen("text_encoder"))
        return self.training.caption_dropout > 0 or all(common.caption_dropout > 0 for common in each)

    @property
    def average_names(self) -> tuple[str, ...]:
        """Names of the averages of the weights that the run keeps, in order: first that of ``training.use_ema``."""
        own = ("ema",) if self.training.use_ema else ()
        names = numbered((*own, *(choice.type for choice in self.averages)))
        written = (*own, *(choice.common.name for choice in self.averages))
        return tuple(given or name for given, name in zip(written, names, strict=True))

    @property
    def scalar_names(self) -> tuple[str, ...]:
        """Names of the numbers of each sample that the model takes; none for most models."""
        names: tuple[str, ...] = getattr(self.model.options, "scalars", ())
        return names

    @property
    def written(self) -> frozenset[KeyPath]:
        """The keys that a layer wrote; all other keys have their defaults."""
        return frozenset(self.places)

    def choices(self) -> Iterator[tuple[KeyPath, Choice]]:
        """Yield every chosen component with its path in the config, those inside the options of another one too."""
        for name, section in self.sections.items():
            if isinstance(section, Choice):
                yield from _with_nested((name,), section)
            elif isinstance(section, tuple):
                for index, choice in enumerate(section):
                    yield from _with_nested((name, index), choice)

    def datasets(self) -> list[tuple[KeyPath, Choice]]:
        """Return the datasets that have samples of their own, with their paths: that of ``data``, or its parts."""
        found = _with_nested(("data",), self.data)
        return [(path, choice) for path, choice in found if not any(choice.nested())]

    @property
    def has_buckets(self) -> bool:
        """True if the images of one dataset or more have several sizes."""
        return any(choice.common.buckets is not None for _, choice in self.datasets())

    def to_dict(self) -> dict[str, Any]:
        """Return all values as plain ones, secrets as they were written; ``data`` has ``type`` and ``dataset_name``."""
        values = {name: _plain(section) for name, section in self.sections.items() if section is not None}
        values["data"] = {"dataset_name": self.data.type, **values["data"]}
        values["plugins"] = list(self.plugins)
        for path, reference in self.secrets.items():
            put(values, path, reference)
        return values


def _with_nested(path: KeyPath, choice: Choice) -> Iterator[tuple[KeyPath, Choice]]:
    yield path, choice
    for below, nested in choice.nested():
        yield from _with_nested((*path, *below), nested)


def _plain(section: Any) -> Any:
    if isinstance(section, tuple):
        return [choice.to_dict() for choice in section]
    return section.to_dict() if isinstance(section, Choice) else plain(section)


def put(values: Any, path: KeyPath, value: Any) -> None:
    """Write one value into nested dicts and lists."""
    for step in path[:-1]:
        values = values[step]
    values[path[-1]] = value
