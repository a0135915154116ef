"""Pictures as files: levels, grids, metadata."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dit_run.sampling.image_files import save_png, to_images
from dit_run.sampling.image_grid import grid


def plain(colour: str, side: int = 64) -> Image.Image:
    return Image.new("RGB", (side, side), colour)


def test_minus_one_to_one_becomes_0_to_255() -> None:
    (image,) = to_images(torch.tensor([-1.0, 0.0, 1.0, 7.0, -7.0]).expand(1, 3, 2, 5))
    assert image.size == (5, 2)
    assert np.asarray(image)[0, :, 0].tolist() == [0, 128, 255, 255, 0]


def test_channels_and_rows_stay_in_their_places() -> None:
    pixels = torch.full((1, 3, 2, 3), -1.0)
    pixels[0, 1, 1, 2] = 1.0
    (image,) = to_images(pixels)
    assert image.getpixel((2, 1)) == (0, 255, 0)


def test_a_grid_goes_row_by_row() -> None:
    sheet = grid([plain("red", 128), plain("lime", 128), plain("blue", 128)])
    assert sheet.size == (2 * 132 + 4, 2 * 132 + 4)
    centres = [(68, 68), (200, 68), (68, 200), (200, 200)]
    assert [sheet.getpixel(at) for at in centres] == [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]


def test_small_images_are_enlarged_by_whole_pixels() -> None:
    image = plain("black", 32)
    image.putpixel((0, 0), (255, 0, 0))
    sheet = np.asarray(grid([image]))
    assert sheet.shape == (136, 136, 3)
    assert int((sheet == (255, 0, 0)).all(2).sum()) == 16


def test_captions_stand_below_their_images() -> None:
    bare, named = grid([plain("white")] * 2), grid([plain("white")] * 2, ["a", "a much longer caption " * 3])
    assert named.width == bare.width
    assert named.height > bare.height
    below = np.asarray(named)[4 + 128 :]
    assert (below[:, :136] < 128).any()
    assert (below[:, 136:] < 128).sum() > (below[:, :136] < 128).sum()


def test_a_caption_of_any_length_takes_four_lines_at_most() -> None:
    heights = [grid([plain("white")], ["word " * count]).height for count in (8, 100)]
    assert heights == [136 + 3 * 15, 136 + 4 * 15]


@pytest.mark.parametrize("count", [1, 2, 5, 16, 17])
def test_every_image_is_on_the_grid(count: int) -> None:
    shown = np.asarray(grid([plain("red", 128)] * count))
    assert int((shown == (255, 0, 0)).all(2).sum()) == count * 128 * 128


def test_metadata_of_any_script_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    save_png(path, plain("red"), {"prompt": "ein grüner Würfel, 赤い丸\nfox 🦊", "seed": "7"})
    with Image.open(path) as image:
        assert image.text == {"prompt": "ein grüner Würfel, 赤い丸\nfox 🦊", "seed": "7"}  # type: ignore[attr-defined]
        assert image.getpixel((3, 3)) == (255, 0, 0)
    assert list(tmp_path.iterdir()) == [path]
