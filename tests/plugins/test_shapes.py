"""Captioned shapes: what is drawn, what the captions say, and how pictures are read back."""

from __future__ import annotations

import pickle
from hashlib import sha256
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from dit_run.problems import InputError
from dit_run_plugins.datasets.shapes import Shapes
from dit_run_plugins.datasets.shapes.dataset import build, paint, paint_scene
from dit_run_plugins.datasets.shapes.scenes import (
    BACKGROUNDS,
    COLOURS,
    SCENES_VERSION,
    SHAPES,
    Figure,
    Placed,
    Scene,
    held_out_pairs,
    place,
    scene_at,
)
from dit_run_plugins.metrics.shapes import ShapesScore, metric
from dit_run_plugins.metrics.shapes.metric import ShapesMetric, Verdict, chance, judge
from dit_run_plugins.metrics.shapes.scene_recognition import read_scene

INDICES = st.integers(0, 10**9)


def caption(index: int, seed: int) -> str:
    return scene_at(index, seed).caption


def painted(index: int, *, seed: int, size: int) -> Image.Image:
    return paint_scene(scene_at(index, seed), index, seed=seed, size=size)


@given(INDICES, st.integers(0, 2**63))
def test_a_caption_says_all_of_its_scene(index, seed):
    scene = scene_at(index, seed)
    assert Scene.parse(scene.caption) == scene


def test_captions_keep_their_wording():
    assert [caption(index, 0) for index in range(4)] == [
        "a large pink circle on a white background",
        "a small pink square on a white background",
        "a green triangle to the right of a blue triangle on a black background",
        "a large blue square on a white background",
    ]


def test_a_text_that_is_no_caption_is_refused():
    with pytest.raises(ValueError, match="'a red dog'"):
        Scene.parse("a red dog")


def test_one_and_two_figures_are_equally_frequent_and_colours_differ():
    scenes = [scene_at(index, 3) for index in range(4000)]
    pairs = [scene for scene in scenes if len(scene.figures) == 2]
    assert 1880 < len(pairs) < 2120
    assert all(scene.figures[0].colour != scene.figures[1].colour for scene in pairs)
    assert {figure for scene in scenes for figure in scene.figures} == {Figure(c, s) for c in COLOURS for s in SHAPES}


@given(INDICES)
def test_figures_stand_where_the_caption_says(index):
    scene = scene_at(index, 0)
    placed = place(scene, index, 0)
    if scene.size:
        assert placed[0].side == {"small": 0.3, "large": 0.48}[scene.size]
        assert abs(placed[0].x - 0.5) <= 0.12 and abs(placed[0].y - 0.5) <= 0.12
    else:
        centres = {
            "to the left of": (0.27, 0.5),
            "to the right of": (0.73, 0.5),
            "above": (0.5, 0.27),
            "below": (0.5, 0.73),
        }
        x, y = centres[str(scene.relation)]
        assert abs(placed[0].x - x) <= 0.03 and abs(placed[0].y - y) <= 0.03
        assert abs(placed[1].x - (1 - x)) <= 0.03 and abs(placed[1].y - (1 - y)) <= 0.03
        assert placed[0].side == placed[1].side == 0.38


def test_a_square_covers_its_pixels_with_averaged_edges():
    pixels = np.asarray(paint("black", (Placed(Figure("red", "square"), 0.5, 0.5, 9 / 16),), size=16))
    assert pixels.shape == (16, 16, 3)
    assert pixels[8, 8].tolist() == [220, 40, 40]
    assert pixels[0, 0].tolist() == [10, 10, 10]
    assert pixels[8, 3].tolist() == [115, 25, 25]


@pytest.mark.parametrize(
    ("shape", "area"), [("circle", np.pi / 4), ("square", 1), ("triangle", 1 / 2), ("cross", 5 / 9)]
)
def test_shapes_have_their_area(shape, area):
    pixels = np.asarray(paint("black", (Placed(Figure("red", shape), 0.5, 0.5, 0.5),), size=64))[..., 0].astype(float)
    assert ((pixels - 10) / 210).sum() / 32**2 == pytest.approx(area, rel=0.01)


