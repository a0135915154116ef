"""The contract of every plugin: check_plugin on plugins that break one promise each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from distributions import distribution

from dit_run.options.constraints import Limits
from dit_run.problems import InputError
from dit_run.registry.components import Component, Kind
from dit_run.testing import ContractError, check_lr_scheduler, check_plugin
from dit_run.testing.plugin_contract import has_a_valid_schema

GOOD = '''
"""A straight line."""
from __future__ import annotations
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Literal
from dit_run import Component, Kind, hookimpl
from dit_run.options import Probability, bounds
from dit_run.problems import Problem
from dit_run.protocols import RuleContext


@dataclass(frozen=True, kw_only=True)
class Line:
    """From 1 to an end."""

    end: Probability = 0.0
    """The factor of the last step."""
    form: Literal["straight", "bent"] = "straight"
    """The shape."""
    bend: Probability = 0.5
    """Curvature of a bent line."""


def build(options: Line, *, total_steps: int) -> Callable[[int], float]:
    power = 1.0 if options.form == "straight" else 1 + options.bend
    return lambda step: 1 - (1 - options.end) * (step / total_steps) ** power


def ends_low(context: RuleContext) -> Iterator[Problem]:
    if context.options.end > 0.9:
        yield Problem("ends-high", "the line hardly falls", (*context.path, "end"))


@hookimpl
def dit_run_components() -> list[Component]:
    return [Component(Kind.LR_SCHEDULER, "line", Line, build, (f"{__name__}:ends_low",))]
'''

Faults = Callable[..., str]


@pytest.fixture
def faults(tmp_path: Path) -> Faults:
    """Return a function that gives the message of check_plugin after replacements in the good plugin's text."""

    def check(*replacements: tuple[str, str], **settings: Any) -> str:
        text = GOOD
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "line_plugin.py"
        path.write_text(text)
        with pytest.raises(ContractError) as caught:
            check_plugin(path, **settings)
        return str(caught.value)

    return check


def test_a_good_plugin_passes_and_options_behind_a_choice_are_found(tmp_path: Path) -> None:
    path = tmp_path / "line_plugin.py"
    path.write_text(GOOD)
    check_plugin(path)


@pytest.mark.parametrize(
    "name", ["line", "dit-run-line", "Dit_Run_Line", "line_package", "lr_scheduler.line_up", "line_up"]
)
def test_a_plugin_is_meant_by_entry_point_distribution_module_and_type(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = GOOD.replace('"line"', '"line_up"').replace('"""The shape."""', "")
    modules = {"line_package/__init__.py": "", "line_package/plugin.py": text}
    distribution(tmp_path, "dit-run-line", entry_point="line = line_package.plugin", modules=modules)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ContractError) as caught:
        check_plugin(name)
    assert str(caught.value) == (
        "lr_scheduler.line_up: option 'form' has no documentation; write a docstring under Line.form"
    )


def test_a_name_that_means_nothing() -> None:
    with pytest.raises(InputError) as caught:
        check_plugin("no_such_thing")
    assert str(caught.value) == (
        "'no_such_thing' is not the name of a plugin, distribution, component or file; the plugins are builtin"
    )


def test_a_plugin_that_does_not_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distribution(tmp_path, "dit-run-line", modules={"dit_run_lion.py": "import no_such_thing"})
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ContractError) as caught:
        check_plugin("dit-run-line")
    assert str(caught.value).splitlines()[0] == (
        "plugin lion (dit-run-line 0.2.0) did not load: its module cannot be imported: "
        "ModuleNotFoundError: No module named 'no_such_thing'"
    )


def test_a_heavy_import(faults: Faults, tmp_path: Path) -> None:
    assert faults(("from dataclasses", "import numpy\nfrom PIL import Image\nfrom dataclasses")) == (
        f"importing plugin {tmp_path / 'line_plugin.py'} imports numpy and PIL, which slows down listing "
        "plugins and checking configs; import them inside functions, or move the factory to another module "
        "and name it as 'package.module:build'"
    )


def test_no_documentation_of_the_class(faults: Faults) -> None:
    assert faults(('    """From 1 to an end."""\n', "")) == (
        "lr_scheduler.line: Line has no docstring; describe the component in one line"
    )


def test_no_documentation_of_an_option(faults: Faults) -> None:
    assert faults(('    """Curvature of a bent line."""\n', "")) == (
        "lr_scheduler.line: option 'bend' has no documentation; write a docstring under Line.bend"
    )


def test_a_default_that_is_not_valid(faults: Faults) -> None:
    assert faults(("end: Probability = 0.0", "end: Probability = -1.0")) == (
        "lr_scheduler.line: the default of option 'end' is not valid: -1.0 is less than the minimum of 0"
    )


