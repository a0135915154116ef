"""The words after RUN in ``dit-run sample``: prompts, and ``section.key=value`` settings."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from dit_run.config.keys import TOP_LEVEL
from dit_run.config.suggestions import nearest
from dit_run.options import options_of
from dit_run.problems import InputError
from dit_run.settings import SamplingOptions

__all__ = ["prompts_and_overrides"]

_SETTING = re.compile(r"([A-Za-z_]\w*)((?:\.\w+)*)(?:\[[^\]]*\])?=", re.ASCII)


def prompts_and_overrides(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate prompts from settings: a setting begins with a section of the config, a dot, a key and ``=``.

    A misspelt section is a setting too, so that it is refused and not drawn. Raises InputError for a key of the section
    ``sampling`` that is written without its section.
    """
    overrides = [word for word in words if _is_setting(word)]
    return [word for word in words if word not in overrides], overrides


def _is_setting(word: str) -> bool:
    match = _SETTING.match(word)
    if match is None:
        return False
    section, keys = match[1], match[2]
    if keys:
        return nearest(section, TOP_LEVEL) is not None
    if section in {option.name for option in options_of(SamplingOptions)}:
        raise InputError(
            f"{word!r} has a key of the section sampling: write sampling.{word}; "
            f"if it is a prompt, write --prompt {shlex.quote(word)}"
        )
    return section in TOP_LEVEL and word[match.end() :].lstrip().startswith(("{", "["))
