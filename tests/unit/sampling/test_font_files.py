"""Font files: their order, and which of them can be used."""

from __future__ import annotations

import shutil
import sys
from itertools import islice
from pathlib import Path

import pytest

from dit_run.sampling.font_files import SHIPPED, Fonts, font_files


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder whose fonts are the system's only ones."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_DATA_DIRS", str(tmp_path / "none"))
    (tmp_path / "data/fonts/deep").mkdir(parents=True)
    return tmp_path / "data/fonts"


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="the folders are those of Linux")
def test_the_shipped_font_is_first_and_plain_styles_come_before_others(home: Path) -> None:
    for name in ("A-Bold.ttf", "Other.otf", "deep/NotoSans-Regular.TTF", "NotoSerif.ttc", "readme.txt"):
        (home / name).touch()
    files = list(font_files())
    assert files[0] == SHIPPED
    system = [str(path.relative_to(home)) for path in files if path.is_relative_to(home)]
    assert system == ["deep/NotoSans-Regular.TTF", "Other.otf", "NotoSerif.ttc", "A-Bold.ttf"]


def test_fonts_are_opened_until_a_character_is_covered(tmp_path: Path) -> None:
    copy = shutil.copy(SHIPPED, tmp_path / "copy.ttf")
    files = iter([SHIPPED, copy, SHIPPED])
    fonts = Fonts(files)
    found = fonts.covering("é")
    assert found is not None
    assert found.path == SHIPPED
    assert list(islice(files, 1)) == [copy]


def test_a_broken_font_is_left_out(tmp_path: Path) -> None:
    broken = [tmp_path / "empty.ttf", tmp_path / "text.otf", tmp_path / "cut.ttf", tmp_path / "missing.ttc"]
    broken[0].touch()
    broken[1].write_text("no font")
    broken[2].write_bytes(SHIPPED.read_bytes()[:5000])
    found = Fonts([*broken, SHIPPED]).covering("é")
    assert found is not None
    assert found.path == SHIPPED
    assert Fonts(broken).covering("é") is None
