"""Blame: whose code an exception came out of."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from distributions import distribution

from dit_run.problems import InputError
from dit_run.registry.factories import PluginFault
from dit_run.registry.fault_attribution import translate_plugin_fault
from dit_run.registry.plugin_files import PluginFile

STEP = "def step(numbers):\n    return numbers['momentum']\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def blamed(work: Callable[[], object]) -> PluginFault:
    with pytest.raises(PluginFault) as caught, translate_plugin_fault():
        work()
    return caught.value


def test_a_plugin_file_is_named_with_the_place(site: Path) -> None:
    (site / "files").mkdir()
    path = site / "files" / "my_lion.py"
    path.write_text(STEP)
    step = PluginFile.read(path).load().step
    error = blamed(lambda: step({}))
    assert str(error).splitlines()[:3] == [
        f"plugin {path} failed: KeyError: 'momentum'",
        f'  File "{path}", line 2, in step',
        "    return numbers['momentum']",
    ]
    assert isinstance(error.__cause__, KeyError)


def test_a_package_is_named_whichever_of_its_modules_failed(site: Path) -> None:
    modules = {"dit_run_lion/__init__.py": "", "dit_run_lion/plugin.py": "", "dit_run_lion/lion.py": STEP}
    distribution(site, entry_point="lion = dit_run_lion.plugin", modules=modules)
    from dit_run_lion.lion import step  # type: ignore[import-not-found]

    first, place, *_ = str(blamed(lambda: step({}))).splitlines()
    assert first == "plugin lion (dit-run-lion 0.2.0) failed: KeyError: 'momentum'"
    assert place == f'  File "{site / "dit_run_lion" / "lion.py"}", line 2, in step'


def test_what_it_called_is_shown_below_it(site: Path) -> None:
    distribution(site, modules={"dit_run_lion.py": "def step(work):\n    return work()\n"})
    from dit_run_lion import step  # type: ignore[import-not-found]

    lines = str(blamed(lambda: step(lambda: 1 / 0))).splitlines()
    assert lines[0] == "plugin lion (dit-run-lion 0.2.0) failed: ZeroDivisionError: division by zero"
    assert [line.split(", in ")[1] for line in lines if ", in " in line] == ["step", "<lambda>"]


def test_of_two_plugins_the_one_that_was_called_last_is_named(site: Path) -> None:
    for name in ("sampler", "model"):
        modules = {f"{name}.py": "def call(work):\n    return work()\n"}
        distribution(site, f"dit-run-{name}", entry_point=f"{name} = {name}", modules=modules)
    from model import call as model  # type: ignore[import-not-found]
    from sampler import call as sampler  # type: ignore[import-not-found]

    lines = str(blamed(lambda: sampler(lambda: model(lambda: 1 / 0)))).splitlines()
    assert lines[:2] == [
        "plugin model (dit-run-model 0.2.0) failed: ZeroDivisionError: division by zero",
        f'  File "{site / "model.py"}", line 2, in call',
    ]


def test_a_built_in_component_that_a_plugin_called_is_not_its_fault(site: Path) -> None:
    from dit_run_plugins.lr_schedulers.cosine import cosine_factor

    distribution(site, modules={"dit_run_lion.py": "def step(work):\n    return work()\n"})
    from dit_run_lion import step

    with pytest.raises(ZeroDivisionError), translate_plugin_fault():
        step(lambda: cosine_factor(5, ends=(5, 5), floor=0.0))


def test_the_fault_travels_to_another_process(site: Path) -> None:
    distribution(site, modules={"dit_run_lion.py": STEP})
    from dit_run_lion import step

    error = blamed(lambda: step({}))
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_what_the_user_can_mend_stays_as_it_is(site: Path) -> None:
    distribution(site, modules={"dit_run_lion.py": "def step(error):\n    raise error\n"})
    from dit_run_lion import step

    with pytest.raises(InputError, match=r"^there is no folder \./data$"), translate_plugin_fault():
        step(InputError("there is no folder ./data"))


def test_what_no_plugin_did_stays_as_it_is(site: Path) -> None:
    distribution(site, modules={"dit_run_lion.py": STEP})
    with pytest.raises(ZeroDivisionError), translate_plugin_fault():
        _ = 1 / 0
