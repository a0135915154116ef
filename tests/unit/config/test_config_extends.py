"""Layers: extended files, the file, arguments; merged by the rules of the design."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from distributions import plugin_text

from dit_run import Config, load_config
from dit_run.config.package_data import packaged
from dit_run.problems import ConfigError, Problem
from dit_run.registry.registry import Registry

Load = Callable[..., Config]
Brief = Callable[..., list[str]]
Write = Callable[..., str]


def test_mappings_merge_and_lists_replace(write: Callable[..., str], registry: Registry) -> None:
    write("training: {batch_size: 4, seed: 1}\nsampling: {prompts: [a, b]}\n", "base.yaml")
    name = write("extends: base.yaml\ntraining: {seed: 2}\nsampling: {prompts: [c]}\n")
    config = load_config(name, registry=registry)
    assert (config.training.batch_size, config.training.seed, config.sampling.prompts) == (4, 2, ("c",))


OPTIMIZER = plugin_text("lion")
METRIC = plugin_text("lines", kind="METRIC")


def files_of(config: Config) -> list[str]:
    return [Path(file).name for file in config.plugins]


def test_plugins_add_to_those_of_the_base(write: Callable[..., str], registry: Registry) -> None:
    write(OPTIMIZER, "shared/one.py")
    write(METRIC, "two.py")
    write("plugins: [one.py]\noptimizer: {type: lion}\n", "shared/base.yaml")
    name = write("extends: shared/base.yaml\nplugins: [two.py]\nmetrics: [{type: lines}]\n")
    config = load_config(name, registry=registry)
    assert files_of(config) == ["one.py", "two.py"]
    assert (config.optimizer.type, config.metrics[0].type) == ("lion", "lines")


def test_plugins_on_the_command_line_add_too(write: Callable[..., str], registry: Registry) -> None:
    write(OPTIMIZER, "one.py")
    write(METRIC, "two.py")
    name = write("plugins: [one.py]\n")
    assert files_of(load_config(name, "plugins=[two.py]", registry=registry)) == ["one.py", "two.py"]
    both = load_config(name, "plugins=[one.py]", "plugins=[two.py]", registry=registry)
    assert files_of(both) == ["one.py", "two.py"]


def test_an_empty_list_drops_the_plugins_of_the_base(write: Callable[..., str], registry: Registry) -> None:
    write(OPTIMIZER, "one.py")
    write("plugins: [one.py]\n", "base.yaml")
    assert files_of(load_config(write("extends: base.yaml\nplugins: []\n"), registry=registry)) == []


def test_later_files_of_extends_lie_above_earlier_ones(write: Callable[..., str], registry: Registry) -> None:
    write("training: {batch_size: 4, seed: 1}\n", "one.yaml")
    write("training: {seed: 2}\n", "two.yaml")
    config = load_config(write("extends: [one.yaml, two.yaml]\n"), registry=registry)
    assert (config.training.batch_size, config.training.seed) == (4, 2)


def test_extends_is_relative_to_its_own_file(write: Callable[..., str], registry: Registry) -> None:
    write("training: {seed: 7}\n", "shared/lowest.yaml")
    write("extends: lowest.yaml\n", "shared/base.yaml")
    assert load_config(write("extends: shared/base.yaml\n"), registry=registry).training.seed == 7


def test_extends_in_a_circle(write: Callable[..., str], registry: Registry) -> None:
    write("extends: c.yaml\n", "base.yaml")
    with pytest.raises(ConfigError) as caught:
        load_config(write("extends: base.yaml\n"), registry=registry)
    (problem,) = caught.value.problems
    assert problem.message == "extends forms a cycle: c.yaml -> base.yaml -> c.yaml"
    assert str(problem.place) == "base.yaml:1:10"


def test_a_missing_base_is_named_at_extends(problems: Callable[..., list[Problem]]) -> None:
    (problem,) = problems("# first\nextends: [nowhere.yaml]\n")
    assert (problem.code, str(problem.place)) == ("missing-file", "c.yaml:2:11")
    assert problem.message == "cannot read nowhere.yaml: the file does not exist"
    assert problem.help == ()


def test_a_file_is_not_proposed_as_its_own_base(problems: Callable[..., list[Problem]], write: Write) -> None:
    write("", "shapes.yml")
    (problem,) = problems("extends: 0.yaml\n")
    assert problem.help == ("config files in .: shapes.yml",)


def test_a_copy_of_a_shipped_config_finds_the_config_below_it(write: Write) -> None:
    shipped = packaged("configs/custom.yaml")
    write(shipped.read_bytes(), "mine/own.yaml")
    config = load_config("mine/own.yaml")
    assert config.sections == load_config(shipped).sections
    assert [notice.message for notice in config.notices] == [
        "mine/small.yaml does not exist here; using the one that comes with dit-run"
    ]


def test_a_base_of_ones_own_goes_before_a_shipped_one(write: Write) -> None:
    write("training: {seed: 7}\n", "small.yaml")
    assert load_config(write("extends: small.yaml\n")).training.seed == 7


def test_a_base_in_a_missing_folder_is_not_shipped(problems: Callable[..., list[Problem]]) -> None:
    (problem,) = problems("extends: there/small.yaml\n")
    assert problem.code == "missing-file"


def test_a_missing_config(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "no.yaml", registry=registry)
    assert [(p.code, p.place) for p in caught.value.problems] == [("missing-file", None)]


def test_arguments_lie_on_top(load: Load) -> None:
    config = load(
        "training: {batch_size: 4}\n", "training.batch_size=8", "data.num_samples=null", "optimizer={eps: 1e-4}"
    )
    assert (config.training.batch_size, config.data.common.num_samples) == (8, None)
    assert config.optimizer.options.eps == 1e-4


def test_the_last_of_two_arguments_holds(load: Load) -> None:
    assert load("", "training.seed=1", "training.seed=2").training.seed == 2


@pytest.mark.parametrize("argument", ["training", "=8", "training..seed=8", ".seed=8", "training.seed=\n8"])
def test_an_argument_of_another_form(brief: Brief, argument: str) -> None:
    assert brief("", argument) == ["command line:1:1 bad-argument"]


@pytest.mark.parametrize(
    ("argument", "message", "help_"),
    [
        ("training", "'training' is not an argument of the form section.key=value",
         "write the key, '=' and the value on one line, such as training.batch_size=8"),
        ("extends=base.yaml", "extends cannot be set on the command line",
         "write 'extends: FILE' into the config file"),
        ("sampling.prompts[0]=x", "an item of the list sampling.prompts cannot be set alone",
         "set the whole list, such as sampling.prompts=[a, b]"),
    ],
)  # fmt: skip
def test_an_argument_that_is_refused_says_what_to_write(
    problems: Callable[..., list[Problem]], argument: str, message: str, help_: str
) -> None:
    (problem,) = problems("", argument)
    assert (problem.message, problem.help) == (message, (help_,))
    assert str(problem.place) == "command line:1:1"


def test_problems_point_to_the_argument(brief: Brief) -> None:
    assert brief("", "training.seed=1", "training.bach_size=8", "training.seed=x", "model.width=[") == [
        "command line:4:13 syntax"
    ]
    assert brief("", "training.bach_size=8", "training.seed=x") == [
        "command line:1:10 unknown-key",
        "command line:2:15 wrong-type",
    ]


def test_each_problem_points_to_its_layer(write: Callable[..., str], registry: Registry) -> None:
    write("training:\n  sed: 1\n", "base.yaml")
    name = write("extends: base.yaml\ntraining:\n\n  batch_size: 0\n")
    with pytest.raises(ConfigError) as caught:
        load_config(name, "optimizer.eps=0", registry=registry)
    assert [str(problem.place) for problem in caught.value.problems] == [
        "base.yaml:2:3",
        "c.yaml:4:15",
        "command line:1:15",
    ]


def test_another_type_replaces_the_component_but_for_common_options(load: Load) -> None:
    text = "data: {type: coco, image_size: 64, colours: [green]}\noptimizer: {momentum: 0.5}\n"
    config = load(text, "data.type=folder", "data.dataset_path=x", "optimizer.type=lion")
    assert (config.data.common.image_size, config.data.options.dataset_path) == (64, "x")
    assert config.optimizer.options.momentum == 0.95


@pytest.mark.parametrize("order", [1, -1])
def test_arguments_are_one_layer_whatever_their_order(load: Load, order: int) -> None:
    arguments = ("data.type=folder", "data.dataset_path=x", "optimizer.momentum=0.5", "optimizer.type=lion")[::order]
    config = load("data: {type: coco, image_size: 64}\n", *arguments)
    assert (config.data.type, config.data.options.dataset_path) == ("folder", "x")
    assert config.data.common.image_size == 64
    assert (config.optimizer.type, config.optimizer.options.momentum) == ("lion", 0.5)


def test_of_two_arguments_with_a_type_the_last_holds(load: Load) -> None:
    config = load("", "optimizer={type: adamw, momentum: 0.5}", "optimizer.type=lion")
    assert (config.optimizer.type, config.optimizer.options.momentum) == ("lion", 0.95)


def test_the_same_type_written_above_merges(load: Load) -> None:
    assert load("optimizer: {momentum: 0.5}\n", "optimizer.type=adamw").optimizer.options.momentum == 0.5


def test_options_go_to_the_type_below(load: Load) -> None:
    assert load("optimizer: {type: lion}\n", "optimizer.momentum=0.1").optimizer.options.momentum == 0.1


def test_dataset_name_is_the_type(load: Load) -> None:
    values = load("data: {dataset_name: folder, dataset_path: x}\n").to_dict()["data"]
    assert (values["type"], values["dataset_name"]) == ("folder", "folder")


def test_dataset_name_and_type_that_agree(load: Load) -> None:
    assert load("data: {dataset_name: coco, type: coco}\n").data.type == "coco"


def test_dataset_name_and_type_that_differ(problems: Callable[..., list[Problem]]) -> None:
    (problem,) = problems("data:\n  dataset_name: coco\n  type: folder\n  dataset_path: x\n")
    assert (problem.code, str(problem.place)) == ("two-types", "c.yaml:2:17")
    assert [str(place) for place in problem.related_places] == ["c.yaml:3:9"]


def test_an_argument_names_the_dataset_by_its_old_key(load: Load) -> None:
    assert load("data: {type: folder, dataset_path: x}\n", "data.dataset_name=coco").data.type == "coco"


def test_an_empty_file_is_all_defaults(load: Load) -> None:
    assert load("# nothing yet\n").training.batch_size == 96


def test_a_config_that_is_no_mapping(brief: Brief) -> None:
    assert brief("- a\n") == ["c.yaml:1:1 not-a-mapping"]


def test_a_config_missing_from_configs_is_the_packaged_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry: Registry
) -> None:
    folder = tmp_path / "packaged"
    (folder / "configs").mkdir(parents=True)
    (folder / "configs" / "small.yaml").write_text("training: {seed: 3}\n")
    monkeypatch.setattr("dit_run.config.extends.packaged", lambda name: folder / name)
    monkeypatch.chdir(tmp_path)
    config = load_config("configs/small.yaml", registry=registry)
    assert (config.training.seed, [notice.code for notice in config.notices]) == (3, ["packaged-config"])


@pytest.mark.parametrize(
    ("base", "reason"),
    [("/dev/zero", "it is not a regular file"), (".", "it is a folder"), ("x" * 300, "File name too long")],
)
def test_only_files_are_read(problems: Callable[..., list[Problem]], base: str, reason: str) -> None:
    (problem,) = problems(f"extends: {base}\n")
    assert problem.message == f"cannot read {base}: {reason}"
