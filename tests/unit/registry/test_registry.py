"""The registry: order, ranks, conflicts, isolation, and what can be left out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from distributions import GOOD, distribution, plugin_text

from dit_run.problems import InputError
from dit_run.registry.components import Kind
from dit_run.registry.registry import Origin, UnknownType, discover


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def fault(site: Path, modules: Mapping[str, str], entry_point: str = "broken = broken_plugin") -> str:
    """What is reported of a broken plugin beside a good one, which works."""
    distribution(site)
    distribution(site, "dit-run-broken", version="1.0", entry_point=entry_point, modules=modules)
    registry = discover()
    assert registry.component(Kind.OPTIMIZER, "lion").type == "lion"
    (broken,) = registry.failed
    assert broken.components == ()
    assert str(broken) == "broken (dit-run-broken 1.0)"
    assert broken.failure is not None
    assert broken.failure.traceback.startswith("Traceback")
    return broken.failure.message


def test_built_in_plugins_come_first_and_through_the_same_group() -> None:
    first = discover(third_party=False).plugins[0]
    assert (first.name, first.distribution, first.origin) == ("builtin", "dit-run", Origin.BUILT_IN)


def test_installed_plugins_follow_by_distribution_and_name(site: Path) -> None:
    for name in ("zebra", "ape"):
        modules = {f"{name}.py": plugin_text(name)}
        distribution(site, f"dit-run-{name}", entry_point=f"{name} = {name}", modules=modules)
    assert [plugin.name for plugin in discover().plugins] == ["builtin", "ape", "zebra"]


def test_a_plugin_knows_its_distribution_version_source_and_digest(site: Path) -> None:
    distribution(site)
    plugin = discover().plugin(Kind.OPTIMIZER, "lion")
    assert (plugin.distribution, plugin.version, plugin.source) == ("dit-run-lion", "0.2.0", "dit_run_lion")
    assert len(plugin.digest) == 64


# -------------------------------------------------------------------------------------------------------------- faults


def test_a_module_that_does_not_import(site: Path) -> None:
    message = fault(site, {"broken_plugin.py": "import no_such_thing"})
    assert message == "its module cannot be imported: ModuleNotFoundError: No module named 'no_such_thing'"


def test_a_module_that_exits(site: Path) -> None:
    message = fault(site, {"broken_plugin.py": "raise SystemExit('no licence')"})
    assert message == "its module cannot be imported: SystemExit: no licence"


def test_a_module_that_raises_what_is_no_exception(site: Path) -> None:
    message = fault(site, {"broken_plugin.py": "class Skipped(BaseException): ...\nraise Skipped('needs a GPU')"})
    assert message == "its module cannot be imported: Skipped: needs a GPU"


def test_a_module_that_prints_leaves_the_output_alone(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    distribution(site, modules={"dit_run_lion.py": f"print('hello'){GOOD}"})
    assert discover().component(Kind.OPTIMIZER, "lion").type == "lion"
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "hello\n")


def test_an_entry_point_that_names_no_module(site: Path) -> None:
    message = fault(site, {}, "broken = nowhere_to_be_found")
    assert message == "its module cannot be imported: ModuleNotFoundError: No module named 'nowhere_to_be_found'"


def test_a_hook_of_another_name(site: Path) -> None:
    text = GOOD.replace("def dit_run_components", "def dit_run_component")
    message = fault(site, {"broken_plugin.py": text})
    assert message == (
        "it implements dit_run_component(), which dit-run never calls; the one hook is dit_run_components()"
    )


def test_a_hook_with_arguments(site: Path) -> None:
    text = GOOD.replace("def dit_run_components()", "def dit_run_components(config)")
    message = fault(site, {"broken_plugin.py": text})
    assert message == (
        "dit_run_components() takes no arguments: Plugin 'broken_plugin' for hook 'dit_run_components' hookimpl "
        "definition: dit_run_components(config) "
        "Argument(s) {'config'} are declared in the hookimpl but can not be found in the hookspec"
    )


def test_no_hook(site: Path) -> None:
    message = fault(site, {"broken_plugin.py": GOOD.replace("@hookimpl", "")})
    assert message == "it does not implement the hook; write @hookimpl above def dit_run_components()"


def test_a_hook_that_raises(site: Path) -> None:
    text = GOOD.replace("    return [", "    raise RuntimeError('out of order')\n    return [")
    assert fault(site, {"broken_plugin.py": text}) == "dit_run_components() raised RuntimeError: out of order"


def test_a_generator_that_raises_after_its_first_component(site: Path) -> None:
    text = GOOD.replace("    return [", "    yield from [") + "    raise RuntimeError('half way')\n"
    assert fault(site, {"broken_plugin.py": text}) == "dit_run_components() raised RuntimeError: half way"


def test_a_hook_that_returns_nothing(site: Path) -> None:
    text = GOOD.replace("    return [", "    [")
    message = fault(site, {"broken_plugin.py": text})
    assert message == "dit_run_components() returned nothing; it should return a list of Component"


def test_what_is_no_list(site: Path) -> None:
    text = GOOD[: GOOD.index("    return")] + "    return 7\n"
    assert fault(site, {"broken_plugin.py": text}) == "dit_run_components() should return a list of Component, not 7"


def test_what_is_no_component(site: Path) -> None:
    text = GOOD[: GOOD.index("    return")] + "    return ['optimizer.lion']\n"
    message = fault(site, {"broken_plugin.py": text})
    assert message == "dit_run_components() should return Component objects, not 'optimizer.lion'"


def test_an_unknown_kind(site: Path) -> None:
    text = GOOD.replace("Kind.OPTIMIZER", "'optimiser'")
    assert fault(site, {"broken_plugin.py": text}) == (
        "dit_run_components() raised TypeError: component 'lion': unknown kind 'optimiser'; the kinds are dataset, "
        "text_encoder, vae, model, scheduler, optimizer, lr_scheduler, objective, guidance, average, adapter, "
        "tracker, metric, callback"
    )


def test_a_kind_as_a_string(site: Path) -> None:
    text = GOOD.replace("Kind.OPTIMIZER", "'optimizer'")
    assert fault(site, {"broken_plugin.py": text}) == (
        "dit_run_components() raised TypeError: component 'lion': write the kind as Kind.OPTIMIZER, not 'optimizer'"
    )


def test_a_callback_with_a_method_that_no_run_calls(site: Path) -> None:
    text = (
        "from dit_run.protocols import Callback\nclass Notes(Callback):\n    def on_train_stop(self, progress): ...\n"
    )
    assert fault(site, {"broken_plugin.py": text}) == (
        "its module cannot be imported: TypeError: Notes.on_train_stop() is never called (did you mean "
        "on_train_start()?); the methods of a callback are on_train_start, on_step_end, on_checkpoint_saved, "
        "on_sample, on_train_end"
    )


def test_options_that_are_no_dataclass(site: Path) -> None:
    message = fault(site, {"broken_plugin.py": plugin_text(options="dict")})
    assert message == (
        "dit_run_components() raised HintError: builtins.dict is not a dataclass; "
        "write @dataclass(frozen=True, kw_only=True) above it"
    )


def test_options_with_an_unknown_hint(site: Path) -> None:
    text = GOOD.replace("decay: PositiveFloat = 0.1", "decay: complex = 0.1")
    assert fault(site, {"broken_plugin.py": text}) == (
        "dit_run_components() raised HintError: broken_plugin.Lion.decay: <class 'complex'> cannot be a config key; "
        "use int, float, bool, str, Literal, tuple, Mapping[str, X] or one of them | None"
    )


def test_a_limit_that_no_json_schema_has(site: Path) -> None:
    text = GOOD.replace("PositiveFloat\n", "bounds\nfrom typing import Annotated\n", 1)
    text = text.replace("decay: PositiveFloat", "decay: Annotated[int, bounds(multiple_of=0)]")
    assert fault(site, {"broken_plugin.py": text}) == (
        "its module cannot be imported: HintError: bounds(multiple_of=0): expected a number above 0"
    )


def test_an_option_that_every_component_of_the_kind_has(site: Path) -> None:
    text = plugin_text(kind="DATASET").replace("decay: PositiveFloat = 0.1", "image_size: int = 8")
    assert fault(site, {"broken_plugin.py": text}) == (
        "dataset.lion: an option cannot be named 'image_size', which every dataset has; rename it in Lion"
    )


def test_the_same_type_twice(site: Path) -> None:
    text = GOOD.replace("return [", "return 2 * [")
    assert fault(site, {"broken_plugin.py": text}) == "it offers optimizer.lion twice"


def test_a_factory_in_a_module_that_is_not_there(site: Path) -> None:
    text = plugin_text(factory="'broken_plugin.lion:build'")
    assert fault(site, {"broken_plugin.py": text}) == (
        "optimizer.lion: the factory 'broken_plugin.lion:build' does not resolve: there is no module broken_plugin.lion"
    )


def test_a_factory_that_its_module_does_not_have(site: Path) -> None:
    modules = {
        "broken_plugin/__init__.py": plugin_text(factory="'broken_plugin.lion:biuld'"),
        "broken_plugin/lion.py": "def build(options): ...",
    }
    assert fault(site, modules) == (
        "optimizer.lion: the factory 'broken_plugin.lion:biuld' does not resolve: "
        "module broken_plugin.lion has no 'biuld'"
    )


def test_a_rule_that_does_not_resolve(site: Path) -> None:
    text = GOOD.replace(", build)]", ", build, ('broken_plugin:heads_' 'divide',))]")
    assert fault(site, {"broken_plugin.py": text}) == (
        "optimizer.lion: the rule 'broken_plugin:heads_divide' does not resolve: "
        "module broken_plugin has no 'heads_divide'"
    )


def test_a_reference_of_another_form(site: Path) -> None:
    message = fault(site, {"broken_plugin.py": plugin_text(factory="'broken_plugin.build'")})
    assert message == (
        "dit_run_components() raised ValueError: component optimizer.lion: "
        "'broken_plugin.build' should read 'package.module:function'"
    )


def test_a_distribution_without_name_or_version(site: Path) -> None:
    distribution(site)
    (site / "dit_run_lion-0.2.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\n")
    assert str(discover().plugin(Kind.OPTIMIZER, "lion")) == "lion (unknown unknown)"


def test_entry_points_of_another_group_cannot_break_discovery(site: Path) -> None:
    distribution(site)
    info = site / "other-1.0.dist-info"
    info.mkdir()
    (info / "entry_points.txt").write_text("[console_scripts]\nthis line has no equals sign\n")
    assert discover().component(Kind.OPTIMIZER, "lion").type == "lion"


def test_broken_entry_points_are_a_plugin_that_did_not_load(site: Path) -> None:
    distribution(site)
    distribution(site, "dit-run-broken", entry_point="this line has no equals sign", modules={})
    registry = discover()
    (broken,) = registry.failed
    assert str(broken) == "dit-run-broken (dit-run-broken 0.2.0)"
    assert broken.failure is not None
    assert broken.failure.message == ("its entry_points.txt has a line that is not 'name = package.module'")
    assert registry.component(Kind.OPTIMIZER, "lion").type == "lion"


def test_an_entry_point_that_names_nothing(site: Path) -> None:
    assert fault(site, {}, "broken = broken plugin") == (
        "its entry point 'broken = broken plugin' is not 'name = package.module'"
    )


@pytest.mark.parametrize("damaged", ["METADATA", "entry_points.txt"])
def test_metadata_that_is_no_text_stops_nobody_else(site: Path, damaged: str) -> None:
    distribution(site)
    distribution(site, "dit-run-broken", entry_point="broken = broken_plugin", modules={})
    path = site / "dit_run_broken-0.2.0.dist-info" / damaged
    path.write_bytes(path.read_bytes() + b"\xff")
    registry = discover()
    (broken,) = registry.failed
    assert broken.failure is not None
    assert (str(broken), broken.failure.message) == {
        "METADATA": (
            "broken (unknown unknown)",
            "its module cannot be imported: ModuleNotFoundError: No module named 'broken_plugin'",
        ),
        "entry_points.txt": (
            "dit-run-broken (dit-run-broken 0.2.0)",
            "its entry_points.txt cannot be read: 'utf-8' codec can't decode byte 0xff in position 33: "
            "invalid start byte",
        ),
    }[damaged]
    assert registry.component(Kind.OPTIMIZER, "lion").type == "lion"


# ----------------------------------------------------------------------------------------------------------- conflicts


def test_an_installed_type_shadows_a_built_in_one(site: Path) -> None:
    distribution(site, modules={"dit_run_lion.py": plugin_text("adamw")})
    registry = discover()
    assert registry.plugin(Kind.OPTIMIZER, "adamw").name == "lion"
    assert registry.shadowing(Kind.OPTIMIZER, "adamw") == (registry.plugins[0],)
    assert registry.shadowing(Kind.OPTIMIZER, "muon") == ()
    record = registry.record(Kind.OPTIMIZER, "adamw")
    assert (record["distribution"], record["shadows"]) == ("dit-run-lion", [str(registry.plugins[0])])


def test_a_file_of_the_config_shadows_an_installed_type(site: Path) -> None:
    distribution(site)
    file = site / "elsewhere" / "my_lion.py"
    file.parent.mkdir()
    file.write_text(GOOD)
    registry = discover([file])
    assert registry.plugin(Kind.OPTIMIZER, "lion").source == str(file)
    assert registry.record(Kind.OPTIMIZER, "lion")["shadows"] == ["lion (dit-run-lion 0.2.0)"]


def test_two_installed_ones_are_an_error_on_use_that_names_both(site: Path) -> None:
    distribution(site)
    modules = {"other_lion.py": GOOD}
    distribution(site, "dit-run-other", version="3.1", entry_point="other = other_lion", modules=modules)
    registry = discover()
    with pytest.raises(UnknownType) as caught:
        registry.component(Kind.OPTIMIZER, "lion")
    assert str(caught.value) == (
        "optimizer.lion is offered by lion (dit-run-lion 0.2.0) and other (dit-run-other 3.1); "
        "leave one out with --no-plugin NAME"
    )
    assert [plugin.name for plugin in caught.value.rivals] == ["lion", "other"]
    assert "lion" not in registry.components(Kind.OPTIMIZER)
    assert "adamw" in registry.components(Kind.OPTIMIZER)
    assert discover(disabled=["other"]).plugin(Kind.OPTIMIZER, "lion").name == "lion"


def test_a_file_of_the_config_settles_a_conflict_of_installed_ones(site: Path) -> None:
    distribution(site)
    distribution(
        site, "dit-run-other", version="3.1", entry_point="other = other_lion", modules={"other_lion.py": GOOD}
    )
    file = site / "elsewhere" / "my_lion.py"
    file.parent.mkdir()
    file.write_text(GOOD)
    record = discover([file]).record(Kind.OPTIMIZER, "lion")
    assert (record["source"], record["shadows"]) == (
        str(file),
        ["lion (dit-run-lion 0.2.0)", "other (dit-run-other 3.1)"],
    )


def test_files_of_the_config_load_where_installed_plugins_are_dropped(site: Path) -> None:
    distribution(site)
    file = site / "elsewhere" / "my_lion.py"
    file.parent.mkdir()
    file.write_text(GOOD)
    assert [plugin.name for plugin in discover([file], third_party=False).plugins] == ["builtin", "my_lion"]


def test_an_unknown_type_says_what_there_is_and_what_failed(site: Path) -> None:
    distribution(site, modules={"dit_run_lion.py": "import no_such_thing"})
    with pytest.raises(UnknownType) as caught:
        discover().component(Kind.LR_SCHEDULER, "lion")
    types = discover().types(Kind.LR_SCHEDULER)
    assert caught.value.registered == types
    assert str(caught.value) == (
        f"there is no lr_scheduler 'lion'; there are {', '.join(types)}; plugin lion (dit-run-lion 0.2.0) did not "
        "load: its module cannot be imported: ModuleNotFoundError: No module named 'no_such_thing'"
    )


# -------------------------------------------------------------------------------------------------------- left out


def test_a_plugin_is_left_out_by_name_or_distribution(site: Path) -> None:
    distribution(site, entry_point="beast = dit_run_lion")
    for name in ("beast", "dit-run-lion"):
        registry = discover(disabled=[name])
        assert [plugin.name for plugin in registry.plugins] == ["builtin"]
        assert registry.left_out == {("beast", "dit-run-lion"): f"--no-plugin {name}"}


def test_leaving_out_what_is_not_there_is_refused(site: Path) -> None:
    distribution(site)
    with pytest.raises(InputError) as caught:
        discover(disabled=["loin"])
    assert str(caught.value) == "there is no installed plugin 'loin' to leave out; there are builtin, lion"


def test_the_environment_drops_plugins_of_others_but_not_built_in_ones(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution(site)
    monkeypatch.setenv("DIT_RUN_DISABLE_PLUGINS", "1")
    assert [plugin.name for plugin in discover().plugins] == ["builtin"]
    assert discover().left_out == {("lion", "dit-run-lion"): "DIT_RUN_DISABLE_PLUGINS"}
    assert [plugin.name for plugin in discover(third_party=True).plugins] == ["builtin", "lion"]


def test_what_is_left_out_is_not_imported(site: Path) -> None:
    distribution(site, modules={"dit_run_lion.py": "import sys; sys.was_imported = True"})
    discover(third_party=False)
    assert not hasattr(sys, "was_imported")


# ------------------------------------------------------------------------------------------------------------- laziness


def test_with_fifty_plugins_listing_and_composing_import_no_factory_module(tmp_path: Path) -> None:
    for index in range(50):
        name = f"many_{index}"
        modules = {
            f"{name}/__init__.py": "",
            f"{name}/plugin.py": plugin_text(name, factory=f"'{name}.factory:build'"),
            f"{name}/factory.py": "import torch\ndef build(options): ...",
        }
        distribution(tmp_path, f"dit-run-many-{index}", entry_point=f"{name} = {name}.plugin", modules=modules)
    config = tmp_path / "config.yaml"
    config.write_text("optimizer: {type: many_7, decay: 0.5}")
    code = (
        "import json, sys\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "from dit_run.registry.registry import discover\n"
        "from dit_run.cli.main import main\n"
        "from dit_run.config.schema import compose\n"
        "registry = discover()\n"
        "compose(registry, editor=True)\n"
        f"assert main(['validate', {str(config)!r}]) == main(['plugins']) == 0\n"
        "heavy = {'torch', 'numpy', 'PIL', 'transformers', 'diffusers'} & set(sys.modules)\n"
        "factories = [name for name in sys.modules if name.endswith('.factory')]\n"
        "print(json.dumps([len(registry.plugins), sorted(heavy), factories, [str(p) for p in registry.failed]]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [51, [], [], []]
