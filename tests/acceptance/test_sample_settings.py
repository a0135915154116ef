"""`dit-run sample` and `eval` with settings of the run replaced, and without the parts that only training uses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from builders import tiny_clip
from PIL import Image
from runs import CONFIG, Command, Run, Train

from dit_run import __version__
from dit_run.runs.checkpoint import commit


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A trained run; to be left as it is."""
    from dit_run.cli.main import main

    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.yaml").write_text(CONFIG)
    assert main([str(folder / "tiny.yaml"), f"training.output_dir={folder / 'run'}"]) == 0
    return Run(folder / "run")


@pytest.fixture
def run(trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A copy of the run, in a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    return Run(Path(shutil.copytree(trained.path, tmp_path / "run")))


def texts(folder: Path = Path("run/samples")) -> list[dict[str, str]]:
    """Return the metadata of each image, without the grid."""
    paths = sorted(path for path in folder.iterdir() if path.name[0].isdigit())
    return [dict(Image.open(path).text) for path in paths]  # type: ignore[attr-defined]


# --------------------------------------------------------------------------------------------------------- settings


def test_a_setting_is_not_a_prompt(run: Run, command: Command) -> None:
    result = command("sample", "run", "a dog", "sampling.steps=3", "sampling.guidance_scale=1.5", "sampling.seed=4")
    assert result.status == 0, result.words
    (image,) = texts()
    assert (image["prompt"], image["steps"], image["guidance_scale"], image["seed"]) == ("a dog", "3", "1.5", "4")


def test_a_setting_alone_samples_the_runs_prompts(run: Run, command: Command) -> None:
    assert command("sample", "run", "sampling.prompts=[one, two]").status == 0
    assert [image["prompt"] for image in texts()] == ["one", "two"]


def test_a_flag_comes_before_a_setting(run: Run, command: Command) -> None:
    assert command("sample", "run", "a dog", "sampling.steps=3", "--steps", 1).status == 0
    assert texts()[0]["steps"] == "1"


@pytest.mark.parametrize("prompt", ["e=mc²", "a = b", "model=portrait", "v1.5=good", "x.y z=1", "=", "a dog, steps=3"])
def test_a_prompt_with_an_equals_sign_stays_one(run: Run, command: Command, prompt: str) -> None:
    result = command("sample", "run", prompt)
    assert result.status == 0, result.words
    assert texts()[0]["prompt"] == prompt


def test_any_text_can_be_a_prompt(run: Run, command: Command) -> None:
    assert command("sample", "run", "one", "--prompt", "sampling.steps=3", "--prompt", "steps=1").status == 0
    assert [image["prompt"] for image in texts()] == ["one", "sampling.steps=3", "steps=1"]
    assert texts()[0]["steps"] == "2"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("sampling.stepz=3", "did you mean 'steps'?"),
        ("samplng.steps=3", "did you mean 'sampling'?"),
        ("sampling.steps=0", "sampling.steps"),
        ("steps=3", "'steps=3' has a key of the section sampling: write sampling.steps=3; if it is a prompt, write "),
        ("vae={type: nothing}", "nothing"),
    ],
)
def test_a_wrong_setting_is_refused_and_not_drawn(run: Run, command: Command, word: str, message: str) -> None:
    result = command("sample", "run", "a dog", word)
    assert result.status == 2
    assert message in result.words
    assert not Path("run/samples").exists()


@pytest.mark.parametrize("word", ["optimizer.eps=1", "data.dataset_path=x", "validation.num_samples=3"])
def test_a_setting_without_effect_is_reported(run: Run, command: Command, word: str) -> None:
    result = command("sample", "run", "a dog", word)
    assert result.status == 0, result.words
    assert f"note: {word.partition('=')[0]} has no effect here" in result.words


@pytest.mark.slow
def test_an_encoder_may_have_moved(train: Train, command: Command) -> None:
    tiny_clip(Path("clip"))
    train("text_encoder={type: clip, pretrained_model_name: clip}", "training.max_steps=1")
    Path("clip").rename("moved")
    lost = command("sample", "run", "a dog")
    assert lost.status == 2
    assert "clip" in lost.words
    assert command("sample", "run", "a dog", "text_encoder.pretrained_model_name=moved").status == 0
    assert texts()[0]["prompt"] == "a dog"


