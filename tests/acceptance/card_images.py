"""Program of another user: runs the first program of model cards where nothing of dit-run can be imported.

Usage: card_images.py FOLDER ...; each FOLDER is an exported one, and gets the image.png of its card's program.
"""

import os
import re
import sys
from pathlib import Path

import diffusers

for folder in map(Path, sys.argv[1:]):
    assert "dit_run" not in sys.modules
    program = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert program is not None
    os.chdir(folder)
    exec(program[1].replace("FOLDER", str(folder)), {"__name__": "card"})
    print(folder.name, diffusers.__version__)
