"""The command line: selects a command, parses its arguments and returns the exit status."""

from __future__ import annotations

import argparse
import atexit
import gc
import importlib
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from dit_run import __version__
from dit_run.cli.broken_output import forget, is_of_output, replace_closed_streams
from dit_run.cli.commands import COMMANDS, command_parser
from dit_run.config.suggestions import nearest
from dit_run.problems import ConfigError, DitRunError, InputError
from dit_run.system.background import exit_past
from dit_run.system.limits import limit_of, require_start

__all__ = ["entry", "main"]

_SHORT_LIVED = ("validate", "explain", "diff", "schema", "plugins", "info")
_DASHED_KEY = re.compile(r"--?([A-Za-z_]\w*(?:\.[\w\[\]]+)+)(=.*)?", re.DOTALL)


def entry() -> None:
    """Run the console script."""
    replace_closed_streams()
    arguments = sys.argv[1:]
    if "_ARGCOMPLETE" in os.environ:
        from dit_run.cli.completion import complete

        complete(COMMANDS)
    if any(os.environ.get(name, "1") != "1" for name in ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS")):
        # Each process would print torch's advice against the search for unused parameters, which keeps the gradients'
        # order. Torch reads this when it is imported.
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if arguments and arguments[0] in _SHORT_LIVED:
        gc.disable()  # saves a tenth of their time, most of which is spent on imports
    leaving = _Leaving()
    atexit.register(leaving.leave)  # the first to be registered is the last to be called
    try:
        leaving.status = main(arguments)
        raise SystemExit(leaving.status)
    except BaseException as error:
        exit_past(error)
        raise


class _Leaving:
    """The end of the process after all exit handlers, without the release of each object.

    That takes seconds with large libraries, and a container that is stopped has ten.
    """

    def __init__(self) -> None:
        self.status: int | None = None
        """Exit status of a command that has ended; None leaves the end to Python."""

    def leave(self) -> None:
        if self.status is not None:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(self.status)


def main(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status: 0 done, 1 failed, 2 bad config or input, 129/130/143 stopped."""
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

        fault = _limit_fault(error) or plugin_fault(error) or _file_fault(error)
        if fault is None:
            raise
        return _report(fault, verbose=verbose)


def _limit_fault(error: Exception) -> DitRunError | None:
    """Return an error that comes from a limit of the system as a failure."""
    limit = limit_of(error)
    if limit is None:
        return None
    fault = DitRunError(f"{limit} (-v shows where it was reached)")
    fault.__cause__ = error
    return fault


def _file_fault(error: Exception) -> DitRunError | None:
    """Return an error of the operating system that names a file, or that comes from the output, as a failure."""
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
    _refuse_dashed_keys(rest)
    if command is None:
        _overview().parse_args(rest)
        _overview().print_help()
        return 0
    if command not in _SHORT_LIVED:
        require_start()
    module = importlib.import_module(f"dit_run.cli.{command}")
    parsed = command_parser(command).parse_intermixed_args(rest)
    parsed.command_line = tuple(arguments)
    return int(module.run(parsed))


def _command(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """Return the command and its arguments; a first word that is no command is a config to train."""
    if arguments and arguments[0] == "help":
        return _command([*arguments[1:2], "--help"])
    for index, word in enumerate(arguments):
        if word in COMMANDS:
            return word, [*arguments[:index], *arguments[index + 1 :]]
        if not word.startswith("-"):
            _refuse_misspelt(word)
            return "train", list(arguments)
    return None, list(arguments)


def _refuse_misspelt(word: str) -> None:
    """Raise InputError for a bare word that is similar to a command and is not a file."""
    meant = None if Path(word).suffix or Path(word).exists() else nearest(word, COMMANDS)
    if meant is not None:
        raise InputError(f"there is no command and no config {word!r}; did you mean: dit-run {meant}")


def _refuse_dashed_keys(words: Sequence[str]) -> None:
    """Raise InputError for a key of the config that is written as an option: ``--training.seed=1``."""
    for word in words[: words.index("--") if "--" in words else None]:
        if dashed := _DASHED_KEY.fullmatch(word):
            key, value = dashed.groups()
            raise InputError(f"{word} is not an option; a key of the config has no dashes: {key}{value or '=VALUE'}")


def _overview() -> argparse.ArgumentParser:
    lines = "\n".join(f"  {name:<9} {command.text}" for name, command in COMMANDS.items())
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
