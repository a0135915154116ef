"""Pretrained files of frozen parts: copied into an exported folder, or left under their names."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dit_run.hub import RecordedFile, local_path, read_tensors, recorded_files
from dit_run.options import HubOrPath, LocalPath, options_of
from dit_run.problems import InputError
from dit_run.registry.factories import make
from dit_run.settings import Choice, Config

__all__ = ["FrozenFiles", "FrozenParts", "component_folder"]

_FOLDER = "pretrained"
"""Subfolder of a component for its pretrained files, whose names would mean something else to diffusers above it."""


class FrozenFiles:
    """The pretrained files of a text encoder or a VAE."""

    def __init__(self, section: str, choice: Choice) -> None:
        """Build the part, which finds its files, and keep which files these are; ``section`` names its folder."""
        self.choice = choice
        with recorded_files() as self._records:
            self.part: Any = make(choice.component, choice.options)
        markers = {HubOrPath.name, LocalPath.name}
        names = [option.name for option in options_of(type(choice.options)) if option.markers & markers]
        values = ((name, getattr(choice.options, name)) for name in names)
        self._named: dict[str, str] = {name: value for name, value in values if isinstance(value, str)}
        self.section = section

    @property
    def names(self) -> Mapping[str, str]:
        """The name of the files that each option names."""
        return self._named

    def copy(self, folder: Path) -> Mapping[str, str]:
        """Copy the files into the folder of the component; return the place of each option's files in it."""
        return {option: self._copy(option, name, folder) for option, name in self._named.items()}

    def by_name(self) -> Mapping[str, str]:
        """Return no places, for a part that is loaded by its name. Raises InputError for a name that is a path."""
        for option, name in self._named.items():
            if local_path(name) is not None:
                raise InputError(
                    f"{self.section}.{option} is the local path {name}, which means nothing in another place; export "
                    "the frozen parts with the model"
                )
        return {}

    def _copy(self, option: str, name: str, folder: Path) -> str:
        """Copy the files of one option; return their place. Raises InputError for weights that are damaged."""
        target = Path(_FOLDER) / option
        try:
            return self._copied(name, folder, target)
        except InputError as error:
            raise InputError(f"{self.section}.{option}: {error}") from error

    def _copied(self, name: str, folder: Path, target: Path) -> str:
        path = local_path(name)
        if path is not None and path.is_file():
            _copy(path, folder / target / path.name)
            return str(target / path.name)
        records, inner = self._records_of(name, path)
        for record in records:
            _copy(record.path, folder / target / record.file)
        if not records and path is not None:
            shutil.copytree(path, folder / target, copy_function=_copy)
        return str(target / inner)

    def _records_of(self, name: str, path: Path | None) -> tuple[Sequence[RecordedFile], str]:
        """Return the files that were found by a name, or in a folder above it, and the name relative to that folder."""
        records = [record for record in self._records if record.name == name]
        if records or path is None:
            return records, "."
        above = [record for record in self._records if path.is_relative_to(record.name)]
        return above, str(path.relative_to(above[0].name)) if above else "."


@dataclass(frozen=True)
class FrozenParts:
    """The text encoders, also those that train, and the VAE."""

    texts: Sequence[FrozenFiles]
    vae: FrozenFiles

    @classmethod
    def of(cls, config: Config) -> FrozenParts:
        """Build the parts of a config."""
        choices = enumerate(config.chosen("text_encoder"))
        texts = [FrozenFiles(component_folder("text_encoder", place), choice) for place, choice in choices]
        return cls(texts, FrozenFiles("vae", config.vae))


def component_folder(section: str, place: int) -> str:
    """Return the folder of one of several components, as diffusers counts them."""
    return section if place == 0 else f"{section}_{place + 1}"


def _copy(source: str | Path, target: str | Path) -> None:
    source, target = Path(source), Path(target)
    if source.suffix == ".safetensors":
        read_tensors(source, lambda name: False)  # refuses a file that is cut off, which nobody could load
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)  # follows the links of the hub's cache
