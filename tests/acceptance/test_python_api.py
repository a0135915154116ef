"""The public API: `import dit_run`, then load_config, train, load_run, sample, metrics and export."""

from __future__ import annotations

import ast
import asyncio
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from runs import CONFIG, Command, Run

import dit_run

STOPPER = Path(__file__).with_name("stopper.py")
PROMPTS = ["a red circle", "a blue square"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.yaml").write_text(CONFIG)
    dit_run.train(dit_run.load_config(folder / "tiny.yaml", f"training.output_dir={folder / 'run'}"))
    return folder / "run"


# ------------------------------------------------------------------------------------------------------------- imports


def test_dir_lists_the_public_names_and_all_of_them_exist() -> None:
    assert dir(dit_run) == sorted(dit_run.__all__)
    assert {name: getattr(dit_run, name) for name in dit_run.__all__}.keys() >= {"train", "load_run", "LoadedRun"}


def test_a_type_checker_sees_the_names_where_they_are_at_run_time() -> None:
    (block,) = [node for node in ast.parse(Path(dit_run.__file__).read_text()).body if isinstance(node, ast.If)]
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == dit_run._MODULES
    assert set(seen) | {"__version__"} == set(dit_run.__all__)
    for name, module in seen.items():
        assert getattr(dit_run, name) is getattr(sys.modules[str(module)], name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'dit_run' has no attribute 'tarin'"):
        dit_run.tarin  # noqa: B018


# -------------------------------------------------------------------------------------------------------- load_config


def test_a_config_is_typed_and_takes_overrides(config: Path) -> None:
    loaded = dit_run.load_config(config, "training.batch_size=8", "model.num_layers=2")
    assert isinstance(loaded, dit_run.Config)
    assert loaded.training.batch_size == 8
    assert loaded.to_dict()["model"]["num_layers"] == 2


def test_a_config_error_lists_all_problems(config: Path) -> None:
    with pytest.raises(dit_run.ConfigError) as caught:
        dit_run.load_config(config, "training.batch_size=0", "training.lr=1")
    assert [problem.path for problem in caught.value.problems] == [("training", "batch_size"), ("training", "lr")]
    assert isinstance(caught.value, dit_run.InputError) and isinstance(caught.value, dit_run.DitRunError)


# -------------------------------------------------------------------------------------------------------------- train


def test_train_returns_folder_step_values_and_image(config: Path) -> None:
    result = dit_run.train(dit_run.load_config(config, "sampling.every_n_steps=3"))
    assert isinstance(result, dit_run.RunResult)
    assert (result.path, result.step) == (Path("run").absolute(), 6)
    assert result.values["loss"] == Run(result.path).values("loss")[-1]
    assert result.image == result.path / "samples" / "step-00000006.png" and result.image.is_file()


@pytest.mark.slow
def test_train_takes_a_path_and_learns_the_bytes_of_the_command(config: Path, command: Command) -> None:
    path = dit_run.train(str(config)).path
    assert command(config, "training.output_dir=again").status == 0
    assert Run(path).learnt() == Run(Path("again")).learnt()


def test_a_config_problem_of_a_path_is_raised(config: Path) -> None:
    config.write_text(CONFIG.replace("batch_size: 4", "batch_size: 0"))
    with pytest.raises(dit_run.ConfigError, match="batch_size"):
        dit_run.train(config)


def test_a_reporter_receives_every_logged_step(config: Path) -> None:
    from dit_run.reporting import Silent

    steps = []

    class Steps(Silent):
        def logged(self, step: int, values: Any) -> None:
            steps.append(step)

    dit_run.train(config, reporter=Steps())
    assert steps == [1, 2, 3, 4, 5, 6]


def test_without_a_reporter_nothing_is_printed(config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    dit_run.train(config)
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_stop_saves_and_the_next_call_continues_to_the_same_bytes(config: Path) -> None:
    whole = Run(dit_run.train(dit_run.load_config(config, "training.output_dir=whole")).path)
    calls = iter([False, True])
    stopped = dit_run.train(config, stop=lambda: next(calls))
    assert stopped.step == 2 and Run(stopped.path).checkpoints == ["step-00000002"]
    assert Run(stopped.path).status["state"] == "interrupted"
    assert dit_run.train(config).step == 6
    assert Run(stopped.path).learnt() == whole.learnt()


def test_plugin_files_of_a_loaded_config_are_used_and_kept(config: Path) -> None:
    plugin = shutil.copy(STOPPER, "python_api_stopper.py")
    loaded = dit_run.load_config(config, f"plugins=[{plugin}]", "callbacks=[{type: stopper}]", "training.max_steps=1")
    result = dit_run.train(loaded)
    assert [path.name for path in (result.path / "plugins").iterdir()] == ["python_api_stopper.py"]
    for allow in (False, True):  # sampling does not use the callback
        run = dit_run.load_run(result.path, allow_plugins=allow)
        assert [file.path.name for file in run.registry.files.files] == ["python_api_stopper.py"] * allow
        assert len(run.sample("a cross")) == 1


def test_a_plugin_file_that_changed_after_load_config_is_refused(config: Path) -> None:
    plugin = Path(shutil.copy(STOPPER, "changing_stopper.py"))
    loaded = dit_run.load_config(config, f"plugins=[{plugin}]", "callbacks=[{type: stopper}]")
    plugin.write_text(plugin.read_text() + "\n# another comment\n")
    with pytest.raises(
        dit_run.InputError, match=r"changing_stopper.py is not the one that this config was loaded with"
    ):
        dit_run.train(loaded)
    assert not Path("run").exists()


# ------------------------------------------------------------------------------------------------ any thread, notebooks


@pytest.mark.slow
def test_train_works_in_another_thread(config: Path) -> None:
    whole = dit_run.train(dit_run.load_config(config, "training.output_dir=whole"))
    with ThreadPoolExecutor() as pool:
        result = pool.submit(dit_run.train, config).result()
    assert Run(result.path).learnt() == Run(whole.path).learnt()


def test_train_works_inside_a_running_event_loop(config: Path) -> None:
    async def cell() -> dit_run.RunResult:
        return dit_run.train(dit_run.load_config(config, "training.num_workers=1"))

    assert asyncio.run(cell()).step == 6


def process_settings() -> dict[str, Any]:
    return {
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "signals": {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)},
        "environment": dict(os.environ),
        "generator": torch.get_rng_state().tolist(),
        "default dtype": torch.get_default_dtype(),
        "folder": Path.cwd(),
    }


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["finished", "stopped", "failed"])
def test_the_process_is_as_it_was_afterwards(config: Path, ending: str) -> None:
    words = ["training.deterministic=true", f"training.num_threads={torch.get_num_threads() + 1}"]
    if ending == "failed":
        words += [f"training.init_from={config.parent}"]
    loaded = dit_run.load_config(config, *words)
    before = process_settings()
    if ending == "failed":
        with pytest.raises(dit_run.InputError, match="init_from"):
            dit_run.train(loaded)
    else:
        assert dit_run.train(loaded, stop=lambda: ending == "stopped").step == (1 if ending == "stopped" else 6)
    assert process_settings() == before


# ------------------------------------------------------------------------------------------------------------ load_run


@pytest.mark.slow
def test_loading_sampling_and_exporting_import_no_training(trained: Path, tmp_path: Path) -> None:
    code = f"""
import sys, dit_run
run = dit_run.load_run({str(trained)!r})
run.sample("a cross", steps=1), run.metrics(), run.export({str(tmp_path / "exported")!r})
print(*[name for name in sys.modules if name.startswith(("dit_run.training", "dit_run.planning", "dit_run.cli"))])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == []


@pytest.mark.slow
def test_a_loaded_run_knows_its_config_checkpoint_and_prompts(trained: Path) -> None:
    run = dit_run.load_run(trained, "sampling.steps=3", checkpoint="step-00000003", ema=False)
    assert run.path == trained
    assert run.checkpoint == trained / "checkpoints" / "step-00000003"
    assert run.config.sampling.steps == 3
    assert len(run.prompts) == 3
    assert (run.step, run.global_batch, run.ema) == (3, 4, False)


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        ((), {}),
        (("--steps", 3, "--seed", 7, "--guidance-scale", 3), {"steps": 3, "seed": 7, "guidance_scale": 3}),
        (
            ("--sampler", "heun", "--size", "8x24", "--negative-prompt", "blue"),
            {"sampler": "heun", "size": (8, 24), "negative_prompt": "blue"},
        ),
    ],
)
def test_samples_are_those_of_the_command_line(
    trained: Path, command: Command, tmp_path: Path, words: tuple[object, ...], settings: dict[str, Any]
) -> None:
    images = dit_run.load_run(trained).sample(PROMPTS, **settings)
    assert command("sample", trained, *PROMPTS, "--output", tmp_path, *words).status == 0
    files = [Image.open(path) for path in sorted(tmp_path.glob("0*.png"))]
    assert [image.tobytes() for image in images] == [file.tobytes() for file in files]
    assert [image.info for image in images] == [file.text for file in files]  # type: ignore[attr-defined]


def test_images_carry_their_settings(trained: Path) -> None:
    run = dit_run.load_run(trained)
    (_, image) = run.sample(PROMPTS, steps=3, seed=5, guidance_scale=2.5, size=(8, 24), negative_prompt="blue")
    assert image.size == (24, 8)
    assert image.info == {
        "prompt": "a blue square",
        "negative_prompt": "blue",
        "seed": "6",
        "steps": "3",
        "sampler": "euler",
        "guidance_scale": "2.5",
        "guidance_rescale": "0",
        "guidance_interval": "0 1",
        "size": "8x24",
        "run": str(trained),
        "checkpoint": "step-00000006",
        "ema": "true",
        "version": f"dit-run {dit_run.__version__}",
    }


def test_a_single_prompt_and_the_runs_own_prompts_are_sampled(trained: Path) -> None:
    run = dit_run.load_run(trained, device="cpu")
    assert [image.info["prompt"] for image in run.sample("a cross")] == ["a cross"]
    assert tuple(image.info["prompt"] for image in run.sample()) == run.prompts
    assert run.sample([]) == []


def test_a_setting_that_does_not_fit_is_an_input_error(trained: Path) -> None:
    with pytest.raises(dit_run.InputError, match="the batch size of sampling must be at least 1, not 0"):
        dit_run.load_run(trained).sample(PROMPTS, batch_size=0)
    with pytest.raises(dit_run.InputError, match="multiples of 4"):
        dit_run.load_run(trained).sample(PROMPTS, size=(0, 16))


def test_metrics_are_one_dict_per_logged_step(trained: Path, tmp_path: Path) -> None:
    expected = Run(trained).metrics
    assert [line["step"] for line in expected] == [1, 2, 3, 4, 5, 6]
    assert dit_run.load_run(trained).metrics() == expected
    running = shutil.copytree(trained, tmp_path / "running")
    with (running / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "lo')
    assert dit_run.load_run(running).metrics() == expected


# -------------------------------------------------------------------------------------------------------------- export


@pytest.mark.slow
@pytest.mark.parametrize("ema", [True, False])
def test_an_exported_folder_gives_the_same_images(trained: Path, tmp_path: Path, ema: bool) -> None:
    run = dit_run.load_run(trained, ema=ema)
    folder = run.export(tmp_path / "exported", format="safetensors")
    assert {path.name for path in folder.iterdir()} == {"README.md", "config.yaml", "curves.svg", "single.safetensors"}
    opened = dit_run.load_run(folder)
    assert (opened.step, opened.global_batch, opened.ema, opened.prompts) == (6, 4, ema, run.prompts)
    assert opened.metrics() == []
    assert [image.tobytes() for image in opened.sample(PROMPTS)] == [image.tobytes() for image in run.sample(PROMPTS)]
    again = dit_run.load_run(folder).export(tmp_path / "again")
    assert (again / "single.safetensors").read_bytes() == (folder / "single.safetensors").read_bytes()
    assert (again / "config.yaml").read_bytes() == (folder / "config.yaml").read_bytes()


def test_a_folder_of_an_earlier_version_is_opened(trained: Path, tmp_path: Path) -> None:
    folder = dit_run.load_run(trained).export(tmp_path / "exported", format="safetensors")
    (folder / "single.safetensors").rename(folder / "model.safetensors")
    assert dit_run.load_run(folder).step == 6


@pytest.mark.slow
def test_live_and_averaged_exports_differ(trained: Path, tmp_path: Path) -> None:
    averaged, live = (dit_run.load_run(trained, ema=ema).export(tmp_path / str(ema)) for ema in (True, False))
    assert (averaged / "single.safetensors").read_bytes() != (live / "single.safetensors").read_bytes()
    with pytest.raises(dit_run.InputError, match="holds the averaged weights only"):
        dit_run.load_run(averaged, ema=False)


@pytest.mark.slow
def test_an_exported_config_is_runnable_and_names_no_path_of_the_run(trained: Path, tmp_path: Path) -> None:
    text = (dit_run.load_run(trained, "cache.dir=/somewhere").export(tmp_path / "exported") / "config.yaml").read_text()
    assert str(trained.parent) not in text and "/somewhere" not in text
    path = tmp_path / "exported" / "config.yaml"
    result = dit_run.train(dit_run.load_config(path, f"training.output_dir={tmp_path / 'run'}"))
    assert Run(result.path).learnt() == Run(trained).learnt()


@pytest.mark.slow
def test_the_model_card_says_how_to_sample(trained: Path, command: Command, tmp_path: Path) -> None:
    folder = dit_run.load_run(trained).export(tmp_path / "exported")
    card = (folder / "README.md").read_text()
    assert "| Training steps | 6 |" in card and "| Weights | exponential moving average |" in card
    block = (
        card.partition("With dit-run")[2].partition("```python\n")[2].partition("```")[0].replace("FOLDER", str(folder))
    )
    exec(block.replace("image.png", str(tmp_path / "image.png")), {})
    assert np.asarray(Image.open(tmp_path / "image.png")).shape == (16, 16, 3)
    result = command("sample", folder, "a cross")
    assert result.status == 0, result.words
    assert (folder / "samples" / "00000-a-cross.png").exists()


@pytest.mark.slow
def test_an_export_carries_the_plugin_files_it_needs(config: Path) -> None:
    plugin = shutil.copy(STOPPER, "exported_stopper.py")
    words = (f"plugins=[{plugin}]", "callbacks=[{type: stopper}]", "training.max_steps=1")
    path = dit_run.train(dit_run.load_config(config, *words)).path
    folder = dit_run.load_run(path, allow_plugins=True).export("exported")
    shutil.rmtree(path)
    with pytest.raises(dit_run.InputError, match=r"exported_stopper\.py"):
        dit_run.load_run(folder)
    assert len(dit_run.load_run(folder, allow_plugins=True).sample("a cross")) == 1
    assert 'load_run("FOLDER", allow_plugins=True)' in (folder / "README.md").read_text()


def test_an_export_overwrites_nothing(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    for folder in (trained, tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(dit_run.InputError, match="is not an empty folder; export to another folder"):
            dit_run.load_run(trained).export(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
