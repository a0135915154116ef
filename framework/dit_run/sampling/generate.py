"""Drawing: a request to a trained run, and its pictures as files."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from dit_run.compute.out_of_memory import translate_drawing
from dit_run.problems import DitRunError, InputError
from dit_run.reporting import Reporter, Silent
from dit_run.sampling.image_files import grid, save_png
from dit_run.sampling.load_run import LoadedRun
from dit_run.sampling.pipeline import SamplingRequest

__all__ = ["Drawn", "draw"]


@dataclass(frozen=True)
class Drawn:
    """Pictures on disk, in the order of their prompts."""

    paths: tuple[Path, ...]
    prompts: tuple[str, ...]
    grid: Path


def draw(
    trained: LoadedRun,
    prompts: Sequence[str],
    *,
    output: Path,
    steps: int | None = None,
    guidance_scale: float | None = None,
    sampler: str | None = None,
    seed: int | None = None,
    size: tuple[int, int] | None = None,
    negative_prompt: str = "",
    batch_size: int = 16,
    reporter: Reporter | None = None,
) -> Drawn:
    """One PNG per prompt and a ``grid.png`` of all; what is None comes from the run's ``sampling`` section.

    Names sort in the order of the prompts, and numbers go on after those that are there, so that nothing is
    overwritten; prompt, seed and run are in each file's metadata. Raises InputError for what does not fit, before
    anything is drawn.
    """
    _refuse_place(output)
    config = trained.config
    options = config.sampling
    _refuse_untrained_guidance(trained, guidance_scale)
    chosen = replace(
        options,
        steps=options.steps if steps is None else steps,
        guidance_scale=options.guidance_scale if guidance_scale is None else guidance_scale,
        sampler=options.sampler if sampler is None else sampler,
        seed=options.seed if seed is None else seed,
    )
    request = SamplingRequest.of(chosen, prompts, image_size=config.data.common.image_size, batch_size=batch_size)
    height, width = size or (request.height, request.width)
    request = replace(request, height=height, width=width, negative_prompt=negative_prompt)
    with translate_drawing(min(batch_size, len(prompts))):
        images = trained.pipeline.drawn(request, reporter or Silent())
    metadata = [_metadata(trained, prompt, request.seed + index) for index, prompt in enumerate(prompts)]
    try:
        return _written(output, images, prompts, metadata)
    except OSError as error:
        raise DitRunError(f"{error.filename or output}: {error.strerror}; files that were written are whole") from error


def _written(
    output: Path, images: Sequence[Image.Image], prompts: Sequence[str], metadata: Sequence[dict[str, str]]
) -> Drawn:
    """The pictures and their grid as files. Raises OSError."""
    output.mkdir(parents=True, exist_ok=True)
    first = _first_free(output)
    paths = [output / f"{first + index:05d}-{_slug(prompt)}.png" for index, prompt in enumerate(prompts)]
    for path, image, text in zip(paths, images, metadata, strict=True):
        save_png(path, image, text)
    sheet = _free_grid(output, first)
    save_png(sheet, grid(images, prompts))
    return Drawn(tuple(paths), tuple(prompts), sheet)


def _refuse_place(output: Path) -> None:
    """Raises InputError where pictures cannot go to this folder."""
    there = next(path for path in (output.absolute(), *output.absolute().parents) if path.exists())
    if not there.is_dir():
        raise InputError(f"--output {output}: {there} is a file; name a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"--output {output}: {there} may not be written; name another folder with --output DIR")


def _refuse_untrained_guidance(trained: LoadedRun, scale: float | None) -> None:
    if scale not in (None, 1.0) and trained.config.training.caption_dropout == 0:
        raise InputError(
            f"--guidance-scale {scale:g}: this run was trained with training.caption_dropout 0, so guidance has no "
            "trained condition to move away from; take 1"
        )


def _metadata(trained: LoadedRun, prompt: str, seed: int) -> dict[str, str]:
    return {
        "prompt": prompt,
        "seed": str(seed),
        "run": str(trained.run_dir),
        "checkpoint": trained.checkpoint.name,
    }


def _first_free(folder: Path) -> int:
    numbers = [int(match[1]) for path in folder.iterdir() if (match := re.match(r"(\d{5,})-", path.name))]
    return max(numbers, default=-1) + 1


def _free_grid(folder: Path, first: int) -> Path:
    """``grid.png``, or where that is there one that says with which picture it begins."""
    names = itertools.chain(
        ["grid.png", f"grid-{first:05d}.png"], (f"grid-{first:05d}-{n}.png" for n in itertools.count(2))
    )
    return next(path for name in names if not (path := folder / name).exists())


def _slug(prompt: str) -> str:
    words = re.sub(r"[^\w]+", "-", prompt.lower()).strip("-")
    return words.encode()[:60].decode(errors="ignore") or "empty"
