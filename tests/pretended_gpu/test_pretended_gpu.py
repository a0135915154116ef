"""Runs on a pretended GPU: they mix no devices, and the host waits for the device only where it must."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from safetensors.torch import load_file

HERE = Path(__file__).parent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the pretended GPU is built for Linux"),
    pytest.mark.skipif(shutil.which("g++") is None, reason="the pretended GPU needs the compiler g++"),
]


@dataclass(frozen=True)
class Stage:
    """Record of a stage of a scenario."""

    folder: Path
    error: str | None
    waits: list[tuple[str, list[str], int]]
    attention: dict[str, int]
    launches: int

    def waits_in(self, function: str, *but: str) -> list[str]:
        """Return the waits that a function asked for, except those that it asked for through others."""
        return [
            f"{count} times {kind} in {' < '.join(stack[:4])}"
            for kind, stack, count in self.waits
            if function in stack and not set(but) & set(stack)
        ]


Stages = Callable[[str], Stage]


@pytest.fixture(scope="session")
def stages(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Stages:
    """Run all scenarios once, in a process of their own; return the record of a stage."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "pretended_gpu"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            run_scenarios(folder)
            (folder / "done").touch()

    def stage(name: str) -> Stage:
        return Stage(folder, **json.loads((folder / f"{name}.json").read_text()))

    return stage


def run_scenarios(folder: Path) -> None:
    paths = os.pathsep.join([str(HERE), str(HERE.parent)])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "DIFFUSERS_VERBOSITY": "error"}
    build = "import pathlib, pretended_cuda; print(pretended_cuda.library(pathlib.Path()))"
    built = subprocess.check_output([sys.executable, "-c", build], cwd=folder, env=environment, text=True)
    environment["PRETENDED_CUDA"] = str(folder / built.strip())
    subprocess.run([sys.executable, HERE / "scenarios.py"], cwd=folder, env=environment, check=True)


ALL = [
    "cached-whole",
    "cached-stopped",
    "cached-continued",
    "cached-sample",
    "cached-plan",
    "pixels-whole",
    "pixels-sample",
    "pixels-check",
    "fp32-whole",
    "fp32-sample",
    "uncached-whole",
    "ranks-shared-0",
    "ranks-shared-1",
    "ranks-alone",
]


@pytest.mark.parametrize("name", ALL)
def test_no_operation_mixes_devices_or_fails(stages: Stages, name: str) -> None:
    stage = stages(name)
    assert stage.error is None, stage.error
    assert stage.launches > 0


@pytest.mark.parametrize(
    "name",
    [f"{name}-whole" for name in ("cached", "pixels", "fp32", "uncached")]
    + ["cached-continued", "ranks-shared-0", "ranks-shared-1", "ranks-alone"],
)
def test_the_host_waits_for_no_step(stages: Stages, name: str) -> None:
    stage = stages(name)
    assert stage.waits_in("loop.py:Loop._advance", "frozen_networks.py:LazyNetwork.forward") == []


@pytest.mark.parametrize("name", ["cached-sample", "pixels-sample", "fp32-sample"])
def test_the_host_waits_for_no_step_of_a_sampler(stages: Stages, name: str) -> None:
    assert stages(name).waits_in("samplers.py:run_sampler") == []


@pytest.mark.parametrize("name", ["cached-sample", "pixels-sample", "fp32-sample"])
def test_a_batch_of_images_is_waited_for_at_its_end(stages: Stages, name: str) -> None:
    batch = stages(name).waits_in("pipeline.py:Pipeline._batch", "frozen_networks.py:LazyNetwork.forward")
    assert 1 <= len(batch) <= 2, batch  # the pixels, and with fp16 whether the decoder overflowed


def test_a_stopped_and_continued_run_learns_the_bytes_of_a_whole_one(stages: Stages) -> None:
    assert learnt(stages, "cached-run") == learnt(stages, "cached-whole")


def test_two_processes_learn_the_bytes_of_one(stages: Stages) -> None:
    assert learnt(stages, "ranks-shared") == learnt(stages, "ranks-alone")


def learnt(stages: Stages, run: str) -> list[bytes]:
    """Return what the last checkpoint of a run has learnt."""
    checkpoint = stages("ranks-alone").folder / run / "checkpoints" / "step-00000004"
    return [(checkpoint / f"{file}.safetensors").read_bytes() for file in ("model", "ema", "optimizer")]


def test_attention_runs_in_the_precision_of_the_config(stages: Stages) -> None:
    def dtypes(name: str) -> set[str]:
        return {shape.split()[0] for shape in stages(name).attention}

    assert "torch.bfloat16" in dtypes("cached-whole")
    assert "torch.float16" in dtypes("pixels-whole")
    assert dtypes("fp32-whole") == {"torch.float32"}


def test_a_mask_does_not_keep_cross_attention_from_the_flash_kernel(stages: Stages) -> None:
    attention = stages("cached-continued").attention  # of the model alone: captions are cached
    assert any("k=33" in shape for shape in attention)
    assert not [shape for shape in attention if "masked" in shape]


def test_fp16_and_muon_learn(stages: Stages) -> None:
    checkpoints = stages("pixels-whole").folder / "pixels-whole" / "checkpoints"
    first, last = (load_file(checkpoints / f"step-0000000{step}" / "model.safetensors") for step in (2, 4))
    assert all(value.isfinite().all() for value in last.values())
    assert any((first[name] != value).any() for name, value in last.items())


@pytest.mark.parametrize("run", ["cached-whole", "pixels-whole", "ranks-shared"])
def test_the_share_of_the_devices_peak_is_logged(stages: Stages, run: str) -> None:
    folder = stages(f"{run}-0" if run == "ranks-shared" else run).folder
    rows = [json.loads(line) for line in (folder / run / "metrics.jsonl").read_text().splitlines()]
    shares = [row["share_of_peak"] for row in rows if "tokens_per_second" in row]
    assert shares
    assert all(0 < share < 1 for share in shares)
