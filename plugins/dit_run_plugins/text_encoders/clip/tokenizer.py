"""CLIP's byte-pair tokenizer, read from its files with `tokenizers`, which imports much faster than transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import tokenizers
import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from dit_run.digests import combined, file_digest
from dit_run.protocols import Tokens
from dit_run_plugins.text_encoders.folders import EncoderFolders

__all__ = ["END", "START", "ClipTokenizer"]

START, END = "<|startoftext|>", "<|endoftext|>"
_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


class ClipTokenizer:
    """Converts captions to a start marker, at most ``max_length - 2`` tokens, and end markers up to ``max_length``.

    Reads ``tokenizer.json``, or ``vocab.json`` and ``merges.txt``. Can be pickled.
    """

    def __init__(self, folders: EncoderFolders, max_length: int) -> None:
        self.max_length, weights = max_length, folders.weights
        file = weights.need(*folders.tokenizer_files("tokenizer.json", "vocab.json"))
        self._files = [file]
        if file.name == "vocab.json":
            self._files.append(weights.need(*folders.tokenizer_files("merges.txt")))
        try:
            self._tokenizer = _tokenizer(*self._files)
        except Exception as error:  # tokenizers raises no other class for a broken file
            raise weights.error(f"has a tokenizer that cannot be read: {file}: {error}") from error
        start, end = (self._tokenizer.token_to_id(marker) for marker in (START, END))
        if start is None or end is None:
            raise weights.error(f"has a tokenizer without {START} and {END}, which CLIP's has: {file}")
        self._start, self._end = start, end

    def __call__(self, captions: Sequence[str]) -> Tokens:
        """Return token ids, int64 [n, max_length], and their mask."""
        ids = torch.full((len(captions), self.max_length), self._end, dtype=torch.int64)
        mask = torch.zeros(ids.shape, dtype=torch.bool)
        room, truncated = self.max_length - 2, 0
        for row, encoding in enumerate(self._tokenizer.encode_batch(list(captions), add_special_tokens=False)):
            truncated += len(encoding.ids) > room
            marked = [self._start, *encoding.ids[:room], self._end]
            ids[row, : len(marked)] = torch.tensor(marked)
            mask[row, : len(marked)] = True
        return Tokens(ids, mask, truncated)

    def fingerprint(self) -> str:
        return combined([*(file_digest(file) for file in self._files), self.max_length])


def _tokenizer(file: Path, merges: Path | None = None) -> Tokenizer:
    if merges is None:
        tokenizer = Tokenizer.from_file(str(file))
    else:
        vocab, pairs = models.BPE.read_file(str(file), str(merges))
        tokenizer = Tokenizer(models.BPE(vocab, pairs, end_of_word_suffix="</w>", unk_token=END))
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
        )
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
        tokenizer.add_special_tokens([tokenizers.AddedToken(each, special=True) for each in (START, END)])
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
