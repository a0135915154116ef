"""Packaged files are found in an editable install; the wheel is tested with the packaging."""

from __future__ import annotations

import tomllib

from dit_run.config.package_data import packaged


def test_configs_and_schemas_are_found() -> None:
    assert packaged("configs/quickstart.yaml").is_file()
    assert packaged("schemas/dit-run.schema.json").is_file()
    assert packaged("docs/codes.md").is_file()
    assert not packaged("configs/no-such-thing.yaml").exists()


def test_the_image_of_a_container_gets_all_that_the_wheel_holds() -> None:
    root = packaged("pyproject.toml").parent
    wheel = tomllib.loads(packaged("pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    copied = [line.split()[1] for line in (root / "Dockerfile").read_text().splitlines() if line.startswith("COPY ")]
    assert {*wheel["force-include"], "framework", "plugins"} <= set(copied)
