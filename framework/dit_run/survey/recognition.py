"""Recognition: which dataset type reads the data at a place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dit_run.options import build, options_of
from dit_run.problems import InputError
from dit_run.protocols import Dataset, Recognised, Recognises
from dit_run.registry.factories import make
from dit_run.registry.kind_options import DatasetCommon
from dit_run.registry.kinds import Kind
from dit_run.registry.registry import Registry

__all__ = ["FoundData", "find_data"]

_PATH = "dataset_path"
"""Option of datasets that read files."""


@dataclass(frozen=True)
class FoundData:
    """Data that a dataset type reads."""

    type: str
    options: Mapping[str, Any]
    """Keys of ``data`` with their values."""
    reason: str
    """Name of the layout."""
    dataset: Dataset
    on_bad_sample: str
    """``error``, or ``skip`` where some samples have to be left out."""


def find_data(place: str, registry: Registry, given: Mapping[str, Any] | None = None) -> FoundData:
    """Return the data of a path, a pattern of files, or a name on the Hub.

    ``given`` has keys of ``data`` that the user chose, perhaps ``type``.

    Raises InputError for a place that no type recognises, that several do, or whose data cannot be read.
    """
    given = dict(given or {})
    _check_place(place)
    type_, found = _recognised(place, registry, given.pop("type", None))
    component = registry.component(Kind.DATASET, type_)
    names = {option.name for option in options_of(component.options)}
    options = {**found.options, **{key: value for key, value in given.items() if key in names}}
    common = {"image_size": DatasetCommon().image_size}
    try:
        made = make(component, build(component.options, options), **common, on_bad_sample="error")
        return FoundData(type_, options, found.reason, made, "error")
    except InputError:
        made = make(component, build(component.options, options), **common, on_bad_sample="skip")
        return FoundData(type_, options, found.reason, made, "skip")


def _check_place(place: str) -> None:
    """Refuse an empty folder, in which a type may still expect something."""
    folder = Path(place)
    if folder.is_dir() and not any(folder.iterdir()):
        raise InputError(f"the folder {place} is empty; name the folder that holds your images and captions")


def _recognised(place: str, registry: Registry, type_: str | None) -> tuple[str, Recognised]:
    if type_ is not None:
        component = registry.component(Kind.DATASET, type_)
        own = component.options.recognise(place) if isinstance(component.options, Recognises) else None
        return type_, own or Recognised({_PATH: place}, "the type that was chosen")
    found = {
        name: seen
        for name, component in registry.components(Kind.DATASET).items()
        if isinstance(component.options, Recognises) and (seen := component.options.recognise(place)) is not None
    }
    certain = {name: seen for name, seen in found.items() if not seen.general} or found
    if not certain:
        raise InputError(_unknown(place, registry))
    if len(certain) > 1:
        layouts = "; ".join(f"{seen.reason} (data.type={name})" for name, seen in certain.items())
        raise InputError(f"{place} has several layouts: {layouts}. Add one of these arguments to choose")
    return next(iter(certain.items()))


def _unknown(place: str, registry: Registry) -> str:
    path = Path(place)
    if not path.exists() and "://" not in place and not any(mark in place for mark in "*?[{"):
        return f"{place} does not exist; name a folder or file with images and captions, or a dataset on the Hub"
    what = "folder" if path.is_dir() else "file"
    types = ", ".join(
        name for name, each in registry.components(Kind.DATASET).items() if isinstance(each.options, Recognises)
    )
    return (
        f"the {what} {place} has no images in a layout that dit-run knows: expected a folder of images with captions "
        "in a .txt of the same name or in metadata.jsonl, tar shards, parquet files, or a folder of a known dataset "
        f"({types})"
    )
