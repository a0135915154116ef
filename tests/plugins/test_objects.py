"""objects: requests, their answers, and the detector that sees them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from builders import tiny_clip_pair, tiny_detector
from PIL import Image

from dit_run import load_config
from dit_run.hub import Pretrained
from dit_run.problems import InputError
from dit_run.settings import Config
from dit_run_plugins.metrics.objects import Objects
from dit_run_plugins.metrics.objects.detector import Detector
from dit_run_plugins.metrics.objects.metric import build
from dit_run_plugins.metrics.objects.requests import FORMS, Detection, Request, request_at

CPU = torch.device("cpu")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    path = tmp_path / "c.yaml"
    path.write_text("data: {type: shapes}\nmodel: {in_channels: 3, out_channels: 3}\nvae: {type: identity}\n")
    return load_config(path, "training.device=cpu")


def at(label: str, x: float, y: float, confidence: float = 0.9) -> Detection:
    return Detection(label, confidence, (x, y, 0.2, 0.2))


def images(count: int) -> list[Image.Image]:
    generator = np.random.default_rng(0)
    return [Image.fromarray(generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)) for _ in range(count)]


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (Request("one_object", "apple"), "a photo of an apple"),
        (Request("two_objects", "dog", "oven"), "a photo of a dog and an oven"),
        (Request("number", "bus", number=2), "a photo of two buses"),
        (Request("number", "person", number=4), "a photo of four people"),
        (Request("place", "dog", "cat", relation="left of"), "a photo of a dog left of a cat"),
    ],
)
def test_a_request_is_a_sentence(request_: Request, text: str) -> None:
    assert request_.text == text


def test_forms_take_turns_and_never_change() -> None:
    requests = [request_at(index, ["cat", "dog", "bus"]) for index in range(40)]
    assert [each.form for each in requests] == [*FORMS] * 10
    assert requests == [request_at(index, ["cat", "dog", "bus"]) for index in range(40)]
    assert len({each.text for each in requests}) >= 20
    assert all(each.first != each.second for each in requests)


@pytest.mark.parametrize(
    ("asked", "seen", "shown"),
    [
        (Request("one_object", "dog"), [at("dog", 0.5, 0.5), at("cat", 0.5, 0.5)], True),
        (Request("one_object", "dog"), [at("cat", 0.5, 0.5)], False),
        (Request("two_objects", "dog", "cat"), [at("dog", 0.5, 0.5)], False),
        (Request("two_objects", "dog", "cat"), [at("cat", 0.5, 0.5), at("dog", 0.5, 0.5)], True),
        (Request("number", "dog", number=2), [at("dog", 0.2, 0.5), at("dog", 0.8, 0.5), at("cat", 0.5, 0.5)], True),
        (Request("number", "dog", number=2), [at("dog", 0.2, 0.5)] * 3, False),
        (Request("number", "dog", number=2), [], False),
    ],
)
def test_an_image_shows_the_objects_that_are_asked_for(asked: Request, seen: list[Detection], shown: bool) -> None:
    assert asked.is_shown(seen) is shown


@pytest.mark.parametrize(
    ("x", "y", "relations"),
    [
        (0.2, 0.5, {"left of"}),
        (0.8, 0.5, {"right of"}),
        (0.5, 0.2, {"above"}),
        (0.5, 0.8, {"below"}),
        (0.2, 0.2, {"left of", "above"}),
        (0.52, 0.5, set()),
    ],
)
def test_the_place_of_an_object_is_that_of_the_surest_of_its_class(x: float, y: float, relations: set[str]) -> None:
    seen = [at("dog", x, y), at("cat", 0.5, 0.5), at("dog", 1 - x, 1 - y, 0.6)]
    asked = (Request("place", "dog", "cat", relation=each) for each in ("left of", "right of", "above", "below"))
    assert {each.relation for each in asked if each.is_shown(seen)} == relations


def test_a_detector_sees_what_transformers_makes_of_the_same_output(tmp_path: Path) -> None:
    from transformers import YolosForObjectDetection

    folder = tiny_detector(tmp_path / "finder", seed=1)
    (found,) = Detector(Pretrained(str(folder), "key"), CPU).seen(images(1), 0.5)
    pixels = torch.from_numpy((np.asarray(images(1)[0], dtype=np.float32) / 255 - 0.5) / 0.25).permute(2, 0, 1)[None]
    with torch.no_grad():
        output = YolosForObjectDetection.from_pretrained(folder)(pixel_values=pixels)
    expected = output.logits.softmax(-1)[0, :, 1].tolist()
    assert [each.label for each in found] == ["dog"] * 3
    assert [each.confidence for each in found] == pytest.approx(expected, rel=1e-4)
    assert [each.box for each in found] == [pytest.approx(box, rel=1e-3) for box in output.pred_boxes[0].tolist()]


def test_less_sure_objects_do_not_count(tmp_path: Path) -> None:
    detector = Detector(Pretrained(str(tiny_detector(tmp_path / "finder")), "key"), CPU)
    assert [len(found) for found in detector.seen(images(2), 0.0)] == [3, 3]
    assert detector.seen(images(2), 1.0) == [[], []]


def test_a_detector_without_a_class_for_nothing_has_confidences_of_its_own(tmp_path: Path) -> None:
    folder = tiny_detector(tmp_path / "finder")
    values = json.loads((folder / "config.json").read_text())
    values["id2label"]["2"] = "N/A"
    (folder / "config.json").write_text(json.dumps(values))
    detector = Detector(Pretrained(str(folder), "key"), CPU)
    assert detector.classes == ["cat", "dog"]
    logits = torch.tensor([[[0.0, 2.0, -1.0]]])
    torch.testing.assert_close(detector._confidences(logits), logits.sigmoid())


def test_scores_are_named_after_their_source_and_form(tmp_path: Path, config: Config) -> None:
    metric = build(Objects(pretrained_model_name=str(tiny_detector(tmp_path / "finder")), count=8), config=config)
    prompts = metric.prompts(8)
    scores = metric.score(images(8), prompts)
    requests = [request_at(index, ["cat", "dog"]) for index in range(8)]
    of_one = [each.first == "cat" for each in requests if each.form == "one_object"]
    three = [each.first == "cat" and each.number == 3 for each in requests if each.form == "number"]
    assert scores["finder_n8/one_object"] == sum(of_one) / 2
    assert scores["finder_n8/two_objects"] == scores["finder_n8/place"] == 0
    assert scores["finder_n8"] == (sum(of_one) + sum(three)) / 8
    assert "finder_n8/standard_error" in scores


def test_prompts_of_another_source_are_an_error(tmp_path: Path, config: Config) -> None:
    metric = build(Objects(pretrained_model_name=str(tiny_detector(tmp_path / "finder"))), config=config)
    with pytest.raises(ValueError, match="not those of this metric"):
        metric.score(images(1), ["a photo of a unicorn"])


def test_what_is_no_detector_is_refused(tmp_path: Path, config: Config) -> None:
    with pytest.raises(InputError, match=r"metrics \(objects\)\.pretrained_model_name.*0 classes of objects"):
        build(Objects(pretrained_model_name=str(tiny_clip_pair(tmp_path / "clip"))), config=config)
