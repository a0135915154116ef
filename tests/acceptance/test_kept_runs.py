"""Runs that earlier versions wrote: each format of a checkpoint is continued and sampled by this version.

An archive in ``kept/`` holds the folder ``run`` of a finished run of two steps, by one process or, in format 2, by two.
A new format adds an archive, and none is removed.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image
from runs import Command, Run

KEPT = sorted((Path(__file__).parent / "kept").glob("*.tar.xz"))


@pytest.mark.slow
@pytest.mark.parametrize("archive", KEPT, ids=lambda path: path.name)
def test_a_run_of_an_earlier_version_continues_and_is_sampled(
    archive: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with tarfile.open(archive) as file:
        file.extractall(filter="data")
    before = Path("run/metrics.jsonl").read_text().splitlines()
    manifest = json.loads(Path("run/checkpoints/step-00000002/MANIFEST.json").read_text())
    assert archive.name == f"format-{manifest['format']}.tar.xz"
    more = ("training.max_steps=4", "training.shard=1", "--allow-changed-plugins")
    result = command("train", "run", *more)
    assert result.status == 0, result.words
    run = Run(Path("run"))
    assert run.checkpoints[-1] == "step-00000004"
    assert [line["step"] for line in run.metrics] == [1, 2, 3, 4]
    assert Path("run/metrics.jsonl").read_text().splitlines()[:2] == before
    assert command("sample", "run", "a red circle", "--output", "image.png").status == 0
    with Image.open("image.png") as image:
        assert image.size == (8, 8)


def test_there_is_a_run_of_each_format() -> None:
    assert [path.name for path in KEPT] == ["format-1.tar.xz", "format-2.tar.xz"]
