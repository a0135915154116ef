"""Plugins through the command line: the listing, what one component is, contract tests, and what is left out."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from distributions import GOOD, distribution, plugin_text
from runs import CONFIG, Command, Run

from dit_run import __version__

VERSION = version("dit-run")

MOMENTUM = '''
from dataclasses import dataclass
from dit_run import Component, Kind, hookimpl

@dataclass(frozen=True, kw_only=True)
class Momentum:
    """Gradient descent with momentum."""

    decay: float = 0.9
    """Decay of the running sum."""

def build(options, *, named_parameters, learning_rate):
    import torch
    return torch.optim.SGD([p for _, p in named_parameters], lr=learning_rate, momentum=options.decay)

@hookimpl
def dit_run_components():
    return [Component(Kind.OPTIMIZER, "momentum", Momentum, build)]
'''

SQUARES = '''
from dataclasses import dataclass
from dit_run import Component, Kind, hookimpl
from dit_run.protocols import Sample

@dataclass(frozen=True, kw_only=True)
class Squares:
    """Plain images."""

    size: int = 40
    """Number of samples."""

class Picture:
    def __init__(self, index):
        self.index = index

    def __call__(self):
        from PIL import Image
        return Image.new("L", (16, 16), self.index)

def build(options):
    return [Sample(str(index), ("grey",), Picture(index)) for index in range(options.size)]

@hookimpl
def dit_run_components():
    return [Component(Kind.DATASET, "squares", Squares, build)]
'''


TWO = (
    MOMENTUM.partition("@hookimpl")[0].replace("def build", "def build_momentum")
    + SQUARES.partition("@hookimpl")[0]
    + """
@hookimpl
def dit_run_components():
    return [
        Component(Kind.OPTIMIZER, "momentum", Momentum, build_momentum),
        Component(Kind.DATASET, "squares", Squares, build),
    ]
