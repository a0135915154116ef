"""Places of the frozen parts' files in an exported folder, so that dit-run finds the copies wherever the folder is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from dit_run.problems import InputError
from dit_run.settings import Choice, Config
from dit_run.system.json_files import read_object

__all__ = ["PLACES", "FrozenPlaces", "frozen_overrides", "original_names", "write_places"]

PLACES = "frozen.json"
"""File of an exported folder that names them."""
FrozenPlaces = Mapping[str, Sequence[Mapping[str, str | None]]]
"""The place of each option's files, relative to the exported folder, or None for an option that a copy does not need;
for each component of a section."""


def write_places(folder: Path, places: FrozenPlaces) -> None:
    """Write the places, unless there are none."""
    if any(each for components in places.values() for each in components):
        text = json.dumps({section: [dict(each) for each in components] for section, components in places.items()})
        (folder / PLACES).write_text(text + "\n", encoding="utf-8")


def frozen_overrides(folder: Path, config: Path) -> list[str]:
    """Return ``section=value`` arguments that put the copies into the folder's config; none for any other folder.

    Raises InputError for places that do not fit the config, which is one that can be read.
    """
    if not (folder / PLACES).is_file():
        return []
    try:
        sections, places = yaml.safe_load(config.read_text(encoding="utf-8")), read_object(folder / PLACES)
    except (OSError, ValueError, yaml.YAMLError):
        return []  # its reader says more
    try:
        return [
            f"{section}={json.dumps(_placed(sections[section], components, folder.absolute()))}"
            for section, components in places.items()
        ]
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise InputError(
            f"{folder / PLACES} does not fit {config.name}: {error}; export the run again, or delete {PLACES} to find "
            f"the frozen parts where {config.name} says"
        ) from error


def _placed(section: Any, components: Sequence[Mapping[str, str | None]], folder: Path) -> Any:
    """Return a section, one component or a list of them, with the places as absolute paths."""
    if not isinstance(section, list):
        return _placed([section], components, folder)[0]
    return [
        {**each, **{option: place and str(folder / place) for option, place in places.items()}}
        for each, places in zip(section, components, strict=True)
    ]


def original_names(config: Config, folder: Path) -> Config:
    """Return the config of an exported folder, with the names in its config.yaml in place of its own copies."""
    if not (folder / PLACES).is_file():
        return config
    written = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    sections = dict(config.sections)
    for section, places in read_object(folder / PLACES).items():
        names = written[section] if isinstance(written[section], list) else [written[section]]
        choices = tuple(
            _renamed(choice, each, own, folder.absolute())
            for choice, each, own in zip(config.chosen(section), places, names, strict=True)
        )
        sections[section] = choices if isinstance(sections[section], tuple) else choices[0]
    return replace(config, sections=sections)


def _renamed(choice: Choice, places: Mapping[str, str | None], names: Mapping[str, Any], folder: Path) -> Choice:
    """Return a component with the names of the options that still are the copies."""
    now = {option: place and str(folder / place) for option, place in places.items()}
    kept = {option: names[option] for option, value in now.items() if getattr(choice.options, option) == value}
    return replace(choice, options=replace(choice.options, **kept))
