"""Plain words are read by the core schema of YAML 1.2."""

from __future__ import annotations

import pytest

from dit_run.config.yaml_scalars import NotFinite, read_scalar


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("5e2", 500.0),
        ("+.5", 0.5),
        ("1.", 1.0),
        ("010", 10),
        ("-7", -7),
        ("0x1F", 31),
        ("0o17", 15),
        ("true", True),
        ("FALSE", False),
        ("", None),
        ("~", None),
        ("Null", None),
    ],
)
def test_numbers_truth_values_and_null(text: str, value: object) -> None:
    read = read_scalar(text)
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    "text", ["no", "on", "yes", "12:30", "1_000", "2026-01-01", "0b1", "1e", ".", "-", "+", "nUll", "0x", "1.2.3", "<<"]
)
def test_all_else_is_a_string(text: str) -> None:
    assert read_scalar(text) == text


@pytest.mark.parametrize("text", [".inf", "-.Inf", ".NaN", "1e999", "-1e999", "9" * 309, "9" * 5000, "0x" + "f" * 300])
def test_numbers_that_are_not_finite_are_refused(text: str) -> None:
    with pytest.raises(NotFinite):
        read_scalar(text)
