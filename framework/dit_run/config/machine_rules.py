"""Rules about this machine: what a config needs here to be trained.

They are apart from the other rules, because a run may be sampled, planned or explained on another machine.
"""

from __future__ import annotations

from collections.abc import Iterator

from dit_run.config.rule_checks import refuse
from dit_run.problems import Problem
from dit_run.settings import Config
from dit_run.system.compilers import missing_compiler

__all__ = ["check_machine"]


def check_machine(config: Config) -> None:
    """Raise ConfigError where this machine lacks what training needs."""
    refuse(config, _problems(config))


def _problems(config: Config) -> Iterator[Problem]:
    required = config.training.compile_model in (True, "whole")
    missing = missing_compiler(config.training.device) if required else None
    if missing is not None:
        remedy = "install one (Debian, Ubuntu: apt-get install g++), or set compile_model: false"
        yield Problem(
            "no-compiler",
            f"training.compile_model needs a compiler, and this machine has {missing}",
            ("training", "compile_model"),
            help=(remedy,),
        )
