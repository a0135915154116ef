"""The contract of a text encoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from dit_run.protocols import TextEncoder, Tokens
from dit_run.registry.components import Component, Kind
from dit_run.testing.contract_error import Check, Subject, check_all
from dit_run.testing.torch_modules import (
    built,
    close,
    expect_covering_fingerprint,
    expect_fingerprint,
    expect_tensor,
    expect_unchanged,
    snapshot,
)
from dit_run.testing.worker_process import OtherProcess, elsewhere

__all__ = ["CHECKS", "check_text_encoder"]

CAPTIONS = (
    "a red circle",
    "a green square to the left of a yellow cross on a white background",
    "",
)
_LONG = "word " * 5000


def check_text_encoder(component: Component | str | Path, **options: Any) -> None:
    """Test a text encoder with these options: tokens, shapes, masks, and that a frozen encoder never changes.

    ``component`` is a Component, the type of an installed one, or the path of a plugin file. Raises ContractError, and
    InputError as the factory does.
    """
    check_all(Subject.of(Kind.TEXT_ENCODER, component, options), CHECKS)


def _make(subject: Subject, seed: int = 0) -> TextEncoder:
    """Return the encoder in the state that a run uses: eval mode, and without gradients if it is frozen."""
    module = built(subject, seed=seed)
    for name, kind in (("trainable", bool), ("width", int), ("pooled_width", int), ("max_length", int)):
        subject.attribute(module, name, kind, "TextEncoder")
    if not module.trainable:
        module.requires_grad_(False)
    return cast(TextEncoder, module.eval())


def _tokens(encoder: TextEncoder, captions: Sequence[str]) -> Tokens:
    return encoder.tokenize(list(captions))


def _states(encoder: TextEncoder, captions: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
    """Return token states [n, length, width], mask [n, length] and pooled vectors [n, pooled_width]."""
    tokens = _tokens(encoder, captions)
    states, pooled = encoder(tokens.ids, tokens.mask)
    return states, tokens.mask, pooled


def tokenizes(subject: Subject) -> None:
    """Check that tokenize() returns ids and a mask, with at least one token per caption and padding at the end."""
    encoder = _make(subject)
    tokens = _tokens(encoder, CAPTIONS)
    subject.expect(
        isinstance(tokens, Tokens),
        f"tokenize() returned {type(tokens).__name__}; return dit_run.protocols.Tokens(ids, mask, truncated)",
    )
    length = tokens.ids.shape[-1] if isinstance(tokens.ids, Tensor) else 0
    shape = (len(CAPTIONS), length)
    expect_tensor(subject, "tokenize().ids", tokens.ids, shape, torch.int64)
    mask = expect_tensor(subject, "tokenize().mask", tokens.mask, shape, torch.bool)
    subject.expect(
        length <= encoder.max_length,
        f"tokenize() returns {length} tokens; cut captions to max_length {encoder.max_length}",
    )
    for caption, row in zip(CAPTIONS, mask, strict=True):
        real = int(row.sum())
        subject.expect(
            real > 0,
            f"the caption {caption!r} has no token; add at least a start marker, because guidance needs the "
            "empty caption",
        )
        subject.expect(bool(row[:real].all()), f"the mask of {caption!r} has gaps; put padding at the end")


def cuts_long_captions(subject: Subject) -> None:
    """Check that longer captions are cut to max_length and counted."""
    encoder = _make(subject)
    tokens = _tokens(encoder, ["a", _LONG])
    length = int(tokens.mask[1].sum())
    subject.expect(
        length <= encoder.max_length,
        f"a caption of 5000 words has {length} tokens; cut it to max_length {encoder.max_length}",
    )
    subject.expect(
        tokens.truncated == 1,
        f"truncated is {tokens.truncated} for one long and one short caption; "
        "return the number of captions that were cut",
    )


def gives_states(subject: Subject) -> None:
    """Check that it returns float32 states of its width, and pooled vectors."""
    encoder = _make(subject)
    tokens = _tokens(encoder, CAPTIONS)
    answer = encoder(tokens.ids, tokens.mask)
    subject.expect(
        isinstance(answer, tuple) and len(answer) == 2,
        f"the encoder returned {type(answer).__name__}; return (token states, pooled vectors)",
    )
    count, length = tokens.ids.shape
    expect_tensor(subject, "the token states", answer[0], (count, length, encoder.width), torch.float32)
    pooled = expect_tensor(subject, "the pooled vectors", answer[1], (count, encoder.pooled_width), torch.float32)
    subject.expect(
        not close(pooled[0], pooled[1]),
        f"the captions {CAPTIONS[0]!r} and {CAPTIONS[1]!r} have the same pooled vector; compute it from the tokens",
    )


def sees_each_caption_alone(subject: Subject) -> None:
    """Check that the states of a caption depend on no other caption and on no padding."""
    encoder = _make(subject)
    states, mask, pooled = _states(encoder, CAPTIONS)
    for row, caption in enumerate(CAPTIONS):
        alone, own, alone_pooled = _states(encoder, [caption])
        subject.expect(
            close(states[row][mask[row]], alone[0][own[0]]) and close(pooled[row], alone_pooled[0]),
            f"the states of {caption!r} differ when other captions are in the batch; "
            "apply the mask in attention and in pooling",
        )


@torch.no_grad()
def ignores_padding(subject: Subject) -> None:
    """Check that padding up to max_length, with id 0, changes no states."""
    encoder = _make(subject)
    tokens = _tokens(encoder, CAPTIONS)
    padding = (0, encoder.max_length - tokens.ids.shape[1])
    ids, mask = (nn.functional.pad(each, padding) for each in (tokens.ids, tokens.mask))
    (states, pooled), (padded, padded_pooled) = encoder(tokens.ids, tokens.mask), encoder(ids, mask)
    subject.expect(
        close(states[tokens.mask], padded[mask]) and close(pooled, padded_pooled),
        "the states of a caption differ when it is padded to max_length; apply the mask in attention and in pooling",
    )


def repeats_itself(subject: Subject) -> None:
    """Check that the same caption gives the same states again."""
    encoder = _make(subject)
    (one, _, _), (other, _, _) = _states(encoder, CAPTIONS), _states(encoder, CAPTIONS)
    subject.expect(
        torch.equal(one, other),
        "a second call gives other states; disable dropout in eval mode, and use no random numbers",
    )


def is_frozen_or_trains(subject: Subject) -> None:
    """Check that a frozen encoder never changes, and that each parameter of a trainable one gets a gradient."""
    encoder = _make(subject)
    module = cast(nn.Module, encoder)
    if not encoder.trainable:
        _stays_frozen(subject, encoder, module)
        return
    states, mask, pooled = _states(encoder, CAPTIONS)
    (states[mask].square().sum() + pooled.square().sum()).backward()  # type: ignore[no-untyped-call]
    for name, parameter in module.named_parameters():
        subject.expect(
            not parameter.requires_grad or parameter.grad is not None,
            f"trainable is True, but parameter {name!r} gets no gradient; "
            "use it, or freeze it with requires_grad_(False)",
        )


def _stays_frozen(subject: Subject, encoder: TextEncoder, module: nn.Module) -> None:
    _states(encoder, CAPTIONS)
    before = snapshot(module)
    for _ in range(2):
        states, _, pooled = _states(encoder, CAPTIONS)
        subject.expect(
            not states.requires_grad and not pooled.requires_grad,
            "trainable is False, but its states carry gradients; "
            "if weights are loaded at the first call, freeze them there",
        )
    expect_unchanged(subject, module, before, "while it encoded")


def has_a_fingerprint(subject: Subject) -> None:
    """Check that two builds of a frozen encoder have the same fingerprint, and other weights have another."""
    one, other = _make(subject), _make(subject)
    if not one.trainable:
        expect_fingerprint(subject, one, other, "TextEncoder")
        third = _make(subject, seed=1)
        expect_covering_fingerprint(subject, one, third, [_states(each, CAPTIONS)[0] for each in (one, third)])


def tokenizes_in_another_process(subject: Subject) -> None:
    """Check that a worker process gets the same tokens."""
    encoder = _make(subject)
    try:
        ids, mask = elsewhere(_there, encoder, CAPTIONS, files=subject.files)
    except OtherProcess as error:
        subject.fail(
            f"it does not tokenize in a worker process: {error}; "
            "store nothing that cannot be pickled, and if the class is defined inside build(), add a "
            "__reduce__ that returns (build, (options,))"
        )
    tokens = _tokens(encoder, CAPTIONS)
    subject.expect(
        torch.equal(tokens.ids, torch.tensor(ids)) and torch.equal(tokens.mask, torch.tensor(mask)),
        "a worker process gets other tokens; do not use hash(), which differs between processes",
    )


def _there(encoder: TextEncoder, captions: Sequence[str]) -> tuple[list[Any], list[Any]]:
    tokens = _tokens(encoder, captions)
    return tokens.ids.tolist(), tokens.mask.tolist()


CHECKS: tuple[Check, ...] = (
    tokenizes,
    cuts_long_captions,
    gives_states,
    repeats_itself,
    sees_each_caption_alone,
    ignores_padding,
    is_frozen_or_trains,
    has_a_fingerprint,
    tokenizes_in_another_process,
)