"""
)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder on the import path."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    return folder


def written(text: str, name: str = "config.yaml") -> str:
    Path(name).write_text(text)
    return name


def states(listing: str) -> str:
    """Return the last column on one line."""
    column = listing.splitlines()[0].index("state")
    return " ".join(line[column:].strip() for line in listing.splitlines() if line[column:])


# ---------------------------------------------------------------------------------------------------------------- list


def test_the_listing_says_who_offers_what(command: Command, site: Path) -> None:
    distribution(site)
    lines = command("plugins").out.splitlines()
    assert lines[0].split() == ["plugin", "version", "contract", "from", "components", "state"]
    assert lines[1].startswith(f"builtin  {VERSION}    1         dit-run, built in        ")
    assert lines[-1].split() == ["lion", "0.2.0", "-", "dit-run-lion,", "installed", "optimizer.lion", "ok"]


def test_a_broken_plugin_is_listed_with_its_fault(command: Command, site: Path) -> None:
    distribution(site, modules={"dit_run_lion.py": "import no_such_thing"})
    result = command("plugins")
    assert result.status == 0
    assert result.out.splitlines()[-5:] == [
        result.out.splitlines()[-5],
        "",
        "plugin lion (dit-run-lion 0.2.0) did not load: its module cannot be imported: "
        "ModuleNotFoundError: No module named 'no_such_thing'",
        "",
        "dit-run plugins -v shows where",
    ]
    assert result.out.splitlines()[-5].split() == ["lion", "0.2.0", "-", "dit-run-lion,", "installed", "none", "failed"]


def test_a_plugin_of_a_later_contract_is_refused_with_what_to_upgrade(command: Command, site: Path) -> None:
    distribution(site, modules={"dit_run_lion.py": GOOD + "DIT_RUN_CONTRACT = 7\n"})
    result = command("plugins")
    assert result.out.splitlines()[-3] == (
        "plugin lion (dit-run-lion 0.2.0) did not load: it was written for contract 7 of plugins, and "
        f"dit-run {__version__} has contract 1; upgrade dit-run: pip install --upgrade dit-run"
    )
    refused = command("validate", written("optimizer: {type: lion}\n"))
    assert refused.status == 2 and "upgrade dit-run: pip install --upgrade dit-run" in refused.words


def test_the_contract_that_a_plugin_states_is_listed(command: Command, site: Path) -> None:
    distribution(site, modules={"dit_run_lion.py": GOOD + "DIT_RUN_CONTRACT = 1\n"})
    listed = command("plugins").out.splitlines()[-1]
    assert listed.split() == ["lion", "0.2.0", "1", "dit-run-lion,", "installed", "optimizer.lion", "ok"]


def test_its_traceback_is_shown_on_v(command: Command, site: Path) -> None:
    distribution(site, modules={"dit_run_lion.py": "import no_such_thing"})
    said = command("plugins", "-v").out
    assert f'      File "{site / "dit_run_lion.py"}", line 1, in <module>' in said


def test_shadowing_and_conflicts_are_listed(command: Command, site: Path) -> None:
    distribution(site, modules={"dit_run_lion.py": plugin_text("adamw")})
    for name in ("ape", "zebra"):
        modules = {f"{name}.py": plugin_text("beast")}
        distribution(site, f"dit-run-{name}", entry_point=f"{name} = {name}", modules=modules)
    assert states(command("plugins").out) == (
        "state optimizer.adamw is shadowed by lion "
        "optimizer.beast is offered by zebra (dit-run-zebra 0.2.0) too "
        "optimizer.adamw shadows that of builtin "
        "optimizer.beast is offered by ape (dit-run-ape 0.2.0) too"
    )


def test_a_config_brings_its_own_files_into_the_listing(command: Command, site: Path) -> None:
    Path("momentum.py").write_text(MOMENTUM)
    said = command("plugins", "--config", written("plugins: [./momentum.py]")).out
    assert said.splitlines()[-1].split()[:2] == ["momentum", "-"]
    assert "optimizer.momentum" in said


# ---------------------------------------------------------------------------------------------------------------- show


def test_show_tells_what_a_component_is(command: Command, site: Path) -> None:
    distribution(site)
    assert command("plugins", "show", "optimizer.lion").out == (
        "optimizer.lion\n"
        "\n"
        "Evolved sign momentum.\n"
        "\n"
        "plugin    lion (dit-run-lion 0.2.0), installed\n"
        "factory   dit_run_lion:build\n"
        "\n"
        "key    default  takes             meaning\n"
        "decay  0.1      a number above 0  Weight decay.\n"
        "\n"
        "example:\n"
        "    optimizer:\n"
        "      type: lion\n"
        "      decay: 0.1\n"
    )


def test_show_takes_a_type_that_one_kind_has(command: Command, site: Path) -> None:
    assert command("plugins", "show", "adamw").out == command("plugins", "show", "optimizer.adamw").out


def test_show_tells_what_it_shadows(command: Command, site: Path) -> None:
    distribution(site, modules={"dit_run_lion.py": plugin_text("adamw")})
    assert f"shadows   that of builtin (dit-run {VERSION})\n" in command("plugins", "show", "optimizer.adamw").out


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("shapes", "error: shapes means dataset.shapes or metric.shapes; write one of them\n"),
        (
            "loin",
            "error: there is no component 'loin'; write kind.type, such as optimizer.adamw (dit-run plugins "
            "lists all components)\n",
        ),
    ],
)
def test_show_of_what_is_not_one_component(command: Command, site: Path, name: str, message: str) -> None:
    result = command("plugins", "show", name)
    assert (result.status, result.err) == (2, message)


def test_the_example_of_every_component_is_valid(command: Command, site: Path) -> None:
    from dit_run.cli.plugins import example
    from dit_run.config.schema import compose
    from dit_run.config.schema_check import schema_problems
    from dit_run.config.yaml_parser import parse, read_source
    from dit_run.registry.registry import discover

    registry = discover(third_party=False)
    schema = compose(registry)
    for component in (component for plugin in registry.plugins for component in plugin.components):
        source, _ = read_source(example(component).encode(), component.name, Path())
        node, problems = parse(source)
        assert problems == []
        assert schema_problems(node, schema, registry) == [], component.name  # type: ignore[arg-type]


# --------------------------------------------------------------------------------------------------------------- check


@pytest.mark.slow
def test_check_runs_the_contract_tests_of_a_file(command: Command, site: Path) -> None:
    Path("momentum.py").write_text(MOMENTUM)
    result = command("plugins", "check", "momentum.py")
    assert result.status == 0, result.words
    assert "ok       optimizer.momentum: saved and loaded after 3 steps, it continues bit for bit\n" in result.out
    assert result.out.endswith("all good\n")


def test_check_says_what_is_broken(command: Command, site: Path) -> None:
    distribution(site)
    result = command("plugins", "check", "dit-run-lion")
    assert result.status == 1
    assert result.out.splitlines()[-3:] == [
        "FAIL     optimizer.lion: could not be built: NotImplementedError (a fault of the plugin; -v shows where)",
        "not run  optimizer.lion: the check that every option is read; repair the other faults first",
        "1 failed, 1 not run",
    ]


@pytest.mark.slow
def test_check_takes_values_for_options(command: Command, site: Path) -> None:
    result = command("plugins", "check", "dataset.custom", f"dataset_path={site / 'nowhere'}")
    (line,) = [line for line in result.out.splitlines() if line.startswith("not run")]
    assert line.startswith("not run  dataset.custom: ")
    assert str(site / "nowhere") in line
    assert line.endswith("; to check it, give values: dit-run plugins check dataset.custom option=value")
    assert result.out.endswith("\nnone failed, 1 not run\n")


def test_check_of_a_value_that_is_not_valid(command: Command, site: Path) -> None:
    result = command("plugins", "check", "lr_scheduler.cosine", "warmup_steps=-1")
    assert (result.status, result.err) == (
        2,
        "error: options of lr_scheduler.cosine: warmup_steps: -1 is less than the minimum of 0\n",
    )


def test_check_of_an_option_that_does_not_exist(command: Command, site: Path) -> None:
    Path("momentum.py").write_text(MOMENTUM)
    result = command("plugins", "check", "momentum.py", "dekay=0.5")
    assert (result.status, result.out, result.err) == (
        2,
        "",
        "error: options of optimizer.momentum: there is no option 'dekay', did you mean 'decay'?\n",
    )


@pytest.mark.slow
def test_check_gives_each_component_of_a_plugin_the_options_that_it_has(command: Command, site: Path) -> None:
    Path("both.py").write_text(TWO)
    result = command("plugins", "check", "both.py", "size=20")
    assert result.status == 0 and "not run" not in result.out, result.words
    result = command("plugins", "check", "both.py", "sise=20")
    assert result.status == 2
    assert "none of optimizer.momentum, dataset.squares has an option 'sise'; did you mean 'size'?" in result.words


def test_check_without_a_name(command: Command, site: Path) -> None:
    result = command("plugins", "check")
    assert (result.status, result.err) == (
        2,
        "error: give one name to check: an entry point, a type, a distribution or a file\n",
    )


# ----------------------------------------------------------------------------------------------------------- isolation


def test_a_config_that_needs_a_broken_plugin_says_so(command: Command, site: Path) -> None:
    distribution(site, modules={"dit_run_lion.py": "import no_such_thing"})
    result = command("validate", written("optimizer: {type: lion}"))
    assert result.status == 2
    assert "there is no optimizer 'lion'" in result.err
    assert (
        "plugin lion (dit-run-lion 0.2.0) did not load: its module cannot be imported: "
        "ModuleNotFoundError: No module named 'no_such_thing'"
    ) in result.words


def test_a_config_that_needs_none_of_it_is_untouched(command: Command, site: Path) -> None:
    distribution(site, modules={"dit_run_lion.py": "import no_such_thing"})
    assert command("validate", written(CONFIG)).out == "config.yaml: valid\n"


def test_a_conflict_names_both_distributions_at_the_type(command: Command, site: Path) -> None:
    distribution(site)
    distribution(site, "dit-run-other", entry_point="other = other_lion", modules={"other_lion.py": GOOD})
    config = written("optimizer:\n  type: lion\n")
    result = command("validate", config)
    assert "config.yaml:2:9" in result.err
    assert (
        "optimizer.lion is offered by lion (dit-run-lion 0.2.0) and other (dit-run-other 0.2.0); "
        "leave one out with --no-plugin NAME"
    ) in result.words
    assert command("validate", config, "--no-plugin", "other").status == 0


def test_what_the_environment_drops_is_absent(command: Command, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distribution(site)
    config = written("optimizer: {type: lion}")
    assert command("validate", config).status == 0
    monkeypatch.setenv("DIT_RUN_DISABLE_PLUGINS", "1")
    assert "there is no optimizer 'lion'" in command("validate", config).err


def test_the_traceback_of_a_file_that_fails_is_shown_on_v(command: Command, site: Path) -> None:
    Path("momentum.py").write_text("import no_such_thing")
    config = written("plugins: [./momentum.py]")
    place = f'  File "{Path("momentum.py").absolute()}", line 1, in <module>\n    import no_such_thing\n'
    assert place in command("-v", config).err
    assert "Traceback" not in command(config).err


def test_files_of_a_config_can_be_refused(command: Command, site: Path) -> None:
    Path("momentum.py").write_text("raise RuntimeError('was imported')")
    result = command("validate", written("plugins: [./momentum.py]"), "--no-config-plugins")
    assert result.status == 2
    assert "the config names plugin files, which --no-config-plugins refuses" in result.words
    assert "was imported" not in result.words


# ---------------------------------------------------------------------------------------------------------------- runs


def test_options_of_a_file_are_checked_like_any_other(command: Command, site: Path) -> None:
    Path("momentum.py").write_text(MOMENTUM)
    result = command("validate", written("plugins: [./momentum.py]\noptimizer: {type: momentum, dekay: 0.5}\n"))
    assert "config.yaml:2:29" in result.err
    assert "did you mean 'decay'?" in result.err


def test_options_of_a_file_are_in_the_schema(command: Command, site: Path) -> None:
    Path("momentum.py").write_text(MOMENTUM)
    said = command("schema", written("plugins: [./momentum.py]"))
    decay = json.loads(said.out)["definitions"]["optimizer.momentum"]["properties"]["decay"]
    assert decay["description"] == "Decay of the running sum."


def test_a_file_is_copied_into_the_run_with_its_digest(command: Command, site: Path) -> None:
    Path("momentum.py").write_text(MOMENTUM)
    config = written(CONFIG + "plugins: [./momentum.py]\noptimizer: {type: momentum}\n")
    result = command(config)
    assert result.status == 0, result.words
    assert Path("run/plugins/momentum.py").read_text() == MOMENTUM
    used = json.loads(Path("run/provenance.json").read_text())["plugins"]
    (optimizer,) = [plugin for plugin in used if plugin["section"] == "optimizer"]
    assert optimizer["origin"] == "file"
    assert optimizer["digest"] == hashlib.sha256(MOMENTUM.encode()).hexdigest()
    assert len(Run(Path("run")).metrics) == 6


def test_shadowing_is_in_the_provenance(command: Command, site: Path) -> None:
    modules = {"dit_run_lion.py": MOMENTUM.replace('"momentum"', '"adamw"')}
    distribution(site, modules=modules)
    assert command(written(CONFIG), "training.max_steps=1").status == 0
    used = json.loads(Path("run/provenance.json").read_text())["plugins"]
    (optimizer,) = [plugin for plugin in used if plugin["section"] == "optimizer"]
    assert (optimizer["distribution"], optimizer["version"]) == ("dit-run-lion", "0.2.0")
    assert optimizer["shadows"] == [f"builtin (dit-run {VERSION})"]


@pytest.mark.parametrize("words", [("validate",), ("train",)])
def test_a_replaced_type_is_reported_each_time(command: Command, site: Path, words: tuple[str, ...]) -> None:
    distribution(site, modules={"dit_run_lion.py": MOMENTUM.replace('"momentum"', '"adamw"')})
    config = written(CONFIG)
    for folder in ("one", "two"):
        result = command(*words, config, "training.max_steps=1", f"training.output_dir={folder}")
        assert result.status == 0, result.words
        assert (
            "optimizer.adamw is that of plugin lion (dit-run-lion 0.2.0), which replaces that of "
            f"builtin (dit-run {VERSION})"
        ) in result.words
        assert "to use the other one: --no-plugin lion" in result.words
    assert "replaces" not in command("validate", config, "--no-plugin", "lion").words


def test_a_file_that_replaces_a_type_is_reported(command: Command, site: Path) -> None:
    Path("momentum.py").write_text(MOMENTUM.replace('"momentum"', '"muon"'))
    config = written("plugins: [./momentum.py]\noptimizer: {type: muon}\n" + CONFIG)
    result = command("validate", config)
    assert "config.yaml:2:19" in result.words and "to use the other one: take the file out of" in result.words
    assert "replaces" not in command("validate", config, "optimizer.type=adamw").words


def test_sampling_runs_no_plugin_file_that_it_does_not_need(command: Command, site: Path) -> None:
    Path("momentum.py").write_text(MOMENTUM)
    config = written(CONFIG + "plugins: [./momentum.py]\noptimizer: {type: momentum}\n")
    assert command(config, "training.max_steps=1").status == 0
    (Path("run") / "plugins" / "momentum.py").write_text("raise RuntimeError('the code of the optimizer ran')")
    sampled = command("sample", "run", "a red circle", "--steps", "1", "--output", "images")
    assert sampled.status == 0, sampled.words


@pytest.fixture
def stopped(command: Command, site: Path) -> str:
    """Return a config whose run, with an optimizer in a file, was stopped after 3 of its 6 steps."""
    Path("momentum.py").write_text(MOMENTUM)
    stopper = Path(__file__).with_name("stopper.py")
    files = f"plugins: [./momentum.py, {stopper}]\noptimizer: {{type: momentum}}\n"
    config = written(CONFIG + files + "callbacks: [{type: stopper, after: 3}]\n")
    assert command(config).status == 143
    return config


@pytest.mark.slow
def test_a_run_continues_after_its_plugin_renamed_a_key(command: Command, stopped: str) -> None:
    renamed = MOMENTUM.replace("    decay: float", "    keep: Annotated[float, Formerly('decay')]").replace(
        ".decay", ".keep"
    )
    imports = "from typing import Annotated\nfrom dit_run.options import Formerly\n"
    Path("momentum.py").write_text(imports + renamed)
    continued = command(stopped, "optimizer.decay=0.9", "--allow-changed-plugins")
    assert continued.status == 0, continued.words
    assert "note: optimizer.decay is now optimizer.keep" in continued.out
    assert "\n  keep: 0.9\n" in Path("run/config.yaml").read_text()


@pytest.mark.slow
def test_a_file_that_changed_has_to_be_allowed(command: Command, stopped: str) -> None:
    changed = MOMENTUM + "# other words\n"
    Path("momentum.py").write_text(changed)
    refused = command(stopped)
    old, new = (hashlib.sha256(text.encode()).hexdigest()[:12] for text in (MOMENTUM, changed))
    assert (refused.status, refused.err) == (
        2,
        "error: plugins changed since this run's checkpoint:\n"
        f"  optimizer (optimizer.momentum): momentum ({old}) -> momentum ({new})\n"
        "Restore them, continue anyway with --allow-changed-plugins, or start another run with --fresh DIR\n",
    )
    assert command(stopped, "--allow-changed-plugins").status == 0
    assert Path("run/plugins/momentum.py").read_text() == MOMENTUM
    assert Path(f"run/plugins/momentum_{new}.py").read_text() == changed


@pytest.mark.slow
def test_a_run_whose_file_is_gone_goes_on_with_its_copy(command: Command, stopped: str) -> None:
    Path("momentum.py").unlink()
    refused = command(stopped)
    assert refused.status == 2
    assert "the plugin file ./momentum.py cannot be read: No such file or directory" in refused.words
    assert command("run/config.yaml").status == 0
    assert [line["step"] for line in Run(Path("run")).metrics] == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_a_run_whose_package_is_gone_is_refused_by_the_name_of_its_plugin(command: Command, site: Path) -> None:
    distribution(site, modules={"dit_run_lion.py": MOMENTUM.replace('"momentum"', '"lion"')})
    config = written(CONFIG + "optimizer: {type: lion}\n")
    assert command(config, "training.max_steps=1").status == 0
    for path in site.glob("dit_run_lion*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    named = "the earlier run used it from plugin lion (dit-run-lion 0.2.0): pip install dit-run-lion"
    assert command("sample", "run", "a red circle").status == 0
    for arguments in ([config], ["run/config.yaml"]):
        refused = command(*arguments)
        assert refused.status == 2
        assert "there is no optimizer 'lion'" in refused.words
        assert named in refused.words
    assert named not in command(config, "training.output_dir=elsewhere").words


def test_a_plugin_that_is_left_out_after_a_run_is_not_to_be_installed(
    command: Command, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution(site, modules={"dit_run_lion.py": MOMENTUM.replace('"momentum"', '"lion"')})
    config = written(CONFIG + "optimizer: {type: lion}\n")
    assert command(config, "training.max_steps=1").status == 0
    named = "the earlier run used it from plugin lion (dit-run-lion 0.2.0), which "
    refused = command("validate", config, "--no-plugin", "dit-run-lion")
    assert f"{named}--no-plugin dit-run-lion leaves out; remove that" in refused.words
    monkeypatch.setenv("DIT_RUN_DISABLE_PLUGINS", "1")
    refused = command("validate", config)
    assert f"{named}DIT_RUN_DISABLE_PLUGINS leaves out; remove that" in refused.words
    assert "pip install" not in refused.words


def test_a_package_that_breaks_after_a_run_is_reported_once(command: Command, site: Path) -> None:
    distribution(site, modules={"dit_run_lion.py": MOMENTUM.replace('"momentum"', '"lion"')})
    config = written(CONFIG + "optimizer: {type: lion}\n")
    assert command(config, "training.max_steps=1").status == 0
    (site / "dit_run_lion.py").write_text("import no_such_thing")
    del sys.modules["dit_run_lion"]
    refused = command(config).words
    assert "plugin lion (dit-run-lion 0.2.0) did not load: its module cannot be imported" in refused
    assert "the earlier run used it" not in refused


@pytest.mark.slow
def test_what_a_file_defines_works_in_loading_processes(site: Path) -> None:
    Path("parts").mkdir()
    Path("parts/squares.py").write_text(SQUARES)
    data = "data: {type: squares, image_size: 16, num_samples: null, train_split: 1.0}\n"
    sections = "\n".join(line for line in CONFIG.splitlines() if not line.startswith("data:"))
    config = written(data + sections + "\nplugins: [./parts/squares.py]\n")
    run = [sys.executable, "-m", "dit_run", config, "training.num_workers=1", "training.max_steps=2"]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(Run(Path("run")).metrics) == 2


def test_a_plugin_that_fails_in_a_step_is_named(command: Command, site: Path) -> None:
    fault = "    class Momentum(torch.optim.SGD):\n        def step(self):\n            raise KeyError('mean')\n"
    path = Path("momentum.py").absolute()
    path.write_text(MOMENTUM.replace("    return torch.optim.SGD", f"{fault}    return Momentum"))
    result = command(written(CONFIG + "plugins: [./momentum.py]\noptimizer: {type: momentum}\n"))
    message = f"plugin {path} failed: KeyError: 'mean'\n  File \"{path}\", line 16, in step\n    raise KeyError('mean')"
    assert result.status == 1
    assert result.err.endswith(f"error: {message}\n")
    assert json.loads(Path("run/status.json").read_text())["reason"] == f"PluginFault: {message}"


def test_a_dataset_that_fails_in_a_loading_process_is_named(command: Command, site: Path) -> None:
    Path("squares.py").write_text(SQUARES.replace("from PIL import Image", "from PIL import Imago as Image"))
    data = "data: {type: squares, image_size: 16, num_samples: null, train_split: 1.0}\n"
    sections = "\n".join(line for line in CONFIG.splitlines() if not line.startswith("data:"))
    config = written(data + sections + "\nplugins: [./squares.py]\n")
    result = command(config, "training.num_workers=1")
    assert result.status == 1
    path = Path("squares.py").absolute()
    assert f"error: plugin {path} failed: ImportError: cannot import name 'Imago' from 'PIL'" in result.err
    assert f'  File "{path}", line 18, in __call__\n' in result.err
    assert "Traceback" not in result.err


NOISY = """
import ctypes, os, subprocess
print("noise of python")
os.write(1, b"noise of a descriptor\\n")
subprocess.run(["echo", "noise of a child"])
ctypes.CDLL(None).printf(b"noise of C\\n")
"""


@pytest.mark.slow
@pytest.mark.parametrize("words", [("schema",), ("explain", "--format", "json"), ("validate", "--format", "json")])
def test_what_a_plugin_prints_at_import_stays_out_of_data(site: Path, words: tuple[str, ...]) -> None:
    Path("momentum.py").write_text(NOISY + MOMENTUM)
    config = written("plugins: [./momentum.py]\n")
    command = [sys.executable, "-m", "dit_run", *words[:1], config, *words[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    json.loads(done.stdout)
    assert sorted(line for line in done.stderr.splitlines() if line.startswith("noise")) == [
        "noise of C",
        "noise of a child",
        "noise of a descriptor",
        "noise of python",
    ]
