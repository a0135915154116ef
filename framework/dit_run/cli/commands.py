"""The commands: what each does, examples of it, and its parser."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["COMMANDS", "Command", "command_parser"]


@dataclass(frozen=True)
class Command:
    """A command in words."""

    text: str
    """Its effect, without a capital and a full stop."""
    examples: Mapping[str, str] = field(default_factory=dict)
    """Lines of the command, without ``dit-run``, and what each does."""


COMMANDS = {
    "init": Command(
        "look at images with captions, and write a config that trains on them",
        {
            "init photos -o mine.yaml": "images with captions in files of the same names",
            "init 'shards/*.tar' -o mine.yaml data.image_size=512": "tar shards, at a size of your own",
        },
    ),
    "train": Command(
        "train a model, or continue an unfinished run",
        {
            "configs/quickstart.yaml": "train, or continue the run of the same config",
            "train runs/birds": "continue a run by its folder",
            "train configs/custom.yaml training.batch_size=16": "with another value",
            "train configs/custom.yaml --fresh runs/second": "start again in another folder",
            "train runs/birds --fork runs/longer training.max_steps=20000": "continue a copy of the run for longer",
            "train configs/custom.yaml --profile": "log where the time of a step goes",
        },
    ),
    "sample": Command(
        "make images from prompts with a trained run",
        {
            'sample runs/birds "a red bird" "a blue bird" --num-images 4': "four images of each prompt, and a grid",
            'sample runs/birds "a red bird" --checkpoint best --seed 7 --output bird.png': "one file",
            'sample runs/birds "a red bird" --size 320x192 --negative-prompt "a cage"': "with other settings",
            "sample runs/birds --prompts prompts.txt": "one prompt per line of a file",
        },
    ),
    "view": Command(
        "show runs in the browser: curves, samples, configs",
        {
            "view": "all runs in ./outputs",
            "view runs --host 0.0.0.0 --port 6110": "for other machines, with a token in the address",
        },
    ),
    "report": Command(
        "write runs as one file for a browser",
        {"report runs/birds runs/shapes -o report.html": "two runs side by side, in a file to send"},
    ),
    "export": Command(
        "write a trained model for other programs",
        {
            "export runs/birds exported": "a folder for diffusers",
            "export runs/birds exported --format safetensors --dtype fp16": "one file of weights",
            "export runs/birds exported --push birds": "upload it to the hub too",
        },
    ),
    "eval": Command(
        "score a trained run with its metrics",
        {
            "eval runs/shapes": "with the metrics of its config",
            "eval runs/shapes --checkpoint best --json 'metrics=[{type: shapes, count: 200}]'": "with other ones",
        },
    ),
    "average": Command(
        "make an average of a run's weights of any length, after training",
        {
            "average runs/birds --length 0.1": "from the averages in its checkpoints, for sample --average length-0.1",
            "average runs/birds --length 0.05 --checkpoint best --name short": "up to another checkpoint",
        },
    ),
    "validate": Command(
        "check configs without running them",
        {
            "validate configs/custom.yaml": "one config",
            "validate configs/small.yaml configs/large.yaml --format github": "several, as notes on a pull request",
        },
    ),
    "explain": Command(
        "show every key of a config, its value and where it is set; or the meaning of a code",
        {
            "explain configs/custom.yaml": "all keys",
            "explain configs/custom.yaml training.batch_size": "one key, with its meaning",
            "explain configs/medium.yaml --cost": "parameters and operations of the model",
            "explain unknown-key": "the code of a problem",
        },
    ),
    "diff": Command(
        "show the keys in which two configs or runs differ",
        {"diff configs/small.yaml runs/birds": "a config and a run"},
    ),
    "data": Command(
        "show statistics of a config's data, and write a contact sheet of its problems",
        {"data mine.yaml": "the sheet is data.png"},
    ),
    "check": Command(
        "build all components, run one batch, and report whether they fit together",
        {"check mine.yaml": "decoded images and reconstructions are in check.png"},
    ),
    "plan": Command(
        "predict memory, disk and time, and propose a batch size",
        {
            "plan mine.yaml": "measured on this machine",
            "plan configs/medium.yaml --device cuda --memory 24GB": "estimated for a card that is not here",
        },
    ),
    "cache": Command(
        "build, list, verify or clean the cache",
        {
            "cache mine.yaml": "build it without training",
            "cache info": "what is in it",
            "cache verify": "read all of it again",
            "cache gc --unused-days 14 --max-size 200GB": "remove what was not used for long",
        },
    ),
    "schema": Command(
        "write the JSON Schema for editors, or a reference in Markdown",
        {
            "schema mine.yaml -o dit-run.schema.json": "with the plugins of a config",
            "schema --reference -o config.md": "every key",
            "schema --commands -o commands.md": "every command",
        },
    ),
    "plugins": Command(
        "list, describe and check plugins",
        {
            "plugins": "all components",
            "plugins show optimizer.muon": "one, with its options",
            "plugins check lion": "test it as dit-run would use it",
        },
    ),
    "info": Command(
        "print versions, devices, disks and plugins, for a report of a fault",
        {"info": "lines to copy into a report", "info --json": "for programs"},
    ),
    "new": Command(
        "write the files of a new plugin",
        {
            "new optimizer lion": "one file",
            "new optimizer lion --package": "a package with a test and an example config",
        },
    ),
}
"""The commands by name: modules ``dit_run.cli.<name>`` with ``configure(parser)`` and ``run(arguments) -> status``."""


def command_parser(name: str) -> argparse.ArgumentParser:
    """Return the parser of a command."""
    command = COMMANDS[name]
    parser = argparse.ArgumentParser(
        prog=f"dit-run {name}",
        description=f"{command.text[0].upper()}{command.text[1:]}.",
        epilog="examples:\n" + "\n".join(f"  # {text}\n  dit-run {line}" for line, text in command.examples.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="show tracebacks")
    parser.add_argument(
        "-q", "--quiet", action="store_true", help="show results and errors only: no progress, no notes"
    )
    importlib.import_module(f"dit_run.cli.{name}").configure(parser)
    return parser