def test_pictures_are_functions_of_seed_and_index():
    assert painted(5, seed=1, size=32).tobytes() == painted(5, seed=1, size=32).tobytes()
    assert painted(5, seed=1, size=32).tobytes() != painted(5, seed=2, size=32).tobytes()
    assert painted(5, seed=1, size=32).tobytes() != painted(6, seed=1, size=32).tobytes()


def test_the_dataset_draws_what_the_functions_draw():
    dataset = build(Shapes(seed=7, size=3), image_size=24)
    samples = pickle.loads(pickle.dumps(list(dataset)))
    assert [sample.captions for sample in samples] == [(caption(index, 7),) for index in range(3)]
    assert [sample.image().tobytes() for sample in samples] == [painted(i, seed=7, size=24).tobytes() for i in range(3)]
    assert len({sample.key for sample in samples}) == len(dataset) == 3


def test_held_out_pairs_are_in_no_picture():
    held_out = held_out_pairs(0.1, 5)
    dataset = build(Shapes(seed=5, held_out_pairs=0.1, size=2000), image_size=8)
    shown = {figure for sample in dataset for figure in Scene.parse(sample.captions[0]).figures}
    assert len(held_out) == 3
    assert len(shown) == 29 and shown.isdisjoint(held_out)


def test_the_identity_is_that_of_the_scenes():
    def of(image_size: int = 8, **options: object) -> str:
        return build(Shapes(**{"size": 50, **options}), image_size=image_size).identity

    assert of() == of(image_size=16)
    assert len({of(), of(size=51), of(seed=1), of(held_out_pairs=0.1)}) == 4
    dataset = build(Shapes(size=50, seed=3), image_size=8)
    assert list(dataset.keys()) == [sample.key for sample in dataset]


def test_other_scenes_have_another_version():
    dataset = build(Shapes(size=1000, held_out_pairs=0.1), image_size=8)
    captions = "\n".join(sample.captions[0] for sample in dataset)
    assert (SCENES_VERSION, sha256(captions.encode()).hexdigest()[:16]) == (1, "57fea0eec26b22d6")


def test_holding_out_all_pairs_is_refused():
    with pytest.raises(InputError, match=r"held_out_pairs 1.0 leaves 0 of 32 pairs"):
        build(Shapes(held_out_pairs=1.0), image_size=8)


@pytest.mark.parametrize("size", [32, 64, 128])
def test_true_pictures_are_read_as_wholly_right(size):
    assert sum(_verdict(index, painted(index, seed=0, size=size)).wholly for index in range(300)) >= 299


@pytest.mark.slow
def test_a_thousand_true_pictures_are_read_as_wholly_right():
    right = sum(_verdict(index, painted(index, seed=0, size=32)).wholly for index in range(1000))
    assert right >= 980


def test_soft_and_noisy_pictures_are_read_as_wholly_right():
    random = np.random.default_rng(0)
    right = 0
    for index in range(200):
        soft = painted(index, seed=0, size=32).filter(ImageFilter.GaussianBlur(0.6))
        noisy = np.asarray(soft) + random.normal(0, 10, (32, 32, 3))
        right += _verdict(index, Image.fromarray(noisy.clip(0, 255).astype(np.uint8))).wholly
    assert right >= 196


def test_a_ragged_blob_has_no_shape():
    random = np.random.default_rng(0)
    radius = 8 + 3.5 * np.sin(5 * np.linspace(-np.pi, np.pi, 360)) + random.normal(0, 0.5, 360)
    y, x = np.mgrid[:32, :32] - 15.5
    inside = np.hypot(x, y) < radius[(np.degrees(np.arctan2(y, x)) + 180).astype(int) % 360]
    blob = np.where(inside[..., None], COLOURS["red"], 10).astype(np.uint8)
    assert [placed.figure for placed in read_scene(Image.fromarray(blob)).figures] == [Figure("red", "unknown")]