def test_a_schema_that_fails_its_metaschema(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import dataclass
    from typing import Annotated

    @dataclass(frozen=True, kw_only=True)
    class Odd:
        """Limits made by hand."""

        end: Annotated[float, Limits((("minimum", "low"),))] = 0.0
        """The end."""

    monkeypatch.setitem(globals(), "Annotated", Annotated)
    monkeypatch.setitem(globals(), "Limits", Limits)
    with pytest.raises(ContractError) as caught:
        has_a_valid_schema(Component(Kind.LR_SCHEDULER, "odd", Odd, print))
    assert str(caught.value) == (
        "lr_scheduler.odd: its options do not give a valid JSON Schema: 'low' is not of type 'number'"
    )


def test_a_factory_whose_module_fails(faults: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "line_factory.py").write_text("import no_such_thing\ndef build(options): ...")
    monkeypatch.syspath_prepend(tmp_path)
    assert faults(("Line, build,", "Line, 'line_factory:build',")) == (
        "lr_scheduler.line: its factory 'line_factory:build' does not resolve: "
        "ModuleNotFoundError: No module named 'no_such_thing'"
    )


def test_a_factory_that_asks_for_what_its_kind_does_not_get(faults: Faults) -> None:
    said = faults(("*, total_steps: int", "*, total_steps: int, optimizer: object"))
    assert said == (
        "lr_scheduler.line: its factory asks for 'optimizer'; the runtime keywords of kind lr_scheduler are "
        "total_steps, learning_rate"
    )


def test_a_rule_that_raises(faults: Faults) -> None:
    assert faults(("context.options.end > 0.9", "context.options.ending > 0.9")) == (
        "lr_scheduler.line: the rule line_plugin:ends_low of lr_scheduler.line failed: "
        "AttributeError: 'Line' object has no attribute 'ending'"
    )


def test_a_dead_option(faults: Faults) -> None:
    assert faults(("1 + options.bend", "2.0")) == (
        "lr_scheduler.line: option 'bend' is never read; "
        "use it, or remove it (if it is read only with other values of other options, say so with acts_if or "
        "acts_unless in its hint, or pass conditional=['lr_scheduler.line.bend'])"
    )


def test_a_conditional_option_is_named(tmp_path: Path) -> None:
    path = tmp_path / "line_plugin.py"
    path.write_text(GOOD.replace("1 + options.bend", "2.0"))
    check_plugin(path, conditional=["lr_scheduler.line.bend"])


ACTS_IF = ("import Probability, bounds", "import Probability, acts_if, bounds")


def test_an_option_that_acts_with_no_value_that_is_tried_may_stay_unread(tmp_path: Path) -> None:
    path = tmp_path / "line_plugin.py"
    hint = 'bend: Annotated[Probability, acts_if("end", 0.25)]'
    path.write_text(GOOD.replace("1 + options.bend", "2.0").replace("bend: Probability", hint).replace(*ACTS_IF))
    check_plugin(path)
    with pytest.raises(ContractError, match="option 'bend' is never read"):
        check_plugin(path, {"lr_scheduler.line": {"end": 0.25}})


def test_an_option_that_acts_with_another_value_of_a_choice_is_read_then(faults: Faults) -> None:
    hint = ("bend: Probability", 'bend: Annotated[Probability, acts_if("form", "bent")]')
    assert "option 'bend' is never read" in faults(("1 + options.bend", "2.0"), hint, ACTS_IF)


def test_what_ends_it_before_an_option_could_be_read(faults: Faults) -> None:
    assert faults(("    power = ", "    total_steps.sort()\n    power = ")) == (
        "lr_scheduler.line could not be built: AttributeError: 'int' object has no attribute 'sort' "
        "(a fault of the plugin; -v shows where)"
    )


def test_options_of_what_lacks_its_data_are_not_judged(tmp_path: Path) -> None:
    path = tmp_path / "line_plugin.py"
    missing = "    from dit_run.problems import InputError\n    raise InputError('there is no folder')\n"
    path.write_text(GOOD.replace("    power = ", f"{missing}    power = "))
    check_plugin(path)


def test_faults_of_all_components_at_once(faults: Faults) -> None:
    pair = '[Component(Kind.LR_SCHEDULER, name, Line, build) for name in ("one", "two")]'
    said = faults(
        ('[Component(Kind.LR_SCHEDULER, "line", Line, build, (f"{__name__}:ends_low",))]', pair),
        ("1 + options.bend", "2.0"),
    )
    assert [line.split(";")[0] for line in said.splitlines()] == [
        "lr_scheduler.one: option 'bend' is never read",
        "lr_scheduler.two: option 'bend' is never read",
    ]


def test_a_factory_without_arguments(faults: Faults) -> None:
    assert faults(("build(options: Line, *, total_steps: int)", "build()")) == (
        "lr_scheduler.line: its factory takes no argument; write def build(options, ...)"
    )


def test_a_plugin_that_only_this_process_can_import(tmp_path: Path) -> None:
    path = tmp_path / "line_plugin.py"
    only_here = "import sys\nif 'pytest' not in sys.modules: raise ImportError('pytest is not running')\n"
    path.write_text(GOOD.replace("from collections.abc", f"{only_here}from collections.abc", 1))
    with pytest.raises(ContractError) as caught:
        check_plugin(path)
    assert str(caught.value) == (
        f"plugin {path} cannot be imported in a new process: ImportError: its module cannot be imported: "
        "ImportError: pytest is not running"
    )


def test_a_file_of_two_where_one_is_expected(tmp_path: Path) -> None:
    path = tmp_path / "line_plugin.py"
    pair = '[Component(Kind.LR_SCHEDULER, name, Line, build) for name in ("one", "two")]'
    path.write_text(
        GOOD.replace('[Component(Kind.LR_SCHEDULER, "line", Line, build, (f"{__name__}:ends_low",))]', pair)
    )
    with pytest.raises(InputError) as caught:
        check_lr_scheduler(path)
    assert (
        str(caught.value)
        == f"{path} offers 2 components of kind lr_scheduler; a file with exactly one is expected here"
    )


def test_a_file_may_be_named_by_a_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "line_plugin.py").write_text(GOOD)
    monkeypatch.chdir(tmp_path)
    check_lr_scheduler("line_plugin.py")
    with pytest.raises(InputError, match=r"no_plugin\.py cannot be read"):
        check_lr_scheduler("no_plugin.py")
