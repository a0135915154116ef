"""Names of checkpoints: a folder's name, a step, ``last`` and ``best``."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dit_run.problems import InputError
from dit_run.runs.checkpoint.checkpoint_files import CheckpointContents
from dit_run.runs.checkpoint.store import Checkpoints
from dit_run.runs.run_folder import RunFolder
from dit_run.sampling.checkpoint_names import named_checkpoint


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run with checkpoints of the steps 3, 6 and 9, of which 6 has the lowest validation loss."""
    folder = RunFolder(tmp_path)
    folder.write_provenance({}, run_id="one")
    for step in (3, 6, 9):
        best = {"loss": 0.5, "step": min(step, 6)}
        contents = CheckpointContents({"w": torch.zeros(1)}, {}, {"best": best}, {})
        Checkpoints(folder.checkpoints, folder.run_id()).save(step, contents, limit=None)
    return folder


def found(folder: RunFolder, name: str) -> str:
    return named_checkpoint(folder, name, average=None)[0].name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("step-00000003", "step-00000003"),
        ("3", "step-00000003"),
        ("00000009", "step-00000009"),
        ("last", "step-00000009"),
        ("best", "step-00000006"),
    ],
)
def test_each_name_finds_its_checkpoint(folder: RunFolder, name: str, expected: str) -> None:
    assert found(folder, name) == expected


def test_the_status_knows_the_best_step_before_the_next_checkpoint_does(folder: RunFolder) -> None:
    folder.write_status("finished", step=9, record={"best": {"loss": 0.1, "step": 9}})
    assert found(folder, "best") == "step-00000009"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "4",
            "checkpoint '4'; its checkpoints are: step-00000003, step-00000006, step-00000009 (or: last, best)",
        ),
        ("bst", "has no checkpoint 'bst'; its checkpoints are: step-00000003"),
    ],
)
def test_an_unknown_name_is_refused(folder: RunFolder, name: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        found(folder, name)
    assert message in str(caught.value)


def test_without_a_validation_loss_there_is_no_best(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_provenance({}, run_id="one")
    contents = CheckpointContents({"w": torch.zeros(1)}, {}, {}, {})
    Checkpoints(folder.checkpoints, folder.run_id()).save(3, contents, limit=None)
    with pytest.raises(InputError, match="has no best checkpoint: no validation loss was measured"):
        found(folder, "best")
