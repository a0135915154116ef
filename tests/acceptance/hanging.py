"""A plugin file: components that, once, send a signal to their run and then take for ever.

The file ``hang`` in the working directory says where: ``PLACE SIGNAL SECONDS``. ``hung`` then holds the time.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor, nn

from dit_run import Component, Kind, hookimpl
from dit_run.protocols import Sample

SIZE = 20


def hang(place: str) -> None:
    file = Path("hang")
    if not file.exists() or file.read_text().split()[0] != place:
        return
    _, name, seconds = file.read_text().split()
    file.unlink()
    Path("hung").write_text(str(time.time()))
    parent = multiprocessing.parent_process()
    os.kill(os.getpid() if parent is None else parent.pid or 0, signal.Signals[name])
    time.sleep(float(seconds))


@dataclass(frozen=True, kw_only=True)
class Nothing:
    """No options."""


@dataclass(frozen=True, kw_only=True)
class Vae:
    """Pixels as latents."""

    cacheable: bool = False
    """Whether they are cached."""


def image(key: str) -> Image.Image:
    hang(key)
    return Image.new("RGB", (16, 16), (len(key) * 20, int(hashlib.sha256(key.encode()).hexdigest()[:2], 16), 0))


class Images(Sequence[Sample]):
    def __len__(self) -> int:
        return SIZE

    def __getitem__(self, index: Any) -> Any:
        hang("index")
        if index >= SIZE:
            raise IndexError
        return Sample(f"image-{index}", (f"image {index}",), partial(image, f"image-{index}"))


class Pixels(nn.Module):
    latent_channels = 3
    factor = 1

    def __init__(self, options: Vae) -> None:
        super().__init__()
        self.cacheable = options.cacheable

    def encode(self, images: Tensor) -> tuple[Tensor, None]:
        hang("encode")
        return images, None

    def decode(self, latents: Tensor) -> Tensor:
        hang("decode")
        return latents.clamp(-1, 1)

    def fingerprint(self) -> str:
        return "pixels"


class Metric:
    count = 2

    def prompts(self, count: int) -> None:
        return None

    def score(self, images: Sequence[Any], prompts: Sequence[str]) -> Mapping[str, float]:
        hang("score")
        return {"red": float(sum(image.resize((1, 1)).getpixel((0, 0))[0] for image in images))}


class Callback:
    def on_step_end(self, progress: Any) -> None:
        hang(f"callback-{progress.step}")
        with Path("steps").open("a") as file:
            file.write(f"{progress.step} ")


class Tracker:
    command = ""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        hang(f"tracker-{step}")

    def image(self, step: int, name: str, image: Any) -> None: ...

    def text(self, step: int, name: str, text: str) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...


def rate(step: int) -> float:
    hang(f"update-{step}")
    return 1.0


@hookimpl
def dit_run_components() -> list[Component]:
    return [
        Component(Kind.DATASET, "hanging", Nothing, lambda options: Images()),
        Component(Kind.VAE, "hanging", Vae, lambda options: Pixels(options)),
        Component(Kind.LR_SCHEDULER, "hanging", Nothing, lambda options, *, total_steps: rate),
        Component(Kind.METRIC, "hanging", Nothing, lambda options: Metric()),
        Component(Kind.CALLBACK, "hanging", Nothing, lambda options: Callback()),
        Component(Kind.TRACKER, "hanging", Nothing, lambda options: Tracker()),
    ]
