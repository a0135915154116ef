"""Visits: what stands at each position, whoever loads it and in whatever pieces."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import replace

import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_parts import Parts

from dit_run.assembly.layout import Layout
from dit_run.data.visits import Visit
from dit_run.model.codec import LatentShape
from dit_run.training.batches import Batch, FeatureVisits, Visits, batches


def visits(parts: Parts, **changes: object) -> Visits:
    train = replace(parts.data.train, common=replace(parts.data.train.common, random_flip=True, crop="random"))
    return replace(Visits(train, 5, LatentShape(3, 1), 0.5), **changes)


class Zeros:
    """Latents of one value."""

    def find(self, visit: Visit) -> int:
        return visit.index

    def gather(self, found: Sequence[int]) -> torch.Tensor:
        return torch.zeros(len(found), 1, 1, 1, 1)


def same(batch: Batch, other: Batch) -> bool:
    return batch[4:] == other[4:] and all(map(torch.equal, batch[:4], other[:4]))


def joined(pieces: Sequence[Batch]) -> Batch:
    tensors = [torch.cat([piece[place] for piece in pieces]) for place in range(4)]
    rest = [sum((piece[place] for piece in pieces), ()) for place in range(4, 8)]
    return Batch(*tensors, *rest)  # type: ignore[arg-type]


@given(cut=st.integers(1, 7))
def test_a_batch_is_the_same_in_any_pieces(parts: Parts, cut: int) -> None:
    pieces = [visits(parts).__getitems__(positions) for positions in (range(50, 50 + cut), range(50 + cut, 58))]
    assert same(joined(pieces), visits(parts).__getitems__(range(50, 58)))


def test_a_batch_is_the_same_in_another_process(parts: Parts) -> None:
    travelled = pickle.loads(pickle.dumps(visits(parts)))
    assert same(travelled.__getitems__(range(9)), visits(parts).__getitems__(range(9)))


def test_each_of_several_encoders_draws_its_own_drops(parts: Parts) -> None:
    plain, batch = visits(parts).__getitems__(range(64)), visits(parts, own_dropout=(0.0, 0.5, 0.5))
    dropped = batch.__getitems__(range(64)).dropped
    assert batch.__getitems__(range(64)).null == plain.null
    assert dropped[0] == (False,) * 64
    assert dropped[1] != dropped[2]
    assert 16 < sum(dropped[1]) < 48


def test_drops_of_the_only_encoder_add_to_those_of_all(parts: Parts) -> None:
    plain, batch = visits(parts).__getitems__(range(64)), visits(parts, own_dropout=(0.5,)).__getitems__(range(64))
    assert batch.dropped == ()
    assert sum(batch.null) > sum(plain.null)
    assert all(mine for mine, joint in zip(batch.null, plain.null, strict=True) if joint)


def test_another_seed_shows_other_noise_timesteps_and_drops(parts: Parts) -> None:
    one, other = (visits(parts, seed=seed).__getitems__(range(16)) for seed in (5, 6))
    assert not torch.equal(one.noise, other.noise)
    assert not torch.equal(one.uniform, other.uniform)
    assert one.null != other.null


def test_captions_are_dropped_at_their_share(parts: Parts) -> None:
    positions = range(2000)
    for share, low, high in ((0.0, 0, 0), (0.1, 160, 240), (1.0, 2000, 2000)):
        still = replace(visits(parts, caption_dropout=share), latent_shape=LatentShape(1, 16))
        drawn = replace(still, latents=Zeros())
        assert low <= sum(drawn.__getitems__(positions).null) <= high


def test_a_run_that_continues_gets_the_rest(parts: Parts) -> None:
    def loaded(first: int) -> list[Batch]:
        return list(batches(visits(parts), Layout(3, 2).micro_batches(first, 4)))

    for batch, other in zip(loaded(0)[4:], loaded(2), strict=True):
        assert same(batch, other)


class Listing(Zeros):
    """Features that list the samples whose features were looked up."""

    def __init__(self) -> None:
        self.found: list[int] = []

    def find(self, visit: Visit) -> int:
        self.found.append(visit.index)
        return visit.index


def test_features_are_read_where_their_objective_acts(parts: Parts) -> None:
    listing = Listing()
    features = {"cached": FeatureVisits(listing, 8, 16), "computed": FeatureVisits(None, 0, float("inf"))}
    chosen = visits(parts, features=features)
    taken = [chosen.__getitems__(range(start, start + 4)).features for start in (0, 4, 8, 12, 16)]
    assert [[*each] for each in taken] == [
        ["computed"],
        ["computed"],
        ["cached", "computed"],
        ["cached", "computed"],
        ["computed"],
    ]
    assert taken[2]["computed"] is None
    assert torch.equal(taken[2]["cached"], torch.zeros(4, 1, 1, 1, 1))
    assert listing.found == [visit.index for visit in chosen.samples.visits(range(8, 16))]
