"""Captions below images: lines broken by their width, of every script that a font at hand covers."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path

from PIL import ImageDraw, ImageFont

from dit_run.sampling.font_files import SHIPPED, FontFile, Fonts, installed_fonts

__all__ = ["LINE_HEIGHT", "draw_line", "undrawable_notice", "wrapped"]

LINE_HEIGHT = 15
"""Height of a line of a caption (pixels)."""
_FONT_SIZE, _BASELINE = 12, 12
"""Size of the font, and distance of the baseline from the top of its line (pixels)."""
_MOST_LINES = 4
"""Lines of a caption that are drawn (number)."""
_ELLIPSIS = " …"
_EAST_ASIAN = {"CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "FULLWIDTH", "IDEOGRAPHIC"}
"""First words of the Unicode names of characters that Chinese, Japanese and Korean are written with."""
_MOST_NAMED = 12
"""Characters that a notice shows (number)."""


def wrapped(caption: str, width: int, fonts: Fonts | None = None) -> list[str]:
    """Return the lines of a caption below an image of ``width`` pixels; an ellipsis ends a caption that is cut."""
    lines = [""]
    for piece in _pieces(_drawable(caption), width, fonts):
        if lines[-1] and _length(lines[-1] + piece.rstrip(), fonts) > width:
            if len(lines) == _MOST_LINES:
                return [*lines[:-1], _cut(lines[-1], width, fonts)]
            lines.append("")
        lines[-1] += piece
    return [line.rstrip() for line in lines if line]


def draw_line(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], line: str, width: int, fonts: Fonts | None = None
) -> None:
    """Draw a line with its upper left corner at a position; a line that reads from right to left ends at ``width``."""
    left: float = at[0]
    if _starts_from_right(line):
        left += max(0.0, width - _length(line, fonts))
    for path, text in _runs(line, fonts):
        font = _font(path, text)
        draw.text((left, at[1] + _BASELINE), text, fill="black", font=font, anchor="ls")
        left += font.getlength(text)


def undrawable_notice(captions: Iterable[str], fonts: Fonts | None = None) -> str | None:
    """Return which characters of these captions no font covers, and what to install; None if all can be drawn."""
    glyphs = (_glyphs(_drawable(text), fonts or installed_fonts()) for text in captions if not text.isascii())
    missing = sorted({text for line in glyphs for font, text in line if font is None})
    if not missing:
        return None
    more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
    return (
        f"no font on this machine has these characters of the captions: {' '.join(missing[:_MOST_NAMED])}{more}; grids "
        f"of images show \N{REPLACEMENT CHARACTER} instead. Install a font that has them: {_advice(missing)}"
    )


def _advice(missing: Sequence[str]) -> str:
    scripts = {unicodedata.name(character, "UNKNOWN").split()[0] for character in missing}
    east_asian = scripts & _EAST_ASIAN
    advice = ["pip install 'dit-run[fonts]' for Chinese, Japanese and Korean"] if east_asian else []
    if scripts - east_asian:
        advice.append(
            "the Noto fonts of your system for other scripts (on Debian fonts-noto-core; fonts-symbola for emoji)"
        )
    return ", ".join(advice)


def _drawable(caption: str) -> str:
    """Return a caption in composed characters, without line breaks, control characters and invisible marks of emoji."""
    text = " ".join(unicodedata.normalize("NFC", caption).split())
    return "".join(c for c in text if unicodedata.category(c) != "Cc" and not 0xFE00 <= ord(c) <= 0xFE0F)


def _pieces(caption: str, width: int, fonts: Fonts | None) -> Iterator[str]:
    """Yield the parts of a caption between which a line may end: words, and single characters of East Asian scripts."""
    for word in caption.split():
        parts = list(_split(word))
        for index, part in enumerate(parts):
            fits = _length(part, fonts) <= width
            after = " " if index == len(parts) - 1 else ""
            yield from [part + after] if fits else [*part[:-1], part[-1] + after]


def _split(word: str) -> Iterator[str]:
    for wide, group in groupby(word, lambda character: unicodedata.east_asian_width(character) in "WF"):
        characters = list(group)
        yield from characters if wide else ["".join(characters)]


def _cut(line: str, width: int, fonts: Fonts | None) -> str:
    """Return the start of a line that has room for an ellipsis."""
    line = line.rstrip()
    while line and _length(line + _ELLIPSIS, fonts) > width:
        line = line[:-1].rstrip()
    return line + _ELLIPSIS


def _starts_from_right(line: str) -> bool:
    directions = (unicodedata.bidirectional(character) for character in line)
    return next((found in ("R", "AL") for found in directions if found in ("L", "R", "AL")), False)


def _has_from_right(text: str) -> bool:
    return any(unicodedata.bidirectional(character) in ("R", "AL") for character in text)


def _visual(line: str) -> str:
    """Return a line in the order of its glyphs from left to right, Arabic letters in their joined forms."""
    if not _has_from_right(line):
        return line
    from arabic_reshaper import reshape
    from bidi import get_display

    return str(get_display(reshape(line)))


def _runs(line: str, fonts: Fonts | None) -> list[tuple[Path, str]]:
    """Return the stretches of a line, from left to right, each with the font that covers it."""
    if line.isascii():
        return [(SHIPPED, line)] if line else []
    runs = groupby(_glyphs(line, fonts or installed_fonts()), lambda glyph: glyph[0])
    return [
        (font.path, "".join(text for _, text in run))
        if font
        else (SHIPPED, "\N{REPLACEMENT CHARACTER}" * len(list(run)))
        for font, run in runs
    ]


def _glyphs(line: str, fonts: Fonts) -> Iterator[tuple[FontFile | None, str]]:
    """Yield the visible characters of a line, from left to right, each with its font; None if no font has it."""
    font: FontFile | None = None
    for character in _visual(line):
        if unicodedata.category(character) == "Cf":
            continue
        if font is None or not unicodedata.combining(character) or ord(character) not in font.characters:
            font = fonts.covering(character)
        letter = unicodedata.normalize("NFKC", character)
        if font is None and len(letter) == 1:  # a joined form that fonts lack is drawn as the letter alone
            font, character = fonts.covering(letter), letter
        yield font, character


def _length(line: str, fonts: Fonts | None) -> float:
    return sum(_font(path, text).getlength(text) for path, text in _runs(line, fonts))


def _font(path: Path, text: str) -> ImageFont.FreeTypeFont:
    return _loaded(path, _has_from_right(text))


@cache
def _loaded(path: Path, from_right: bool) -> ImageFont.FreeTypeFont:
    """Return a font; where letters are in the order of their glyphs already, its layout must not order them again."""
    return ImageFont.truetype(path, _FONT_SIZE, layout_engine=ImageFont.Layout.BASIC if from_right else None)