@pytest.mark.slow
def test_a_score_finds_data_that_moved(train: Train, command: Command) -> None:
    Path("images").mkdir()
    for index in range(8):
        Image.new("RGB", (16, 16), (30 * index, 0, 0)).save(f"images/{index}.png")
        Path(f"images/{index}.txt").write_text("a red circle on a black background")
    run = train("data={type: custom, dataset_path: images, image_size: 16, train_split: 0.5}", "training.max_steps=1")
    Path("images").rename("moved")
    metrics = "metrics=[{type: shapes, count: 2}]"
    assert command("eval", run.path, metrics).status == 2
    assert command("eval", run.path, metrics, "data.dataset_path=moved").status == 0


# ---------------------------------------------------------------------------------------------- only what is used


@pytest.mark.parametrize("missing", ["optimizer.safetensors", "config.json", "model.safetensors"])
def test_other_files_of_a_checkpoint_may_be_missing(run: Run, command: Command, missing: str) -> None:
    run.file(missing).unlink()
    result = command("sample", "run", "a dog")
    assert result.status == 0, result.words
    assert texts()[0]["checkpoint"] == "step-00000006"


def test_weights_alone_can_be_sent(run: Run, command: Command) -> None:
    sent = Path("sent/checkpoints/step-00000006")
    sent.mkdir(parents=True)
    shutil.copy("run/config.yaml", "sent")
    for name in ("ema.safetensors", "state.json", "MANIFEST.json"):
        shutil.copy(run.file(name), sent)
    for words in ((), ("--checkpoint", 6)):
        result = command("sample", "sent", "a dog", *words)
        assert result.status == 0, result.words
    live = command("sample", "sent", "a dog", "--no-ema")
    assert live.status == 2
    assert "step-00000006 (model.safetensors is missing)" in live.words


