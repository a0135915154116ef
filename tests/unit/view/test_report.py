from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from run_folders import make_run

from dit_run.view.library import RunLibrary
from dit_run.view.report import report_html

HOSTILE = "</script><script>alert(1)</script><!--"


def test_a_run_with_fifty_grids_of_noise_stays_below_ten_megabytes(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", lines=[{"step": step, "loss": 1.0} for step in range(5000)])
    (run / "samples").mkdir()
    prompts = [f"prompt {index}" for index in range(16)]
    info = PngInfo()
    info.add_itxt("prompts", "\n".join(prompts))
    size = (4 + 4 * 68, 4 + 4 * 88)
    first = run / "samples" / "step-00000001.png"
    Image.frombytes("RGB", size, os.urandom(3 * size[0] * size[1])).save(first, pnginfo=info, compress_level=1)
    for step in range(2, 51):
        shutil.copy(first, run / "samples" / f"step-{step:08d}.png")
    text = report_html(RunLibrary([run]))
    assert 2_000_000 < len(text.encode()) < 10_000_000
    assert text.count("data:image/webp") == 800


def test_data_cannot_end_the_script_that_holds_it(tmp_path: Path) -> None:
    make_run(tmp_path / "run", state="failed", reason=HOSTILE, grids={1: [HOSTILE]}, lines=[{"step": 1, HOSTILE: 1.0}])
    text = report_html(RunLibrary([tmp_path]))
    assert HOSTILE not in text
    data = re.search(r'<script type="application/json" id="report-data">(.*?)</script>', text, re.DOTALL)
    assert data is not None
    assert json.loads(data[1])["runs"]["runs"][0]["reason"] == HOSTILE
    assert len(re.findall(r"<script", text)) == 3


def test_originals_are_the_files_themselves(tmp_path: Path) -> None:
    make_run(tmp_path / "run", grids={1: ["x"]})
    assert "data:image/png" not in report_html(RunLibrary([tmp_path]))
    assert report_html(RunLibrary([tmp_path]), originals=True).count("data:image/png") == 1


def test_a_report_names_no_other_host(tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    text = report_html(RunLibrary([tmp_path]))
    assert not re.findall(r'(?:src|href)="(?!data:)[^"]+"', text)
    assert "default-src 'none'" in text


def test_of_many_grids_the_first_the_last_and_some_between_are_kept(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", grids={1: ["x"]})
    for step in range(2, 301):
        shutil.copy(run / "samples" / "step-00000001.png", run / "samples" / f"step-{step:08d}.png")
    data = re.search(r'id="report-data">(.*?)</script>', report_html(RunLibrary([run])), re.DOTALL)
    assert data is not None
    (details,) = json.loads(data[1])["details"].values()
    steps = [grid["step"] for grid in details["samples"]["grids"]]
    assert (len(steps), steps[0], steps[-1], steps[50]) == (100, 1, 300, 152)
