from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from run_folders import make_grid, make_run

from dit_run.runs.reading.run_files import RunFiles
from dit_run.runs.reading.sample_grids import grid_steps, read_grid
from dit_run.sampling.image_files import save_png
from dit_run.sampling.image_grid import grid


def files(path: Path) -> RunFiles:
    return RunFiles(path.parent.resolve(), path.resolve())


@pytest.mark.parametrize(("count", "side"), [(1, 16), (2, 32), (5, 200), (16, 32), (3, 128)])
def test_each_sample_of_a_written_grid_is_found(tmp_path: Path, count: int, side: int) -> None:
    run = make_run(tmp_path / "run")
    prompts = [f"prompt {index} " + "and a long caption " * index for index in range(count)]
    images = [Image.new("RGB", (side, side), (10 * index, 100, 50)) for index in range(count)]
    (run / "samples").mkdir()
    sheet = grid(images, prompts)
    save_png(run / "samples" / "step-00000007.png", sheet, {"prompts": "\n".join(prompts)})
    found = read_grid(files(run), 7)
    assert found is not None
    assert found.prompts == tuple(prompts)
    boxes = [found.box(index) for index in range(count)]
    assert [sheet.crop(box).getcolors() for box in boxes if box] == [
        [((box[2] - box[0]) ** 2, (10 * index, 100, 50))] for index, box in enumerate(boxes) if box
    ]
    assert found.box(count) is None


def test_prompts_with_line_breaks_stay_whole(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", grids={1: ["a\nb", "c"]})
    found = read_grid(files(run), 1)
    assert found is not None
    assert found.prompts == ("a\nb", "c")


def test_a_grid_of_another_layout_has_no_places(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", grids={1: ["a", "b"]})
    Image.new("RGB", (50, 50)).save(run / "samples" / "step-00000002.png", pnginfo=_info("a\nb\nc\nd\ne"))
    found = read_grid(files(run), 2)
    assert found is not None
    assert found.box(0) is None


def test_files_that_are_no_grids_are_left_out(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", grids={30: ["a"], 4: ["a"]})
    for name in ("step-7.txt", "00000-a.png", "step-x.png"):
        (run / "samples" / name).write_text("x")
    (run / "samples" / "step-00000009.png").write_text("no image")
    assert grid_steps(files(run)) == [4, 9, 30]
    assert read_grid(files(run), 9) is None


def test_a_grid_that_is_a_link_out_of_the_folder_is_not_read(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs" / "run", grids={1: ["a"]})
    outside = make_grid(make_run(tmp_path / "outside"), 2, ["secret"])
    (run / "samples" / "step-00000002.png").symlink_to(outside)
    assert read_grid(files(run), 2) is None


def _info(prompts: str) -> PngInfo:
    info = PngInfo()
    info.add_itxt("prompts", prompts)
    return info
