"""Image files from prompts: samples of a trained run, written as PNG with a grid of all."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from dit_run.problems import DitRunError, InputError
from dit_run.reporting import Reporter
from dit_run.sampling.drawn_captions import undrawable_notice
from dit_run.sampling.image_files import save_png
from dit_run.sampling.image_grid import grid
from dit_run.sampling.load_run import LoadedRun

__all__ = ["GeneratedImages", "generate_images"]


_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class GeneratedImages:
    """Image files, in the order of their prompts."""

    paths: tuple[Path, ...]
    prompts: tuple[str, ...]
    grid: Path | None = None
    """The grid of all; None for one image that was written to a file of a given name."""
    notice: str | None = None
    """Characters of prompts that the grid cannot show."""


def generate_images(
    run: LoadedRun,
    prompts: Sequence[str],
    *,
    output: Path,
    steps: int | None = None,
    guidance_scale: float | Sequence[float] | None = None,
    sampler: str | None = None,
    seed: int | None = None,
    size: tuple[int, int] | None = None,
    negative_prompt: str = "",
    scalars: Mapping[str, float] | None = None,
    batch_size: int = 16,
    reporter: Reporter | None = None,
) -> GeneratedImages:
    """Write one PNG per prompt and a ``grid.png`` of all to a folder; settings are those of :meth:`LoadedRun.sample`.

    File names sort in the order of the prompts. Numbers continue after existing files, so that nothing is overwritten.
    An ``output`` that ends with the suffix of an image is the file of a single image.
    Raises InputError for a folder, file or setting that does not fit, before anything is sampled.
    """
    single = output.suffix.lower() in _IMAGE_SUFFIXES and not output.is_dir()
    if single:
        _refuse_file(output, len(prompts))
    _refuse_folder(output.parent if single else output, output)
    images = run.sample(
        prompts,
        steps=steps,
        guidance_scale=guidance_scale,
        sampler=sampler,
        seed=seed,
        size=size,
        negative_prompt=negative_prompt,
        scalars=scalars,
        batch_size=batch_size,
        reporter=reporter,
    )
    try:
        return _write_file(output, images[0], prompts) if single else _write(output, images, prompts)
    except OSError as error:
        raise DitRunError(f"{error.filename or output}: {error.strerror}; earlier images are complete") from error


def _write(output: Path, images: Sequence[Image.Image], prompts: Sequence[str]) -> GeneratedImages:
    """Write the images and their grid. Raises OSError."""
    output.mkdir(parents=True, exist_ok=True)
    first = _first_free(output)
    paths = [output / f"{first + index:05d}-{_slug(prompt)}.png" for index, prompt in enumerate(prompts)]
    for path, image in zip(paths, images, strict=True):
        save_png(path, image, {str(name): value for name, value in image.info.items()})
    sheet = _free_grid(output, first)
    save_png(sheet, grid(images, prompts))
    return GeneratedImages(tuple(paths), tuple(prompts), sheet, undrawable_notice(prompts))


def _write_file(file: Path, image: Image.Image, prompts: Sequence[str]) -> GeneratedImages:
    """Write one image. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    save_png(file, image, {str(name): value for name, value in image.info.items()})
    return GeneratedImages((file,), tuple(prompts))


def _refuse_file(file: Path, count: int) -> None:
    """Raise InputError where the images cannot become this one file."""
    if file.suffix.lower() != ".png":
        raise InputError(f"--output {file}: images are written as PNG; name a file that ends with .png, or a folder")
    if count != 1:
        raise InputError(f"--output {file} is one file for {count} images; name a folder, or sample one image")
    if file.exists():
        raise InputError(f"--output {file} exists, and nothing is overwritten; name another file")


def _refuse_folder(folder: Path, output: Path) -> None:
    """Raise InputError where images cannot be written to this folder of ``--output``."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise InputError(f"--output {output}: {existing} is a file; name a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"--output {output}: {existing} is not writable; name another folder with --output DIR")


def _first_free(folder: Path) -> int:
    """Return the number after the highest one of the image files in the folder."""
    numbers = [int(match[1]) for path in folder.iterdir() if (match := re.match(r"(\d{5,})-", path.name))]
    return max(numbers, default=-1) + 1


def _free_grid(folder: Path, first: int) -> Path:
    """Return ``grid.png``, or where that exists a name with the number of the grid's first image."""
    names = itertools.chain(
        ["grid.png", f"grid-{first:05d}.png"], (f"grid-{first:05d}-{n}.png" for n in itertools.count(2))
    )
    return next(path for name in names if not (path := folder / name).exists())


def _slug(prompt: str) -> str:
    """Return the prompt's words as a part of a file name, at most 60 bytes."""
    words = re.sub(r"[^\w]+", "-", prompt.lower()).strip("-")
    return words.encode()[:60].decode(errors="ignore") or "empty"
