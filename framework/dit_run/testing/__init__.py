"""Contract tests for plugins: a component is tested in three lines.

    from dit_run.testing import check_optimizer, check_plugin

    def test_plugin():
        check_plugin("dit_run_lion")

    def test_lion():
        check_optimizer("lion", decay=0.1)

Each function raises :class:`ContractError`, whose message says what to change. :mod:`dit_run.testing.fixtures` has
fixtures for pytest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dit_run.registry.factories import resolve
from dit_run.registry.kinds import Kind
from dit_run.testing.contract_error import ContractError

if TYPE_CHECKING:
    from dit_run.testing.adapter import check_adapter
    from dit_run.testing.average import check_average
    from dit_run.testing.callback import check_callback
    from dit_run.testing.dataset import check_dataset
    from dit_run.testing.guidance import check_guidance
    from dit_run.testing.lr_scheduler import check_lr_scheduler
    from dit_run.testing.metric import check_metric
    from dit_run.testing.model import check_model
    from dit_run.testing.objective import check_objective
    from dit_run.testing.optimizer import check_optimizer
    from dit_run.testing.plugin_contract import check_plugin
    from dit_run.testing.scheduler import check_scheduler
    from dit_run.testing.text_encoder import check_text_encoder
    from dit_run.testing.tiny_run import TinyRun, run_tiny
    from dit_run.testing.tracker import check_tracker
    from dit_run.testing.vae import check_vae

__all__ = [
    "ContractError",
    "TinyRun",
    "check_adapter",
    "check_average",
    "check_callback",
    "check_dataset",
    "check_guidance",
    "check_lr_scheduler",
    "check_metric",
    "check_model",
    "check_objective",
    "check_optimizer",
    "check_plugin",
    "check_scheduler",
    "check_text_encoder",
    "check_tracker",
    "check_vae",
    "run_tiny",
]

_REFERENCES = {
    "TinyRun": "dit_run.testing.tiny_run:TinyRun",
    "run_tiny": "dit_run.testing.tiny_run:run_tiny",
    "check_plugin": "dit_run.testing.plugin_contract:check_plugin",
    **{f"check_{kind}": kind.contract for kind in Kind},
}


def __getattr__(name: str) -> Any:
    """Import a function on first use, because contract tests need torch."""
    if name not in _REFERENCES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return resolve(_REFERENCES[name])
