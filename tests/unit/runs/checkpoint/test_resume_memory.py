"""Memory of a resume, measured in real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[4] / "benchmarks" / "resume_memory.py"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="private memory is read from Linux's /proc")
def test_a_process_loads_its_own_rows_alone() -> None:
    """Half of the optimizer's state is a quarter of the checkpoint; the whole of it would be all."""
    said = subprocess.run(
        [sys.executable, SCRIPT, "64", "2"], check=True, capture_output=True, timeout=200, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    shares = json.loads(said.stdout.splitlines()[-1])["2"]
    assert all(0.2 < share < 0.35 for share in shares), shares
