"""The page next to a run, and the packages that it needs."""

from __future__ import annotations

import socket
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from dit_run.cli.main import main
from dit_run.cli.view_process import page_of

for name in ("jinja2", "orjson", "starlette", "uvicorn"):
    pytest.importorskip(name, reason="the extra dit-run[view] is not installed")


@pytest.mark.slow
def test_the_page_is_served_until_the_run_ends(tmp_path: Path) -> None:
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    with page_of(tmp_path / "run that comes later") as link:
        assert link is not None
        assert b"<title>dit-run</title>" in opener.open(link, timeout=20).read()
    with pytest.raises(urllib.error.URLError):
        opener.open(link, timeout=20)


@pytest.mark.parametrize("command", ["view", "report"])
def test_a_missing_package_is_named_with_its_extra(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "starlette", None)
    assert main([command, str(tmp_path)]) == 2
    expected = "error: the page needs packages that are missing: starlette; pip install 'dit-run[view]'\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize("command", ["view", "report"])
def test_a_missing_folder_is_an_error(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, str(tmp_path / "outptus")]) == 2
    assert f"error: {tmp_path / 'outptus'} is not a folder; name" in capsys.readouterr().err


def test_a_folder_without_runs_has_no_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path), "-o", str(tmp_path / "report.html")]) == 2
    assert f"there is no run in {tmp_path}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_port_in_use_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["view", str(tmp_path), "--port", str(port)]) == 2
    assert f"--port {port} cannot be listened on" in capsys.readouterr().err
