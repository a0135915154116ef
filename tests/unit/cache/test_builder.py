from __future__ import annotations

import dataclasses
import multiprocessing
import os
import pickle
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from small_cache import COMMON, Folder, Harmful, keep_captions, keep_latents, paint

from dit_run.cache.builder import Build, Stopped
from dit_run.cache.caption_states import CaptionWork
from dit_run.cache.image_reader import ImageReader
from dit_run.cache.latents import examined
from dit_run.cache.locks import building
from dit_run.cache.lookup import LatentCache
from dit_run.cache.maintenance import sweep
from dit_run.cache.records import DamagedRecord
from dit_run.cache.shards import Shard
from dit_run.compute.worker_pool import WorkerFailed
from dit_run.data.dataset_parts import Parts
from dit_run.data.images import read_image
from dit_run.data.visits import Visit
from dit_run.model.codec import caption_conditions, encode_captions, encode_latents
from dit_run.model.conditioning import BUCKET, FrozenCaptions, moved
from dit_run.model.state_format import StateFormat
from dit_run.problems import DitRunError, InputError
from dit_run.protocols import VAE, Sample, TextEncoder, TextStates
from dit_run.registry.kind_options import DatasetCommon


@dataclass
class Encoded:
    """Counts what a build encodes."""

    counts: dict[str, int] = field(default_factory=dict)

    def __call__(self, name: str, done: int, total: int) -> None:
        self.counts[name] = total

    @property
    def pictures(self) -> int:
        return self.counts.get("encoding images", 0)

    @property
    def captions(self) -> int:
        return self.counts.get("encoding captions", 0)


def build(
    root: Path,
    vae: VAE,
    dataset: Any,
    *,
    dtype: torch.dtype | None = None,
    common: DatasetCommon = COMMON,
    workers: int = 0,
    **settings: Any,
) -> tuple[LatentCache, Encoded]:
    encoded = Encoded()
    root.mkdir(exist_ok=True)
    with ImageReader(dataset, Parts.of(dataset, common), workers) as reader:
        how = Build(root, dtype, **{"progress": encoded, **settings})
        return keep_latents(how, vae, reader, range(len(dataset))), encoded


def visit(index: int, flip: bool = False) -> Visit:
    return Visit(index, f"{index}", "", Path(), flip, 0.5, (16, 16))


def latents_of(cache: LatentCache, index: int, flip: bool = False) -> list[np.ndarray | None]:
    """Mean and standard deviation of one visit."""
    mean, *spread = cache.gather([cache.find(visit(index, flip))])[0].float().numpy()
    return [mean, spread[0] if spread else None]


def pixels(folder: Folder, index: int) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(read_image(folder.path / f"{index}.png", (16, 16))))[None]


# ------------------------------------------------------------------------------------------------ the numbers


def test_cached_latents_are_those_of_an_uncached_run_bit_for_bit(
    tmp_path: Path, vae: VAE, folder: Folder, dtype: torch.dtype | None
) -> None:
    cache, _ = build(tmp_path / "cache", vae, folder, dtype=dtype)
    batch = torch.cat([pixels(folder, index) for index in range(4)])
    mean, spread = encode_latents(vae, batch, dtype)
    assert spread is not None
    for index in range(4):
        kept_mean, kept_spread = latents_of(cache, index)
        assert kept_mean.dtype == np.float32 and kept_spread is not None
        assert np.array_equal(kept_mean, mean[index].numpy())
        assert np.array_equal(kept_spread, spread[index].numpy())


def test_mirrored_latents_are_those_of_the_mirrored_picture(tmp_path: Path, vae: VAE, folder: Folder) -> None:
    common = dataclasses.replace(COMMON, random_flip=True)
    cache, encoded = build(tmp_path / "cache", vae, folder, common=common)
    mean, _ = encode_latents(vae, pixels(folder, 2).flip(2))
    assert encoded.pictures == 8
    assert np.array_equal(latents_of(cache, 2, flip=True)[0], mean[0].numpy())
    assert not np.array_equal(latents_of(cache, 2)[0], mean[0].numpy())


