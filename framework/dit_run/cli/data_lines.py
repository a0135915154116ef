"""Lines about images and captions, as ``dit-run init`` and ``dit-run data`` print them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dit_run.survey.statistics import ImageStatistics, TextStatistics

__all__ = ["caption_line", "histogram", "image_line"]

_BAR = 40
"""Width of the longest bar (characters)."""


def image_line(images: ImageStatistics) -> str:
    """Return the number of images and their sizes."""
    import numpy as np

    if not len(images):
        return f"none of {len(images.broken):,} can be read"
    sizes = sorted(zip((images.heights * images.widths).tolist(), images.heights, images.widths, strict=True))
    (_, *least), (_, *middle), (_, *most) = sizes[0], sizes[len(sizes) // 2], sizes[-1]
    text = f"{len(images):,}; height x width from {_size(least)} to {_size(most)}, typically {_size(middle)}"
    aspects = np.log(images.widths / images.heights)
    shares = (float((aspects < -0.05).mean()), float((abs(aspects) <= 0.05).mean()), float((aspects > 0.05).mean()))
    text += "; {:.0%} upright, {:.0%} square, {:.0%} wide".format(*shares)
    return text + (f"; {len(images.broken):,} cannot be read" if images.broken else "")


def _size(size: Sequence[int]) -> str:
    return f"{size[0]}x{size[1]}"


def caption_line(images: ImageStatistics, texts: Sequence[TextStatistics]) -> str:
    """Return the number of captions, and of their tokens for each text encoder."""
    if not len(images):
        return f"{texts[0].total:,}"
    fewest, most = int(images.captions.min()), int(images.captions.max())
    each = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    return "; ".join([f"{texts[0].total:,}; {each} per image", *map(_tokens, texts)])


def _tokens(texts: TextStatistics) -> str:
    low, high = int(texts.tokens.min()), int(texts.tokens.max())
    counted = "" if len(texts.tokens) == texts.total else f" of the first {len(texts.tokens):,}"
    return f"{low} to {high} tokens of at most {texts.limit}; {texts.longer:,}{counted} are longer and cut"


def histogram(title: str, rows: Sequence[tuple[str, int]]) -> Iterator[str]:
    """Yield a title and a line with a bar for each row that is between the first and the last with a count."""
    counted = [index for index, (_, count) in enumerate(rows) if count]
    shown = rows[counted[0] : counted[-1] + 1] if counted else ()
    most = max((count for _, count in shown), default=1)
    label = max((len(name) for name, _ in shown), default=0)
    number = len(f"{most:,}")
    yield title
    for name, count in shown:
        bar = _mark() * round(_BAR * count / most)
        yield f"  {name:>{label}}  {count:>{number},}  {bar}".rstrip()


def _mark() -> str:
    """Return the character of bars that standard output can write."""
    try:
        "█".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return "#"
    return "█"
