"""Properties of every config: it comes back as it went out, or as a list of problems; its values are its meaning."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest
import strategies
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from small_registry import COMPONENTS, plugin

from dit_run import Config, load_config
from dit_run.config.comparison import absolute, differences
from dit_run.config.dump import dump, escaped, run_config, to_yaml
from dit_run.config.keys import config_options
from dit_run.problems import ConfigError, KeyPath, Place
from dit_run.registry.registry import Registry, discover
from dit_run.settings import put

SMALL = Registry((plugin("small", *COMPONENTS),))
REGISTRIES = {"small": SMALL, "built-in": discover(third_party=False)}
VALUES = {name: strategies.configs(registry) for name, registry in REGISTRIES.items()}
EXAMPLES = settings(max_examples=60, suppress_health_check=list(HealthCheck), derandomize=True)

pytestmark = pytest.mark.slow

every_registry = pytest.mark.parametrize("name", list(REGISTRIES))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("configs") / "c.yaml"


def read(path: Path, text: str, registry: Registry, *overrides: str) -> Config:
    path.write_text(text, encoding="utf-8")
    return load_config(path, *overrides, registry=registry)


def valid(path: Path, values: dict[str, Any], registry: Registry) -> Config:
    """The config of generated values, where the rules allow it; the schema must."""
    try:
        return read(path, to_yaml(escaped(values)), registry)
    except ConfigError as error:
        schema_codes = {
            "unknown-key",
            "wrong-type",
            "out-of-bounds",
            "bad-choice",
            "bad-form",
            "syntax",
            "not-a-multiple",
        }
        assert not schema_codes & {problem.code for problem in error.problems}, error
        assume(False)
        raise


@every_registry
@EXAMPLES
@given(data=st.data())
def test_what_is_dumped_is_read_back(path: Path, name: str, data: st.DataObject) -> None:
    registry = REGISTRIES[name]
    config = valid(path, data.draw(VALUES[name]), registry)
    assert read(path, dump(config), registry) == config
    assert read(path, run_config(config), registry) == absolute(config)


@every_registry
@EXAMPLES
@given(data=st.data())
def test_what_is_written_is_what_is_read(path: Path, name: str, data: st.DataObject) -> None:
    values = data.draw(VALUES[name])
    read_back = valid(path, values, REGISTRIES[name]).to_dict()
    for section, keys in values.items():
        assert holds(read_back[section], keys)


def holds(found: Any, written: Any) -> bool:
    """Whether each written value was read, among the defaults of the keys that are not written."""
    if isinstance(written, dict):
        return all(holds(found[key], value) for key, value in written.items())
    if isinstance(written, list) and any(isinstance(item, dict) for item in written):
        return len(found) == len(written) and all(map(holds, found, written))
    return bool(found == written) or (written == "~" and found == str(Path.home()))


@EXAMPLES
@given(data=st.data(), seed=st.integers(0, 1000))
def test_order_and_comments_do_not_change_the_values(path: Path, data: st.DataObject, seed: int) -> None:
    config = valid(path, data.draw(VALUES["small"]), SMALL)
    lines = to_yaml(escaped(_shuffled(config.to_dict(), random.Random(seed)))).splitlines()
    commented = "".join(f"# a comment\n{line}\n" for line in lines)
    assert differences(read(path, commented, SMALL).to_dict(), config.to_dict()) == []


def _shuffled(value: Any, order: random.Random) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: _shuffled(value[key], order) for key in order.sample(list(value), len(value))}


@EXAMPLES
@given(data=st.data())
def test_any_change_of_one_leaf_changes_the_values(path: Path, data: st.DataObject) -> None:
    config = valid(path, data.draw(VALUES["small"]), SMALL)
    options = [(where, option) for where, option, _ in config_options(config) if "secret" not in option.markers]
    where, option = data.draw(st.sampled_from(options))
    other = data.draw(strategies.value(option.schema))
    values = config.to_dict()
    assume(_leaf(values, where) != other)
    put(values, where, other)
    assert differences(valid(path, values, SMALL).to_dict(), config.to_dict()) != []


def _leaf(values: Any, where: KeyPath) -> Any:
    for step in where:
        values = values[step]
    return values


WORDS = st.sampled_from(
    ["data", "type", "training", "batch_size", "trackers", "extends", "- ", ": ", "\n", "  ", "[", "]", "{", "}", "&a",
     "*a", "!!x", "<<", "${env:", "}", "|", ">", "'", '"', "#", "---", "...", "%", "?", ",", "1e999", "null", "\t", "é",
     "\u2028"]
)  # fmt: skip


@settings(max_examples=400, suppress_health_check=list(HealthCheck), derandomize=True)
@given(content=st.binary(max_size=200) | st.lists(WORDS, max_size=60).map(lambda words: "".join(words).encode()))
def test_any_bytes_give_a_config_or_problems_with_places(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    began = time.process_time()
    try:
        load_config(path, registry=SMALL)
    except ConfigError as error:
        assert error.problems
        assert all(isinstance(problem.place, Place) for problem in error.problems)
    assert time.process_time() - began < 1
