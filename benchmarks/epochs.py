"""Epochs from the cache, the first epoch that fills it, and epochs without it, compared with diffusers' script.

The medium model (768 wide, 16 layers, 12 heads) on JPEGs of 500 × 375 at 256 px, batch 8, bf16; Stable Diffusion's VAE
and the text tower of CLIP's large model are of true size with random weights. The dit-run loop is that of `dit-run
train`: read images, draw noise, encode or look up, step. The peer follows diffusers'
examples/text_to_image/train_text_to_image.py: VAE and text encoder in bf16 in every step, captions padded to 77 tokens,
images read by Pillow; its network is the PixArt transformer of the same size. It runs in its own process with torch's
default settings. Every loop reads images in the training process. The loops take turns of one epoch of 8 images, which
is one step; all weights are loaded before. `configs/medium.yaml` compiles the network and the script does not, so each
is measured compiled and eager.

Bars, compiled and eager: an epoch without the cache takes at least 2.2 times, and the script as published at least 2.9
times as long as an epoch from the cache; the first epoch takes at most 1.1 times as long as one without the cache. Run
it alone: ``python benchmarks/epochs.py``; it takes five minutes on two cores.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from itertools import count, cycle
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from decode import photograph
from encoders import CAPTION_WORDS, write_clip, write_vae
from measuring import Bar, Report, Table, child_process, finish, in_turn, medians, parser, ratio
from peer_models import pixart_model
from PIL import Image

from dit_run.training.compile import compile_blocks, run_eagerly

BATCH, STEPS, SIZE = 8, 1, 256
PEER, OFF, FIRST, SECOND = "diffusers' script", "cache off", "first epoch: cache filled", "second epoch: from the cache"
COMPILED, EAGER = "compiled", "eager"
Loops = dict[tuple[str, str], Callable[[], None]]
"""Loops by what they do and how the network runs."""
CONFIG = """
extends: {medium}
data: {{type: custom, dataset_path: {folder}/images, train_split: 1.0}}
vae: {{pretrained_model_name: {folder}/vae}}
text_encoder: {{pretrained_model_name: {folder}/clip}}
training: {{output_dir: {folder}/run, batch_size: {batch}, use_ema: false, num_workers: 0}}
lr_scheduler: {{warmup_steps: 0}}
cache: {{num_workers: 0}}
"""


def write_images(folder: Path) -> None:
    folder.mkdir()
    letters = np.random.default_rng(0).integers(97, 123, (BATCH * STEPS, CAPTION_WORDS), dtype=np.uint8)
    for number, words in enumerate(letters):
        photograph(number).save(folder / f"{number}.jpg", quality=80)
        (folder / f"{number}.txt").write_text(" ".join(map(chr, words)))


def both_ways(loops: dict[str, Callable[[], None]]) -> Loops:
    """Return each loop with the network compiled and eager."""

    def run(loop: Callable[[], None], way: str) -> None:
        with run_eagerly() if way == EAGER else nullcontext():
            loop()

    return {(name, way): partial(run, loop, way) for way in (COMPILED, EAGER) for name, loop in loops.items()}


def ours(folder: Path, device: torch.device) -> dict[str, Callable[[], None]]:
    """Return the loops of dit-run, which train one model together."""
    from dit_run.assembly.layout import Layout
    from dit_run.assembly.parts import build_encoders
    from dit_run.assembly.prepare import prepare
    from dit_run.cache.open_cache import Cached, open_cache
    from dit_run.config.resolve import resolve
    from dit_run.reporting import Silent
    from dit_run.training.batches import Visits, batches
    from dit_run.training.encoding import BatchEncoder
    from dit_run.training.run_parts import RunParts

    medium = Path(__file__).resolve().parent.parent / "configs" / "medium.yaml"
    path = folder / "epochs.yaml"
    path.write_text(CONFIG.format(medium=medium, folder=folder, batch=BATCH))
    config, data, encoders = prepare(resolve(path).config, device=device)
    parts = RunParts.build(config, data, encoders, device)
    denoiser = parts.denoiser.train()
    assert config.training.compile_model
    compile_blocks(denoiser)
    step = parts.training_step(learning_rate_factor=lambda number: 1.0)
    numbers, folders = count(), count()

    def epoch(cached: Cached, used: Any) -> None:
        encoders = replace(used, cached=cached)
        visits = Visits.of(config, data.train, encoders)
        loaded = batches(visits, Layout(BATCH, 1).micro_batches(0, STEPS))
        for examples in map(BatchEncoder(encoders, device), loaded):
            step.run(next(numbers), [examples], count=1)

    filling = build_encoders(config, device)
    for encoder in (*filling.texts, filling.vae):
        encoder.release = lambda: None  # a run fills its cache once; here every turn would read the weights again

    def filled() -> Cached:
        cache = replace(config.cache, dir=str(folder / f"cache-{next(folders)}"))
        where = replace(config, sections={**config.sections, "cache": cache})
        how = {"texts": filling.texts, "vae": filling.vae, "dtype": filling.dtype, "reporter": Silent()}
        return open_cache(where, [data.train], **how)

    kept = filled()
    return {
        OFF: lambda: epoch(Cached(), encoders),
        FIRST: lambda: epoch(filled(), filling),
        SECOND: lambda: epoch(kept, filling),
    }


def serve_peer(link: Connection, folder: Path, device: torch.device) -> None:
    """Run the peer with torch's default settings: one epoch for each received mode, until None."""
    loops = both_ways({PEER: peer(folder, device)})
    while (way := link.recv()) is not None:
        loops[PEER, way]()
        link.send(None)


