from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from run_folders import CONFIG_TEXT, make_run
from served_pages import Serve

from dit_run.problems import InputError
from dit_run.runs.reading.run_files import RunFiles
from dit_run.view.try_settings import TrySettings, offered, read_settings


@pytest.fixture
def files(tmp_path: Path) -> RunFiles:
    run = make_run(
        tmp_path / "a",
        grids={20: ["x", "y"]},
        config=CONFIG_TEXT + "sampling: {steps: 7, sampler: heun, guidance_scale: 2.5, seed: 3}",
        best={"loss": 0.5, "step": 10},
    )
    for step in (10, 20):
        folder = run / "checkpoints" / f"step-{step:08d}"
        folder.mkdir(parents=True)
        (folder / "MANIFEST.json").write_text("{}")
    (run / "checkpoints" / "step-00000030").mkdir()  # is being written
    return RunFiles(tmp_path.resolve(), run.resolve())


def test_the_form_offers_the_values_of_the_run(files: RunFiles) -> None:
    assert offered(files) == {
        "checkpoints": [10, 20],
        "best": 10,
        "averaged": False,
        "guided": True,
        "size": 16,
        "prompts": ["x", "y"],
        "samplers": ["euler", "heun", "dpm-solver++"],
        "steps": 7,
        "seed": 3,
        "guidance_scale": 2.5,
        "sampler": "heun",
    }


def test_settings_are_read(files: RunFiles) -> None:
    assert read_settings(files, {"prompts": ["a"]}) == TrySettings(20, ("a",))
    given = {"prompts": ["a", "b"], "checkpoint": 10, "steps": 2, "seed": 5, "guidance_scale": 3, "sampler": "euler"}
    rest = {"height": 16, "width": 32, "averaged": False, "device": "cpu", "negative_prompt": "c"}
    expected = TrySettings(10, ("a", "b"), "c", 2, 5, 3.0, "euler", (16, 32), False, "cpu")
    assert read_settings(files, {**given, **rest}) == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "must be an object"),
        ({}, "1 to 64 prompts"),
        ({"prompts": []}, "1 to 64 prompts"),
        ({"prompts": ["a"] * 65}, "1 to 64 prompts"),
        ({"prompts": [7]}, "must be a text"),
        ({"prompts": ["a" * 20_001]}, "must be a text"),
        ({"prompts": ["a" * 15_000] * 2}, "more than 20000 characters"),
        ({"prompts": ["a"], "checkpoint": 30}, "no checkpoint of step 30; it has: 10, 20"),
        ({"prompts": ["a"], "checkpoint": "../x"}, "whole number"),
        ({"prompts": ["a"], "steps": 0}, "steps must be a whole number from 1 to 10000, not 0"),
        ({"prompts": ["a"], "steps": True}, "steps must be"),
        ({"prompts": ["a"], "seed": -1}, "seed must be"),
        ({"prompts": ["a"], "guidance_scale": "3"}, "guidance_scale must be a number, not '3'"),
        ({"prompts": ["a"], "height": 16}, "both height and width"),
        ({"prompts": ["a"], "device": "cuda:1; rm"}, "the run's or cpu"),
        ({"prompts": ["a"], "sampler": ["x"]}, "must be a name"),
    ],
)
def test_settings_that_do_not_fit_are_refused(files: RunFiles, values: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_settings(files, values)


def test_requests_that_do_not_fit_are_answered(files: RunFiles, serve: Serve) -> None:
    served = serve(files.root)
    (name,) = (run["id"] for run in json.loads(served.get("/api/runs").body)["runs"])
    path = f"/api/runs/{name}/try"
    assert served.get(path, method="POST", body=b"{").status == 400
    assert served.get(path, method="POST", body=b"[" * 100_000).status == 400
    assert served.get(path, method="POST", body=b"x" * 300_000).status == 413
    answer = served.get(path, method="POST", body=b'{"prompts": []}')
    assert (answer.status, json.loads(answer.body)) == (400, {"error": "give 1 to 64 prompts"})
    assert served.get(path, method="POST", body=b"{}", Origin="http://evil.example").status == 403
    assert served.get(path, method="POST", body=b"{}", token=False).status == 403
    assert served.get("/api/try/x", method="DELETE").status == 404
    assert json.loads(served.get("/api/try").body) == {"jobs": [], "loaded": False}
