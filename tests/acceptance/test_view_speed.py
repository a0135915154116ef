"""The cost of the page with many long runs, in processor time, which a busy machine does not change."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from run_folders import make_run

for name in ("jinja2", "orjson", "starlette", "uvicorn"):
    pytest.importorskip(name, reason="the extra dit-run[view] is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")]

RUNS, LINES = 50, 100_000
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    process: subprocess.Popen[str]
    link: str

    def get(self, path: str) -> Any:
        link = urlsplit(self.link)
        connection = http.client.HTTPConnection(link.netloc, timeout=60)
        connection.request("GET", path, headers={"Authorization": f"Bearer {link.query.removeprefix('token=')}"})
        answer = connection.getresponse()
        assert answer.status == 200, path
        return json.loads(answer.read())

    @property
    def seconds(self) -> float:
        """Processor time so far."""
        values = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(values[11]) + int(values[12])) / _TICKS

    @property
    def mebibytes(self) -> float:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    first = make_run(tmp_path / "run00", grids={1000: ["a", "b"], 100_000: ["a", "b"]})
    with (first / "metrics.jsonl").open("w") as file:
        for step in range(1, LINES + 1):
            values = {"step": step, "epoch": step / 1000, "loss": 1 / step, "grad_norm": 1.5, "learning_rate": 1e-4}
            rare = {f"validation/loss_part_{index}": 0.5 for index in range(8)} | {"validation/loss": 0.5}
            seldom = rare if step % 500 == 0 else {}
            file.write(json.dumps({**values, "images_per_second": 55.5, **seldom, "time": 1.7e9 + step / 3}) + "\n")
    for index in range(1, RUNS):
        other = make_run(tmp_path / f"run{index:02}")
        os.link(first / "metrics.jsonl", other / "metrics.jsonl")
    words = [sys.executable, "-m", "dit_run", "view", str(tmp_path), "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield Server(process, process.stdout.readline().removeprefix("runs: ").strip())
        process.terminate()


def test_many_long_runs_are_shown_quickly_and_in_little_memory(server: Server) -> None:
    began = server.seconds
    runs = server.get("/api/runs")["runs"]
    listed = server.seconds
    assert (len(runs), runs[0]["latest"]["validation/loss"]) == (RUNS, 0.5)
    assert listed - began < 1.5
    name = runs[0]["id"]
    server.get(f"/api/runs/{name}")
    answer = server.get(f"/api/runs/{name}/curves?points=800")
    while not answer["complete"]:
        answer = server.get(f"/api/runs/{name}/curves?points=800")
    assert answer["series"]["loss"]["count"] == LINES
    assert server.seconds - listed < 1.0
    for run in runs[:20]:
        server.get(f"/api/runs/{run['id']}/curves?points=500")
    assert server.mebibytes < 300
    assert "torch" not in Path(f"/proc/{server.process.pid}/maps").read_text()
