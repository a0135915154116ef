"""The texts of the page, which are the same in every language, and which are all that the page uses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import dit_run

STATIC = Path(dit_run.__file__).parent / "view" / "static"
EVENTS = ("started", "forked", "continued", "saved", "best_saved", "failure", "bad_step", "notice")
STATES = ("running", "interrupted", "killed", "finished", "failed")


def words() -> dict[str, dict[str, str]]:
    """Texts by language and key."""
    text = (STATIC / "words.js").read_text(encoding="utf-8")
    languages = re.findall(r"^  (\w+): \{\n(.*?)^  \},", text, re.DOTALL | re.MULTILINE)
    return {name: dict(re.findall(r'(\w+): "((?:[^"\\]|\\.)*)"', body)) for name, body in languages}


def places(texts: dict[str, str]) -> dict[str, list[str]]:
    return {key: sorted(re.findall(r"\{\w+\}", text)) for key, text in texts.items()}


def test_every_language_has_the_same_keys_and_places() -> None:
    english, chinese = words()["en"], words()["zh"]
    assert english.keys() == chinese.keys()
    assert places(english) == places(chinese)
    assert len(english) > 100
    assert not [key for key, text in {**english, **chinese}.items() if not text]


def test_the_page_uses_no_key_without_a_text() -> None:
    scripts = [path.read_text(encoding="utf-8") for path in STATIC.glob("*.js") if path.name != "uplot.js"]
    used = {key for script in scripts for key in re.findall(r'\bt\("(\w+)"', script)}
    assert used > {"runs", "smoothing", "try_none"}
    assert used - words()["en"].keys() == set()


@pytest.mark.parametrize("key", [*EVENTS, *STATES])
def test_events_and_states_have_a_text(key: str) -> None:
    assert words()["en"][key]
