"""The inventory of the data: what is found and used, and what is left out and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dit_run.data.inventory import Inventory
from dit_run.data.samples import Samples
from dit_run.protocols import LeftOut, Sample
from dit_run.registry.kind_options import DatasetCommon

SAMPLES = [Sample(f"{index}.png", ("x",), Path(f"{index}.png")) for index in range(1200)]


class Reporting(list[Sample]):
    left_out = (LeftOut("text without an image", 3, "a.txt"),)


def inventory_of(dataset: Any, *chosen: Any, num_samples: int) -> Inventory:
    common = DatasetCommon(num_samples=num_samples)
    return Inventory.of([Samples(dataset, np.asarray(indices), common, 0) for indices in chosen])


def test_nothing_is_said_if_all_is_used():
    inventory = inventory_of(SAMPLES, np.arange(1000), np.arange(1000, 1200), num_samples=5000)
    assert inventory == Inventory(1200, 1200, ())
    assert inventory.lines() == []


def test_samples_beyond_their_number_are_counted_with_one_of_them():
    assert inventory_of(SAMPLES, [0, 1, 3], [4], num_samples=4).lines() == [
        "1,200 samples found, 4 used; left out:",
        "  1,196  sample beyond data.num_samples=4 (null uses all), such as 2.png",
    ]


def test_what_a_dataset_reports_comes_first():
    inventory = inventory_of(Reporting(SAMPLES), np.arange(1, 1200), num_samples=1199)
    assert inventory.lines() == [
        "1,200 samples found, 1,199 used; left out:",
        "  3  text without an image, such as a.txt",
        "  1  sample beyond data.num_samples=1199 (null uses all), such as 0.png",
    ]
