"""Autoguidance: a run guides its previews by an earlier checkpoint of its own, which it keeps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from runs import CONFIG, Command, Run

from dit_run import load_run
from dit_run.sampling.image_grid import grid

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A trained run; to be left as it is."""
    from dit_run.cli.main import main

    folder = tmp_path_factory.mktemp("guided")
    (folder / "tiny.yaml").write_text(CONFIG)
    changes = (
        "guidance={type: autoguidance, checkpoint: 2}",
        "training={caption_dropout: 0, save_steps: 1, save_total_limit: 2}",
        "sampling={every_n_steps: 1, num_images: 2, steps: 2, guidance_scale: 3.0}",
        "validation.every_n_steps=null",
    )
    assert main([str(folder / "tiny.yaml"), f"training.output_dir={folder / 'run'}", *changes]) == 0
    return Run(folder / "run")


def pixels(image: Image.Image) -> object:
    return np.asarray(image.convert("RGB")).tolist()


def test_previews_are_guided_once_the_checkpoint_is_there_and_it_is_kept(run: Run) -> None:
    assert sorted(path.name for path in (run.path / "checkpoints").iterdir()) == ["step-00000002", "step-00000006"]
    loaded = load_run(run.path)
    drawn = loaded.sample()
    assert drawn[0].info["guidance"] == "autoguidance"
    last = Image.open(run.path / "samples" / "step-00000006.png")
    assert pixels(last) == pixels(grid(drawn, loaded.prompts))
    plain = loaded.sample(guidance_scale=1)
    assert pixels(last) != pixels(grid(plain, loaded.prompts))


def test_weights_that_do_not_guide_are_refused(run: Run, command: Command) -> None:
    exported = command("export", run.path, "exported")
    assert exported.status == 2
    assert "guidance autoguidance samples with two sets of weights, and an exported folder holds one" in exported.words
    assert not Path("exported").exists()
    missing = command("sample", run.path, "a cross", "guidance.checkpoint=4")
    assert "has no checkpoint '4'; its checkpoints are: step-00000002, step-00000006" in missing.words
    itself = command("sample", run.path, "a cross", "guidance.checkpoint=6")
    assert "would move away from the averaged weights of step-00000006 that it guides" in itself.words
    default = command("sample", run.path, "a cross", "guidance.checkpoint=null")
    assert "would move away from the prediction of the same weights, which changes nothing" in default.words
    noted = command("sample", run.path, "a cross", "guidance.weights=live", "--negative-prompt", "blue")
    assert noted.status == 0
    assert "--negative-prompt has no effect: guidance autoguidance uses no empty caption" in noted.words
