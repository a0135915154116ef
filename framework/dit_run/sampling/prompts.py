"""Prompts: text that a run can encode."""

from __future__ import annotations

from collections.abc import Iterable

from dit_run.problems import InputError

__all__ = ["refuse_undecoded"]


def refuse_undecoded(prompts: Iterable[str]) -> None:
    """Raise InputError for a prompt with bytes that are not UTF-8.

    Python keeps such bytes of the command line as surrogates.
    """
    for prompt in prompts:
        try:
            prompt.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"the prompt {prompt!r} is not UTF-8 text (character {error.start + 1}). Use a terminal and a locale "
                "with UTF-8, or write the prompts to a file in UTF-8 and name it with --prompts"
            ) from error
