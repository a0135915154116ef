"""The report about the data of a config: statistics, and the samples that deserve a look."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from dit_run.assembly.prepare import prepare
from dit_run.data.aspect_buckets import Size
from dit_run.data.inventory import Inventory
from dit_run.data.samples import Samples
from dit_run.settings import Config
from dit_run.survey.duplicates import duplicates
from dit_run.survey.statistics import ImageStatistics, TextStatistics

__all__ = ["DataReport", "report_data"]


@dataclass(frozen=True)
class DataReport:
    """Statistics of the samples that a run uses, and the findings in them."""

    samples: Samples
    """Training samples; the dataset is that of all."""
    held_out: int
    """Samples held out for validation (number)."""
    inventory: Inventory
    fit: tuple[str, ...]
    """Lines about the sizes that images are trained at; none for squares of all images."""
    images: ImageStatistics
    texts: tuple[TextStatistics, ...]
    """Tokens of the captions for each text encoder."""
    duplicates: list[list[int]]
    """Samples with the same content, by index in the dataset."""
    sizes: list[Size]
    """Height and width at which each image in ``images`` is trained on."""
    cropped: NDArray[np.float64]
    """Share of the area of each image in ``images`` that is cropped."""


def report_data(config: Config) -> DataReport:
    """Read the data of a config as a run does. Raises InputError as a run would."""
    config, data, encoders = prepare(config, device=torch.device("cpu"))
    parts = [each for each in (data.train, data.validation) if each is not None]
    indices = np.concatenate([each.indices for each in parts])
    images = ImageStatistics.of(data.dataset, indices.tolist())
    size_of = {int(index): each.size_of(place) for each in parts for place, index in enumerate(each.indices)}
    sizes = [size_of[index] for index in images.indices.tolist()]
    return DataReport(
        samples=data.train,
        held_out=0 if data.validation is None else len(data.validation),
        inventory=data.inventory,
        fit=() if data.fitted is None else tuple(data.fitted.lines()),
        images=images,
        texts=tuple(TextStatistics.of(parts, text) for text in encoders.texts),
        duplicates=duplicates(data.dataset, indices.tolist()),
        sizes=sizes,
        cropped=images.cropped_to(np.array(sizes, dtype=np.int64).reshape(-1, 2)),
    )