def test_the_error_of_a_background_leaves_figures_and_their_edges_out():
    image = np.asarray(painted(100, seed=0, size=32)).astype(np.int16)
    background = np.array(BACKGROUNDS[scene_at(100, 0).background])
    lighter = np.where(image == background, image + (4 if background.max() < 128 else -4), image).astype(np.uint8)
    assert read_scene(Image.fromarray(lighter)).background_error == 4.0


def test_an_empty_picture_has_its_background_and_nothing_else():
    reading = read_scene(Image.new("RGB", (32, 32), (250, 240, 250)))
    off = np.abs(np.subtract(BACKGROUNDS["white"], (250, 240, 250))).mean()
    assert (reading.background, reading.figures, reading.background_error) == ("white", (), pytest.approx(off))


PAIR = Scene("black", (Figure("red", "circle"), Figure("blue", "cross")), relation="above")
RED, BLUE = Placed(PAIR.figures[0], 0.5, 0.3, 0.38), Placed(PAIR.figures[1], 0.5, 0.7, 0.38)


@pytest.mark.parametrize(
    ("background", "figures", "right"),
    [
        ("black", (RED, BLUE), 7),
        ("black", (BLUE, RED), 7),
        ("gray", (RED, BLUE), 6),
        ("black", (Placed(RED.figure, 0.5, 0.8, 0.38), BLUE), 6),
        ("black", (RED, Placed(Figure("pink", "cross"), 0.5, 0.7, 0.38)), 6),
        ("black", (RED,), 3),
        ("black", (), 1),
    ],
)
def test_verdicts_count_what_is_right(background, figures, right):
    assert judge(PAIR, background, figures) == Verdict(right, 7)


def test_the_size_of_a_single_figure_counts():
    scene = Scene("black", (Figure("red", "circle"),), size="large")
    assert judge(scene, "black", (Placed(scene.figures[0], 0.5, 0.5, 0.45),)).wholly
    assert judge(scene, "black", (Placed(scene.figures[0], 0.5, 0.5, 0.33),)) == Verdict(4, 5)


def test_chance_is_what_pictures_of_other_prompts_score():
    assert chance() == pytest.approx(0.31, abs=0.01)


def test_scores_of_true_pictures_are_one():
    scored = ShapesMetric(ShapesScore(count=4), seed=0, first=100, held_out=frozenset())
    images = [painted(index, seed=0, size=32) for index in range(100, 104)]
    assert scored.prompts(4) == [caption(index, 0) for index in range(100, 104)]
    names = ("wholly_right", "attributes_right", "above_chance")
    expected = {name: 1.0 for name in names} | {"background_error": 0.0}
    expected |= {f"{name}/standard_error": 0.0 for name in expected}
    assert scored.score(images, scored.prompts(4)) == expected


def test_scores_of_other_pictures_are_about_chance():
    scored = ShapesMetric(ShapesScore(), seed=0, first=0, held_out=frozenset())
    images = [painted(index + 500, seed=0, size=32) for index in range(200)]
    scores = scored.score(images, scored.prompts(200))
    assert scores["wholly_right"] < 0.02 and abs(scores["above_chance"]) < 0.05
    error = scores["attributes_right/standard_error"]
    assert 0.01 < error < 0.03
    assert scores["above_chance/standard_error"] == pytest.approx(error / (1 - chance()))


def test_held_out_pairs_are_asked_for_and_scored_apart():
    options = Shapes(seed=5, held_out_pairs=0.1, size=50)
    scored = metric.build(ShapesScore(count=12), config=SimpleNamespace(data=SimpleNamespace(options=options)))
    held_out = held_out_pairs(0.1, 5)
    prompts = scored.prompts(scored.count)
    assert [held_out.isdisjoint(Scene.parse(prompt).figures) for prompt in prompts] == [True, False] * 12
    scores = scored.score([Image.new("RGB", (32, 32))] * 24, prompts)
    shares = ("wholly_right", "attributes_right", "above_chance")
    named = {name + score for name in ("", "held_out_") for score in shares} | {"background_error"}
    assert set(scores) == named | {f"{name}/standard_error" for name in named}


def _verdict(index: int, image: Image.Image) -> Verdict:
    reading = read_scene(image)
    return judge(scene_at(index, 0), reading.background, reading.figures)
