"""Text files of users: UTF-8 or, by its byte-order mark, UTF-16; anything else is refused by name."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from io import BufferedReader, TextIOWrapper
from pathlib import Path

from dit_run.problems import InputError

__all__ = ["read_lines", "read_text"]


def read_text(file: Path) -> str:
    """Return the text of a file. Raises InputError naming it."""
    return "".join(line for _, line in read_lines(file))


def read_lines(file: Path, newline: str | None = None) -> Iterator[tuple[int, str]]:
    """Yield the lines with their numbers from 1. Raises InputError naming the file, and what is wrong with it."""
    try:
        with file.open("rb") as opened, TextIOWrapper(opened, _encoding(opened), newline=newline) as lines:
            for number, line in enumerate(lines, start=1):
                if "\0" in line:
                    raise InputError(
                        f"{file}:{number}: there are zero bytes between the letters, as in UTF-16 without a byte-order "
                        "mark; save the file as UTF-8 (data.dataset_path)"
                    )
                yield number, line
    except UnicodeError as error:
        raise InputError(f"{file}: cannot be read as UTF-8 text: {error} (data.dataset_path)") from error
    except OSError as error:
        raise InputError(f"{file}: {error.strerror} (data.dataset_path)") from error


def _encoding(opened: BufferedReader) -> str:
    return "utf-16" if opened.peek(2).startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
