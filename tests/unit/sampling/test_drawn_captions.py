"""Captions below images: line breaks, scripts, and characters that no font has."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from dit_run.sampling.drawn_captions import LINE_HEIGHT, draw_line, undrawable_notice, wrapped
from dit_run.sampling.font_files import SHIPPED, Fonts

SHIPPED_ONLY = Fonts([SHIPPED])


def drawn(line: str, width: int = 200, fonts: Fonts | None = None) -> np.ndarray:
    """Which pixels of a line are dark."""
    image = Image.new("L", (width, LINE_HEIGHT), "white")
    draw_line(ImageDraw.Draw(image), (0, 0), line, width, fonts)
    return np.asarray(image) < 128


@pytest.mark.parametrize(
    "caption",
    ["café Łódź Đà Nẵng phở", "κόκκινη γάτα", "красная кошка Київ", "قطة سوداء على كرسي", "خانه پچژگ", "חתול שחור"],
)
def test_the_shipped_font_has_these_scripts(caption: str) -> None:
    assert undrawable_notice([caption], SHIPPED_ONLY) is None
    assert drawn(caption, fonts=SHIPPED_ONLY).any()


@pytest.mark.parametrize("caption", ["黑猫坐在椅子上。", "赤い椅子、ソファ", "빨간 의자"])
def test_the_extra_of_fonts_has_east_asian_scripts(caption: str) -> None:
    pytest.importorskip("noto_cjk_sans_otc")
    assert undrawable_notice([caption]) is None


def test_arabic_letters_are_joined_and_read_from_right_to_left() -> None:
    word = "\N{ARABIC LETTER SEEN}\N{ARABIC LETTER BEH}"
    initial, final = "\N{ARABIC LETTER SEEN INITIAL FORM}", "\N{ARABIC LETTER BEH FINAL FORM}"
    image = Image.new("L", (200, LINE_HEIGHT), "white")
    font = ImageFont.truetype(SHIPPED, 12, layout_engine=ImageFont.Layout.BASIC)
    ImageDraw.Draw(image).text((200 - font.getlength(final + initial), 12), final + initial, "black", font, anchor="ls")
    assert np.array_equal(drawn(word), np.asarray(image) < 128)


def test_a_line_from_right_to_left_ends_at_the_right_edge() -> None:
    columns = np.flatnonzero(drawn("קט").any(0))
    assert columns.min() > 150
    assert np.flatnonzero(drawn("cat").any(0)).max() < 50


def test_composed_and_combining_accents_are_drawn_alike() -> None:
    assert [wrapped(caption, 128) for caption in ("cafe\N{COMBINING ACUTE ACCENT}", "café")] == [["café"], ["café"]]


def test_lines_end_between_words_and_between_east_asian_characters() -> None:
    assert wrapped("a red cat on a blue chair", 64) == ["a red cat", "on a blue", "chair"]
    lines = wrapped("黑" * 20, 128)
    assert ["".join(lines), len(lines)] == ["黑" * 20, 2]


def test_a_word_wider_than_its_image_is_broken() -> None:
    assert "".join(wrapped("m" * 30, 128)) == "m" * 30
    assert len(wrapped("m" * 30, 128)) == 3


def test_an_ellipsis_ends_a_caption_of_more_than_four_lines() -> None:
    lines = wrapped("word " * 40, 128)
    assert len(lines) == 4
    assert lines[3] == "word word word …"


def test_line_breaks_and_control_characters_are_no_boxes() -> None:
    assert wrapped("a\nb\x07\tc \N{BLACK HEART SUIT}\N{VARIATION SELECTOR-16}", 128) == ["a b c ♥"]


def test_characters_without_a_font_are_named_with_what_to_install() -> None:
    assert undrawable_notice(["黑猫", "ก cat", "plain"], SHIPPED_ONLY) == (
        "no font on this machine has these characters of the captions: ก 猫 黑; grids of images show � instead. "
        "Install a font that has them: pip install 'dit-run[fonts]' for Chinese, Japanese and Korean, the Noto fonts "
        "of your system for other scripts (on Debian fonts-noto-core; fonts-symbola for emoji)"
    )


def test_a_notice_names_twelve_characters_at_most() -> None:
    notice = undrawable_notice(["".join(map(chr, range(0x4E00, 0x4E14)))], SHIPPED_ONLY)
    assert notice is not None
    assert "一 丁 丂 七 丄 丅 丆 万 丈 三 上 下 and 8 more" in notice
    assert "Noto" not in notice


def test_a_character_without_a_font_is_drawn_as_the_replacement_character() -> None:
    assert np.array_equal(drawn("a黑", fonts=SHIPPED_ONLY), drawn("a\N{REPLACEMENT CHARACTER}"))
