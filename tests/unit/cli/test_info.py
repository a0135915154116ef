from __future__ import annotations

import json

import pytest
import torch

import dit_run
from dit_run.cli.main import main


def test_versions_devices_disks_plugins_and_settings_are_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIT_RUN_TIMEOUT", "60")
    monkeypatch.setenv("HF_HUB_TOKEN", "hf_secret")
    assert main(["info", "--json"]) == 0
    text = capsys.readouterr().out
    found = json.loads(text)
    assert found["versions"]["dit-run"] == dit_run.__version__
    assert found["versions"]["torch"] == torch.__version__
    assert found["plugins"]["builtin"].startswith(f"{dit_run.__version__}, ")
    assert found["environment"]["DIT_RUN_TIMEOUT"] == "60"
    assert found["environment"]["HF_HUB_TOKEN"] == "(set)" and "hf_secret" not in text
    assert {"working folder", "hub", "shared memory"} <= found["disks"].keys()
    assert main(["info"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == list(found)
    assert "  DIT_RUN_TIMEOUT      60" in lines
