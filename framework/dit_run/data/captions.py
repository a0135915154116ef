"""Caption rules of a dataset: from a caption in the data to the text that the model reads at a position."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dit_run.compute.random_streams import Streams
from dit_run.registry.kind_options import DatasetCommon

__all__ = ["plain_text", "text_at"]


def plain_text(caption: str, common: DatasetCommon) -> str:
    """Return the text of a caption with all its tags in their order."""
    return _text(_tags(caption, common), common)


def text_at(caption: str, common: DatasetCommon, streams: Streams, position: int) -> str:
    """Return the text of a caption at a position, a function of seed, position and caption alone.

    The first ``keep_tags`` tags always stay. At least one tag stays: the one that is dropped last.
    """
    tags = _tags(caption, common)
    kept, free = tags[: common.keep_tags], tags[common.keep_tags :]
    if not common.varies_captions or not free:
        return _text(tags, common)
    if common.tag_dropout:
        draws = streams.uniform("tag dropout", position, len(free))
        stay = draws >= (common.tag_dropout if kept else min(common.tag_dropout, float(draws.max())))
        free = [tag for tag, stays in zip(free, stay.tolist(), strict=True) if stays]
    if common.shuffle_tags:
        order = np.argsort(streams.uniform("tag order", position, len(free)), kind="stable")
        free = [free[place] for place in order.tolist()]
    return _text([*kept, *free], common)


def _tags(caption: str, common: DatasetCommon) -> list[str]:
    """Return the tags of a caption without surrounding white space; the caption itself if it is a sentence."""
    separator = common.tag_separator
    if separator is None:
        return [caption]
    parts = caption.split(separator.strip() or separator)
    return [tag for part in parts if (tag := part.strip())] or [caption]


def _text(tags: Sequence[str], common: DatasetCommon) -> str:
    return common.caption_template.replace("{text}", (common.tag_separator or "").join(tags))