def test_cached_states_are_those_of_an_uncached_run_bit_for_bit(
    tmp_path: Path, text: TextEncoder, dtype: torch.dtype | None
) -> None:
    captions = ["a red cat", "", "a cat sat", "x " * 100]
    cache = pickle.loads(pickle.dumps(keep_captions(Build(tmp_path, dtype), text, captions)))
    null = [False, True, False, False]
    kept = moved(cache(captions, null), torch.device("cpu"))
    made = FrozenCaptions(partial(encode_captions, text, dtype=dtype), max_length=77)(captions, null)
    assert all(torch.equal(one, other) for one, other in zip(kept, made, strict=True))


@pytest.mark.parametrize("name", ["fp32", "bf16", "fp16", "fp8"])
@pytest.mark.parametrize("most", [None, 3, 20])
def test_states_in_another_format_are_those_of_an_uncached_run_too(
    tmp_path: Path, text: TextEncoder, dtype: torch.dtype | None, name: str, most: int | None
) -> None:
    captions, null, form = (
        ["a red cat", "", "a cat sat", "x " * 100],
        [False, True, False, False],
        StateFormat.named(name, most),
    )
    cache = CaptionWork.of(Build(tmp_path, dtype), text, captions[:3], form=form).keep()
    kept = moved(cache(captions, null), torch.device("cpu"))
    made = caption_conditions(text, dtype, form)(captions, null)
    assert isinstance(kept, TextStates)
    assert isinstance(made, TextStates)
    assert all(torch.equal(one, other) for one, other in zip(kept, made, strict=True))
    exact = caption_conditions(text, dtype, StateFormat.named("fp32", most))(captions, null)
    assert isinstance(exact, TextStates)
    errors = (kept.tokens - exact.tokens).abs().amax(-1) / exact.tokens.abs().amax(-1).clamp(min=1e-9)
    assert float(errors.max()) <= {"fp32": 0.0, "bf16": 2**-8, "fp16": 2**-11, "fp8": 2**-4}[name]
    assert kept.mask.sum(1).tolist() == [min(length, most or 77) for length in (5, 2, 6, 77)]


def test_the_format_of_states_decides_their_space_only_where_it_changes_them(tmp_path: Path, text: TextEncoder) -> None:
    def space(form: StateFormat, dtype: torch.dtype | None = torch.bfloat16) -> str:
        return CaptionWork.of(Build(tmp_path, dtype), text, [], form=form).space.folder.name

    assert space(StateFormat()) == space(StateFormat.named("bf16", 77)) == space(StateFormat.named(None, 200))
    forms = [("bf16", None), ("fp32", None), ("fp16", None), ("fp8", None), ("fp8", 8), ("fp8", 9)]
    names = {space(StateFormat.named(*form)) for form in forms} | {space(StateFormat.named("bf16", None), None)}
    assert len(names) == len(forms) + 1


def test_the_space_of_a_default_format_is_that_of_caches_before_there_were_formats(
    tmp_path: Path, text: TextEncoder
) -> None:
    settings = CaptionWork.of(Build(tmp_path, torch.bfloat16), text, []).space.describe()
    assert sorted(settings) == ["device", "encoder", "encoding", "kind", "max_length", "padding", "precision"]


def test_only_real_tokens_are_kept(tmp_path: Path, text: TextEncoder) -> None:
    cache = keep_captions(Build(tmp_path, None), text, ["a cat"])
    states = cache(["", "a cat", "a cat a cat"], [False] * 3)
    assert states.mask.sum(1).tolist() == [2, 4, 6]


def test_states_of_a_caption_do_not_depend_on_its_neighbours(text: TextEncoder) -> None:
    (alone,) = encode_captions(text, ["a cat"])
    among = encode_captions(text, ["a red cat on a mat", "a cat", ""])[1]
    assert torch.equal(alone.tokens, among.tokens) and torch.equal(alone.pooled, among.pooled)


def test_captions_are_encoded_one_by_one_at_the_length_of_their_bucket_on_a_cpu(text: TextEncoder) -> None:
    shapes: list[tuple[int, ...]] = []
    text._network.register_forward_pre_hook(lambda module, inputs: shapes.append(tuple(inputs[0].shape)))  # type: ignore[attr-defined]
    encode_captions(text, ["a cat " * 8, "a cat", "", "a cat", "a cat " * 90])
    assert shapes == [(1, 32), (1, 16), (1, 16), (1, 77)]


