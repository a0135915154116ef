"""Pages as tests read them: their fenced blocks, the commands of these, and the commands within a sentence."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PAGES", "ROOT", "Block", "blocks", "commands", "mentioned", "programs"]

ROOT = Path(__file__).resolve().parent.parent
_DOCS = sorted(page for page in (ROOT / "docs").rglob("*.md") if not page.name.endswith(".zh.md"))
PAGES = {str(page.relative_to(ROOT)): page for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *_DOCS)}
"""All pages in English by their path; those in Chinese have the same blocks, as tests/unit/test_pages.py holds."""

_FENCED = re.compile(r'^ *```(\w*)(?: title="(\S+)")?\n(.*?)^ *```$', re.MULTILINE | re.DOTALL)
_PROGRAMS = r"dit-run|python3?|pip|docker|torchrun|mlflow|wandb|hf|eval|\.venv\S+"
_MENTIONED = re.compile(rf"`((?:{_PROGRAMS}) [^`]+)`")
_NAMED_ALONE = re.compile(r"\S+ [\w-]+")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    name: str
    """Name of the file that the page asks to write, the title of the block; or an empty text."""
    text: str

    @property
    def commands(self) -> list[str]:
        """The commands of a block for a shell; other blocks have none."""
        return commands(self.text) if self.language == "sh" else []


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks of a page in their order."""
    return [Block(language, name, text) for language, name, text in _FENCED.findall(page)]


def programs(page: str) -> list[str]:
    """Return the blocks in Python of a page."""
    return [block.text for block in blocks(page) if block.language == "python"]


def commands(script: str) -> list[str]:
    """Return the commands of a script without their comments: those that ``&&`` joins apart, a loop as a whole."""
    script = re.sub(r"(^|\s)#.*", "", script.replace("\\\n", " "), flags=re.MULTILINE)
    script = re.sub(r"^for .*?\bdone$", lambda loop: "; ".join(loop[0].split("\n")), script, flags=re.M | re.S)
    lines = [line.strip() for line in script.replace("do;", "do").splitlines() if line.strip()]
    return [part for line in lines for part in ([line] if "{" in line else line.split(" && "))]


def mentioned(page: str) -> list[str]:
    """Return the commands within the sentences of a page; the mere name of a command is none."""
    words = _FENCED.sub("", page).replace("\n", " ")
    return [text for text in _MENTIONED.findall(words) if not _NAMED_ALONE.fullmatch(text)]
