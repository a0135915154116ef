"""The data and images of the page."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from distributions import GOOD, distribution
from PIL import Image
from run_folders import CONFIG_TEXT, make_run
from served_pages import Serve, Served


def data(served: Served, path: str) -> Any:
    answer = served.get(path)
    assert answer.status == 200, answer
    return json.loads(answer.body)


def ids(served: Served) -> dict[str, str]:
    return {run["name"]: run["id"] for run in data(served, "/api/runs")["runs"]}


def test_curves_keep_every_peak_of_a_long_run(serve: Serve, tmp_path: Path) -> None:
    lines = [{"step": step, "loss": 1.0 if step != 777 else 50.0, "time": float(step)} for step in range(1, 10_001)]
    make_run(tmp_path / "a", lines=lines)
    served = serve(tmp_path)
    curve = data(served, f"/api/runs/{ids(served)['a']}/curves?points=100")["series"]["loss"]
    assert (curve["count"], len(curve["x"])) == (10_000, 100)
    assert (max(curve["high"]), min(curve["low"]), min(curve["y"]), curve["y"][7]) == (50.0, 1.0, 1.0, 1.49)


def test_a_zoomed_range_has_its_own_values(serve: Serve, tmp_path: Path) -> None:
    make_run(tmp_path / "a", lines=[{"step": step, "loss": step / 8} for step in range(1, 1001)])
    served = serve(tmp_path)
    curve = data(served, f"/api/runs/{ids(served)['a']}/curves?points=100&low=10&high=13")["series"]["loss"]
    assert (curve["x"], curve["y"]) == ([10, 11, 12, 13], [1.25, 1.375, 1.5, 1.625])


def test_values_that_are_not_finite_are_counted(serve: Serve, tmp_path: Path) -> None:
    make_run(tmp_path / "a", lines=['{"step": 1, "loss": 1.0}\n', '{"step": 2, "loss": NaN}\n', '{"step": 3, "loss":'])
    served = serve(tmp_path)
    curve = data(served, f"/api/runs/{ids(served)['a']}/curves")["series"]["loss"]
    assert (curve["x"], curve["y"], curve["bad"]) == ([1, 2], [1.0, None], 1)


def test_unchanged_curves_are_not_sent_again(serve: Serve, tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", lines=[{"step": 1, "loss": 1.0}])
    served = serve(tmp_path)
    path = f"/api/runs/{ids(served)['a']}/curves"
    etag = served.get(path).headers["etag"]
    assert served.get(path, If_None_Match=etag).status == 304
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "loss": 0.5}\n')
    assert json.loads(served.get(path, If_None_Match=etag).body)["series"]["loss"]["y"] == [1.0, 0.5]


def test_a_sample_is_cut_out_of_its_grid(serve: Serve, tmp_path: Path) -> None:
    make_run(tmp_path / "a", grids={8: ["x", "y", "z"]})
    served = serve(tmp_path)
    name = ids(served)["a"]
    for index in range(3):
        image = Image.open(io.BytesIO(served.get(f"/images/{name}/cell/8/{index}").body))
        level = 8 + 16 * index
        assert (image.size, image.getpixel((1, 1))) == ((3, 3), (level, level, level))  # as small as the plain image is
    assert served.get(f"/images/{name}/cell/8/3").status == 404
    assert served.get(f"/images/{name}/cell/9/0").status == 404


def test_samples_of_a_changed_list_of_prompts_are_matched_by_text(serve: Serve, tmp_path: Path) -> None:
    make_run(tmp_path / "a", grids={1: ["x", "y"], 2: ["y", "new", "x"]})
    served = serve(tmp_path)
    samples = data(served, f"/api/runs/{ids(served)['a']}")["samples"]
    assert samples["prompts"] == ["y", "new", "x"]
    assert [grid["cells"] for grid in samples["grids"]] == [[1, -1, 0], [0, 1, 2]]


def test_the_config_has_origin_and_documentation(serve: Serve, tmp_path: Path) -> None:
    run = make_run(tmp_path / "a")
    provenance = json.loads((run / "provenance.json").read_text())
    (run / "provenance.json").write_text(json.dumps({**provenance, "origins": {"training.batch_size": "x.yaml:7:15"}}))
    served = serve(tmp_path)
    entries = {entry["key"]: entry for entry in data(served, f"/api/runs/{ids(served)['a']}/config")}
    batch = entries["training.batch_size"]
    assert (batch["value"], batch["origin"], batch["changed"]) == (4, "x.yaml:7:15", True)
    assert batch["text"] == "Samples per process and micro-step."
    assert (entries["training.seed"]["origin"], entries["training.seed"]["changed"]) == ("default", False)


def test_a_key_that_was_renamed_has_its_current_name(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    renamed = GOOD.replace("decay: PositiveFloat", "decay: Annotated[PositiveFloat, Formerly('weight')]")
    imports = "from typing import Annotated\nfrom dit_run.options import Formerly\n"
    monkeypatch.syspath_prepend(distribution(tmp_path / "site", modules={"dit_run_lion.py": imports + renamed}))
    make_run(tmp_path / "runs" / "a", config=CONFIG_TEXT + "optimizer: {type: lion, weight: 0.5}\n")
    served = serve(tmp_path / "runs")
    entries = {entry["key"]: entry for entry in data(served, f"/api/runs/{ids(served)['a']}/config")}
    assert (entries["optimizer.decay"]["value"], entries["optimizer.decay"]["text"]) == (0.5, "Weight decay.")
    assert "optimizer.weight" not in entries


def test_a_config_that_cannot_be_checked_is_shown_as_written(serve: Serve, tmp_path: Path) -> None:
    make_run(tmp_path / "a", config="model: {hidden_size: many}\ntraining: [4]")
    served = serve(tmp_path)
    entries = data(served, f"/api/runs/{ids(served)['a']}/config")
    assert [(entry["key"], entry["value"]) for entry in entries] == [("model.hidden_size", "many"), ("training", [4])]


def test_components_that_are_not_installed_are_shown_as_written(serve: Serve, tmp_path: Path) -> None:
    own = "optimizer: {type: mine, fused: 0.8}\ncallbacks: [{type: own, after: 1}, {type: [7]}]\nplugins: [./mine.py]\n"
    make_run(tmp_path / "a", config=CONFIG_TEXT + own)
    served = serve(tmp_path)
    entries = {entry["key"]: entry for entry in data(served, f"/api/runs/{ids(served)['a']}/config")}
    assert entries["training.batch_size"]["text"] == "Samples per process and micro-step."
    written = {key: entry["value"] for key, entry in entries.items() if key.startswith(("optimizer", "callb", "plug"))}
    assert written == {
        "optimizer.type": "mine",
        "optimizer.fused": 0.8,
        "callbacks[0].type": "own",
        "callbacks[0].after": 1,
        "callbacks[1].type": [7],
        "plugins": ["./mine.py"],
    }
    assert not any(entries[key]["text"] for key in written)


def test_a_config_cannot_read_the_environment_or_another_file(serve: Serve, tmp_path: Path) -> None:
    make_run(tmp_path / "a", config=CONFIG_TEXT + "extends: ../secret.yaml\nsampling: {prompts: ['${env:HOME}']}")
    (tmp_path / "secret.yaml").write_text("training: {seed: 777}")
    served = serve(tmp_path)
    body = served.get(f"/api/runs/{ids(served)['a']}/config").body
    assert b"777" not in body
    assert b"${env:HOME}" in body


def test_differences_name_the_keys_that_differ(serve: Serve, tmp_path: Path) -> None:
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", config=CONFIG_TEXT.replace("batch_size: 4", "batch_size: 8, use_ema: true, device: cpu"))
    served = serve(tmp_path)
    name = ids(served)
    found = data(served, f"/api/differences?runs={name['a']},{name['b']}")
    assert [(entry["key"], entry["values"]) for entry in found] == [
        ("training.batch_size", [4, 8]),
        ("training.use_ema", [False, True]),
        ("training.device", ["auto", "cpu"]),
    ]


def test_hostile_names_are_data(serve: Serve, tmp_path: Path) -> None:
    text = "<script>alert(1)</script>\u202e\u2066"
    make_run(
        tmp_path / text.replace("/", ""), grids={1: [text]}, state="failed", reason=text, lines=[{"step": 1, text: 1.0}]
    )
    served = serve(tmp_path)
    (name,) = ids(served).values()
    details = data(served, f"/api/runs/{name}")
    assert (details["reason"], details["samples"]["prompts"]) == (text, [text])
    assert list(data(served, f"/api/runs/{name}/curves")["series"]) == [text]


def test_a_folder_that_does_not_exist_yet_has_no_runs(serve: Serve, tmp_path: Path) -> None:
    served = serve(tmp_path / "outputs")
    assert data(served, "/api/runs")["runs"] == []
    make_run(tmp_path / "outputs" / "a")
    assert list(ids(served)) == ["a"]
