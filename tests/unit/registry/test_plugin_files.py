"""Plugins in one file: names, reloading, other processes, and errors that name the file."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from distributions import GOOD

from dit_run.problems import InputError
from dit_run.registry.components import Kind
from dit_run.registry.plugin_files import PluginFile
from dit_run.registry.registry import Origin, Registry, UnknownType

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a plugin file."""

    def file(name: str, text: str = GOOD, folder: str = ".") -> Path:
        path = (tmp_path / folder / name).resolve()
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return file


def refused(path: Path, registry: Registry = Registry()) -> str:  # noqa: B008 (frozen)
    with pytest.raises(InputError) as caught:
        registry.with_file(path)
    return str(caught.value)


def test_a_file_is_a_plugin_named_by_its_stem(write: Write) -> None:
    path = write("my_lion.py")
    (plugin,) = Registry().with_file(path).plugins
    assert (plugin.name, plugin.origin, plugin.source) == ("my_lion", Origin.FILE, str(path))
    assert plugin.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert plugin.components[0].options.__module__ == "my_lion"


def test_importing_it_writes_no_bytecode_beside_the_config(write: Write) -> None:
    path = write("my_lion.py")
    Registry().with_file(path)
    assert list(path.parent.iterdir()) == [path]


def test_a_stem_that_names_a_module_of_python_is_refused(write: Write) -> None:
    path, where = write("colorsys.py"), __import__("importlib").util.find_spec("colorsys").origin
    assert refused(path) == (
        f"the plugin file {path} cannot be imported as 'colorsys': "
        f"that already means the module {where}; rename the file"
    )


def test_a_stem_that_names_a_built_in_module_is_refused(write: Write) -> None:
    path = write("sys.py")
    assert refused(path) == (
        f"the plugin file {path} cannot be imported as 'sys': that already means the module built into Python; "
        "rename the file"
    )


def test_a_stem_that_names_an_installed_package_is_refused(write: Write) -> None:
    path, where = write("torch.py"), __import__("importlib").util.find_spec("torch").origin
    assert refused(path) == (
        f"the plugin file {path} cannot be imported as 'torch': that already means the module {where}; rename the file"
    )


def test_a_stem_that_is_no_name_is_refused(write: Write) -> None:
    path = write("my-lion.py")
    assert refused(path) == (
        f"the plugin file {path} cannot be imported: 'my-lion' is not a valid name of a module; "
        "rename the file with letters, digits and underscores"
    )


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "gone.py"
    assert refused(path) == f"the plugin file {path} cannot be read: No such file or directory"


