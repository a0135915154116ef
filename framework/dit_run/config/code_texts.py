"""Codes of problems and their explanations, from the page of the docs that comes with dit-run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from dit_run.config.package_data import packaged

__all__ = ["code_texts"]

_SECTION = re.compile(r"^### (\S+)\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)


@cache
def code_texts() -> Mapping[str, str]:
    """Return the explanation of each code, such as ``unknown-key``; plugins may have codes of their own."""
    page = packaged("docs/codes.md").read_text(encoding="utf-8")
    return {code: text.strip() for code, text in _SECTION.findall(page)}
