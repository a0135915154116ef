"""The averages of a config: their names, their order, and the share of the new weights in each update."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_parts import CONFIG

from dit_run import Config, load_config
from dit_run.assembly.averages import build_average_shares
from dit_run.model.average_profiles import power_of_length
from dit_run.registry.factories import PluginFault


def loaded(folder: Path, *overrides: str) -> Config:
    path = folder / "tiny.yaml"
    path.write_text(CONFIG)
    return load_config(path, *overrides)


def test_a_run_keeps_none_by_default(tmp_path: Path) -> None:
    assert build_average_shares(loaded(tmp_path)) == {}


def test_names_are_written_or_types_with_numbers(tmp_path: Path) -> None:
    listed = "averages=[{type: power, name: short}, {type: power}, {type: power}, {type: ema}]"
    names = ("short", "power_2", "power_3")
    assert loaded(tmp_path, listed).average_names == (*names, "ema")
    assert loaded(tmp_path, listed, "training.use_ema=true").average_names == ("ema", *names, "ema_2")


def test_ema_is_what_use_ema_keeps(tmp_path: Path) -> None:
    both = loaded(tmp_path, "training={use_ema: true, ema_decay: 0.9}", "averages=[{type: ema, decay: 0.9}]")
    own, listed = build_average_shares(both).values()
    assert [own(step) for step in range(40)] == [listed(step) for step in range(40)]
    assert own(0) == 1
    assert own(39) == pytest.approx(0.1)


def test_the_shares_of_a_power_average(tmp_path: Path) -> None:
    share = build_average_shares(loaded(tmp_path, "averages=[{type: power, length: 0.2}]"))["power"]
    power = power_of_length(0.2)
    assert share(0) == 1  # the initial weights do not count
    assert share(9) == pytest.approx(1 - 0.9 ** (power + 1))


def test_a_share_that_is_none_is_a_fault_of_the_plugin(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "framework/dit_run/templates/average.py").read_text()
    (tmp_path / "mine.py").write_text(text.replace("return 1 / max", "return 3 / max"))
    config = loaded(tmp_path, f"plugins=[{tmp_path / 'mine.py'}]", "averages=[{type: example}]")
    with pytest.raises(PluginFault, match=r"average example returned the share 3\.0 for step 0; it must be 0 to 1"):
        build_average_shares(config)["example"](0)