def test_a_file_that_lies_on_the_path_itself_is_no_other_module(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("my_lion.py")
    monkeypatch.syspath_prepend(tmp_path)
    assert Registry().with_file(path).component(Kind.OPTIMIZER, "lion").type == "lion"


def test_a_file_in_the_working_directory_is_no_other_module(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under ``python -m`` that folder is on the path, and the copy in a run folder has a namesake there."""
    write("my_lion.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    copy = write("my_lion.py", folder="run")
    assert Registry().with_file(copy).component(Kind.OPTIMIZER, "lion").type == "lion"


def test_a_file_on_the_path_that_hides_a_module_is_refused(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = __import__("importlib").util.find_spec("colorsys").origin
    path = write("colorsys.py")
    monkeypatch.syspath_prepend(tmp_path)
    assert refused(path) == (
        f"the plugin file {path} cannot be imported as 'colorsys': that already means the module {where}; "
        "rename the file"
    )


def test_a_folder_of_the_same_name_on_the_path_is_no_module(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_lion").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert Registry().with_file(write("my_lion.py")).component(Kind.OPTIMIZER, "lion").type == "lion"


def test_a_failing_file_is_an_error_that_names_it(write: Write) -> None:
    path = write("my_lion.py", "import no_such_thing")
    assert refused(path) == (
        f"the plugin file {path} did not load: its module cannot be imported: "
        "ModuleNotFoundError: No module named 'no_such_thing' (line 1: import no_such_thing)"
    )
    assert "my_lion" not in sys.modules


def test_a_hook_that_fails_is_told_with_its_line(write: Write) -> None:
    path = write("my_lion.py", GOOD.replace("Kind.OPTIMIZER", "'optimiser'"))
    assert refused(path) == (
        f"the plugin file {path} did not load: dit_run_components() raised TypeError: component 'lion': unknown kind "
        "'optimiser'; the kinds are dataset, text_encoder, vae, model, scheduler, optimizer, lr_scheduler, "
        "objective, guidance, average, adapter, tracker, metric, callback "
        "(line 18: return [Component('optimiser', 'lion', Lion, build)])"
    )


def test_a_file_that_is_no_python_is_told_with_its_line(write: Write) -> None:
    path = write("my_lion.py", "def build(options:\n")
    assert refused(path) == (
        f"the plugin file {path} did not load: its module cannot be imported: SyntaxError: '(' was never closed "
        "(my_lion.py, line 1)"
    )


def test_the_error_of_a_failing_file_carries_its_traceback(write: Write) -> None:
    path = write("my_lion.py", "import no_such_thing")
    with pytest.raises(InputError) as caught:
        Registry().with_file(path)
    assert f'File "{path}", line 1, in <module>' in caught.value.__notes__[0]


def test_a_file_that_imports_its_neighbour_hears_that_it_must_be_a_package(write: Write) -> None:
    write("helpers_of_mine.py", "")
    path = write("my_lion.py", "import helpers_of_mine")
    assert refused(path) == (
        f"the plugin file {path} did not load: its module cannot be imported: ModuleNotFoundError: "
        "No module named 'helpers_of_mine' (line 1: import helpers_of_mine) (helpers_of_mine.py is next to it, "
        "but a plugin of several files must be a package)"
    )


def test_two_files_of_one_name_in_one_config_are_refused(write: Write) -> None:
    first, second = write("my_lion.py", folder="a"), write("my_lion.py", folder="b")
    assert refused(second, Registry().with_file(first)) == (
        f"the plugin files {first} and {second} have the same name, and would be one module; rename one"
    )


def test_two_files_that_offer_one_type_are_an_error_on_use(write: Write) -> None:
    first, second = write("my_lion.py"), write("your_lion.py")
    registry = Registry().with_file(first).with_file(second)
    with pytest.raises(UnknownType) as caught:
        registry.component(Kind.OPTIMIZER, "lion")
    assert str(caught.value) == (
        f"optimizer.lion is offered by {first} and {second}; take one out of the config's plugins"
    )


def test_naming_a_file_twice_is_naming_it_once(write: Write) -> None:
    path = write("my_lion.py")
    assert len(Registry().with_file(path).with_file(path).plugins) == 1


def test_a_file_of_the_same_name_for_another_config_takes_its_place(write: Write) -> None:
    Registry().with_file(write("my_lion.py", folder="a"))
    registry = Registry().with_file(write("my_lion.py", GOOD.replace("0.1", "0.5"), folder="b"))
    assert registry.component(Kind.OPTIMIZER, "lion").options().decay == 0.5


def test_a_changed_file_is_read_again(write: Write) -> None:
    Registry().with_file(write("my_lion.py"))
    registry = Registry().with_file(write("my_lion.py", GOOD.replace("0.1", "0.5")))
    assert registry.component(Kind.OPTIMIZER, "lion").options().decay == 0.5


def test_the_same_file_is_the_same_module(write: Write) -> None:
    path = write("my_lion.py")
    assert PluginFile.read(path).load() is PluginFile.read(path).load()


def test_what_it_defines_arrives_in_another_process_as_the_file_was(write: Write, tmp_path: Path) -> None:
    path = write("my_lion.py")
    registry = Registry().with_file(path)
    options = registry.component(Kind.OPTIMIZER, "lion").options(decay=0.3)
    (tmp_path / "sent").write_bytes(pickle.dumps((registry.files, options)))
    path.write_text("raise RuntimeError('edited meanwhile')")
    code = f"import pickle; print(pickle.load(open({str(tmp_path / 'sent')!r}, 'rb'))[1])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "Lion(decay=0.3)\n"
