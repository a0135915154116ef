"""Patterns of tensor names: what they mean, how they rename, and what is said of one that means nothing."""

from __future__ import annotations

import pytest

from dit_run.model.name_patterns import chosen_names, factors_of, renamed, shortened
from dit_run.problems import InputError

NAMES = ["input.weight", "blocks.0.mlp.up.weight", "blocks.1.mlp.up.weight", "blocks.10.norm.weight", "output.bias"]


@pytest.mark.parametrize(
    ("pattern", "chosen"),
    [
        ("*", NAMES),
        ("input.weight", NAMES[:1]),
        ("input", NAMES[:1]),
        ("blocks", NAMES[1:4]),
        ("blocks.1", [NAMES[2]]),
        ("blocks.*.mlp", NAMES[1:3]),
        ("*.bias", NAMES[4:]),
        ("blocks.1*.norm", [NAMES[3]]),
    ],
)
def test_a_pattern_means_tensors_and_all_tensors_of_modules(pattern: str, chosen: list[str]) -> None:
    assert chosen_names([pattern], NAMES, key="training.freeze") == set(chosen)


@pytest.mark.parametrize(
    ("pattern", "near"),
    [
        ("block.*", "similar names: blocks.*, blocks"),
        ("blocks.*.mpl", "similar names: blocks.*.mlp"),
        ("inputs.weight", "similar names: input.weight"),
        ("zzz", "the names begin with input.weight, blocks.*.mlp.up.weight"),
        (".", "the names begin with "),
        ("blocks.[0-9]", "similar names: "),
    ],
)
def test_a_pattern_that_means_nothing_names_similar_ones(pattern: str, near: str) -> None:
    with pytest.raises(InputError) as caught:
        chosen_names(["input", pattern], NAMES, key="training.freeze")
    assert str(caught.value).startswith(f"training.freeze: '{pattern}' matches no tensor; {near}")


def test_factors_of_several_patterns_multiply() -> None:
    factors = factors_of({"blocks": 0.5, "*.norm.*": 0.1}, NAMES, key="training.learning_rate_factors")
    assert factors == {
        NAMES[0]: 1.0, NAMES[1]: 0.5, NAMES[2]: 0.5, NAMES[3]: 0.05, NAMES[4]: 1.0,
    }  # fmt: skip


def test_stars_carry_their_text_into_a_new_name() -> None:
    renames = {"blocks.*.mlp.*.weight": "layers.*.ff.*.w", "input.*": "*", "*": "kept.*"}
    assert renamed(NAMES, renames, key="k") == {
        "input.weight": "weight",
        "blocks.0.mlp.up.weight": "layers.0.ff.up.w",
        "blocks.1.mlp.up.weight": "layers.1.ff.up.w",
        "blocks.10.norm.weight": "kept.blocks.10.norm.weight",
        "output.bias": "kept.output.bias",
    }


def test_renaming_takes_whole_names_only() -> None:
    with pytest.raises(InputError, match="k: 'blocks' renames no tensor; similar names: blocks"):
        renamed(NAMES, {"blocks": "layers"}, key="k")


def test_two_tensors_never_get_one_name() -> None:
    with pytest.raises(InputError, match=r"k: blocks\.0\.mlp\.up\.weight and blocks\.1\.mlp\.up\.weight would both be"):
        renamed(NAMES, {"blocks.*.mlp.*": "mlp"}, key="k")
    with pytest.raises(InputError, match=r"would both be called output\.bias"):
        renamed(NAMES, {"input.weight": "output.bias"}, key="k")


def test_repeated_blocks_are_one_name_with_a_count() -> None:
    assert shortened(NAMES) == ["input.weight", "blocks.*.mlp.up.weight (2)", "blocks.*.norm.weight", "output.bias"]
