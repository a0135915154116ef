"""The CSV tracker keeps the contract of a tracker, writes what a spreadsheet reads, and follows a run."""

from dit_run_csv_tracker.plugin import Table, build

from dit_run.testing import check_plugin, check_tracker
from dit_run.testing.fixtures import run_config

__all__ = ["run_config"]


def test_plugin():
    check_plugin("dit_run_csv_tracker")


def test_contract():
    check_tracker("table")


def test_values_that_come_later_add_a_column(tmp_path):
    tracker = build(Table(), run_dir=tmp_path, start_step=0)
    tracker.log(1, {"loss": 0.5})
    tracker.log(2, {"loss": 0.25, "validation/loss": 1.0})
    tracker.flush()
    assert (tmp_path / "metrics.csv").read_text().splitlines() == ["step,loss,validation/loss", "1,0.5,", "2,0.25,1.0"]


def test_a_run_that_continues_forgets_later_steps(tmp_path):
    first = build(Table(), run_dir=tmp_path, start_step=0)
    for step in (1, 2, 3):
        first.log(step, {"loss": float(step)})
    first.close()
    second = build(Table(), run_dir=tmp_path, start_step=1)
    second.log(2, {"loss": 0.5})
    second.close()
    assert (tmp_path / "metrics.csv").read_text().splitlines() == ["step,loss", "1,1.0", "2,0.5"]


def test_it_follows_a_run(run_config):
    run = run_config("trackers: [{type: table, file: numbers.csv}]")
    assert run.errors == ()
    lines = (run.run_dir / "numbers.csv").read_text().splitlines()
    assert lines[0].startswith("step,")
    assert [line.split(",")[0] for line in lines[1:]] == ["1", "2"]
