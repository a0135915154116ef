"""Samples: what stands at a position, and what happens to pictures that cannot be read."""

from __future__ import annotations

import pickle
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from PIL import Image

from dit_run.data.bad_samples import MAX_BAD_SHARE, BadSample, BadSamples
from dit_run.data.samples import choose
from dit_run.problems import InputError
from dit_run.protocols import Sample
from dit_run.registry.kind_options import DatasetCommon


def common(**changes):
    return DatasetCommon(**({"image_size": 8, "num_samples": None, "train_split": 1.0} | changes))


class Folder:
    """Pictures of one grey each, three captions each."""

    def __init__(self, root, count, wide=False):
        self.files = [root / f"{number}.png" for number in range(count)]
        for number, file in enumerate(self.files):
            image = Image.new("L", (24 if wide else 8, 8), number)
            image.paste(255, (0, 0, 4, 8))
            image.save(file)

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        return Sample(self.files[index].name, tuple(f"{index} {place}" for place in "abc"), self.files[index])


@pytest.fixture
def folder(tmp_path):
    return partial(Folder, tmp_path)


def test_an_epoch_shows_every_sample_and_three_epochs_every_caption(folder):
    train, validation = choose(folder(10), common(), seed=1)
    assert validation is None
    visits = train.visits(range(30))
    assert {visit.key for visit in visits[:10]} == {f"{number}.png" for number in range(10)}
    assert {visit.caption for visit in visits} == {f"{number} {place}" for number in range(10) for place in "abc"}


class Weighted(Folder):
    """The captions c, a and b of each picture with the weights 2, 1 and 1."""

    def __getitem__(self, index):
        return replace(super().__getitem__(index), captions=("c", "a", "b"), weights=(2.0, 1.0, 1.0))


def test_weighted_captions_are_used_as_often_as_their_weights_say(tmp_path):
    train, _ = choose(Weighted(tmp_path, 4), common(), seed=1)
    visits = train.visits(range(4 * 100))
    for key in {visit.key for visit in visits}:
        shown = [visit.caption for visit in visits if visit.key == key]
        assert [abs(shown.count(text) - count) <= 3 for text, count in (("c", 50), ("a", 25), ("b", 25))] == [True] * 3
    assert visits[57] == train.visits([57])[0]


def test_training_and_validation_share_no_sample(folder):
    train, validation = choose(folder(30), common(train_split=0.5, num_samples=20), seed=1)
    sides = [{visit.key for visit in side.visits(range(len(side)))} for side in (train, validation)]
    assert not sides[0] & sides[1] and len(sides[0]) + len(sides[1]) == 20


def test_a_visit_depends_on_its_position_alone(folder):
    train, _ = choose(folder(10), common(random_flip=True, crop="random"), seed=1)
    assert train.visits([3, 17, 4])[1] == train.visits([17])[0] == pickle.loads(pickle.dumps(train)).visits([17])[0]


def test_pixels_are_those_of_the_file(folder):
    train, _ = choose(folder(10), common(), seed=1)
    visit = train.visits([0])[0]
    pixels = train.pixels(visit)
    assert (pixels[:, :4] == 255).all() and (pixels[:, 4:] == visit.index).all()


def test_half_of_the_visits_are_mirrored_when_asked(folder):
    train, _ = choose(folder(4), common(random_flip=True), seed=1)
    visits = train.visits(range(400))
    assert 150 < sum(visit.flip for visit in visits) < 250
    mirrored = next(visit for visit in visits if visit.flip)
    assert (train.pixels(mirrored)[:, 4:] == 255).all()
    assert not any(visit.flip for visit in choose(folder(4), common(), seed=1)[0].visits(range(400)))


