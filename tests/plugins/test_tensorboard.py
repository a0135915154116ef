"""TensorBoard: what its own reader reads back, also after a run was cut off and continued."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.api_pb2 import Status
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from dit_run.protocols import RunEnd
from dit_run_plugins.trackers.tensorboard import TensorBoard
from dit_run_plugins.trackers.tensorboard.tracker import TensorBoardTracker, build


class Config:
    """What a tracker reads of a config."""

    def to_dict(self):
        return {"model": {"hidden_size": 16}, "scheduler": {"type": "flow_matching"}}


@pytest.fixture
def tracker(tmp_path):
    def make(start_step=0):
        return build(TensorBoard(), run_dir=tmp_path, start_step=start_step, config=Config())

    return make


@pytest.fixture
def read(tmp_path):
    def read():
        accumulator = EventAccumulator(str(tmp_path / "tensorboard"))
        accumulator.Reload()
        return accumulator

    return read


def scalars(accumulator, name="loss"):
    return [(event.step, event.value) for event in accumulator.Scalars(name)]


def log(tracker, steps, offset=0.0):
    for step in steps:
        tracker.log(step, {"loss": step + offset, "rate": 0.5})


def test_the_command_can_be_pasted_whatever_the_folder_is_called(tmp_path: Path) -> None:
    folder = tmp_path / "my runs"
    folder.mkdir()
    made = build(TensorBoard(), run_dir=folder, start_step=0, config=Config())
    assert shlex.split(made.command) == ["tensorboard", "--logdir_spec", f"my runs:{folder}"]
    made.close()


def test_the_command_names_the_run_by_its_folder(tracker, tmp_path):
    assert tracker().command == f"tensorboard --logdir_spec {tmp_path.name}:{tmp_path}"


@pytest.mark.parametrize("name", ["a,b", "a:b"])
def test_a_folder_that_cannot_be_named_is_shown_without_a_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    made = build(TensorBoard(), run_dir=tmp_path / name, start_step=0, config=Config())
    assert shlex.split(made.command) == ["tensorboard", "--logdir", str(tmp_path / name)]
    made.close()


def test_numbers_pictures_and_text_are_read_back(tracker, read):
    run = tracker()
    log(run, [1, 2])
    run.image(2, "samples", Image.new("RGB", (6, 4), "red"))
    run.text(0, "config", "```yaml\nseed: 42\n```")
    run.close()
    accumulator = read()
    assert scalars(accumulator) == [(1, 1.0), (2, 2.0)]
    assert scalars(accumulator, "rate") == [(1, 0.5), (2, 0.5)]
    picture = accumulator.Images("samples")[0]
    assert (picture.step, picture.width, picture.height) == (2, 6, 4)
    text = accumulator.Tensors("config/text_summary")[0].tensor_proto.string_val
    assert list(text) == [b"```yaml\nseed: 42\n```"]


def test_the_prompts_of_a_grid_are_read_back_at_its_step(tracker, read):
    run = tracker()
    grid = Image.new("RGB", (6, 4), "red")
    grid.info["prompts"] = "a red circle\na blue square"
    run.image(2, "samples", grid)
    run.close()
    (text,) = read().Tensors("samples/prompts/text_summary")
    assert (text.step, list(text.tensor_proto.string_val)) == (2, [b"1. a red circle\n1. a blue square"])


def test_the_config_is_a_row_of_hparams_that_ends_with_the_run(tracker, read):
    first = tracker()
    log(first, [1, 2, 3])
    first.end(RunEnd.INTERRUPTED, {"loss": 3.0})
    first.close()
    assert "_hparams_/session_end_info" not in read().summary_metadata
    second = tracker(start_step=2)
    log(second, [3])
    second.end(RunEnd.FINISHED, {"loss": 3.0})
    second.close()
    metadata = read().summary_metadata
    start = HParamsPluginData.FromString(metadata["_hparams_/session_start_info"].plugin_data.content)
    hparams = start.session_start_info.hparams
    assert (hparams["model.hidden_size"].number_value, hparams["scheduler.type"].string_value) == (16, "flow_matching")
    end = HParamsPluginData.FromString(metadata["_hparams_/session_end_info"].plugin_data.content)
    assert end.session_end_info.status == Status.Value("STATUS_SUCCESS")
    assert scalars(read())[-1] == (3, 3.0)


def test_what_is_logged_shows_before_the_tracker_is_closed(tracker, read):
    run = tracker()
    log(run, [1])
    run.flush()
    assert scalars(read()) == [(1, 1.0)]
    run.close()
    run.close()


def test_a_continued_run_reads_back_like_one_that_never_stopped(tracker, read):
    first = tracker()
    first.text(0, "config", "a")
    log(first, range(1, 9), offset=0.25)
    first.image(8, "samples", Image.new("RGB", (1, 1)))
    second = tracker(start_step=5)
    second.text(0, "config", "a")
    log(second, range(6, 11))
    second.close()
    accumulator = read()
    assert scalars(accumulator) == [(step, step + (0.25 if step <= 5 else 0)) for step in range(1, 11)]
    assert len(accumulator.Tensors("config/text_summary")) == 1
    assert accumulator.Images("samples") == []


def test_a_run_that_begins_again_shows_nothing_of_the_first_try(tracker, read):
    log(tracker(), [1, 2, 3], offset=0.25)
    log(tracker(), [1])
    assert scalars(read()) == [(1, 1.0)]


def test_many_restarts_within_a_second_keep_their_order(tracker, read):
    for start in range(12):
        log(tracker(start_step=start), [start + 1, start + 2], offset=start)
    assert scalars(read()) == [*((start + 1, 2.0 * start + 1) for start in range(12)), (13, 24.0)]


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_an_event_cut_by_a_kill_hides_nothing_that_comes_later(tracker, read, tmp_path, cut):
    log(tracker(), [1, 2, 3])
    (file,) = (tmp_path / "tensorboard").iterdir()
    file.write_bytes(file.read_bytes()[:-cut])
    log(tracker(start_step=2), [3, 4])
    assert scalars(read()) == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)]


FULL = """
import resource, signal, sys
from pathlib import Path
from dit_run.protocols import RunEnd
from dit_run_plugins.trackers.tensorboard import TensorBoard
from dit_run_plugins.trackers.tensorboard.tracker import TensorBoardTracker
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
tracker = TensorBoardTracker(Path(sys.argv[1]) / "tensorboard", start_step=0)
tracker.log(1, {"loss": 1.0})
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (150, hard))
(file,) = (Path(sys.argv[1]) / "tensorboard").iterdir()
for step in range(2, 9):
    size = file.stat().st_size
    try:
        tracker.log(step, {"loss": float(step)})
    except OSError:
        break
