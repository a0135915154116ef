"""Code of several modules in one file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dit_run import InputError
from dit_run.export.code_bundle import CodeBundle

Write = Callable[..., None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes modules of the package ``mine``."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))

    def written(**modules: str) -> None:
        for name, text in modules.items():
            (tmp_path / "mine" / f"{name}.py").write_text(text)

    return written


def run(name: str, module: str = "mine.a") -> Any:
    """The object of this name, from the bundle alone."""
    bundle = CodeBundle({"mine"})
    found = bundle.take(module, name)
    namespace: dict[str, Any] = {"__name__": "bundle"}
    exec("from __future__ import annotations\n" + bundle.text(), namespace)
    assert "import mine" not in bundle.text() and "from mine" not in bundle.text()
    return namespace[found]


def test_definitions_come_with_all_that_they_mention(write: Write) -> None:
    write(
        a="from mine.b import double\nUNUSED = undefined\nSTART = 3\ndef value():\n    return double(START)\n",
        b="import math as m\nFACTOR = 2\ndef double(x):\n    return FACTOR * x + m.floor(0.5)\n",
    )
    with pytest.raises(NameError):
        run("UNUSED")
    assert run("value")() == 6


def test_equal_names_of_two_modules_stay_apart(write: Write) -> None:
    part = "class Part:\n    '''A part.'''\n    size = {size}\ndef make():\n    return Part().size\n"
    write(
        a="from mine.b import make as other\n" + part.format(size=1) + "def both():\n    return make(), other()\n",
        b=part.format(size=2),
    )
    assert run("both")() == (1, 2)


def test_a_name_of_python_is_not_replaced(write: Write) -> None:
    write(
        a="from mine.b import print as show\ndef value():\n    return show(1), callable(print)\n",
        b="def print(x):\n    return x + 1\n",
    )
    assert run("value")() == (2, True)


def test_local_names_are_no_mentions(write: Write) -> None:
    write(
        a="import mine_is_missing\ntext = undefined\n"
        "def value(text):\n    other = [mine_is_missing for mine_is_missing in text]\n    return other\n"
    )
    assert run("value")("ab") == ["a", "b"]


def test_imports_in_functions_and_through_packages_are_followed(write: Write, tmp_path: Path) -> None:
    (tmp_path / "mine" / "__init__.py").write_text("from mine.b import shown\n")
    write(
        a="def value():\n    from mine import shown as found\n    from mine.b import shown\n"
        "    return found(), shown()\n",
        b="def shown():\n    return 7\n",
    )
    assert run("value")() == (7, 7)


def test_imports_for_type_checkers_are_left_out(write: Write) -> None:
    write(
        a="from __future__ import annotations\nfrom typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from mine.b import Large\ndef value(x: Large) -> int:\n    return x\n",
        b="import yaml\nclass Large(yaml.YAMLObject): ...\n",
    )
    assert run("value")(3) == 3


def test_alternatives_and_decorators_are_kept(write: Write) -> None:
    write(
        a="import functools\n"
        "try:\n    from math import missing\nexcept ImportError:\n    missing = None\n"
        "@functools.cache\ndef value():\n    # why\n    return missing\n"
    )
    assert run("value")() is None


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("import yaml\ndef value():\n    return yaml\n", r"a\.py, line 1, imports yaml, which programs without"),
        ("def value():\n    import yaml\n    return yaml\n", r"a\.py, line 2, imports yaml, which programs without"),
        ("from math import *\ndef value():\n    return floor(1)\n", r"a\.py, line 1, imports all names of math"),
        ("def value():\n    return __file__\n", r"a\.py, line 2, reads files next to its code"),
        ("import mine.b\ndef value():\n    return mine.b.one\n", r"a\.py, line 3, uses the module mine as mine"),
        ("from mine.c import one\ndef value():\n    return one\n", r"the module mine\.c cannot be exported: it is not"),
    ],
)
def test_code_that_would_not_run_elsewhere_is_refused(write: Write, text: str, fault: str) -> None:
    write(a=text, b="one = 1\n")
    with pytest.raises(InputError, match=fault):
        run("value")


def test_a_name_that_is_not_defined_is_refused(write: Write) -> None:
    write(a="")
    with pytest.raises(InputError, match=r"mine\.a defines no value"):
        run("value")
