"""Models of timm as far as their config.json goes, which needs no timm; test_timm_models.py has the models."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from dit_run.hub import Pretrained
from dit_run.problems import InputError
from dit_run_plugins.metrics.preprocessing import Preprocessing
from dit_run_plugins.metrics.vision_models import VisionModel
from dit_run_plugins.objectives.image_features import ImageFeatures
from dit_run_plugins.timm_models import TimmInput

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def written(**values: Any) -> TimmInput:
    return TimmInput.of(Pretrained("owner/net", "key"), {"architecture": "some", "pretrained_cfg": values})


def test_the_preprocessing_of_a_config_is_read() -> None:
    found = written(
        input_size=[3, 240, 240], crop_pct=0.95, interpolation="bilinear", mean=[0.1, 0.2, 0.3], std=[1, 2, 3]
    )
    assert found == TimmInput(240, 252, Image.Resampling.BILINEAR, (0.1, 0.2, 0.3), (1.0, 2.0, 3.0))


def test_values_that_are_missing_are_those_of_timm() -> None:
    assert written(crop_pct=None) == TimmInput(224, 256, Image.Resampling.BICUBIC, MEAN, STD)


@pytest.mark.parametrize(("share", "place"), [(0.95, 6), (0.98, 2), (1.0, 0)])
def test_the_place_of_the_crop_is_rounded_as_timm_does(share: float, place: int) -> None:
    """224 of 235 pixels leave 11, and half of 11 is rounded up to 6; transformers rounds it down."""
    found = Preprocessing.of_timm(written(crop_pct=share))
    assert (found.crop, found.edge) == (224, place)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"input_size": [3, 224, 112]}, r"input_size \[3, 224, 112\] is not that of square images in colour"),
        ({"input_size": [1, 28, 28]}, r"input_size \[1, 28, 28\] is not that of square images in colour"),
        ({"mean": [0.5]}, r"mean \(0\.5,\) and std \(0\.229, 0\.224, 0\.225\) are not 3 numbers each"),
        ({"interpolation": "random"}, "KeyError"),
        ({"crop_pct": 0}, "ZeroDivisionError"),
        ({"mean": "none"}, "ValueError"),
    ],
)
def test_values_that_are_not_usable_are_refused(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(
        InputError, match=rf"key: owner/net has a config\.json of timm without usable values: .*{reason}"
    ):
        written(**values)


def features(folder: Path) -> object:
    return ImageFeatures(Pretrained(str(folder), "key"), 16)


def scores(folder: Path) -> object:
    return VisionModel(Pretrained(str(folder), "key"), torch.device("cpu"))


@pytest.mark.parametrize("use", [features, scores])
@pytest.mark.parametrize(
    "failure",
    [
        "ModuleNotFoundError(\"No module named 'torchvision'\")",
        "RuntimeError('operator torchvision::nms does not exist')",
        "OSError('libcudart.so.13: cannot open shared object file')",
    ],
)
def test_a_timm_that_does_not_import_is_named_with_its_error(
    use: Callable[[Path], object], failure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "timm.py").write_text(f"raise {failure}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    folder = tmp_path / "net"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"architecture": "test_vit", "pretrained_cfg": {}}))
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(InputError) as raised:
        use(folder)
    reason = failure.partition("(")[2][1:-2]
    assert str(raised.value) == (
        f"key: {folder} is a model of timm, and the package timm cannot be imported ({reason}): pip install "
        f"'dit-run[timm]'. It needs the torchvision that was built for torch {torch.__version__}, from the same "
        "index of packages"
    )
