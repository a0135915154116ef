"""Program of another user: runs the first program of model cards where nothing of dit-run can be imported.

Usage: card_images.py FOLDER ...; each FOLDER is an exported one, and gets the image.png of its card's program. It is
loaded once more in lower precision with a device map.
"""

import os
import re
import sys
from pathlib import Path

import torch
from diffusers import DiffusionPipeline

for folder in map(Path, sys.argv[1:]):
    assert "dit_run" not in sys.modules
    program = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert program is not None
    os.chdir(folder)
    exec(program[1].replace("FOLDER", str(folder)), {"__name__": "card"})
    lower = DiffusionPipeline.from_pretrained(str(folder), torch_dtype=torch.bfloat16, device_map="cpu")
    assert {part.dtype for part in (lower.transformer, lower.text_encoder, lower.vae)} == {torch.bfloat16}