@contextmanager
def peers(folder: Path, device: torch.device) -> Iterator[Loops]:
    """Yield the peer's loops, which wait in their process during the turns of others."""
    with child_process(serve_peer, folder, device) as link:

        def turn(way: str) -> None:
            link.send(way)
            link.recv()

        yield {(PEER, way): partial(turn, way) for way in (COMPILED, EAGER)}
        link.send(None)


def peer(folder: Path, device: torch.device) -> Callable[[], None]:
    """Return the script's loop, with autocast instead of Accelerate."""
    from diffusers import AutoencoderKL, DDPMScheduler
    from transformers import CLIPTextModel, CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(folder / "clip")
    text = CLIPTextModel.from_pretrained(folder / "clip", dtype=torch.bfloat16).to(device)
    vae = AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.bfloat16).to(device)
    text.requires_grad_(False)
    vae.requires_grad_(False)
    noise_scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    model = pixart_model(width=768, layers=16, heads=12, latent_side=SIZE // 8, device=device)
    model.compile()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01)
    loader = script_batches(folder / "images", tokenizer)

    def step() -> None:
        pixels, ids = (part.to(device) for part in next(loader))
        latents = vae.encode(pixels.to(torch.bfloat16)).latent_dist.sample() * vae.config.scaling_factor
        noise = torch.randn_like(latents)
        timesteps = torch.randint(0, 1000, (len(latents),), device=device).long()
        noisy = noise_scheduler.add_noise(latents, noise, timesteps)
        states = text(ids, return_dict=False)[0]
        with torch.autocast(device.type, dtype=torch.bfloat16):
            predicted = model(noisy, encoder_hidden_states=states, timestep=timesteps, return_dict=False)[0]
        loss = torch.nn.functional.mse_loss(predicted.float(), noise.float())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    def epoch() -> None:
        for _ in range(STEPS):
            step()

    return epoch


def script_batches(folder: Path, tokenizer: Any) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield pixels in [-1, 1] and token ids, endlessly."""
    paths = sorted(folder.glob("*.jpg"))
    for start in cycle(range(0, len(paths), BATCH)):
        chosen = paths[start : start + BATCH]
        pixels = torch.from_numpy(np.stack([script_pixels(path) for path in chosen])).permute(0, 3, 1, 2)
        captions = [path.with_suffix(".txt").read_text() for path in chosen]
        tokens = tokenizer(captions, max_length=77, padding="max_length", truncation=True, return_tensors="pt")
        yield pixels / 127.5 - 1, tokens.input_ids


def script_pixels(path: Path) -> np.ndarray:
    """Resize by the shorter side and crop the centre, as the script's transforms do."""
    image = Image.open(path).convert("RGB")
    scale = SIZE / min(image.size)
    width, height = (round(side * scale) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - SIZE) // 2, (height - SIZE) // 2
    return np.asarray(image.crop((left, top, left + SIZE, top + SIZE)), dtype=np.float32)


def _bars(taken: dict[tuple[str, str], list[float]], way: str) -> list[Bar]:
    """Return the bars for one mode of the network."""
    off, first, second = (taken[name, way] for name in (OFF, FIRST, SECOND))
    return [
        Bar(f"time without the cache ÷ time of the second epoch, {way}", ratio(off, second), 2.2),
        Bar(f"time of diffusers' script ÷ time of the second epoch, {way}", ratio(taken[PEER, EAGER], second), 2.9),
        Bar(f"time of the first epoch ÷ time without the cache, {way}", ratio(first, off), 1.1, at_most=True),
    ]


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=3)
    arguments = options.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_images(folder / "images")
        write_vae(folder / "vae")
        write_clip(folder / "clip")
        with peers(folder, device) as theirs:
            taken = in_turn({**theirs, **both_ways(ours(folder, device))}, arguments.rounds)
    times = medians(taken)
    rows = [
        [f"{name}, {way}", f"{seconds:.2f}", f"{seconds / times[SECOND, way]:.2f}"]
        for (name, way), seconds in times.items()
    ]
    bars = [bar for way in (COMPILED, EAGER) for bar in _bars(taken, way)]
    table = Table([f"epoch of {BATCH * STEPS} images", "seconds", "relative to the second epoch"], rows)
    return finish(Report("Epochs with and without the cache", [table], bars), arguments)


if __name__ == "__main__":
    raise SystemExit(main())
