"""The process settings of a run: applied, and restored afterwards."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import CONFIG

from dit_run.config.resolve import Resolution, resolve
from dit_run.reporting import Silent
from dit_run.settings import TrainingOptions
from dit_run.system.signals import StopRequest
from dit_run.training.run import RunResult, train
from dit_run.training.setup import StopSwitch, process_setup

CPU = torch.device("cpu")
WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


def settings() -> dict[str, Any]:
    """Return all that a run changes in its process and can be read."""
    return {
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warn_only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "workspace": os.environ.get(WORKSPACE),
        "random": torch.get_rng_state().tolist(),
        "handlers": [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)],
    }


def resolution(folder: Path, *words: str) -> Resolution:
    (folder / "tiny.yaml").write_text(CONFIG)
    return resolve(folder / "tiny.yaml", [f"training.output_dir={folder / 'run'}", f"cache.dir={folder}", *words])


def trained(folder: Path, *words: str, stop: Callable[[], bool] | None = None) -> RunResult:
    found = resolution(folder, *words)
    return train(found.config, found.registry, reporter=Silent(), stop=stop)


def test_settings_are_those_of_the_config_and_then_as_before() -> None:
    before = settings()
    with process_setup(TrainingOptions(num_threads=before["threads"] + 1, deterministic=True), CPU):
        assert torch.get_num_threads() == before["threads"] + 1
        assert torch.are_deterministic_algorithms_enabled()
        torch.rand(3)
    assert settings() == before


def test_a_failure_restores_them_too(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.use_deterministic_algorithms(True, warn_only=True)
    monkeypatch.setenv(WORKSPACE, ":16:8")
    before = settings()
    try:
        with pytest.raises(RuntimeError), process_setup(TrainingOptions(deterministic=False), CPU, threads=3):
            assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == (3, False)
            os.environ[WORKSPACE] = ":4096:8"
            raise RuntimeError
        assert settings() == before
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    ("options", "began_with", "count"),
    [({"num_threads": 3}, 2, 3), ({}, 2, 2), ({"elastic_exact": True}, 2, 2), ({"elastic_exact": True}, None, 1)],
)
def test_a_config_without_threads_takes_those_of_the_run(
    options: dict[str, Any], began_with: int | None, count: int
) -> None:
    with process_setup(TrainingOptions(**options), CPU, threads=began_with):
        assert torch.get_num_threads() == count


def test_compiler_settings_are_restored() -> None:
    import torch._dynamo.config as dynamo

    from dit_run.training.compile import compile_blocks

    class Model(torch.nn.Module):
        model = torch.nn.Linear(1, 1)

    before = dynamo.optimize_ddp, dynamo.recompile_limit
    with process_setup(TrainingOptions(compile_model=True), CPU):
        compile_blocks(Model())  # type: ignore[arg-type]
        assert (dynamo.optimize_ddp, dynamo.recompile_limit) == (False, 64)
    assert (dynamo.optimize_ddp, dynamo.recompile_limit) == before


def test_a_run_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    before = settings()
    result = trained(tmp_path, "training.num_threads=2", "training.deterministic=true")
    assert (result.path, result.step, result.exit_status) == (tmp_path / "run", 6, 0)
    assert result.values["loss"] > 0
    assert settings() == before


def test_a_run_works_in_a_thread(tmp_path: Path) -> None:
    results: list[RunResult] = []
    thread = threading.Thread(target=lambda: results.append(trained(tmp_path)))
    thread.start()
    thread.join()
    assert [result.step for result in results] == [6]


def test_a_run_works_where_an_event_loop_runs(tmp_path: Path) -> None:
    async def cell() -> RunResult:
        return trained(tmp_path)

    assert asyncio.run(cell()).step == 6


def test_a_stop_is_asked_for_once_a_step_and_continued(tmp_path: Path) -> None:
    asked: list[bool] = []

    def stop() -> bool:
        asked.append(len(asked) == 3)
        return asked[-1]

    stopped = trained(tmp_path, "validation.every_n_steps=null", stop=stop)
    assert asked == [False, False, False, True]
    assert (stopped.step, stopped.total_steps, stopped.exit_status) == (4, 6, 143)
    assert '"stopped by its caller"' in (tmp_path / "run" / "status.json").read_text()
    finished = trained(tmp_path)
    assert (finished.step, finished.exit_status, finished.already_finished) == (6, 0, False)
    assert trained(tmp_path).already_finished


def test_a_stop_in_a_thread_interrupts_a_validation_before_the_next_call_of_the_model(tmp_path: Path) -> None:
    asked: list[bool] = []
    results: list[RunResult] = []

    def stop() -> bool:
        asked.append(len(asked) == 4)  # after the steps 1 and 2, and then before the third call of the model
        return asked[-1]

    thread = threading.Thread(target=lambda: results.append(trained(tmp_path, stop=stop)))
    thread.start()
    thread.join()
    assert asked == [False, False, False, False, True]
    assert [(result.step, result.stopped) for result in results] == [(3, True)]
    assert "validation" not in (tmp_path / "run" / "metrics.jsonl").read_text()
    assert "validation/loss" in trained(tmp_path).values


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_is_a_request_to_stop(number: signal.Signals, status: int) -> None:
    before = settings()["handlers"]
    with StopRequest() as signals:
        switch = StopSwitch(signals)
        assert not switch.requested()
        os.kill(os.getpid(), number)
        assert switch.requested()
        assert (switch.reason, switch.exit_status) == (f"stopped by {number.name}", status)
    assert settings()["handlers"] == before


def test_outside_the_main_thread_signals_keep_their_effect() -> None:
    handlers: list[Any] = []

    def request() -> None:
        with StopRequest():
            handlers.append(settings()["handlers"])

    thread = threading.Thread(target=request)
    thread.start()
    thread.join()
    assert handlers == [settings()["handlers"]]