def test_gathered_latents_come_in_the_kept_precision(tmp_path: Path, vae: VAE, folder: Folder) -> None:
    cache, _ = build(tmp_path / "cache", vae, folder, dtype=torch.bfloat16)
    both = cache.gather([cache.find(visit(index)) for index in (3, 0, 3)])
    assert both.dtype == torch.bfloat16 and both.shape == (3, 2, 4, 4, 4)
    assert np.array_equal(both[1, 1].float().numpy(), latents_of(cache, 0)[1])


def test_an_encoding_that_overflows_is_done_again_in_float32() -> None:
    class Overflowing(torch.nn.Module):
        cacheable = True

        def encode(self, images: torch.Tensor) -> tuple[torch.Tensor, None]:
            return torch.nn.functional.linear(images.float() * 60000, 2 * torch.eye(2)) / 60000, None

    images = torch.full((1, 2, 2, 3), 255, dtype=torch.uint8)
    mean, _ = encode_latents(Overflowing(), images, torch.float16)  # type: ignore[arg-type]
    assert (mean == 2).all()


# ------------------------------------------------------------------------------------------------ what is made again


def test_a_second_build_encodes_nothing(tmp_path: Path, vae: VAE, folder: Folder) -> None:
    build(tmp_path / "cache", vae, folder)
    vae.release()  # type: ignore[attr-defined]
    _, encoded = build(tmp_path / "cache", vae, folder)
    assert encoded.pictures == 0 and not vae.encoder.loaded  # type: ignore[attr-defined]


def test_a_changed_file_is_encoded_again_alone(tmp_path: Path, vae: VAE, folder: Folder) -> None:
    before, _ = build(tmp_path / "cache", vae, folder)
    paint(folder.path / "1.png", 99)
    after, encoded = build(tmp_path / "cache", vae, folder)
    assert encoded.pictures == 1
    assert np.array_equal(latents_of(after, 1)[0], encode_latents(vae, pixels(folder, 1))[0][0].numpy())
    assert np.array_equal(latents_of(after, 0)[0], latents_of(before, 0)[0])