def test_a_random_square_lies_elsewhere_at_each_visit(folder):
    train, _ = choose(folder(2, wide=True), common(crop="random"), seed=1)
    visits = train.visits(range(100))
    assert len({visit.offset for visit in visits}) == 100
    assert len({train.pixels(visit)[0, :, 0].tobytes() for visit in visits}) > 4
    assert {visit.offset for visit in choose(folder(2), common(), seed=1)[0].visits(range(9))} == {0.5}


def test_an_empty_dataset_is_refused(folder):
    with pytest.raises(InputError, match=r"the dataset has no samples \(data\)"):
        choose(folder(0), common(), seed=1)


def test_a_bad_sample_ends_the_run_by_name_and_says_how_to_go_on(folder):
    dataset = folder(5)
    dataset.files[2].write_bytes(b"no image")
    train, _ = choose(dataset, common(), seed=1)
    with pytest.raises(InputError, match=r"2\.png: expected JPEG[\s\S]*data\.on_bad_sample=skip"):
        train.read(range(5), train.pixels)


def test_a_bad_sample_gives_way_to_the_one_that_comes_next(folder):
    dataset = folder(5)
    healthy, _ = choose(dataset, common(on_bad_sample="skip"), seed=1)
    before = healthy.read(range(5), healthy.pixels)
    assert before.bad == ()
    bad = before.visits[2]
    dataset.files[bad.index].write_bytes(b"no image")
    after = healthy.read(range(5), healthy.pixels)
    keys = [visit.key for visit in before.visits]
    assert [visit.key for visit in after.visits] == [*keys[:2], keys[3], *keys[3:]]
    assert [sample.key for sample in after.bad] == [bad.key]
    assert "expected JPEG" in after.bad[0].reason
    assert np.array_equal(after.values[2][:, 4:], np.full((8, 4, 3), after.visits[2].index))


def test_the_stand_in_of_the_last_in_an_epoch_is_the_first_of_it(folder):
    dataset = folder(5)
    train, _ = choose(dataset, common(on_bad_sample="skip"), seed=1)
    first, *_, last = train.visits(range(5))
    dataset.files[last.index].unlink()
    assert train.read([4], train.pixels).visits == [first]


def test_skipping_does_not_depend_on_how_positions_are_grouped(folder):
    dataset = folder(6)
    for number in (1, 4):
        dataset.files[number].unlink()
    train, _ = choose(dataset, common(on_bad_sample="skip"), seed=3)
    together = train.read(range(12), train.pixels).visits
    assert together == [train.read([position], train.pixels).visits[0] for position in range(12)]
    assert not {visit.index for visit in together} & {1, 4}


def test_kept_latents_that_cannot_be_had_are_skipped_in_the_same_way(folder):
    train, _ = choose(folder(4), common(on_bad_sample="skip"), seed=1)

    def fetch(visit):
        if visit.index == 2:
            raise InputError("2 has no latents")
        return visit.index

    reading = train.read(range(4), fetch)
    assert 2 not in reading.values and reading.bad == (BadSample("2.png", "2 has no latents"),)


def test_where_no_sample_can_be_read_the_run_ends(folder):
    dataset = folder(3)
    for file in dataset.files:
        file.unlink()
    train, _ = choose(dataset, common(on_bad_sample="skip"), seed=1)
    with pytest.raises(InputError, match="none of the 3 samples can be read"):
        train.read([0], train.pixels)


def test_too_many_bad_samples_end_the_run():
    assert MAX_BAD_SHARE == 0.05
    bad = BadSamples(40)
    assert bad.add([BadSample("a", "broken"), BadSample("a", "broken")]) == (BadSample("a", "broken"),)
    assert bad.add([BadSample("a", "broken"), BadSample("b", "cut")]) == (BadSample("b", "cut"),)
    with pytest.raises(InputError, match=r"3 of 40 samples cannot be read, more than 5%: broken; cut; gone"):
        bad.add([BadSample("c", "gone")])


def test_one_bad_sample_is_always_allowed():
    assert BadSamples(2).add([BadSample("a", "broken")]) == (BadSample("a", "broken"),)
