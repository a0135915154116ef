"""Fuzzes the config loader on bytes: a config or a list of problems comes back and nothing else.

Outside CI. ``pip install 'dit-run[fuzz]'``, then ``python tests/fuzz/fuzz_config.py -max_total_time=600``; an input
may take a second and 512 MiB. The broken configs of the acceptance tests are where it begins.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["dit_run.config"]):
    from dit_run.cli.problem_rendering import as_text
    from dit_run.config.dump import dump
    from dit_run.config.resolve import load_config

from dit_run.problems import ConfigError, Place
from dit_run.registry.registry import discover

SEEDS = Path(__file__).resolve().parent.parent / "acceptance" / "broken"
LIMITS = ["-timeout=1", "-rss_limit_mb=512", "-max_len=4096"]
REGISTRY = discover(third_party=False)
FOLDER = Path(tempfile.mkdtemp())
PATH = FOLDER / "c.yaml"


def one_input(content: bytes) -> None:
    """Raises for anything but the two good outcomes."""
    PATH.write_bytes(content)
    try:
        config = load_config(PATH, registry=REGISTRY, config_plugins=False)
    except ConfigError as error:
        assert error.problems
        for problem in error.problems:
            assert isinstance(problem.place, Place), problem
            as_text(problem)
        return
    PATH.write_text(dump(config))
    assert load_config(PATH, registry=REGISTRY, config_plugins=False) == config


def main() -> None:
    corpus = FOLDER / "corpus"
    corpus.mkdir()
    for seed in SEEDS.glob("*.yaml"):
        (corpus / seed.name).write_bytes(seed.read_bytes())
    atheris.Setup([sys.argv[0], str(corpus), *LIMITS, *sys.argv[1:]], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
