"""The command line: commands, help, and words that are refused with the right form."""

from __future__ import annotations

from pathlib import Path

import pytest

from dit_run.cli.commands import COMMANDS
from dit_run.cli.main import main

Captured = pytest.CaptureFixture[str]


def helped(*words: str, capsys: Captured) -> str:
    """The text of a help command."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_help_is_a_command(capsys: Captured) -> None:
    assert helped("help", capsys=capsys) == helped("--help", capsys=capsys)
    assert helped("help", "sample", capsys=capsys) == helped("sample", "--help", capsys=capsys)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_and_can_be_quiet(command: str, capsys: Captured) -> None:
    text = helped(command, "--help", capsys=capsys)
    first = COMMANDS[command].text.split()[0]
    assert f"\n{first.capitalize()} " in text
    assert "-q, --quiet" in text


@pytest.mark.parametrize(("command", "word"), [("train", "CONFIG"), ("sample", "RUN"), ("explain", "CONFIG|CODE")])
def test_only_required_words_are_called_required(command: str, word: str, capsys: Captured) -> None:
    with pytest.raises(SystemExit):
        main([command])
    assert capsys.readouterr().err.endswith(f"error: the following arguments are required: {word}\n")


@pytest.mark.parametrize(
    ("words", "form"),
    [
        (("c.yaml", "--training.seed=1"), "training.seed=1"),
        (("validate", "c.yaml", "--training.seed", "1"), "training.seed=VALUE"),
        (("-sampling.prompts[0]=a", "c.yaml"), "sampling.prompts[0]=a"),
    ],
)
def test_a_key_with_dashes_is_refused_with_the_right_form(words: tuple[str, ...], form: str, capsys: Captured) -> None:
    (word,) = (word for word in words if word.startswith("-"))
    assert main(words) == 2
    said = f"error: {word} is not an option; a key of the config has no dashes: {form}\n"
    assert capsys.readouterr().err == said


def test_quiet_leaves_notices_out(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("training: {caption_dropout: 0}\n")
    for command in ("validate", "explain"):
        assert main([command, str(path)]) == 0
        loud = capsys.readouterr()
        assert main([command, str(path), "--quiet"]) == 0
        assert loud.err.startswith("notice[adjusted-default]: ")
        assert capsys.readouterr() == (loud.out, "")


def test_an_item_of_a_list_is_no_file(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("")
    assert main(["validate", str(path), "sampling.prompts[0]=x"]) == 2
    assert "set the whole list, such as sampling.prompts=[a, b]" in capsys.readouterr().err


def test_the_type_of_a_component_is_explained(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("")
    assert main(["explain", str(path), "optimizer.type"]) == 0
    assert capsys.readouterr().out.splitlines()[2] == "  takes a type of kind optimizer; default adamw"
