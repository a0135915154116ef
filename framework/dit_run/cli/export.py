"""``dit-run export``: write a trained model for other programs."""

from __future__ import annotations

import argparse
from pathlib import Path

from dit_run.cli.common_options import add_overrides, add_run, print_notes
from dit_run.export.export_options import DTYPES, FORMATS, UNKNOWN
from dit_run.reporting import Silent

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("folder", metavar="FOLDER", help="new or empty folder")
    add_overrides(parser)
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default=FORMATS[0],
        help="diffusers: DiffusionPipeline.from_pretrained loads the folder without dit-run, as a class of diffusers "
        "where all parts fit one; "
        "safetensors: one file of weights (default: diffusers)",
    )
    parser.add_argument("--dtype", choices=DTYPES, default=DTYPES[0], help="precision of the weights (default: fp32)")
    parser.add_argument(
        "--no-frozen",
        action="store_true",
        help="leave out the pretrained files of frozen parts; they are then loaded by their names on the hub",
    )
    parser.add_argument(
        "--merge",
        action="store_true",
        help="of a run with an adapter: export the whole model with its changes, not the adapter alone",
    )
    parser.add_argument(
        "--license",
        metavar="NAME",
        default=UNKNOWN,
        help="licence of the weights in the model card, such as apache-2.0 (default: unknown)",
    )
    parser.add_argument(
        "--push",
        metavar="NAME",
        help="upload the folder to the repository NAME or OWNER/NAME on the hub too, a private one",
    )
    parser.add_argument("--public", action="store_true", help="with --push: upload to a public repository")


class _Notices(Silent):
    """A reporter that keeps the notices."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def notice(self, text: str) -> None:
        self.texts.append(text)


def run(arguments: argparse.Namespace) -> int:
    from dit_run.sampling.load_run import load_run

    opened = load_run(
        Path(arguments.run),
        *arguments.overrides,
        checkpoint=arguments.checkpoint,
        ema=not arguments.no_ema,
        average=arguments.average,
        allow_plugins=arguments.allow_plugins,
    )
    print_notes(opened.notices, arguments)
    reporter = _Notices()
    folder = opened.export(
        Path(arguments.folder),
        format=arguments.format,
        dtype=arguments.dtype,
        frozen=not arguments.no_frozen,
        license=arguments.license,
        merge=arguments.merge,
        push=arguments.push,
        public=arguments.public,
        reporter=reporter,
    )
    print_notes(reporter.texts, arguments)
    named = "" if opened.average in (None, "ema") else f" ({opened.average})"
    weights = f"the averaged weights{named}" if opened.ema else "the weights"
    print(f"{folder}  {weights} of step {opened.step}")
    return 0
