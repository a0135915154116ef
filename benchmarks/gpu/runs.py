"""Whole runs of the quickstart: continuation, fp16, and a score after two minutes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .trial import ROOT, Trial, Values, choose_device, half

QUICKSTART = ROOT / "configs" / "quickstart.yaml"
TINY = ("model.hidden_size=32", "model.num_layers=1", "model.num_heads=1", "training.batch_size=4")
ALONE = ("validation.every_n_steps=null", "sampling.every_n_steps=null", "trackers=[]")
SHORT = (
    "training.max_steps=4", "training.save_steps=2", "training.logging_steps=1", "training.batch_size=8", "metrics=[]",
    *ALONE,
)  # fmt: skip
EVALUATION = 40.0
"""Time that the score takes (seconds)."""


def continuation(trial: Trial) -> Values:
    """Compare the bytes of a stopped and continued run with those of a whole one, deterministic and in bf16."""
    import dit_run

    changes = (*SHORT, *(TINY if trial.tiny else ()), "training.deterministic=true", "training.use_ema=true")
    with TemporaryDirectory() as folder:
        whole, parts = Path(folder) / "whole", Path(folder) / "parts"
        configs = [
            dit_run.load_config(
                QUICKSTART, *changes, f"training.mixed_precision={half()}", f"training.output_dir={output}"
            )
            for output in (whole, parts)
        ]
        dit_run.train(configs[0])
        dit_run.train(configs[1], stop=lambda: (parts / "checkpoints" / "step-00000002").exists())
        dit_run.train(configs[1])
        return {"equal": _digest(whole) == _digest(parts)}


def _digest(run: Path) -> str:
    files = sorted((run / "checkpoints" / "step-00000004").glob("*.safetensors"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def fp16(trial: Trial) -> Values:
    """Train a few steps in fp16, and return the scale of the loss and the loss."""
    import dit_run

    with TemporaryDirectory() as folder:
        changes = (*SHORT, *(TINY if trial.tiny else ()), "training.mixed_precision=fp16")
        result = dit_run.train(dit_run.load_config(QUICKSTART, *changes, f"training.output_dir={folder}/run"))
        state = json.loads((Path(folder) / "run" / "checkpoints" / "step-00000004" / "state.json").read_text())
    return {"scale": float(state["scaler"]["scale"]), "loss": float(result.values["loss"])}


def latents(trial: Trial) -> Values:
    """Compare latents that are encoded one by one with those of full chunks, in bf16."""
    import torch
    from diffusers import AutoencoderKL

    from dit_run.model.codec import encode_latents

    device, channels = choose_device(), (8, 8) if trial.tiny else (128, 256, 512, 512)
    torch.manual_seed(0)
    network = AutoencoderKL(
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        layers_per_block=trial.size(2, 1),
        norm_num_groups=trial.size(32, 4),
    ).to(device)

    class Vae:
        cacheable = True

        def encode(self, pixels: Any) -> Any:
            found = network.encode(pixels).latent_dist
            return found.mean, found.std

    vae: Any = Vae()
    images = torch.randint(0, 256, (trial.size(16, 4), 64, 64, 3), dtype=torch.uint8).to(device)
    together = encode_latents(vae, images, torch.bfloat16)[0]
    alone = torch.cat([encode_latents(vae, image[None], torch.bfloat16)[0] for image in images])
    return {"relative_error": float((together - alone).norm() / together.norm())}


def quickstart(trial: Trial) -> Values:
    """Train the quickstart at 64 pixels for two minutes, or for the time that is left, and score it."""
    seconds = min(120.0, trial.seconds - EVALUATION)
    if seconds < 20:
        return {"error": "no time was left for a training"}
    with TemporaryDirectory() as folder:
        run = f"{folder}/run"
        size = [*TINY, "metrics=[]", "training.logging_steps=1"] if trial.tiny else ["training.batch_size=256"]
        words = [
            *size,
            *ALONE,
            "data.image_size=64",
            f"training.max_hours={seconds / 3600:.4f}",
            f"training.max_steps={trial.size(1_000_000, 4)}",
            "training.save_steps=1000000",
            f"training.mixed_precision={half()}",
            "training.compile_model=auto",
            "lr_scheduler={type: constant, warmup_steps: 2}",
            f"training.output_dir={run}",
        ]
        status = subprocess.run(
            [sys.executable, "-m", "dit_run", str(QUICKSTART), *words], stdout=subprocess.DEVNULL
        ).returncode
        if status not in (0, 143):
            raise RuntimeError(f"dit-run ended with status {status}")
        lines = [json.loads(line) for line in (Path(run) / "metrics.jsonl").read_text().splitlines()] or [{}]
        scored = _scores(run, ["metrics=[{type: shapes, count: 2}]", "sampling.steps=1"] if trial.tiny else [])
    trained = {"trained (s)": seconds, "steps": lines[-1].get("step", 0), "loss": lines[-1].get("loss", 0.0)}
    return {**trained, **scored}


def _scores(run: str, changes: list[str]) -> Values:
    """Return the scores of `dit-run eval`."""
    command = [sys.executable, "-m", "dit_run", "eval", run, "--json", "-q", *changes]
    printed = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return {name: value for name, value in printed.items() if isinstance(value, float)}
