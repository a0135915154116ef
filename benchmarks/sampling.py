"""Sampling with a tiny PixArt: dit-run compared with the stock pipeline of diffusers on the exported weights.

Warm start: the whole command ``dit-run sample RUN PROMPT``, compared with a bare script that loads the exported folder
with diffusers, makes one image and saves it. Throughput: images per second in one process at batch 1 and 16. Both have
the same steps, guidance and precision. In turns; measured is processor time on one thread, which other programs change
little. Bars: the command takes at most 1.5 times as long as the script; dit-run makes at least as many images per
second. Run it alone: ``python benchmarks/sampling.py``; it takes two and a half minutes.
"""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}

import subprocess
import sys
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import Any

import torch
from measuring import Bar, Report, Table, children, finish, in_turn, medians, parser, ratio

import dit_run

WORDS = ("a", "red", "green", "blue", "circle", "square", "on", "background")
PROMPT = "a red circle on a blue background"
STEPS, GUIDANCE, TOKENS, SIZE = 20, 4.5, 16, 64
BATCHES = (1, 16)
CONFIG = """
data: {{type: shapes, image_size: {size}, size: 64}}
model: {{type: pixart, hidden_size: 128, num_layers: 4, num_heads: 4, patch_size: 2, sample_size: 16}}
vae: {{type: autoencoder_kl, pretrained_model_name: {folder}/vae}}
text_encoder: {{type: transformers, pretrained_model_name: {folder}/t5, max_length: {tokens}}}
scheduler: {{type: ddpm}}
lr_scheduler: {{type: constant, warmup_steps: 0}}
training: {{output_dir: {folder}/run, batch_size: 4, max_steps: 2, mixed_precision: "no", num_workers: 0}}
validation: {{every_n_steps: null}}
sampling: {{every_n_steps: null, sampler: ddim, steps: {steps}, guidance_scale: {guidance}}}
cache: {{mode: "off"}}
trackers: []
"""
STOCK = {
    "num_inference_steps": STEPS,
    "guidance_scale": GUIDANCE,
    "height": SIZE,
    "width": SIZE,
    "max_sequence_length": TOKENS,
    "use_resolution_binning": False,
    "clean_caption": False,
}
"""Arguments of the stock pipeline for the image that dit-run makes."""
SCRIPT = f"""
import sys
from diffusers import DiffusionPipeline
pipeline = DiffusionPipeline.from_pretrained(sys.argv[1])
pipeline.set_progress_bar_config(disable=True)
pipeline({PROMPT!r}, **{STOCK!r}).images[0].save(sys.argv[2])
"""
"""The bare script: its arguments are the exported folder and the image."""


def write_vae(folder: Path) -> None:
    from diffusers import AutoencoderKL

    shape: dict[str, Any] = {
        "block_out_channels": (32, 64, 64),
        "down_block_types": ("DownEncoderBlock2D",) * 3,
        "up_block_types": ("UpDecoderBlock2D",) * 3,
        "latent_channels": 4,
    }
    AutoencoderKL(**shape).save_pretrained(folder)


def write_t5(folder: Path) -> None:
    """Write a small T5 whose tokens are whole words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

    tokens = ["<pad>", "</s>", "<unk>", *WORDS]
    tokenizer = Tokenizer(models.WordLevel({token: index for index, token in enumerate(tokens)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    shape = {"d_model": 128, "d_kv": 32, "d_ff": 256, "num_layers": 4, "num_heads": 4}
    T5EncoderModel(T5Config(vocab_size=len(tokens), pad_token_id=0, eos_token_id=1, **shape)).save_pretrained(folder)


def prepared(folder: Path) -> tuple[Path, Path]:
    """Train two steps and export them; return the run and the exported folder."""
    torch.manual_seed(0)
    write_vae(folder / "vae")
    write_t5(folder / "t5")
    text = CONFIG.format(folder=folder, size=SIZE, tokens=TOKENS, steps=STEPS, guidance=GUIDANCE)
    (folder / "config.yaml").write_text(text)
    run = dit_run.train(dit_run.load_config(folder / "config.yaml")).path
    return run, dit_run.load_run(run).export(folder / "exported")


def warm_start(folder: Path, run: Path, exported: Path, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of whole processes that make one image."""
    names = (folder / f"image-{number}.png" for number in count())
    ours = [sys.executable, "-m", "dit_run", "sample", run, PROMPT, "--quiet", "--output"]
    bare = [sys.executable, "-c", SCRIPT, exported]

    def call(words: list[Any]) -> None:
        subprocess.run([*words, next(names)], check=True, stdout=subprocess.DEVNULL)

    return in_turn({"dit-run": lambda: call(ours), "diffusers": lambda: call(bare)}, rounds, clock=children)


def throughput(run: Path, exported: Path, batch: int, rounds: int) -> dict[str, list[float]]:
    """Return the seconds for one batch of images."""
    from diffusers import DiffusionPipeline

    opened, stock = dit_run.load_run(run), DiffusionPipeline.from_pretrained(exported)
    stock.set_progress_bar_config(disable=True)
    calls = {
        "dit-run": lambda: opened.sample([PROMPT] * batch, batch_size=batch),
        "diffusers": lambda: stock([PROMPT] * batch, **STOCK),
    }
    return in_turn(calls, rounds, clock=time.process_time)


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=5, help="calls of each contestant (default: 5)")
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run, exported = prepared(folder)
        started = warm_start(folder, run, exported, arguments.rounds)
        batches = {batch: throughput(run, exported, batch, arguments.rounds) for batch in BATCHES}
    seconds = medians(started)
    rows = [["whole command, one image, processor seconds", f"{seconds['diffusers']:.2f}", f"{seconds['dit-run']:.2f}"]]
    bars = [
        Bar(
            "time of `dit-run sample` ÷ time of a diffusers script",
            ratio(started["dit-run"], started["diffusers"]),
            1.5,
            at_most=True,
        )
    ]
    for batch, taken in batches.items():
        found = medians(taken)
        speeds = [f"{batch / found[name]:.2f}" for name in ("diffusers", "dit-run")]
        rows.append([f"images per processor second, batch {batch}", *speeds])
        faster = ratio(taken["diffusers"], taken["dit-run"])
        bars.append(Bar(f"time of the stock pipeline ÷ time of dit-run, batch {batch}", faster, 1.0))
    title = f"Sampling with a tiny PixArt, {SIZE} px, {STEPS} steps of DDIM with guidance, one thread"
    return finish(Report(title, [Table(["", "diffusers", "dit-run"], rows)], bars), arguments)


if __name__ == "__main__":
    raise SystemExit(main())
