"""Renamed keys: an old name, which ``Formerly`` declares, means the current one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import jsonschema
import pytest
from small_registry import COMPONENTS, plugin

from dit_run import Component, Config, Kind, hookimpl
from dit_run.config.comparison import changes
from dit_run.config.dump import dump
from dit_run.config.explanation import explanations
from dit_run.config.reference import reference
from dit_run.config.renamed_keys import with_current_names
from dit_run.config.schema import compose
from dit_run.options import Formerly, HintError, Secret, bounds, options_of
from dit_run.problems import ConfigError, Problem
from dit_run.registry.loading import load_offers
from dit_run.registry.registry import Origin, Registry

Load = Callable[..., Config]
Problems = Callable[..., list[Problem]]
Write = Callable[..., str]
SECTION = "optimizer: {type: renamed, "


@dataclass(frozen=True, kw_only=True)
class Renamed:
    """An optimizer whose keys had other names."""

    keep: Annotated[float, bounds(ge=0, lt=1), Formerly("momentum"), Formerly("beta")]
    """Share of the momentum."""
    scales: Annotated[Mapping[str, float], Formerly("factors")] = ()  # type: ignore[assignment]
    """Factors by name."""
    token: Annotated[str | None, Secret, Formerly("key")] = None
    """The key to a service."""


@pytest.fixture
def registry() -> Registry:
    renamed = Component(Kind.OPTIMIZER, "renamed", Renamed, "nowhere:build")
    return Registry((plugin("small", *COMPONENTS), plugin("mine", renamed, origin=Origin.FILE)))


def said(config: Config) -> list[str]:
    return [f"{notice.place} {notice.code}: {notice.message}; {notice.help[0]}" for notice in config.notices]


@pytest.mark.parametrize("old", ["momentum", "beta"])
def test_an_old_name_means_the_new_one_and_a_notice_says_so(load: Load, old: str) -> None:
    config = load(SECTION + old + ": 0.5}\n")
    assert config.optimizer.options.keep == 0.5
    assert said(config) == [
        f"c.yaml:1:28 renamed-key: optimizer.{old} is now optimizer.keep; "
        f"write keep in place of {old}, which a later release may refuse"
    ]


def test_the_new_name_says_nothing(load: Load) -> None:
    assert load(SECTION + "keep: 0.5}\n").notices == ()


def test_what_is_printed_and_saved_has_the_new_name(load: Load) -> None:
    config = load(SECTION + "momentum: 0.5}\n")
    assert "keep: 0.5" in dump(config) and "momentum" not in dump(config)
    assert [item.value for item in explanations(config, "optimizer.keep")] == [0.5]
    with pytest.raises(ConfigError) as caught:
        explanations(config, "optimizer.momentum")
    assert caught.value.problems[0].help == ("its name is now 'optimizer.keep'",)


def test_both_names_in_one_layer_are_refused(problems: Problems) -> None:
    (problem,) = problems(SECTION + "\n  momentum: 0.5, keep: 0.5}\n")
    assert (problem.code, str(problem.place)) == ("two-names", "c.yaml:2:3")
    assert problem.message == "optimizer.momentum is the old name of optimizer.keep, and both are written"
    assert problem.help == ("remove momentum",)
    assert [str(place) for place in problem.related_places] == ["c.yaml:2:18"]


@pytest.mark.parametrize(("below", "above"), [("momentum", "keep"), ("keep", "momentum"), ("beta", "momentum")])
def test_the_upper_layer_counts_whichever_name_it_has(load: Load, below: str, above: str) -> None:
    config = load(SECTION + below + ": 0.5}\n", f"optimizer.{above}=0.25")
    assert config.optimizer.options.keep == 0.25


def test_mappings_of_two_layers_merge_whatever_their_names(load: Load) -> None:
    config = load(SECTION + "keep: 0, factors: {a: 1, b: 2}}\n", "optimizer.scales={b: 3}")
    assert config.optimizer.options.scales == {"a": 1.0, "b": 3.0}


def test_a_secret_stays_one_under_its_old_name(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_KEY", "secret")
    config = load(SECTION + "keep: 0, key: '${env:THE_KEY}'}\n")
    assert config.optimizer.options.token == "secret"
    assert "token: ${env:THE_KEY}" in dump(config) and "secret" not in dump(config)


def test_a_wrong_value_is_reported_with_both_names(problems: Problems) -> None:
    notice, wrong = problems(SECTION + "momentum: 2}\n")
    assert notice.code == "renamed-key"
    assert wrong.message == "optimizer.keep (renamed) takes a number of at least 0 and below 1, not 2"
    assert str(wrong.place) == "c.yaml:1:38"


def test_a_checkpoint_with_an_old_name_continues(load: Load) -> None:
    config = load(SECTION + "keep: 0.5}\n")
    before: dict[str, Any] = config.to_dict()
    before["optimizer"]["beta"] = before["optimizer"].pop("keep")
    assert changes(with_current_names(before, config), config).refused == []
    before["optimizer"]["beta"] = 0.25
    (change,) = changes(with_current_names(before, config), config).refused
    assert (change.path, change.before, change.after) == (("optimizer", "keep"), 0.25, 0.5)


def test_editors_accept_the_old_name_as_deprecated(registry: Registry) -> None:
    schema = compose(registry, editor=True)
    jsonschema.Draft7Validator.check_schema(schema)
    accepted = jsonschema.Draft7Validator(schema)
    for name in ("keep", "momentum", "beta"):
        assert [error.message for error in accepted.iter_errors({"optimizer": {"type": "renamed", name: 0.5}})] == []
        assert list(accepted.iter_errors({"optimizer": {"type": "renamed", name: 2}})) != []
    properties = schema["definitions"]["optimizer.renamed"]["properties"]
    assert [name for name, form in properties.items() if isinstance(form, dict) and form.get("deprecated")] == [
        "momentum",
        "beta",
        "factors",
        "key",
    ]
    assert properties["beta"]["deprecationMessage"] == "The name is now keep."
    assert properties["beta"]["doNotSuggest"] is True and "deprecated" not in properties["keep"]


def test_the_reference_has_the_old_names(registry: Registry) -> None:
    assert "Share of the momentum. Formerly `momentum`. Formerly `beta`. |" in reference(registry)


def test_an_old_name_that_is_taken_is_refused() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Two:
        """Two keys."""

        a: int = 1
        b: Annotated[int, Formerly("a")] = 2

    @dataclass(frozen=True, kw_only=True)
    class Spaced:
        """A name of two words."""

        a: Annotated[int, Formerly("two words")] = 2

    @dataclass(frozen=True, kw_only=True)
    class Inside:
        """A name within a union."""

        a: Annotated[int, Formerly("b")] | None = None

    with pytest.raises(HintError, match=r"Inside\.a: Formerly\(name='b'\) holds for the whole key"):
        options_of(Inside)
    for cls, fault in ((Two, r"Two\.b: Formerly\('a'\) is a name of another key too"), (Spaced, "is no name of a key")):
        with pytest.raises(HintError, match=fault):
            options_of(cls)


def test_an_old_name_that_every_type_has_is_refused() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Own:
        """A dataset."""

        a: Annotated[int, Formerly("image_size")] = 2

    class Plugin:
        @hookimpl
        def dit_run_components(self) -> list[Component]:
            return [Component(Kind.DATASET, "own", Own, print)]

    assert "cannot be named 'image_size'" in str(load_offers(Plugin).failure)