assert file.stat().st_size == size < 150
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
tracker.log(100, {"loss": 100.0})
print(step)
"""


@pytest.mark.slow
def test_a_disk_that_was_full_for_a_while_leaves_no_half_event(tmp_path, read):
    ran = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=True)
    failed = int(ran.stdout)
    assert scalars(read()) == [*((step, float(step)) for step in range(1, failed)), (100, 100.0)]


@pytest.mark.slow
def test_no_tensorflow_is_imported(tmp_path):
    code = (
        "import sys, pathlib; from dit_run_plugins.trackers.tensorboard import *; "
        "assert 'tensorboard' not in sys.modules; "
        "from dit_run_plugins.trackers.tensorboard.tracker import TensorBoardTracker; "
        f"tracker = TensorBoardTracker(pathlib.Path({str(tmp_path)!r}), start_step=0); "
        "tracker.hyperparameters({'a': 1}); "
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_event_files_of_others_are_left_alone_and_sorted_before(tmp_path):
    others = {"events.out.tfevents.4000000000.host.1.0", "events.out.tfevents.mine"}
    for name in others:
        (tmp_path / name).touch()
    TensorBoardTracker(tmp_path, start_step=0).close()
    assert {file.name for file in tmp_path.iterdir()} == others | {"events.out.tfevents.4000000001.dit-run"}
