"""Text encoders that break one promise each."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from typing import Any

import torch
from faults import fault, keep
from torch import Tensor, nn

from dit_run.protocols import Tokens
from dit_run.registry.components import Kind

KIND = Kind.TEXT_ENCODER


class Letters(nn.Module):
    """An embedding of each character, and their mean; a test breaks a part of it."""

    trainable = False
    width, pooled_width, max_length = 8, 8, 80
    start: tuple[int, ...] = (1,)

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(256, 8)

    def ids(self, caption: str) -> list[int]:
        return [*self.start, *(2 + ord(letter) % 250 for letter in caption)][: self.max_length]

    def tokenize(self, captions: Sequence[str]) -> Any:
        rows = [self.ids(caption) for caption in captions]
        longest = max(len(row) for row in rows)
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        truncated = sum(len(caption) >= self.max_length for caption in captions)
        return Tokens(ids, torch.tensor([[i < len(row) for i in range(longest)] for row in rows]), truncated)

    def forward(self, ids: Tensor, mask: Tensor) -> Any:
        states = self.table(ids)
        weights = mask[..., None].float()
        return states, (states * weights).sum(1) / weights.sum(1)

    def fingerprint(self) -> Any:
        data = b"".join(value.numpy().tobytes() for value in self.state_dict().values())
        return hashlib.sha256(data).hexdigest()


class Trainable(Letters):
    trainable = True


def test_a_frozen_encoder_keeps_the_contract() -> None:
    keep(KIND, lambda options: Letters())


def test_a_trainable_encoder_keeps_the_contract() -> None:
    keep(KIND, lambda options: Trainable())


def broken(cls: type[nn.Module]) -> str:
    return fault(KIND, lambda options: cls())


def test_something_that_is_no_module() -> None:
    assert fault(KIND, lambda options: "letters") == "the factory returned str; return a torch.nn.Module"


def test_a_missing_attribute() -> None:
    class Short(nn.Linear):
        trainable = False

    message = fault(KIND, lambda options: Short(1, 1))
    assert message == "TextEncoder.width is missing; set it to a whole number (dit_run.protocols.TextEncoder)"


def test_an_attribute_of_another_type() -> None:
    class Wide(Letters):
        width = "8"  # type: ignore[assignment]

    assert broken(Wide) == "TextEncoder.width is '8'; set it to a whole number (dit_run.protocols.TextEncoder)"


def test_a_dictionary_of_tokens() -> None:
    class Mapped(Letters):
        def tokenize(self, captions: Sequence[str]) -> Any:
            return super().tokenize(captions)._asdict()

    assert broken(Mapped) == "tokenize() returned dict; return dit_run.protocols.Tokens(ids, mask, truncated)"


def test_ids_of_another_dtype() -> None:
    class Small(Letters):
        def tokenize(self, captions: Sequence[str]) -> Any:
            tokens = super().tokenize(captions)
            return tokens._replace(ids=tokens.ids.int())

    assert broken(Small) == "tokenize().ids: return [3, 67] torch.int64, not [3, 67] torch.int32"


def test_a_mask_that_is_not_boolean() -> None:
    class Counted(Letters):
        def tokenize(self, captions: Sequence[str]) -> Any:
            tokens = super().tokenize(captions)
            return tokens._replace(mask=tokens.mask.long())

    assert broken(Counted) == "tokenize().mask: return [3, 67] torch.bool, not [3, 67] torch.int64"


def test_more_tokens_than_it_says() -> None:
    class Long(Letters):
        max_length = 16

        def ids(self, caption: str) -> list[int]:
            return [1, *(2 for _ in caption)]

    assert broken(Long) == "tokenize() returns 67 tokens; cut captions to max_length 16"


def test_an_empty_caption_without_token() -> None:
    class Bare(Letters):
        start = ()

    assert broken(Bare) == (
        "the caption '' has no token; add at least a start marker, because guidance needs the empty caption"
    )


def test_padding_at_the_start() -> None:
    class Left(Letters):
        def tokenize(self, captions: Sequence[str]) -> Any:
            tokens = super().tokenize(captions)
            return tokens._replace(ids=tokens.ids.flip(1), mask=tokens.mask.flip(1))

    assert broken(Left) == "the mask of 'a red circle' has gaps; put padding at the end"


def test_captions_that_are_not_cut() -> None:
    class Endless(Letters):
        def ids(self, caption: str) -> list[int]:
            return [1, *(2 + ord(letter) % 250 for letter in caption)]

    assert broken(Endless) == "a caption of 5000 words has 25001 tokens; cut it to max_length 80"


def test_cut_captions_that_are_not_counted() -> None:
    class Silent(Letters):
        def tokenize(self, captions: Sequence[str]) -> Any:
            return super().tokenize(captions)._replace(truncated=0)

    assert broken(Silent) == (
        "truncated is 0 for one long and one short caption; return the number of captions that were cut"
    )


def test_states_without_pooled_vectors() -> None:
    class Single(Letters):
        def forward(self, ids: Tensor, mask: Tensor) -> Any:
            return super().forward(ids, mask)[0]

    assert broken(Single) == "the encoder returned Tensor; return (token states, pooled vectors)"


def test_states_of_another_width() -> None:
    class Narrow(Letters):
        def forward(self, ids: Tensor, mask: Tensor) -> Any:
            states, pooled = super().forward(ids, mask)
            return states[..., :4], pooled

    assert broken(Narrow) == "the token states: return [3, 67, 8] torch.float32, not [3, 67, 4] torch.float32"


def test_pooled_vectors_that_are_not_finite() -> None:
    class Infinite(Letters):
        def forward(self, ids: Tensor, mask: Tensor) -> Any:
            states, pooled = super().forward(ids, mask)
            return states, pooled / 0

    assert broken(Infinite) == "the pooled vectors: some values are not finite"


def test_pooled_vectors_that_say_nothing() -> None:
    class Constant(Letters):
        def forward(self, ids: Tensor, mask: Tensor) -> Any:
            states, pooled = super().forward(ids, mask)
            return states, torch.ones_like(pooled)

    assert broken(Constant) == (
        "the captions 'a red circle' and 'a green square to the left of a yellow cross on a white background' have the "
        "same pooled vector; compute it from the tokens"
    )


def test_dropout_in_eval_mode() -> None:
    class Dropping(Letters):
        def forward(self, ids: Tensor, mask: Tensor) -> Any:
            states, pooled = super().forward(ids, mask)
            return torch.dropout(states, 0.5, True), pooled

    assert (
        broken(Dropping) == "a second call gives other states; disable dropout in eval mode, and use no random numbers"
    )


def test_pooling_over_padding() -> None:
    class Padded(Letters):
        def forward(self, ids: Tensor, mask: Tensor) -> Any:
            states, _ = super().forward(ids, mask)
            return states, states.mean(1)

    assert broken(Padded) == (
        "the states of 'a red circle' differ when other captions are in the batch; "
        "apply the mask in attention and in pooling"
    )


def test_a_frozen_encoder_that_changes() -> None:
    class Counting(Letters):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, ids: Tensor, mask: Tensor) -> Any:
            self.calls += 1
            return super().forward(ids, mask)

    assert broken(Counting) == (
        "'calls' changed while it encoded; a frozen encoder keeps its parameters and buffers (no running statistics)"
    )


def test_a_frozen_encoder_with_gradients() -> None:
    class Lazy(Letters):
        def forward(self, ids: Tensor, mask: Tensor) -> Any:
            self.requires_grad_(True)
            return super().forward(ids, mask)

    assert broken(Lazy) == (
        "trainable is False, but its states carry gradients; if weights are loaded at the first call, freeze them there"
    )


def test_a_parameter_that_never_trains() -> None:
    class Unused(Trainable):
        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Parameter(torch.zeros(3))

    assert broken(Unused) == (
        "trainable is True, but parameter 'unused' gets no gradient; use it, or freeze it with requires_grad_(False)"
    )


def test_no_fingerprint() -> None:
    class Nameless(Letters):
        fingerprint = None  # type: ignore[assignment]

    assert broken(Nameless) == (
        "TextEncoder.fingerprint() is missing; return a hex digest of everything that affects the output"
    )


def test_a_fingerprint_that_is_no_digest() -> None:
    class Named(Letters):
        def fingerprint(self) -> Any:
            return "letters"

    assert broken(Named) == ("fingerprint() is 'letters'; return at least 16 hex digits, such as hashlib's hexdigest()")


def test_a_fingerprint_that_changes() -> None:
    class Fickle(Letters):
        def fingerprint(self) -> Any:
            return f"{id(self):032x}"

    assert re.fullmatch(
        r"fingerprint\(\) is [0-9a-f]{12}… and [0-9a-f]{12}… for two equal builds; "
        r"cached results would never be found again",
        broken(Fickle),
    )


def test_a_fingerprint_that_leaves_the_weights_out() -> None:
    class Partial(Letters):
        def fingerprint(self) -> Any:
            return hashlib.sha256(b"letters").hexdigest()

    assert broken(Partial) == (
        "two builds with different random weights give different output but the same fingerprint(), so "
        "cached results would be stale; include the weights in the digest"
    )


def test_one_that_cannot_be_pickled() -> None:
    class Local(Letters):
        pass

    message = broken(Local)
    assert message.startswith("it does not tokenize in a worker process: ")
    assert message.endswith(
        "; store nothing that cannot be pickled, and if the class is defined inside build(), add a "
        "__reduce__ that returns (build, (options,))"
    )


class Hashing(Letters):
    """Ids as from Python's hash, which is salted in each process, but never the same for two captions."""

    def ids(self, caption: str) -> list[int]:
        digest = hashlib.sha256(f"{os.getpid()} {caption}".encode()).digest()
        return [1, *(2 + byte % 250 for byte in digest[:8])]

    def tokenize(self, captions: Sequence[str]) -> Any:
        tokens = super().tokenize(captions)
        return tokens._replace(truncated=sum(len(caption) > 1000 for caption in captions))


def test_other_tokens_in_another_process() -> None:
    assert fault(KIND, lambda options: Hashing()) == (
        "a worker process gets other tokens; do not use hash(), which differs between processes"
    )


def test_a_mean_over_padding_of_a_fixed_length() -> None:
    class Fixed(Letters):
        def tokenize(self, captions: Sequence[str]) -> Any:
            tokens = super().tokenize(captions)
            missing = (0, max(0, 75 - tokens.ids.shape[1]))
            return tokens._replace(
                ids=nn.functional.pad(tokens.ids, missing), mask=nn.functional.pad(tokens.mask, missing)
            )

        def forward(self, ids: Tensor, mask: Tensor) -> Any:
            states = self.table(ids)
            return states, (states * mask[..., None].float()).mean(1)

    assert broken(Fixed) == (
        "the states of a caption differ when it is padded to max_length; apply the mask in attention and in pooling"
    )
