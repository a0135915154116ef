"""``dit-run sample``: make images from prompts with a trained run."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dit_run.cli.common_options import add_run, print_notes
from dit_run.cli.sample_words import prompts_and_overrides
from dit_run.config.weaker_predictions import weaker_prediction
from dit_run.problems import InputError

if TYPE_CHECKING:
    from dit_run.sampling.load_run import LoadedRun

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument(
        "words",
        nargs="*",
        default=[],
        metavar="PROMPT|key=value",
        help="text of an image (default: the prompts of the run), or a setting to replace, such as sampling.steps=20",
    )
    parser.add_argument(
        "--prompt",
        dest="texts",
        action="append",
        default=[],
        metavar="TEXT",
        help="a prompt, even if it has the form key=value; may be repeated",
    )
    parser.add_argument("--prompts", dest="file", metavar="FILE", help="text file with one prompt per line")
    parser.add_argument("--output", metavar="DIR", help="folder, or FILE.png for one image (default: RUN/samples)")
    parser.add_argument("--steps", type=int, metavar="N", help="sampling steps (default: sampling.steps of the run)")
    parser.add_argument(
        "--guidance-scale",
        metavar="G[,G…]",
        help="strength of guidance, one number for all prompts or one for each; 1 is no guidance (default: the run's)",
    )
    parser.add_argument("--sampler", metavar="NAME", help="sampler of the run's scheduler (default: the run's)")
    parser.add_argument("--seed", type=int, metavar="S", help="image i depends on S + i only (default: the run's)")
    parser.add_argument("--size", metavar="HxW", help="height and width in pixels (default: the training size)")
    parser.add_argument("--negative-prompt", default="", metavar="T", help="text that guidance moves away from")
    parser.add_argument(
        "--scalar",
        dest="scalars",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a number that the model takes, such as aesthetic_score=6.5; may be repeated (default: the run's)",
    )
    parser.add_argument("--num-images", type=int, default=1, metavar="K", help="images per prompt (default: 1)")
    parser.add_argument("--batch-size", type=int, default=16, metavar="B", help="images at a time (default: 16)")


def run(arguments: argparse.Namespace) -> int:
    size, scalars, scales = _size(arguments.size), _scalars(arguments.scalars), _scales(arguments.guidance_scale)
    words, overrides = prompts_and_overrides(arguments.words)
    prompts = _prompts(arguments, words)
    from dit_run.sampling.load_run import load_run

    opened = load_run(
        Path(arguments.run),
        *overrides,
        checkpoint=arguments.checkpoint,
        ema=not arguments.no_ema,
        average=arguments.average,
        allow_plugins=arguments.allow_plugins,
    )
    notes = [*opened.notices, *_without_effect(arguments, opened, scales), *_untrained_size(opened, size)]
    print_notes(notes, arguments)
    from rich.console import Console

    from dit_run.cli.progress import progress_on_stderr
    from dit_run.sampling.generate import generate_images

    with progress_on_stderr(quiet=arguments.quiet) as reporter:
        images = generate_images(
            opened,
            [prompt for prompt in prompts or opened.prompts for _ in range(arguments.num_images)],
            output=Path(arguments.output) if arguments.output else Path(arguments.run) / "samples",
            steps=arguments.steps,
            guidance_scale=_repeated(scales, arguments.num_images),
            sampler=arguments.sampler,
            seed=arguments.seed,
            size=size,
            negative_prompt=arguments.negative_prompt,
            scalars=scalars,
            batch_size=arguments.batch_size,
            reporter=reporter,
        )
    console = Console(highlight=False, soft_wrap=True)
    for path, prompt in zip(images.paths, images.prompts, strict=True):
        console.print(f"{path}  {prompt}", markup=False)
    if images.grid is not None:
        console.print(f"grid of all images: {images.grid}", markup=False)
    print_notes([images.notice] if images.notice else [], arguments)
    return 0


def _without_effect(arguments: argparse.Namespace, run: LoadedRun, scales: Sequence[float]) -> Iterator[str]:
    """Yield a line for each flag that has no effect with this run."""
    config = run.config
    guided = any(scale != 1 for scale in scales or [config.sampling.guidance_scale])
    if arguments.negative_prompt and not guided:
        yield "--negative-prompt has no effect: guidance_scale is 1, which turns guidance off"
    if arguments.negative_prompt and weaker_prediction(config) != "empty":
        yield f"--negative-prompt has no effect: guidance {config.guidance.type} uses no empty caption"
    if arguments.no_ema and not run.kept_averages:
        yield "--no-ema has no effect: this run keeps no average of its weights"


def _untrained_size(run: LoadedRun, size: tuple[int, int] | None) -> Iterator[str]:
    """Yield a line for a size that a run with buckets did not train on."""
    if size is not None and run.config.has_buckets and size not in run.sizes:
        trained = ", ".join(f"{high}x{wide}" for high, wide in run.sizes)
        yield f"the run did not train on images of {size[0]}x{size[1]}; it trained on {trained}"


def _prompts(arguments: argparse.Namespace, words: Sequence[str]) -> list[str]:
    """Return the prompts of the command line, then those of the file. Raises InputError."""
    if arguments.num_images < 1 or arguments.batch_size < 1:
        raise InputError("--num-images and --batch-size must be at least 1")
    given = [*words, *arguments.texts]
    if arguments.file is None:
        return given
    path = Path(arguments.file)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--prompts {path} cannot be read as UTF-8 text: {error}") from error
    read = [line.strip() for line in lines if line.strip()]
    if not read:
        raise InputError(f"--prompts {path} holds no prompt; write one prompt per line")
    return [*given, *read]


def _scales(text: str | None) -> list[float]:
    """Return the guidance scales of ``--guidance-scale``; none without it. Raises InputError."""
    try:
        return [] if text is None else [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--guidance-scale takes a number, or several such as 2,4,4, not {text!r}") from None


def _repeated(scales: Sequence[float], count: int) -> float | list[float] | None:
    """Return the scale of all images, or that of each one where every prompt has ``count`` images."""
    if len(scales) > 1:
        return [scale for scale in scales for _ in range(count)]
    return scales[0] if scales else None


def _scalars(texts: Sequence[str]) -> dict[str, float]:
    values = dict[str, float]()
    for name, value in map(_scalar, texts):
        if name in values:
            raise InputError(f"--scalar gives {name} twice: {values[name]:g} and {value:g}; remove one of the two")
        values[name] = value
    return values


def _scalar(text: str) -> tuple[str, float]:
    name, equals, value = text.rpartition("=")
    try:
        if name and equals:
            return name, float(value)
    except ValueError:
        pass
    raise InputError(f"--scalar takes a name and a number, such as aesthetic_score=6.5, not {text!r}")


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None or not (int(match[1]) and int(match[2])):
        raise InputError(f"--size takes height x width in pixels, such as 256x384, not {text!r}")
    return int(match[1]), int(match[2])
