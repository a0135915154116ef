"""The contract of plugins: the version that a plugin states, and what is said about a later one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from distributions import GOOD

from dit_run import __version__
from dit_run.problems import InputError
from dit_run.registry.contract import CONTRACT, contract_fault
from dit_run.registry.loading import load_offers
from dit_run.registry.plugin import load_file

LATER = (
    f"it was written for contract {CONTRACT + 1} of plugins, and dit-run {__version__} has contract {CONTRACT}; "
    "upgrade dit-run: pip install --upgrade dit-run"
)


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.py"
    path.write_text(text)
    return path


@pytest.mark.parametrize("stated", [1, CONTRACT, None])
def test_an_earlier_contract_or_none_changes_nothing(stated: int | None, tmp_path: Path) -> None:
    line = "" if stated is None else f"DIT_RUN_CONTRACT = {stated}\n"
    plugin = load_file(written(tmp_path, f"states_{stated}", GOOD + line))
    assert [component.name for component in plugin.components] == ["optimizer.lion"]
    assert plugin.contract == stated


def test_a_later_one_is_refused_before_the_hook_is_called(tmp_path: Path) -> None:
    raising = GOOD.replace("    return [Component", "    raise RuntimeError\n    return [Component")
    with pytest.raises(InputError) as caught:
        load_file(written(tmp_path, "later", raising + f"DIT_RUN_CONTRACT = {CONTRACT + 1}\n"))
    assert str(caught.value) == f"the plugin file {tmp_path / 'later.py'} did not load: {LATER}"


@pytest.mark.parametrize("hint", ["", ": int"])
@pytest.mark.parametrize("position", ["first", "last"])
def test_a_later_one_is_the_reason_for_a_name_that_is_missing_here(position: str, hint: str, tmp_path: Path) -> None:
    lines = [f"DIT_RUN_CONTRACT{hint} = {CONTRACT + 1}", "from dit_run.options import NameOfTheFuture"]
    text = "\n".join(lines if position == "first" else lines[::-1]) + "\n"
    with pytest.raises(InputError) as caught:
        load_file(written(tmp_path, f"future_{position}", text))
    assert LATER in str(caught.value)


def test_a_name_that_is_missing_without_a_later_contract_is_named(tmp_path: Path) -> None:
    text = f"DIT_RUN_CONTRACT = {CONTRACT}\nfrom dit_run.options import NameOfTheFuture\n"
    with pytest.raises(InputError, match="cannot import name 'NameOfTheFuture'"):
        load_file(written(tmp_path, "missing_name", text))


@pytest.mark.parametrize("stated", ["2", 0, -1, True, 1.0])
def test_a_version_that_is_no_number_is_refused(stated: object) -> None:
    assert contract_fault(stated) == f"DIT_RUN_CONTRACT should be a whole number of at least 1, not {stated!r}"
    offers = load_offers(lambda: SimpleNamespace(DIT_RUN_CONTRACT=stated))
    assert offers.failure is not None and "whole number" in offers.failure.message


def test_the_built_in_plugin_states_the_contract_of_this_release() -> None:
    from dit_run_plugins import builtin

    assert builtin.DIT_RUN_CONTRACT == CONTRACT