def test_looking_that_takes_long_is_told_to_its_end(
    tmp_path: Path, vae: VAE, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([0.0, 0.0, 2.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(times, 2.0))
    told: list[tuple[str, int, int]] = []
    build(tmp_path / "cache", vae, folder, progress=lambda *phase: told.append(phase))
    assert told[:2] == [("reading image digests", 2, 4), ("reading image digests", 4, 4)]


def test_a_renamed_file_is_not_encoded_again(tmp_path: Path, vae: VAE, folder: Folder) -> None:
    build(tmp_path / "cache", vae, folder)
    shutil.move(folder.path, tmp_path / "elsewhere")
    _, encoded = build(tmp_path / "cache", vae, Folder(tmp_path / "elsewhere"))
    assert encoded.pictures == 0


def test_the_same_picture_twice_is_encoded_once(tmp_path: Path, vae: VAE, folder: Folder) -> None:
    shutil.copy(folder.path / "0.png", folder.path / "1.png")
    cache, encoded = build(tmp_path / "cache", vae, folder)
    assert encoded.pictures == 3
    assert np.array_equal(latents_of(cache, 0)[0], latents_of(cache, 1)[0])


def test_other_preprocessing_is_encoded_apart(tmp_path: Path, vae: VAE, folder: Folder) -> None:
    build(tmp_path / "cache", vae, folder)
    common = dataclasses.replace(COMMON, alpha_background="black")
    assert build(tmp_path / "cache", vae, folder, common=common)[1].pictures == 4


@pytest.mark.parametrize("size", [(32, 32), (16, 32), (32, 16)])
def test_another_size_is_encoded_apart(tmp_path: Path, vae: VAE, folder: Folder, size: tuple[int, int]) -> None:
    build(tmp_path / "cache", vae, folder)
    encoded = Encoded()
    with ImageReader(folder, Parts.of(folder, COMMON)) as reader:
        cache = keep_latents(Build(tmp_path / "cache", None, encoded), vae, reader, range(4), size)
    assert encoded.pictures == 4
    assert cache.shape == (4, size[0] // vae.factor, size[1] // vae.factor)


def test_other_precision_is_encoded_apart(tmp_path: Path, vae: VAE, folder: Folder) -> None:
    build(tmp_path / "cache", vae, folder)
    assert build(tmp_path / "cache", vae, folder, dtype=torch.bfloat16)[1].pictures == 4


def test_a_damaged_record_is_encoded_again_alone(tmp_path: Path, vae: VAE, folder: Folder) -> None:
    before, _ = build(tmp_path / "cache", vae, folder)
    truth = [latents_of(before, index)[0] for index in range(4)]
    (shard,) = (tmp_path / "cache").glob("latents/*/*.safetensors")
    data = bytearray(shard.read_bytes())
    at = data.index(truth[2].tobytes())
    data[at] ^= 1
    shard.write_bytes(data)
    with pytest.raises(DamagedRecord):
        latents_of(build(tmp_path / "cache", vae, folder)[0], 2)
    after, encoded = build(tmp_path / "cache", vae, folder)
    assert encoded.pictures == 1
    assert all(np.array_equal(latents_of(after, index)[0], truth[index]) for index in range(4))


def test_captions_are_encoded_once_and_only_what_is_new(tmp_path: Path, text: TextEncoder) -> None:
    first, second = Encoded(), Encoded()
    keep_captions(Build(tmp_path, None, first), text, ["a", "b", "a"])
    keep_captions(Build(tmp_path, None, second), text, ["b", "c"])
    assert (first.captions, second.captions) == (3, 1)


# ------------------------------------------------------------------------------------------------ interruptions


def test_what_was_made_before_a_stop_is_kept(tmp_path: Path, vae: VAE, folder: Folder) -> None:
    done: list[int] = []

    def stopped() -> bool:
        done.append(1)
        return len(done) > 1

    with pytest.raises(Stopped, match=r"encoding images \(2 of 4\)"):
        build(tmp_path / "cache", vae, folder, stopped=stopped)
    assert build(tmp_path / "cache", vae, folder)[1].pictures == 2


def test_a_builder_that_waits_for_another_can_be_stopped(tmp_path: Path, text: TextEncoder) -> None:
    stopped: list[str] = []
    build = Build(tmp_path, None, notice=stopped.append, stopped=lambda: bool(stopped))
    folder = build.space("captions", text, "", {"max_length": 77, "padding": BUCKET}).folder
    with building(folder, lambda tries: None), pytest.raises(Stopped, match="waiting"):
        keep_captions(build, text, ["a"])
    assert stopped == ["another process builds the same part of the cache; waiting for it"]


def test_nothing_of_a_cache_that_is_open_is_removed(tmp_path: Path, vae: VAE, folder: Folder) -> None:
    """A loading process maps the files when it first needs them."""
    cache, _ = build(tmp_path / "cache", vae, folder, common=dataclasses.replace(COMMON, random_flip=True))
    assert len(sweep(tmp_path / "cache", unused_days=0, max_bytes=0).in_use) == 2
    loader = pickle.loads(pickle.dumps(cache))
    assert all(np.array_equal(latents_of(loader, 1, flip)[0], latents_of(cache, 1, flip)[0]) for flip in (False, True))


def _build(root: Path, weights: Path, folder: Folder, results: Any) -> None:
    from dit_run_plugins.vaes.autoencoder_kl import AutoencoderKl
    from dit_run_plugins.vaes.autoencoder_kl.vae import build as build_vae

    torch.set_num_threads(1)
    vae = build_vae(AutoencoderKl(pretrained_model_name=str(weights / "vae")))
    cache, encoded = build(root, vae, folder)
    results.put((encoded.pictures, latents_of(cache, 3)[0].tobytes()))


@pytest.mark.slow
def test_two_builders_at_once_make_everything_once(tmp_path: Path, weights: Path, folder: Folder) -> None:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    arguments = (tmp_path / "cache", weights, folder, results)
    builders = [context.Process(target=_build, args=arguments) for _ in range(2)]
    for builder in builders:
        builder.start()
    counts, latents = zip(*(results.get(timeout=120) for _ in builders), strict=True)
    for builder in builders:
        builder.join(30)
    assert sorted(counts) == [0, 4]
    assert latents[0] == latents[1]


@pytest.mark.slow
def test_reading_processes_change_nothing(tmp_path: Path, vae: VAE, folder: Folder) -> None:
    alone, _ = build(tmp_path / "alone", vae, folder)
    helped, encoded = build(tmp_path / "helped", vae, folder, workers=2)
    assert encoded.pictures == 4
    assert all(np.array_equal(latents_of(alone, index)[0], latents_of(helped, index)[0]) for index in range(4))


@pytest.mark.slow
def test_a_reading_process_that_is_killed_is_told(tmp_path: Path, vae: VAE) -> None:
    with pytest.raises(WorkerFailed, match=r"was killed, perhaps because memory ran out\. The same command continues"):
        build(tmp_path, vae, Harmful(signal.SIGKILL), workers=1)
    assert not multiprocessing.active_children()


def frozen(process: BaseProcess) -> bool:
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@pytest.mark.slow
@pytest.mark.parametrize("asked", [True, False])
def test_frozen_reading_processes_are_not_waited_for(
    tmp_path: Path, vae: VAE, asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIT_RUN_TIMEOUT", "600" if asked else "1")
    how = Build(tmp_path, None, stopped=lambda: asked and any(map(frozen, multiprocessing.active_children())))
    error, said = (Stopped, "stopped while waiting") if asked else (WorkerFailed, "answered for 1 seconds")
    with (
        pytest.raises(error, match=said),
        ImageReader(
            Harmful(signal.SIGSTOP), Parts.of(Harmful(signal.SIGSTOP), COMMON), 1, waiting=how.check_stopped
        ) as reader,
    ):
        keep_latents(how, vae, reader, range(4))
    assert not multiprocessing.active_children()


def test_a_large_cache_is_told_before_it_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(5 * 10**9))
    told: list[str] = []
    build = Build(tmp_path, None, notice=told.append)
    for latents, states in ((10**7, 0), (2 * 10**9, 0), (5 * 10**8, 10**9)):
        build.check_room(latents=latents, states=states)
    assert told == [
        f"the cache in {tmp_path} grows by about 2.00 GB; 5.00 GB are free",
        f"the cache in {tmp_path} grows by about 1.50 GB (latents 500 MB, text states 1.00 GB); 5.00 GB are free",
    ]
    with pytest.raises(InputError, match=r"cache\.mode: off, cache.text_dtype: fp8 or cache.max_tokens, or remove old"):
        build.check_room(latents=10**9, states=9 * 10**9)


class Usage(NamedTuple):
    free: int


FORMATS = [
    StateFormat(),
    StateFormat.named("fp32", None),
    StateFormat.named("bf16", 3),
    StateFormat.named("fp16", None),
    StateFormat.named("fp8", None),
    StateFormat.named("fp8", 3),
]


@pytest.mark.parametrize("form", FORMATS, ids=repr)
def test_what_captions_take_is_known_by_their_tokens(
    tmp_path: Path, text: TextEncoder, dtype: torch.dtype | None, form: StateFormat
) -> None:
    captions = [f"a cat {number} " + "on a mat " * number for number in range(8)]
    work = CaptionWork.of(Build(tmp_path, dtype), text, captions, form=form)
    lacking = work.missing_bytes()
    (shard,) = (Shard(path) for path in work.keep().records.space.shards())
    assert sum(shard.values(row).nbytes for row in range(len(shard))) == lacking
    assert work.missing_bytes() == 0


def test_what_pictures_take_is_known_before_they_are_encoded(tmp_path: Path, vae: VAE, folder: Folder) -> None:
    common = dataclasses.replace(COMMON, random_flip=True)
    with ImageReader(folder, Parts.of(folder, common)) as reader:
        with examined(Build(tmp_path, None), vae, reader, [0], (16, 16)) as work:
            work.keep()
        with examined(Build(tmp_path, None), vae, reader, range(4), (16, 16)) as work:
            assert work.missing_bytes() == 3 * 2 * 2 * 4 * 4 * 4 * 4  # mirrored, mean and deviation, c·h·w, float32


# ------------------------------------------------------------------------------------------------ bad samples


def test_a_picture_that_cannot_be_read_stops_the_build_by_name(tmp_path: Path, vae: VAE, folder: Folder) -> None:
    (folder.path / "2.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"2\.png.*\n.*on_bad_sample=skip"):
        build(tmp_path / "cache", vae, folder)


@pytest.mark.parametrize("spoil", ["broken", "missing", "pipe"])
def test_a_skipped_picture_is_refused_at_its_visit(tmp_path: Path, vae: VAE, folder: Folder, spoil: str) -> None:
    length = len(folder)
    for index in (1, 2):
        path = folder.path / f"{index}.png"
        path.unlink()
        if spoil == "broken":
            path.write_bytes(b"no picture")
        elif spoil == "pipe":
            os.mkfifo(path)
    common = dataclasses.replace(COMMON, on_bad_sample="skip")
    with ImageReader(folder, Parts.of(folder, common)) as reader:
        cache = keep_latents(Build(tmp_path, None), vae, reader, range(length))
    for index in (1, 2):
        with pytest.raises(InputError, match=rf"[{index}12]\.png"):
            latents_of(cache, index)
    assert latents_of(cache, 3)[0].shape == (4, 4, 4)


@dataclass(frozen=True)
class Restless:
    """A dataset whose first picture is another file's content whenever it is looked up after the first times."""

    folder: Folder
    lookups: list[int]
    calm_after: int

    def __len__(self) -> int:
        return len(self.folder)

    def __getitem__(self, index: int) -> Sample:
        if index == 0:
            self.lookups.append(index)
            if 1 < len(self.lookups) <= self.calm_after:
                paint(self.folder.path / "0.png", 100 + len(self.lookups))
        return self.folder[index]


def test_a_file_that_changes_between_two_looks_is_looked_at_again(tmp_path: Path, vae: VAE, folder: Folder) -> None:
    first = (folder.path / "0.png").read_bytes()
    cache, _ = build(tmp_path / "cache", vae, Restless(folder, [], calm_after=2))
    assert np.array_equal(latents_of(cache, 0)[0], encode_latents(vae, pixels(folder, 0))[0][0].numpy())
    (folder.path / "0.png").write_bytes(first)
    cache, _ = build(tmp_path / "cache", vae, folder)
    assert np.array_equal(latents_of(cache, 0)[0], encode_latents(vae, pixels(folder, 0))[0][0].numpy())


def test_a_file_that_keeps_changing_is_refused(tmp_path: Path, vae: VAE, folder: Folder) -> None:
    with pytest.raises(InputError, match=r"0\.png changes during the read"):
        build(tmp_path / "cache", vae, Restless(folder, [], calm_after=10**9))


# ------------------------------------------------------------------------------------------------ drawn, missing


@dataclass(frozen=True)
class Drawn:
    """Plain pictures, drawn when they are asked for."""

    shades: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.shades)

    def __getitem__(self, index: int) -> Sample:
        return Sample(f"{index}", ("a",), lambda: Image.new("RGB", (16, 16), (self.shades[index],) * 3))


def test_drawn_pictures_are_kept_by_their_pixels(tmp_path: Path, vae: VAE) -> None:
    assert build(tmp_path, vae, Drawn((1, 2, 2)))[1].pictures == 2
    assert build(tmp_path, vae, Drawn((2, 3)))[1].pictures == 1


def test_a_caption_that_is_not_kept_is_encoded_where_the_encoder_is(tmp_path: Path, text: TextEncoder) -> None:
    cache = keep_captions(Build(tmp_path, None), text, ["a cat"])
    (made,) = encode_captions(text, ["a new prompt"])
    assert torch.equal(cache(["a new prompt"], [False]).tokens[0, : len(made.tokens)], made.tokens)
    with pytest.raises(DitRunError, match="'a new prompt' is not in the cache"):
        pickle.loads(pickle.dumps(cache))(["a new prompt"], [False])


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """Exactness is for a number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