def test_each_file_is_hashed_once(run: Run, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []
    digest = commit.hashlib.file_digest

    def counting(file: Any, name: str) -> Any:
        hashed.append(Path(file.name).name)
        return digest(file, name)

    monkeypatch.setattr(commit.hashlib, "file_digest", counting)
    assert command("sample", "run", "a dog").status == 0
    assert sorted(hashed) == ["ema.safetensors", "state.json"]


def test_damaged_weights_are_passed_over_and_reported(run: Run, command: Command) -> None:
    path = run.file("ema.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    result = command("sample", "run", "a dog")
    assert result.status == 0
    said = "damaged checkpoint passed over: step-00000006 (ema.safetensors does not match its checksum)"
    assert said in result.words
    assert texts()[0]["checkpoint"] == "step-00000003"
    named = command("sample", "run", "a dog", "--checkpoint", 6)
    assert named.status == 2
    assert "ema.safetensors does not match its checksum" in named.words


PLUGIN = '''
from dataclasses import dataclass
from typing import Annotated

from dit_run import Component, Kind, hookimpl
from dit_run.options import Secret
from dit_run_plugins.datasets.shapes import Shapes
from dit_run_plugins.optimizers.adamw import AdamW, build as adamw


@dataclass(frozen=True, kw_only=True)
class Remote:
    """Logs to a service."""

    token: Annotated[str, Secret]
    """Its token."""


class Tracker:
    command = ""

    def log(self, step, values): ...
    def image(self, step, name, image): ...
    def text(self, step, name, text): ...
    def flush(self): ...
    def close(self): ...


def remote(options):
    return Tracker()


def dataset(options, *, image_size):
    from dit_run_plugins.datasets.shapes.dataset import build

    return build(options, image_size=image_size)


@hookimpl
def dit_run_components():
    print("the plugin runs")
    return [
        Component(Kind.TRACKER, "remote", Remote, remote),
        Component(Kind.DATASET, "own_shapes", Shapes, dataset),
        Component(Kind.OPTIMIZER, "own_adamw", AdamW, adamw),
    ]
'''


@pytest.fixture(scope="module")
def trained_with_plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose dataset, optimizer and tracker are from a plugin file, and whose tracker needed a token."""
    from dit_run.cli.main import main

    folder = tmp_path_factory.mktemp("plugged")
    words = (
        "plugins=[own.py]",
        "data.type=own_shapes",
        "optimizer.type=own_adamw",
        "trackers=[{type: remote, token: '${env:TOKEN_OF_TEST}'}]",
        "training.max_steps=1",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("TOKEN_OF_TEST", "x")
        Path("tiny.yaml").write_text(CONFIG)
        Path("own.py").write_text(PLUGIN)
        assert main(["tiny.yaml", *words]) == 0
    (folder / "own.py").unlink()
    return folder / "run"


@pytest.fixture
def plugged(trained_with_plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A copy of the run with a plugin file, in a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    return Run(Path(shutil.copytree(trained_with_plugin, tmp_path / "run")))


def test_what_only_trains_is_not_loaded(plugged: Run, command: Command) -> None:
    result = command("sample", plugged.path, "a dog")
    assert result.status == 0, result.words
    assert "the plugin runs" not in result.words
    assert texts()[0]["size"] == "16x16"


def test_a_broken_plugin_of_what_only_trains_is_left_out(plugged: Run, command: Command) -> None:
    (copy,) = (plugged.path / "plugins").glob("*.py")
    copy.write_text("raise RuntimeError('gone')")
    assert command("sample", plugged.path, "a dog", "--allow-plugins").status == 0


def test_scores_need_the_dataset(plugged: Run, command: Command) -> None:
    refused = command("eval", plugged.path, "metrics=[{type: shapes, count: 2}]")
    assert refused.status == 2
    assert "contains plugin files, and loading it would run their code: own.py" in refused.words
    allowed = command("eval", plugged.path, "metrics=[{type: shapes, count: 2}]", "--allow-plugins")
    assert allowed.status == 0, allowed.words


def test_a_model_from_a_plugin_file_needs_permission(config: Path, command: Command) -> None:
    Path("own.py").write_text(
        "from dit_run import Component, Kind, hookimpl\n"
        "from dit_run_plugins.models.dit import Dit\n"
        "from dit_run_plugins.models.dit.network import build\n\n"
        "@hookimpl\ndef dit_run_components():\n    return [Component(Kind.MODEL, 'dit', Dit, build)]\n"
    )
    assert command(config, "plugins=[own.py]", "training.max_steps=1").status == 0
    refused = command("sample", "run", "a dog")
    assert refused.status == 2
    assert "contains plugin files, and loading it would run their code: own.py; " in refused.words
    assert "then add --allow-plugins (allow_plugins=True in Python)" in refused.words
    assert not Path("run/samples").exists()
    assert command("sample", "run", "a dog", "--allow-plugins").status == 0


def test_without_its_record_a_run_with_plugin_files_needs_permission(plugged: Run, command: Command) -> None:
    (plugged.path / "provenance.json").unlink()
    assert "would run their code" in command("sample", plugged.path, "a dog").words


def test_a_config_in_part_is_not_exported(plugged: Run) -> None:
    import dit_run

    run = dit_run.load_run(plugged.path)
    with pytest.raises(dit_run.InputError, match="an export needs the whole config of"):
        run.export("exported")
    assert not Path("exported").exists()


# --------------------------------------------------------------------------------------------------------- metadata


def test_an_image_carries_all_that_made_it(run: Run, command: Command) -> None:
    words = ("--steps", 3, "--sampler", "heun", "--guidance-scale", 1.5, "--negative-prompt", "blue", "--size", "8x24")
    assert command("sample", "run", "a dog", *words, "--seed", 7, "--no-ema", "--checkpoint", 3).status == 0
    assert texts() == [
        {
            "prompt": "a dog",
            "negative_prompt": "blue",
            "seed": "7",
            "steps": "3",
            "sampler": "heun",
            "guidance_scale": "1.5",
            "guidance_rescale": "0",
            "guidance_interval": "0 1",
            "size": "8x24",
            "run": str(run.path),
            "checkpoint": "step-00000003",
            "ema": json.dumps(False),
            "version": f"dit-run {__version__}",
        }
    ]
