"""``python -m dit_run CONFIG``: the command line, for launchers such as torchrun."""

from dit_run.cli.main import entry

if __name__ == "__main__":
    entry()
