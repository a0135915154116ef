"""The table of kinds is complete, and agrees with the protocols."""

from __future__ import annotations

import inspect
from importlib.resources import files

import pytest

from dit_run.config.keys import TOP_LEVEL
from dit_run.registry.factories import resolve
from dit_run.registry.kinds import KINDS, Kind

OPTIONAL = {"fingerprint"}
"""Asked for only where the outputs of a component are cached."""
MODULE = {"parameters", "state_dict", "to"}


def test_every_kind_has_its_row_in_the_same_order() -> None:
    assert list(KINDS) == list(Kind)


def test_kinds_know_their_sections() -> None:
    sections = {kind: kind.section for kind in Kind if kind.section != kind}
    assert sections == {
        "dataset": "data",
        "tracker": "trackers",
        "average": "averages",
        "metric": "metrics",
        "callback": "callbacks",
    }
    assert [kind for kind in Kind if kind.listed] == ["average", "tracker", "metric", "callback"]


def test_the_sections_stand_in_the_order_of_the_reference() -> None:
    assert (
        *("data", "model", "vae", "training", "scheduler", "text_encoder", "optimizer", "lr_scheduler"),
        *(
            "objective",
            "guidance",
            "averages",
            "adapter",
            "sampling",
            "validation",
            "cache",
            "trackers",
            "metrics",
            "callbacks",
            "plugins",
            "extends",
        ),
    ) == TOP_LEVEL


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_has_a_template(kind: Kind) -> None:
    assert files("dit_run.templates").joinpath(kind.template).is_file()


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.CALLBACK])
def test_the_required_members_are_those_of_the_protocol(kind: Kind) -> None:
    protocol = resolve(kind.spec.protocol)
    declared = {*inspect.get_annotations(protocol), *vars(protocol)}
    public = {name for name in declared if not name.startswith("_") or name in ("__call__", "__len__", "__getitem__")}
    modules = kind in (Kind.TEXT_ENCODER, Kind.VAE, Kind.MODEL)
    assert set(kind.spec.members) == (public - OPTIONAL) | (MODULE if modules else set())


def test_a_callback_needs_no_method() -> None:
    assert Kind.CALLBACK.spec.members == ()
