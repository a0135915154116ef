"""Packaged files are found in an editable install; the wheel is tested with the packaging."""

from __future__ import annotations

from dit_run.config.package_data import packaged


def test_configs_and_schemas_are_found() -> None:
    assert packaged("configs/quickstart.yaml").is_file()
    assert packaged("schemas/dit-run.schema.json").is_file()
    assert packaged("docs/codes.md").is_file()
    assert not packaged("configs/no-such-thing.yaml").exists()
