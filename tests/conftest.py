"""Fixtures for all tests."""

from __future__ import annotations

import compileall
import gc
import os
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")  # a busy machine breaks no property

os.environ.setdefault("OMP_NUM_THREADS", "1")
"""Tests run side by side, and torch is imported after this."""
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
"""Threads that wait, in a test that asks for more of them, take no time from the tests of other processes."""
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
"""A pool of compiling processes imports torch in each of them, which takes longer than the few kernels of the tests."""
os.environ.setdefault("HF_HUB_OFFLINE", "1")
"""Nothing is downloaded, and huggingface_hub reads this once, when it is imported."""

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure(config: pytest.Config) -> None:
    """Compile the project once, or each process that a test starts does so where Python may write no bytecode."""
    if not hasattr(config, "workerinput"):
        for folder in ("framework", "plugins"):
            compileall.compile_dir(ROOT / folder, quiet=2)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Import the tests without the garbage collector, which visits again and again what imports made: a fifth of it."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give the tests of a file to one process, so that what they share is made once; the long files come first."""
    from xdist.scheduler import LoadFileScheduling

    if config.option.dist != "load":
        return None
    config.option.loadscopereorder = False
    return LoadFileScheduling(config, log)


@pytest.fixture(autouse=True, scope="session")
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Everything that is kept between runs is kept apart from the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True, scope="session")
def no_wait_for_the_disk() -> Iterator[None]:
    """Wait for no disk: a test run survives no loss of power. The order of the calls is tested by tests/endurance."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture
def old_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files count as old that a test has just written: what is found in those is not kept."""
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 10**10)


@pytest.fixture(autouse=True)
def modules_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A module that a test imports from a temporary folder is no other test's, though that asks for the same name."""
    from dit_run.testing.plugin_imports import forgotten

    with forgotten(tmp_path_factory.getbasetemp()):
        yield


@pytest.fixture(autouse=True, scope="module")
def imports_out_of_sight() -> None:
    """Keep the garbage collector from visiting what earlier imports made, which is a third of the time of the tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real test data; the test is skipped where it is absent."""
    folder = Path(os.environ.get("DIT_RUN_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real test data is not at {folder}; set DIT_RUN_TEST_DATA")
    return folder
