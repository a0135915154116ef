"""Teams: which processes share a folder of the cache, the part of each, and the cache that they build together."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from joint_threads import in_threads
from small_cache import COMMON, Folder, paint

from dit_run.cache.builder import Build, Stopped
from dit_run.cache.caption_states import CaptionWork
from dit_run.cache.image_reader import ImageReader
from dit_run.cache.latents import examined
from dit_run.cache.lookup import LatentCache
from dit_run.cache.maintenance import spaces
from dit_run.cache.shards import Shard
from dit_run.cache.team import Team
from dit_run.compute.distributed import Processes
from dit_run.compute.shared_work import SharedWork
from dit_run.data.dataset_parts import Parts
from dit_run.problems import InputError
from dit_run.protocols import VAE, TextEncoder
from dit_run.registry.kind_options import DatasetCommon

MIRRORED = dataclasses.replace(COMMON, random_flip=True)


@pytest.fixture
def images(folder: Folder) -> Folder:
    """Nine images, of which two are alike."""
    for index in range(4, 8):
        paint(folder.path / f"{index}.png", index)
    shutil.copy(folder.path / "1.png", folder.path / "8.png")
    return folder


def latents(
    processes: Processes, root: Path, vae: VAE, images: Folder, common: DatasetCommon = MIRRORED, **more: object
) -> LatentCache:
    """Build the latents of all images in one of several processes."""
    root.mkdir(exist_ok=True)
    build = Build(root, None, shared=SharedWork(processes), team=Team.of(root, processes), **more)  # type: ignore[arg-type]
    with (
        ImageReader(images, Parts.of(images, common)) as reader,
        examined(build, vae, reader, range(len(images)), (16, 16)) as work,
    ):
        return work.keep()


def kept(root: Path) -> list[tuple[str, bytes, bytes]]:
    """The records of a cache: the name of their space, key and values."""
    shards = [(space.folder.name, Shard(path)) for space in spaces(root) for path in space.shards()]
    return sorted(
        (name, shard.keys[row].tobytes(), shard.values(row).tobytes())
        for name, shard in shards
        for row in range(len(shard))
    )


def read(cache: LatentCache) -> list[bytes]:
    """The values of all samples, as they are and mirrored."""
    visits = [(index, flip) for index in cache.indices.tolist() if index not in cache.bad for flip in (False, True)]
    return [cache.gather([visit]).numpy().tobytes() for visit in visits]


@pytest.mark.parametrize("count", [2, 4])
def test_latents_of_several_processes_are_those_of_one(tmp_path: Path, vae: VAE, images: Folder, count: int) -> None:
    one = latents(Processes(), tmp_path / "one", vae, images)
    caches = in_threads(count, lambda each: latents(each, tmp_path / "several", vae, images))
    assert kept(tmp_path / "several") == kept(tmp_path / "one") and len(kept(tmp_path / "one")) == 16
    assert [read(each) for each in caches] == [read(one)] * count  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [2, 4])
def test_states_of_several_processes_are_those_of_one(tmp_path: Path, text: TextEncoder, count: int) -> None:
    captions = [f"caption {number}" for number in range(7)]

    def states(processes: Processes, root: Path) -> None:
        root.mkdir(exist_ok=True)
        build = Build(root, None, shared=SharedWork(processes), team=Team.of(root, processes))
        cache = CaptionWork.of(build, text, captions).keep()
        assert len(cache(captions, [False] * 7).tokens) == 7

    states(Processes(), tmp_path / "one")
    assert in_threads(count, lambda each: states(each, tmp_path / "several")) == [None] * count
    assert kept(tmp_path / "several") == kept(tmp_path / "one") and len(kept(tmp_path / "one")) == 8


def test_processes_with_folders_of_their_own_fill_each(tmp_path: Path, vae: VAE, images: Folder) -> None:
    caches = in_threads(2, lambda each: latents(each, tmp_path / str(each.rank), vae, images))
    assert kept(tmp_path / "0") == kept(tmp_path / "1") and len(kept(tmp_path / "0")) == 16
    assert read(caches[0]) == read(caches[1])  # type: ignore[arg-type]


def test_a_bad_image_is_left_out_by_all_or_ends_all(tmp_path: Path, vae: VAE, images: Folder) -> None:
    (images.path / "7.png").write_bytes(b"no image")
    (images.path / "0.png").unlink()
    (images.path / "9.png").touch()
    for error in in_threads(3, lambda each: latents(each, tmp_path / "cache", vae, images)):
        assert isinstance(error, InputError) and ".png" in str(error)
    skip = dataclasses.replace(MIRRORED, on_bad_sample="skip")
    for cache in in_threads(3, lambda each: latents(each, tmp_path / "cache", vae, images, skip)):
        assert isinstance(cache, LatentCache)
        assert sorted(cache.bad) == [0, 7]


def test_a_stop_of_one_stops_all(tmp_path: Path, vae: VAE, images: Folder) -> None:
    stopped = in_threads(2, lambda each: latents(each, tmp_path / "c", vae, images, stopped=lambda: each.rank == 1))
    assert [type(each) for each in stopped] == [Stopped, Stopped]


def test_parts_are_neighbours_and_hold_each_item_once() -> None:
    teams = [Team((0, 1, 4), place) for place in range(3)]
    assert [list(team.part(range(10))) for team in teams] == [[0, 1, 2], [3, 4, 5], [6, 7, 8, 9]]
    assert [team.part(np.arange(2)).tolist() for team in teams] == [[], [0], [1]]
    assert teams[2].values("abcde") == ["a", "b", "e"]
    assert [team.leads for team in teams] == [True, False, False]


@pytest.mark.parametrize(
    ("folders", "teams"), [("aaa", [(0, 1, 2)] * 3), ("aba", [(0, 2), (1,), (0, 2)]), ("abb", [(0,), (1, 2), (1, 2)])]
)
def test_a_team_are_those_who_see_one_folder(
    tmp_path: Path, folders: Sequence[str], teams: list[tuple[int, ...]]
) -> None:
    for name in folders:
        (tmp_path / name).mkdir(exist_ok=True)
    found = in_threads(3, lambda each: Team.of(tmp_path / folders[each.rank], each).ranks)
    assert found == teams
    assert not list(tmp_path.glob("*/.*"))


@pytest.fixture(autouse=True)
def _threads() -> None:
    """Exactness is for a number of threads."""
    torch.set_num_threads(1)
