"""The tokenizer of a model of transformers: captions to ids, with the markers and the template around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from dit_run.digests import combined
from dit_run.problems import NotInDiffusers
from dit_run.protocols import Tokens
from dit_run_plugins.text_encoders.folders import EncoderFolders

__all__ = ["CaptionTokenizer", "Frame"]

_MAIN = ("tokenizer.json", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model", "vocab.json", "vocab.txt")
_OTHERS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt", "spiece.model")
_PROBE = "a"
Ids = tuple[int, ...]


@dataclass(frozen=True)
class Frame:
    """The ids around the tokens of a caption: before it ``cut`` and ``head``, after it ``tail`` and ``rest``.

    The model reads all of them; the states of ``cut`` and ``rest`` are not used.
    """

    cut: Ids = ()
    head: Ids = ()
    tail: Ids = ()
    rest: Ids = ()
    padding: int = 0

    def around(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return ids [n, cut + l + rest] and their mask for rows [n, l] of head, caption, tail and padding."""
        count, length = ids.shape
        ends = len(self.cut) + mask.sum(1, keepdim=True)
        whole = ids.new_full((count, len(self.cut) + length + len(self.rest)), self.padding)
        whole[:, : len(self.cut)] = ids.new_tensor(self.cut)
        whole[:, len(self.cut) : len(self.cut) + length] = torch.where(mask, ids, self.padding)
        places = ends + torch.arange(len(self.rest), device=ids.device)
        whole.scatter_(1, places, ids.new_tensor(self.rest).expand(count, -1))
        return whole, torch.arange(whole.shape[1], device=ids.device) < ends + len(self.rest)

    def inside(self, states: Tensor, length: int) -> Tensor:
        """Return the states [n, l, d] of head, caption, tail and padding, of those of :meth:`around`."""
        return states[:, len(self.cut) : len(self.cut) + length]


class CaptionTokenizer:
    """Converts captions to token ids, framed by markers and a template. Can be pickled."""

    def __init__(self, folders: EncoderFolders, template: str | None) -> None:
        """Read the tokenizer. Raises InputError if it is missing or cannot be read."""
        self._folders = folders
        tokenizer = _load(folders)
        backend = getattr(tokenizer, "backend_tokenizer", None)
        self._backend: Tokenizer | None = None if backend is None else Tokenizer.from_str(backend.to_str())
        self._slow = tokenizer if backend is None else None
        if self._backend is not None:
            self._backend.no_padding()
            self._backend.no_truncation()
        before, _, after = (template or "").partition("{caption}")
        self._gap = " " if before.endswith(" ") else ""
        self.frame = self._frame(tokenizer, before.rstrip(" "), after, template is not None)

    def __call__(self, captions: Sequence[str], max_length: int) -> Tokens:
        """Return the ids of head, caption and tail, padded to the longest; at most ``max_length``."""
        frame, rows, truncated = self.frame, list[list[int]](), 0
        room = max_length - len(frame.head) - len(frame.tail)
        for ids in self._encode([self._gap + caption if caption else "" for caption in captions]):
            truncated += len(ids) > room
            rows.append([*frame.head, *ids[:room], *frame.tail])
        padded = torch.full((len(rows), max(map(len, rows))), frame.padding, dtype=torch.int64)
        for row, values in zip(padded, rows, strict=True):
            row[: len(values)] = torch.tensor(values)
        lengths = torch.tensor([len(values) for values in rows])
        return Tokens(padded, torch.arange(padded.shape[1]) < lengths[:, None], truncated)

    def fingerprint(self) -> str:
        """Return a digest of the tokenizer and the frame."""
        content = self._backend.to_str() if self._backend is not None else repr(self._slow)
        frame = self.frame
        return combined([content, self._gap, frame.cut, frame.head, frame.tail, frame.rest])

    def to_transformers(self) -> Any:
        """Return the tokenizer of transformers. Raises NotInDiffusers if it puts other markers around a caption."""
        tokenizer = _load(self._folders)
        for text in ("", _PROBE):
            if tokenizer(text)["input_ids"] != [*self.frame.head, *self._encode([text])[0], *self.frame.tail]:
                raise NotInDiffusers("the text encoder's tokenizer puts no marker after a caption, which dit-run adds")
        return tokenizer

    def _encode(self, texts: list[str]) -> list[list[int]]:
        """Return the ids of texts without markers."""
        if self._backend is not None:
            return [encoding.ids for encoding in self._backend.encode_batch(texts, add_special_tokens=False)]
        assert self._slow is not None
        ids: list[list[int]] = self._slow(texts, add_special_tokens=False)["input_ids"]
        return ids

    def _frame(self, tokenizer: Any, before: str, after: str, has_template: bool) -> Frame:
        """Return the ids around captions, from the tokenizer's markers and the texts of the template."""
        start, end = _markers(tokenizer)
        first, last = self._encode([before, after])
        head, tail = (*start, *first), (*last, *end)
        if not tail and (has_template or not head):
            tail = (self._end(tokenizer),)
        padding = next((each for each in (tokenizer.pad_token_id, *tail) if each is not None), 0)
        if has_template:
            return Frame(cut=head, tail=tail[:1], rest=tail[1:], padding=padding)
        return Frame(head=head, tail=tail, padding=padding)

    def _end(self, tokenizer: Any) -> int:
        """Return the id of the token that ends a text; without markers an empty caption would have no token."""
        for each in (tokenizer.eos_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id):
            if each is not None:
                return int(each)
        raise self._folders.weights.error("has a tokenizer without any marker; it needs an eos_token or a pad_token")


def _markers(tokenizer: Any) -> tuple[Ids, Ids]:
    """Return the ids that the tokenizer itself puts before and after a text."""
    encoded = tokenizer(_PROBE, return_special_tokens_mask=True)
    ids, special = encoded["input_ids"], encoded["special_tokens_mask"]
    first = next((place for place, each in enumerate(special) if not each), len(ids))
    last = next((place for place in range(len(ids), first, -1) if not special[place - 1]), first)
    return tuple(ids[:first]), tuple(ids[last:])


def _load(folders: EncoderFolders) -> Any:
    """Return the tokenizer as transformers loads it, which follows tokenizer_config.json."""
    weights = folders.weights
    file = weights.need(*folders.tokenizer_files(*_MAIN))
    weights.fetch(*folders.tokenizer_files(*_OTHERS))
    from transformers import AutoTokenizer

    load: Callable[..., Any] = AutoTokenizer.from_pretrained
    try:
        return load(str(file.parent), local_files_only=True)
    except Exception as error:  # its parsers raise anything for a broken file
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise weights.error(f"has a tokenizer that cannot be read: {file.parent}: {reason}") from error
