"""The notebooks in examples/: every cell runs, with a short training, and none has outputs in the file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SMALL = "data: {size: 400}\nmodel: {hidden_size: 32, num_layers: 1, num_heads: 2}"
"""Lines of each config, which save the time of 100,000 captions; none of the notebooks has these sections."""
NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.ipynb"))


def cells(notebook: Path) -> list[dict[str, object]]:
    content = json.loads(notebook.read_text(encoding="utf-8"))
    return [{**cell, "source": "".join(cell["source"])} for cell in content["cells"]]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_outputs_are_stripped(notebook: Path) -> None:
    code = [cell for cell in cells(notebook) if cell["cell_type"] == "code"]
    assert code and all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_every_cell_runs(notebook: Path, tmp_path: Path) -> None:
    code = [str(cell["source"]) for cell in cells(notebook) if cell["cell_type"] == "code"]
    assert code[0].startswith("STEPS = ")
    program = "\n".join(["STEPS = 2", *code[1:]])
    assert "extends: quickstart.yaml" in program
    program = program.replace("extends: quickstart.yaml", f"extends: quickstart.yaml\n{SMALL}")
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
