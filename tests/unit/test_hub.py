"""Pretrained weights: an error names the config key and the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from dit_run.hub import Pretrained
from dit_run.problems import InputError


def test_pretrained_weights_name_the_key_too(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("7")
    weights = Pretrained(str(tmp_path), "vae.pretrained_model_name")
    with pytest.raises(InputError) as caught:
        weights.object("config.json")
    path = tmp_path / "config.json"
    assert str(caught.value) == f"vae.pretrained_model_name: {path} should hold a JSON object, not int"
    assert weights.local_object("config.json") is None
