"""Assembly of a run's parts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from runs import CONFIG

from dit_run.assembly.prepare import prepare
from dit_run.config.resolve import resolve
from dit_run.problems import InputError

TOGETHER = """
import threading

from dit_run import Component, Kind, hookimpl
from dit_run_plugins.datasets.shapes import Shapes
from dit_run_plugins.datasets.shapes.dataset import build as build_shapes
from dit_run_plugins.vaes.identity import Identity
from dit_run_plugins.vaes.identity.vae import build as build_identity

BOTH = threading.Barrier(2)


def dataset(options, *, image_size):
    BOTH.wait(30)
    return build_shapes(options, image_size=image_size)


def vae(options):
    BOTH.wait(30)
    return build_identity(options)


@hookimpl
def dit_run_components():
    return [
        Component(Kind.DATASET, "waiting_shapes", Shapes, dataset),
        Component(Kind.VAE, "waiting_identity", Identity, vae),
    ]
"""


def test_data_are_indexed_while_encoders_are_loaded(tmp_path: Path) -> None:
    (tmp_path / "together.py").write_text(TOGETHER)
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.replace("type: shapes", "type: waiting_shapes").replace("identity", "waiting_identity"))
    resolved = resolve(config, [f"plugins=[{tmp_path / 'together.py'}]"]).config
    _, data, encoders = prepare(resolved, device=torch.device("cpu"))
    assert len(data.train) + len(data.validation or ()) == 60
    assert encoders.vae.factor == 1


SLOW = """
import time
from pathlib import Path

from dit_run import Component, Kind, hookimpl
from dit_run_plugins.vaes.identity import Identity
from dit_run_plugins.vaes.identity.vae import build as build_identity

LOADED = Path("loaded").absolute()  # it goes on after the test, which is then in another folder


def vae(options):
    time.sleep(5)
    LOADED.touch()
    return build_identity(options)


@hookimpl
def dit_run_components():
    return [Component(Kind.VAE, "slow_identity", Identity, vae)]
"""


def test_data_that_are_not_there_are_told_before_weights_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("slow.py").write_text(SLOW)
    Path("config.yaml").write_text(CONFIG.replace("identity", "slow_identity"))
    words = ["plugins=[slow.py]", "data={type: custom, dataset_path: nowhere}"]
    with pytest.raises(InputError, match="nowhere"):
        prepare(resolve(Path("config.yaml"), words).config, device=torch.device("cpu"))
    assert not Path("loaded").exists()
