"""Prompts: text that is not UTF-8 is refused by name."""

from __future__ import annotations

import os

import pytest

from dit_run import InputError
from dit_run.sampling.prompts import refuse_undecoded


def test_text_of_any_language_is_taken() -> None:
    refuse_undecoded(["", "un café", "犬", "🐕"])


@pytest.mark.parametrize("written", [b"caf\xe9", "café".encode("utf-16-le"), "犬".encode("shift-jis")])
def test_bytes_that_are_not_utf8_are_refused(written: bytes) -> None:
    prompt = os.fsdecode(written)
    with pytest.raises(InputError, match=r"^the prompt '.*' is not UTF-8 text \(character \d\)\. .* --prompts$"):
        refuse_undecoded(["a dog", prompt])
