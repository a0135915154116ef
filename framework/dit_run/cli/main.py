"""The command line: which command is meant, its arguments, and the exit status."""

from __future__ import annotations

import argparse
import gc
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from dit_run import __version__
from dit_run.cli.broken_output import forget, is_of_output
from dit_run.config.suggestions import nearest
from dit_run.problems import ConfigError, DitRunError, InputError
from dit_run.system.background import exit_past

__all__ = ["COMMANDS", "entry", "main"]

COMMANDS = {
    "train": "train a model, or continue an unfinished run",
    "sample": "make pictures from prompts with a trained run",
    "eval": "score a trained run with its metrics",
    "validate": "check configs without running anything",
    "explain": "show a resolved config and where each value came from",
    "diff": "compare two configs or runs by meaning",
    "check": "build everything, take one batch, and say with numbers whether it fits together",
    "plan": "predict memory, disk and time, and propose batch sizes",
    "cache": "build, verify, inspect or clean the cache",
    "schema": "write the JSON Schema for editors, or the reference of all keys",
    "plugins": "list, show and check plugins",
    "new": "write a plugin to start from",
}
"""Each command lives in ``dit_run.cli.<name>`` with ``configure(parser)`` and ``run(arguments) -> exit status``."""


_SHORT_LIVED = ("validate", "explain", "diff", "schema", "plugins")


def entry() -> None:
    """The console script."""
    arguments = sys.argv[1:]
    if arguments and arguments[0] in _SHORT_LIVED:
        gc.disable()  # a tenth of their time goes to looking for garbage that imports do not make
    try:
        raise SystemExit(main(arguments))
    except BaseException as error:
        exit_past(error)
        raise


def main(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status: 0 done, 1 failed, 2 bad config or input, 130/143 stopped."""
    verbose = not {"-v", "--verbose"}.isdisjoint(arguments)
    try:
        status = _run(arguments)
        sys.stdout.flush()
        return status
    except DitRunError as error:
        return _report(error, verbose=verbose)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        forget(sys.stdout)
        return 1
    except Exception as error:
        from dit_run.registry.fault_attribution import plugin_fault

        fault = plugin_fault(error) or _file_fault(error)
        if fault is None:
            raise
        return _report(fault, verbose=verbose)


def _file_fault(error: Exception) -> DitRunError | None:
    """What the operating system refused, where it says for which file, or where that is the output."""
    if not isinstance(error, OSError):
        return None
    if error.filename is not None:
        fault = DitRunError(f"{error.filename}: {error.strerror} (-v shows where)")
    elif is_of_output(error):
        forget(sys.stdout)
        fault = DitRunError(f"cannot write the output: {error.strerror}")
    else:
        return None
    fault.__cause__ = error
    return fault


def _run(arguments: Sequence[str]) -> int:
    command, rest = _command(arguments)
    if command is None:
        _overview().parse_args(rest)
        _overview().print_help()
        return 0
    module = importlib.import_module(f"dit_run.cli.{command}")
    parser = argparse.ArgumentParser(prog=f"dit-run {command}", description=COMMANDS[command].capitalize() + ".")
    parser.add_argument("-v", "--verbose", action="store_true", help="show tracebacks")
    module.configure(parser)
    return int(module.run(parser.parse_intermixed_args(rest)))


def _command(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """The command and what follows it; the first word that is no command and no flag is a config to train."""
    for index, word in enumerate(arguments):
        if word in COMMANDS:
            return word, [*arguments[:index], *arguments[index + 1 :]]
        if not word.startswith("-"):
            _refuse_misspelt(word)
            return "train", list(arguments)
    return None, list(arguments)


def _refuse_misspelt(word: str) -> None:
    """A bare word that is no file was hardly meant as a config."""
    meant = None if Path(word).suffix or Path(word).exists() else nearest(word, COMMANDS)
    if meant is not None:
        raise InputError(f"there is no command and no config {word!r}; did you mean: dit-run {meant}")


def _overview() -> argparse.ArgumentParser:
    lines = "\n".join(f"  {name:<9} {text}" for name, text in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="dit-run",
        usage="dit-run CONFIG [key=value ...]\n       dit-run COMMAND ...",
        description="Train a text-to-image Diffusion Transformer from one YAML file.",
        epilog=f"commands (dit-run COMMAND --help):\n{lines}\n\ndit-run CONFIG is short for dit-run train CONFIG.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"dit-run {__version__}")
    return parser


def _report(error: DitRunError, *, verbose: bool) -> int:
    if verbose:
        import traceback

        traceback.print_exception(error)
    elif isinstance(error, ConfigError):
        from dit_run.cli.problem_rendering import print_problems

        print_problems(error.problems)
    else:
        print(f"error: {error}", file=sys.stderr)
    return error.exit_status
