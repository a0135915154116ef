"""Home folders: ``~`` means the same in every path of a config, and never a folder of that name."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from dit_run import ConfigError, load_config


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text("data: {type: custom, dataset_path: ~/images}\n")
    return folder


def test_every_path_of_a_config_begins_there(home: Path) -> None:
    words = ("training.output_dir=~/run", "cache.dir=~/cache", "training.init_from=~/first")
    config = load_config("a.yaml", *words)
    assert config.training.output_dir == f"{home}/run"
    assert config.cache.dir == f"{home}/cache"
    assert config.training.init_from == f"{home}/first"
    assert config.data.options.dataset_path == f"{home}/images"


def test_extended_files_and_plugins_are_found_there(home: Path) -> None:
    (home / "base.yaml").write_text("training: {batch_size: 3}\n")
    (home / "extra_part.py").write_text(
        "from dit_run import hookimpl\n\n\n@hookimpl\ndef dit_run_components():\n    return []\n"
    )
    Path("b.yaml").write_text("extends: ~/base.yaml\nplugins: [~/extra_part.py]\n")
    config = load_config("b.yaml")
    assert config.training.batch_size == 3
    assert config.plugins == (f"{os.path.realpath(home)}/extra_part.py",)


def test_a_name_on_a_hub_stays_as_it_is(home: Path) -> None:
    config = load_config(
        "a.yaml", "vae={type: autoencoder_kl, pretrained_model_name: owner/name~1}", "data.image_size=64"
    )
    assert config.vae.options.pretrained_model_name == "owner/name~1"


def test_a_user_that_does_not_exist_is_refused(home: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        load_config("a.yaml", "cache.dir=~nobody_here/x", "training.output_dir=~nobody_there")
    assert sorted(problem.message for problem in refused.value.problems) == [
        "cache.dir is ~nobody_here/x, but there is no user nobody_here",
        "training.output_dir is ~nobody_there, but there is no user nobody_there",
    ]


def test_a_user_without_a_home_folder_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(number: int) -> pwd.struct_passwd:
        raise KeyError(number)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(ConfigError) as refused:
        load_config("a.yaml", "training.output_dir=~/x")
    problem = next(each for each in refused.value.problems if each.path == ("training", "output_dir"))
    assert problem.message == (
        f"training.output_dir is ~/x, but HOME is not set, and user {os.getuid()} has no home folder"
    )
    assert problem.help == ("write the whole path instead of ~, or set HOME",)
