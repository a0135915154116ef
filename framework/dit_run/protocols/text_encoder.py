"""Text encoders: captions to token ids, and token ids to the states that a model reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["TextEncoder", "TextStates", "Tokens"]


class Tokens(NamedTuple):
    """Captions as token ids."""

    ids: Tensor
    """int64 [n, l], padded at the end."""
    mask: Tensor
    """bool [n, l], True for real tokens."""
    truncated: int
    """Number of captions, of n, that were cut because they are longer than the encoder takes; a run reports it."""


class TextStates(NamedTuple):
    """Captions as input of the model.

    With several text encoders the tokens of the first come first, then those of the second, and so on, each with
    padding of its own. d is the sum of the encoders' widths: the states of an encoder stand in its columns, in the
    order of the encoders, with zeros in all others, so that a linear layer has weights of its own for each encoder. The
    pooled vectors stand side by side.
    """

    tokens: Tensor
    """float [n, l, d]."""
    mask: Tensor
    """bool [n, l], True for real tokens. Each row has one or more, unless ``null`` is True for it. With several
    encoders False can also stand between real tokens."""
    pooled: Tensor
    """float [n, pooled_width]: one vector per caption."""
    null: Tensor
    """bool [n], True where the caption was dropped, for all encoders; the states are then those of the empty caption. A
    caption that only some encoders drop has the states of the empty caption from these. A model with a learned null
    condition uses that instead; any other model can ignore this."""


class TextEncoder(Protocol):
    """``build(options) -> TextEncoder``: a torch module; a frozen one is in eval mode.

    A frozen encoder never changes (no gradients, no dropout), and its states may be cached. A trainable encoder is
    trained, averaged and saved with the model.

    A frozen encoder may load its weights at the first call, and have a method ``release()`` that frees their memory
    until the next call: with a complete cache it is never called. Two more methods serve where states are not cached:
    ``load()`` loads the weights now, on the device of the module, so that processes can share them with
    ``training.shard``, and ``without_weights()`` returns the network on torch's meta device, so that plans count it.

    An encoder whose token states are the last ones of a model of transformers may have a method ``to_transformers()``,
    which returns that model and its tokenizer. It raises :class:`dit_run.problems.NotInDiffusers` with the reason where
    its options make other states. An export then can use a pipeline of diffusers itself.
    """

    trainable: bool
    width: int
    """d, the width of a token state."""
    pooled_width: int
    max_length: int
    """Largest number of tokens of a caption, markers included."""

    def tokenize(self, captions: Sequence[str]) -> Tokens:
        """Return the tokens of one caption or more, padded to the longest of them or to ``max_length``.

        A pure function without parameters, which works in any process, on the CPU. A caption may be empty.
        """
        ...

    def __call__(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return token states, float [n, l, d], and pooled vectors, float [n, pooled_width].

        The states of a caption depend neither on the other captions nor on the amount of padding: the core pads
        further, with id 0 and mask False, up to ``max_length``. Frozen encoders are called without gradients.
        """
        ...

    def fingerprint(self) -> str:
        """Return a hex digest, 16 digits or more, of everything that decides the output: weights, tokenizer, settings.

        Cached states are found by it and by the code of the plugin, which the core adds. Never called for a trainable
        encoder.
        """
        ...
