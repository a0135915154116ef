"""Font files: the shipped font, an installed package of fonts and the system's, opened until a character is covered."""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

__all__ = ["SHIPPED", "FontFile", "Fonts", "font_files", "installed_fonts"]

SHIPPED = Path(__file__).parent / "fonts" / "DejaVuSans.ttf"
"""Font with Latin, Greek, Cyrillic, Arabic, Hebrew and many symbols, so that most captions look the same everywhere."""
_PACKAGES = ("noto_cjk_sans_otc",)
"""Import packages that hold fonts: those of the extra ``fonts``."""
_SUFFIXES = (".ttf", ".otf", ".ttc", ".otc")
_SPECIAL_STYLES = ("bold", "italic", "oblique", "light", "thin", "black", "medium", "condensed", "serif", "mono")
"""Parts of the names of fonts that are used last."""


@dataclass(frozen=True)
class FontFile:
    """A font with outlines; of a collection, its first font."""

    path: Path
    characters: frozenset[int]
    """Code points that it has glyphs for."""


class Fonts:
    """Fonts in order of preference; a file is opened once, when no font before it covers a character."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._unopened = iter(files)
        self._opened: list[FontFile] = []
        self._of_character: dict[str, FontFile | None] = {}

    def covering(self, character: str) -> FontFile | None:
        """Return the first font that has this character; None if no font has it."""
        if character not in self._of_character:
            covering = (font for font in self._all() if ord(character) in font.characters)
            self._of_character[character] = next(covering, None)
        return self._of_character[character]

    def _all(self) -> Iterator[FontFile]:
        yield from self._opened
        for path in self._unopened:
            font = _opened(path)
            if font is not None:
                self._opened.append(font)
                yield font


@cache
def installed_fonts() -> Fonts:
    """Return the fonts of this machine, the shipped one first."""
    return Fonts(font_files())


def font_files() -> Iterator[Path]:
    """Yield the shipped font, those of installed packages, then the system's, regular sans-serif styles first."""
    yield SHIPPED
    for name in _PACKAGES:
        spec = find_spec(name)
        for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
            yield from _in_folder(Path(folder))
    found = {path for folder in _system_folders() for path in _in_folder(folder)}
    yield from sorted(found, key=_preference)


def _system_folders() -> list[Path]:
    if sys.platform == "win32":
        names = [os.path.expandvars(r"%WINDIR%\Fonts"), os.path.expandvars(r"%LOCALAPPDATA%\Microsoft\Windows\Fonts")]
    elif sys.platform == "darwin":
        names = ["~/Library/Fonts", "/Library/Fonts", "/System/Library/Fonts"]
    else:
        home = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
        shared = (os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share").split(":")
        names = ["~/.fonts", *(f"{folder}/fonts" for folder in (home, *shared) if folder)]
    return [Path(os.path.expanduser(name)) for name in names]  # noqa: PTH111 - Path.expanduser fails without a home


def _in_folder(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)


def _preference(path: Path) -> tuple[bool, bool, str]:
    name = path.stem.lower().replace("sansserif", "sans")
    return any(style in name for style in _SPECIAL_STYLES), "noto" not in name, str(path)


def _opened(path: Path) -> FontFile | None:
    """Return the font; None for a file that is broken or has bitmaps only, as fonts of coloured emoji have."""
    from fontTools.ttLib import TTFont, TTLibError

    try:
        with TTFont(path, fontNumber=0, lazy=True) as font:
            outlines = any(table in font for table in ("glyf", "CFF ", "CFF2"))
            return FontFile(path, frozenset(font.getBestCmap() or ())) if outlines else None
    except (TTLibError, OSError, struct.error, AssertionError, LookupError, ValueError):
        return None
