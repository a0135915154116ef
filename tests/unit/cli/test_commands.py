"""The commands' examples and reference, and every command that a page shows."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

import pytest
from pages import PAGES, ROOT, blocks

from dit_run.cli.commands import COMMANDS, command_parser
from dit_run.cli.commands_reference import commands_reference

LINE = re.compile(r"(?:^|[ /])(?:dit-run|-m dit_run) +(.*)")


def shown(text: str) -> list[str]:
    """Return the arguments of dit-run in each command of a page."""
    commands = [command for block in blocks(text) for command in block.commands]
    return [found[1] for command in commands if (found := LINE.search(command))]


def parsed(line: str) -> str:
    """Parse a command line as dit-run does, and return its command."""
    words = shlex.split(line.partition(" && ")[0], comments=True)
    if words[0] not in COMMANDS:
        words = ["train", *words]
    command_parser(words[0]).parse_intermixed_args([word for word in words[1:] if word not in ("...", "&")])
    return words[0]


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_examples_that_its_parser_takes(name: str) -> None:
    assert COMMANDS[name].examples
    assert {parsed(line) for line in COMMANDS[name].examples} == {name}


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_pages_show_commands_and_options_that_exist(page: Path) -> None:
    for line in shown(page.read_text(encoding="utf-8")):
        assert parsed(line) in COMMANDS


def test_the_pages_are_looked_at() -> None:
    assert len(shown((ROOT / "README.md").read_text(encoding="utf-8"))) >= 10
    with pytest.raises(SystemExit):
        parsed("sample runs/birds --no-such-option")


def test_the_reference_has_every_option_of_every_command() -> None:
    page = commands_reference()
    for name in COMMANDS:
        section = page.partition(f"\n## dit-run {name}\n")[2].partition("\n## ")[0]
        for action in command_parser(name)._actions:
            if action.dest not in ("help", "verbose", "quiet") and action.help != argparse.SUPPRESS:
                assert all(f"`{option}" in section for option in action.option_strings)
                assert action.help, f"{name} {action.dest}"
