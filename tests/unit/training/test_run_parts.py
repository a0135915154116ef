"""Parts of a run: the visits of its objectives."""

from __future__ import annotations

from tiny_parts import CPU, Parts

from dit_run.assembly.objectives import ActiveObjective
from dit_run.training.batches import FeatureVisits
from dit_run.training.run_parts import RunParts


class Comparing:
    """An objective that compares with the output of a network, which nothing calls."""

    features = object()


def test_features_are_those_of_the_steps_of_an_objective(parts: Parts) -> None:
    comparing = ActiveObjective("comparing", Comparing(), start=2, end=4)  # type: ignore[arg-type]
    plain = ActiveObjective("plain", object())  # type: ignore[arg-type]
    built = RunParts.build(
        parts.config, parts.data, parts.encoders, CPU, denoiser=parts.denoiser, objectives=(comparing, plain)
    )
    assert built.visits().features == {"comparing": FeatureVisits(None, 8, 16)}
    assert built.visits(features=False).features == {}
