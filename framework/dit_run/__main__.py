"""``python -m dit_run CONFIG``: the command line, for launchers such as torchrun."""

import os
import sys

if not sys.flags.safe_path and sys.path[0] == os.getcwd():  # noqa: PTH109  pathlib may be a file there, too
    del sys.path[0]  # python -m adds the working directory, where a random.py would replace Python's own

from dit_run.cli.main import entry

if __name__ == "__main__":
    entry()
