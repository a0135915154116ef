"""The path of data: from JPEG files over the cache to batches, with the visits of a run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from dit_run.assembly.layout import Layout
from dit_run.assembly.parts import Encoders
from dit_run.assembly.prepare import Data, prepare
from dit_run.compute.devices import pins_memory
from dit_run.config.resolve import resolve
from dit_run.reporting import Silent
from dit_run.settings import Config
from dit_run.training.batches import Loading, Visits, batches

from .steps import TINY
from .trial import ROOT, Trial, Values, choose_device

WORKERS = (0, 4)
IMAGES, TINY_IMAGES = 384, 8
CONFIG = """
extends: {root}/configs/medium.yaml
data: {{type: custom, dataset_path: {folder}/images, train_split: 1.0}}
vae: {{type: autoencoder_kl, pretrained_model_name: {folder}/vae}}
text_encoder: {{type: words}}
cache: {{dir: {folder}/cache, num_workers: 0}}
training: {{output_dir: {folder}/run, use_ema: false, compile_model: false, mixed_precision: "{precision}"}}
validation: {{every_n_steps: null}}
sampling: {{every_n_steps: null}}
"""


@contextmanager
def jpeg_config(trial: Trial, precision: str) -> Iterator[Path]:
    """Yield the medium config for JPEG files and an autoencoder of 8 pixels that need no network."""
    with TemporaryDirectory() as folder:
        _write_images(Path(folder) / "images", trial)
        _write_autoencoder(Path(folder) / "vae")
        file = Path(folder) / "medium.yaml"
        file.write_text(CONFIG.format(root=ROOT, folder=folder, precision=precision))
        yield file


def _write_images(folder: Path, trial: Trial) -> None:
    """Write JPEG files that are somewhat larger than images of the run, as those of COCO are, with captions."""
    from PIL import Image

    folder.mkdir()
    generator, size = np.random.default_rng(0), (40, 30) if trial.tiny else (80, 60)
    for number in range(trial.size(IMAGES, TINY_IMAGES)):
        coarse = Image.fromarray(generator.integers(0, 256, (*size[::-1], 3), dtype=np.uint8))
        coarse.resize((size[0] * 8, size[1] * 8)).save(folder / f"{number:04}.jpg", quality=90)
        (folder / f"{number:04}.txt").write_text(f"coloured noise number {number}")


def _write_autoencoder(folder: Path) -> None:
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    AutoencoderKL(
        block_out_channels=(8,) * 4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
    ).save_pretrained(folder)


@dataclass(frozen=True)
class Source:
    """A config with its data and encoders."""

    config: Config
    data: Data
    encoders: Encoders

    @classmethod
    def of(cls, file: Path, *changes: str) -> Source:
        """Prepare a config as a run does, and fill its cache."""
        from dit_run.cache.open_cache import open_cache

        found = resolve(file, changes)
        config, data, encoders = prepare(found.config, device=choose_device())
        cached = open_cache(
            config,
            [data.train],
            texts=encoders.texts,
            vae=encoders.vae,
            dtype=encoders.dtype,
            reporter=Silent(),
            first=found.registry.files,
        )
        return cls(config, data, replace(encoders, cached=cached))

    @property
    def visits(self) -> Visits:
        return Visits.of(self.config, self.data.train, self.encoders)

    def images_per_second(self, workers: int, trial: Trial, *, least: float = 1.5) -> float:
        """Return how many images arrive in a second, after one batch of each worker."""
        training = self.config.training
        loading = Loading(workers, training.prefetch_factor, pins_memory(choose_device()))
        with closing(batches(self.visits, Layout.of(self.config).micro_batches(0, 10**9), loading)) as loaded:
            for _ in range(workers + 1):
                next(loaded)
            began, count = time.perf_counter(), 0
            while count == 0 or (not trial.tiny and time.perf_counter() - began < least):
                count += len(next(loaded).keys)
            return count / (time.perf_counter() - began)


def data(trial: Trial) -> Values:
    """Measure batches of cached latents, and of JPEG files that are read in every step (images/s)."""
    values: Values = {}
    with jpeg_config(trial, "no") as file:
        changes = TINY if trial.tiny else ()
        for name, mode in (("cached latents", "auto"), ("JPEG files", "off")):
            source = Source.of(file, f"cache.mode={mode}", *changes)
            for workers in WORKERS:
                values[f"{name}, {workers} workers"] = source.images_per_second(workers, trial)
    return values


def draws(trial: Trial) -> Values:
    """Measure the draws alone: samples per second of a core, with and without a posterior."""
    from dit_run.compute.random_streams import Streams

    streams, shape, count = Streams(0), (4, 32, 32), trial.size(96, 8)

    def rate(purposes: tuple[str, ...]) -> float:
        began, rounds = time.process_time(), trial.size(50, 5)
        for _ in range(rounds):
            for purpose in purposes:
                streams.normals(purpose, range(count), shape)
        return count * rounds / (time.process_time() - began)

    return {"samples per core-second": rate(("noise", "posterior")), "without a posterior": rate(("noise",))}
