"""Caption rules: the text that the model reads, a function of seed, position and caption."""

from __future__ import annotations

from collections import Counter

import pytest

from dit_run.compute.random_streams import Streams
from dit_run.data.captions import plain_text, text_at
from dit_run.registry.kind_options import DatasetCommon

TAGS = "red, bird , on a branch,,winter"


def texts(count: int = 1, caption: str = TAGS, seed: int = 1, **options: object) -> list[str]:
    common = DatasetCommon(**options)  # type: ignore[arg-type]
    return [text_at(caption, common, Streams(seed), position) for position in range(count)]


def test_a_caption_is_a_sentence_by_default() -> None:
    assert texts() == [TAGS]


def test_a_template_takes_the_caption_in_each_place() -> None:
    assert texts(caption="{0} a {cat}", caption_template="photo of {text}: {text}, {x}") == [
        "photo of {0} a {cat}: {0} a {cat}, {x}"
    ]


def test_tags_are_joined_by_the_separator_as_it_is_written() -> None:
    assert texts(tag_separator=", ") == ["red, bird, on a branch, winter"]
    assert texts(tag_separator=",") == ["red,bird,on a branch,winter"]
    assert texts(caption="a  b", tag_separator=" ") == ["a b"]
    assert texts(caption="a|b", tag_separator=" | ", caption_template="<{text}>") == ["<a | b>"]


def test_a_caption_of_separators_alone_stays() -> None:
    assert texts(caption=" , ", tag_separator=",", shuffle_tags=True) == [" , "]


def test_shuffled_tags_come_in_all_orders_and_kept_ones_stay_first() -> None:
    seen = Counter(texts(600, caption="a,b,c,d", tag_separator=",", shuffle_tags=True, keep_tags=1))
    assert sorted(seen) == ["a,b,c,d", "a,b,d,c", "a,c,b,d", "a,c,d,b", "a,d,b,c", "a,d,c,b"]
    assert min(seen.values()) > 60


def test_dropout_leaves_out_its_share_of_the_free_tags() -> None:
    shown = texts(2000, caption="a,b,c,d,e", tag_separator=",", tag_dropout=0.3, keep_tags=1)
    assert all(text.startswith("a") for text in shown)
    for tag in "bcde":
        assert sum(tag in text for text in shown) / 2000 == pytest.approx(0.7, abs=0.04)


def test_one_tag_always_stays() -> None:
    shown = Counter(texts(400, caption="a,b", tag_separator=",", tag_dropout=0.99))
    assert set(shown) <= {"a", "b", "a,b"}
    assert min(shown["a"], shown["b"]) > 150
    assert texts(9, caption="a,b", tag_separator=",", tag_dropout=0.999, keep_tags=1).count("a") == 9


def test_keeping_more_tags_than_there_are_keeps_all() -> None:
    assert set(texts(20, caption="a,b", tag_separator=",", tag_dropout=0.9, shuffle_tags=True, keep_tags=5)) == {"a,b"}


def test_a_text_depends_on_seed_and_position_alone() -> None:
    options = {"tag_separator": ",", "shuffle_tags": True, "tag_dropout": 0.3}
    common = DatasetCommon(**options)  # type: ignore[arg-type]
    assert text_at(TAGS, common, Streams(1), 7) == texts(9, **options)[7]
    assert texts(20, seed=2, **options) != texts(20, **options)


def test_the_plain_text_has_all_tags_in_their_order() -> None:
    common = DatasetCommon(tag_separator=",", shuffle_tags=True, tag_dropout=0.9, caption_template="x {text}")
    assert plain_text("a, b, c", common) == "x a,b,c"
    assert text_at("a, b, c", common.without_augmentation(), Streams(1), 3) == "x a,b,c"
