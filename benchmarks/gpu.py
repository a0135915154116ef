"""Measurements on one CUDA GPU: ``python -m benchmarks.gpu``, at most 8 minutes.

Each part runs in a process of its own and leaves ``benchmarks/results/gpu/PART.json``, so the command continues after
an interrupt and skips what it has; ``--again`` measures everything anew. Then it writes ``benchmarks/results/gpu.json``
and its section of ``benchmarks/RESULTS.md``. A part that fails or takes too long is reported and stops no other.

``--tiny`` tries all parts with tiny sizes on any machine, in about a minute, and writes only to ``--folder``.

On a machine with a GPU and no network, that has torch, transformers, numpy, pillow, safetensors and huggingface_hub,
bring these wheels in a folder ``wheels`` (`pip download --no-deps -d wheels -c constraints.txt NAME ...`): argcomplete,
arabic-reshaper, diffusers, fonttools, importlib-metadata, jsonschema, jsonschema-specifications, pluggy, python-bidi,
referencing, rich, rpds-py, simplejpeg, tensorboard, tensorboard-data-server, xxhash, zipp. Then one line does all:

    pip install --no-index --find-links wheels --no-deps wheels/*.whl -e . && python -m benchmarks.gpu
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SECTION = "## On a GPU"
BUDGET = 480.0
"""Time of all parts (seconds)."""
TINY = (
    "model.hidden_size=32",
    "model.num_layers=2",
    "model.num_heads=2",
    "model.attention_head_dim=null",
    "training.batch_size=2",
    "data.image_size=64",
    "training.mixed_precision=no",
)
CONFIGS = ("medium", "train_config", "small", "large")
Values = dict[str, Any]


# ------------------------------------------------------------------------------------------------------------ steps


def _device() -> Any:
    from dit_run.compute.distributed import choose_device

    return choose_device("auto")


def _config(name: str, tiny: bool, *changes: str) -> Any:
    from dit_run import load_config

    own = (*(TINY if tiny else ()), "training.init_from=null", *changes)
    return load_config(ROOT / "configs" / f"{name}.yaml", *own)


class _Step:
    """The training step of a shipped config on made-up latents and captions."""

    def __init__(self, config: Any, device: Any) -> None:
        import torch
        from benchmarks.cards import encoders_of

        from dit_run.assembly.parts import build_denoiser, build_optimizer, build_schedulers
        from dit_run.compute.precision import Precision
        from dit_run.protocols import TextStates
        from dit_run.training.step import EncodedBatch, Gradients, TrainingStep

        encoders, self.size = encoders_of(config), config.training.batch_size
        self.denoiser = build_denoiser(config, encoders, device).train()
        side = config.data.common.image_size
        shape, width, generator = encoders.latent_shape(side, side), encoders.texts[0].width, torch.Generator()
        lengths = torch.randint(8, 33, (self.size,), generator=generator)

        def normal(*dims: int) -> Any:
            return torch.randn(self.size, *dims, generator=generator).to(device)

        self.text = TextStates(
            normal(32, width),
            (torch.arange(32) < lengths[:, None]).to(device),
            normal(width),
            torch.zeros(self.size, dtype=torch.bool, device=device),
        )
        uniform = torch.rand(self.size, generator=generator).to(device)
        self.batch = EncodedBatch(normal(*shape), normal(*shape), uniform, self.text)
        self.precision = Precision.of(config.training.mixed_precision, device)
        self.step = TrainingStep(
            forward=self.denoiser,
            scheduler_of=build_schedulers(config, encoders),
            optimizer=build_optimizer(config, self.denoiser, device),
            learning_rate_factor=lambda step: 1.0,
            precision=self.precision,
            max_grad_norm=1.0,
            seed=0,
            gradients=Gradients(1),
        )

    def run(self) -> None:
        self.step.run(0, [self.batch], count=1)


def _seconds(call: Callable[[], object], device: Any, *, least: float, rounds: int = 3) -> float:
    """Return the median seconds of a call: rounds of many calls, after two calls that do not count."""
    from dit_run.compute.timing import synchronise

    for _ in range(2):
        call()
    synchronise(device)
    began = time.perf_counter()
    call()
    synchronise(device)
    count = max(1, round(least / max(time.perf_counter() - began, 1e-6)))
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(count):
            call()
        synchronise(device)
        taken.append((time.perf_counter() - began) / count)
    return statistics.median(taken)


def step(name: str, compiled: bool, tiny: bool) -> Values:
    """Measure a step: images per second, share of the peak, memory and its estimate, waits of the host."""
    import torch
    from benchmarks.cards import encoders_of, operations_of

    from dit_run.compute.memory_meter import MemoryMeter
    from dit_run.compute.timing import gemm_peak
    from dit_run.planning.memory_estimate import estimate_step
    from dit_run.training.compile import compile_blocks

    config, device = _config(name, tiny, "training.use_ema=false"), _device()
    meter = MemoryMeter(device)
    meter.reset()
    own = _Step(config, device)
    if compiled and device.type == "cuda":
        compile_blocks(own.denoiser)
    seconds = _seconds(own.run, device, least=0.05 if tiny else 2.0)
    memory = meter.peak  # before the products that follow
    estimate = estimate_step(config, encoders_of(config), batch_size=own.size, accumulates=False)
    peak = gemm_peak(device, own.precision.dtype or torch.float32)
    return {
        "images_per_second": own.size / seconds,
        "milliseconds": 1e3 * seconds,
        "share_of_peak": operations_of(config) * own.size / seconds / peak,
        "peak_tflops": peak / 1e12,
        "memory_gib": memory / 2**30,
        "estimate_gib": estimate.peak / 2**30,
        "waits": _waits(own.run, device),
    }


def _waits(call: Callable[[], object], device: Any) -> int:
    """Return how often the host waits for the device in one more call, by torch's own warnings."""
    if device.type != "cuda":
        return 0
    import torch

    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in caught)


def pixart(tiny: bool) -> Values:
    """Measure diffusers' PixArt and the medium model in turn, eager and compiled, on the same batch."""
    import torch

    from dit_run.training.compile import compile_blocks

    config, device = _config("medium", tiny), _device()
    values: Values = {}
    for compiled in (False, True) if device.type == "cuda" else (False,):
        torch._dynamo.reset()
        own, peer = _Step(config, device), _peer(config, device)
        if compiled:
            compile_blocks(own.denoiser)
            peer.compile()
        optimizer = torch.optim.AdamW(peer.parameters(), lr=1e-4, fused=True)
        batch = own.batch

        def their_step(own: _Step = own, peer: Any = peer, optimizer: Any = optimizer, batch: Any = batch) -> None:
            noisy = torch.lerp(batch.latents, batch.noise, batch.uniform[:, None, None, None])
            with own.precision.autocast():
                out = _predicted(peer, noisy, batch.uniform * 1000, own.text)
            loss = (out.float() - (batch.noise - batch.latents)).square().mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(peer.parameters(), 1.0)
            optimizer.step()

        kind = "compiled" if compiled else "eager"
        for contestant, call in (("dit-run", own.run), ("PixArt", their_step)):
            seconds = _seconds(call, device, least=0.05 if tiny else 1.5)
            values[f"{contestant} {kind}"] = own.size / seconds
        del own, peer, optimizer, batch, their_step
    return values


def _peer(config: Any, device: Any) -> Any:
    from diffusers import PixArtTransformer2DModel

    options = config.model.options
    model = PixArtTransformer2DModel(
        num_attention_heads=options.num_heads,
        attention_head_dim=options.hidden_size // options.num_heads,
        in_channels=4,
        out_channels=4,
        num_layers=options.num_layers,
        cross_attention_dim=options.hidden_size,
        sample_size=config.data.common.image_size // 8,
        patch_size=2,
        caption_channels=768,
        use_additional_conditions=False,
    )
    return model.to(device).train()


def _predicted(peer: Any, noisy: Any, timesteps: Any, text: Any) -> Any:
    return peer(
        noisy,
        encoder_hidden_states=text.tokens,
        encoder_attention_mask=text.mask,
        timestep=timesteps,
        return_dict=False,
    )[0]


# ------------------------------------------------------------------------------------------------------- other parts


def attention(tiny: bool) -> Values:
    """Measure cross-attention for 17, 33 and 78 keys and several widths of a head: a mask, and a mask as a channel."""
    import torch
    import torch.nn.functional as F

    from dit_run_plugins.models.dit.kernels import attend_with_channel

    device = _device()
    n, heads, queries = (2, 2, 16) if tiny else (64, 12, 256)
    values: Values = {}
    for width in (64, 72, 80):
        for keys in (17, 33, 78):
            parts = [
                torch.randn(n, heads, count, width, device=device, dtype=torch.bfloat16, requires_grad=True)
                for count in (queries, keys, keys)
            ]
            mask = (torch.arange(keys, device=device) < keys - 5).expand(n, 1, 1, keys)
            for form, call in (("mask", _masked(F)), ("channel", attend_with_channel)):

                def both_ways(call: Any = call, parts: Any = parts, mask: Any = mask) -> None:
                    call(*parts, mask).sum().backward()

                microseconds = 1e6 * _seconds(both_ways, device, least=0.01 if tiny else 0.1)
                values[f"{form} {keys} keys of {width}"] = microseconds
    return values


def _masked(functional: Any) -> Callable[..., Any]:
    return lambda query, key, value, mask: functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)


def sampling(tiny: bool) -> Values:
    """Measure guided sampling of latents: the medium model, and PixArt in diffusers' loop with the same steps."""
    import torch
    from diffusers import DPMSolverMultistepScheduler

    from dit_run.model.guidance import Guidance, guided

    config, device = _config("medium", tiny), _device()
    own, peer = _Step(config, device), _peer(config, device).eval()
    own.denoiser.eval()
    steps, scheduler = 2 if tiny else 20, own.step.scheduler_of(own.batch.shape)
    count = min(own.size, 16)
    text = type(own.text)(*(part[:count] for part in own.text))
    noise = own.batch.noise[:count]

    @torch.no_grad()
    def ours() -> None:
        with own.precision.autocast():
            predict = guided(own.denoiser, text, text, Guidance(4.0))
            scheduler.sample(predict, noise, sampler="dpm-solver++", steps=steps, step_noise=lambda step: noise)

    both = type(text)(*(torch.cat([part, part]) for part in text))

    @torch.no_grad()
    def theirs() -> None:
        solver, latents = DPMSolverMultistepScheduler(), noise
        solver.set_timesteps(steps, device=device)
        with own.precision.autocast():
            for moment in solver.timesteps:
                out = _predicted(peer, torch.cat([latents, latents]), moment.expand(2 * count), both)
                conditional, empty = out.float().chunk(2)
                latents = solver.step(empty + 4 * (conditional - empty), moment, latents, return_dict=False)[0]

    least = 0.05 if tiny else 1.0
    return {
        "dit-run": count / _seconds(ours, device, least=least),
        "diffusers": count / _seconds(theirs, device, least=least),
        "waits": _waits(ours, device),
    }


def loader(tiny: bool) -> Values:
    """Measure the draws of the loader: samples per second of a core, with and without a posterior."""
    from dit_run.compute.random_streams import Streams

    streams, shape, count = Streams(0), (4, 32, 32), 8 if tiny else 96

    def draws(purposes: tuple[str, ...]) -> float:
        def call() -> None:
            for purpose in purposes:
                streams.normals(purpose, range(count), shape)

        began, rounds = time.process_time(), 5 if tiny else 50
        for _ in range(rounds):
            call()
        return count * rounds / (time.process_time() - began)

    return {"samples per core-second": draws(("noise", "posterior")), "without a posterior": draws(("noise",))}


RUN = (
    "training.max_steps=4", "training.save_steps=2", "training.logging_steps=1", "training.batch_size=8",
    "validation.every_n_steps=null", "sampling.every_n_steps=null", "metrics=[]", "trackers=[]",
)  # fmt: skip


def continuation(tiny: bool) -> Values:
    """Compare the bytes of a stopped and continued run with those of a whole one, deterministic and in bf16."""
    import dit_run

    precision = "no" if _device().type == "cpu" else "bf16"
    changes = (*RUN, "training.deterministic=true", f"training.mixed_precision={precision}", "training.use_ema=true")
    with tempfile.TemporaryDirectory() as folder:
        whole, parts = Path(folder) / "whole", Path(folder) / "parts"
        quickstart = ROOT / "configs" / "quickstart.yaml"
        dit_run.train(dit_run.load_config(quickstart, *changes, f"training.output_dir={whole}"))
        config = dit_run.load_config(quickstart, *changes, f"training.output_dir={parts}")
        dit_run.train(config, stop=lambda: (parts / "checkpoints" / "step-00000002").exists())
        dit_run.train(config)
        return {"equal": float(_digest(whole) == _digest(parts))}


def _digest(run: Path) -> str:
    files = sorted((run / "checkpoints" / "step-00000004").glob("*.safetensors"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def half(tiny: bool) -> Values:
    """Train a few steps in fp16, and return the scale of the loss and the loss."""
    import dit_run

    with tempfile.TemporaryDirectory() as folder:
        changes = (*RUN, "training.mixed_precision=fp16", f"training.output_dir={folder}/run")
        result = dit_run.train(dit_run.load_config(ROOT / "configs" / "quickstart.yaml", *changes))
        state = json.loads((Path(folder) / "run" / "checkpoints" / "step-00000004" / "state.json").read_text())
    return {"scale": float(state["scaler"]["scale"]), "loss": float(result.values["loss"])}


def cache(tiny: bool) -> Values:
    """Compare latents that are encoded one by one with those of full chunks, in the precision of the run."""
    import torch
    from diffusers import AutoencoderKL

    from dit_run.model.codec import encode_latents

    device = _device()
    channels = (8, 8) if tiny else (128, 256, 512, 512)
    torch.manual_seed(0)
    network = AutoencoderKL(
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        layers_per_block=1 if tiny else 2,
        norm_num_groups=4 if tiny else 32,
    ).to(device)

    class Vae:
        cacheable = True

        def encode(self, pixels: Any) -> Any:
            found = network.encode(pixels).latent_dist
            return found.mean, found.std

    images = torch.randint(0, 256, (4 if tiny else 16, 64, 64, 3), dtype=torch.uint8).to(device)
    together = encode_latents(Vae(), images, torch.bfloat16)[0]  # type: ignore[arg-type]
    alone = torch.cat([encode_latents(Vae(), image[None], torch.bfloat16)[0] for image in images])  # type: ignore[arg-type]
    return {"relative_error": float((together - alone).norm() / together.norm())}


def quickstart(tiny: bool) -> Values:
    """Train the quickstart at 64 pixels for two minutes, and score it."""
    with tempfile.TemporaryDirectory() as folder:
        run = f"{folder}/run"
        steps = "4" if tiny else "1000000"
        words = [
            "data.image_size=64",
            "training.max_hours=0.0333",
            f"training.max_steps={steps}",
            "training.save_steps=100000",
            "sampling.every_n_steps=null",
            "validation.every_n_steps=null",
            "training.mixed_precision=" + _half_of(),
            "training.compile_model=auto",
            "lr_scheduler={type: constant, warmup_steps: 2}",
            f"training.output_dir={run}",
            *(
                ["training.batch_size=4", "metrics=[]", "training.logging_steps=1"]
                if tiny
                else ["training.batch_size=256"]
            ),
        ]
        command = [sys.executable, "-m", "dit_run", str(ROOT / "configs" / "quickstart.yaml"), *words]
        status = subprocess.run(command, stdout=subprocess.DEVNULL).returncode
        if status not in (0, 143):
            raise RuntimeError(f"dit-run ended with status {status}")
        lines = [json.loads(line) for line in (Path(run) / "metrics.jsonl").read_text().splitlines()] or [{}]
        scored = _scores(run, ["metrics=[{type: shapes, count: 4}]", "sampling.steps=2"] if tiny else [])
        return {"steps": lines[-1].get("step", 0), "loss": lines[-1].get("loss", 0.0), **scored}


def _half_of() -> str:
    return "no" if _device().type == "cpu" else "bf16"


def _scores(run: str, changes: list[str]) -> Values:
    """Return the scores of `dit-run eval`."""
    command = [sys.executable, "-m", "dit_run", "eval", run, "--json", "-q", *changes]
    said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {name: value for name, value in said.items() if isinstance(value, float)}


# ---------------------------------------------------------------------------------------------------------- the frame


def parts() -> Mapping[str, tuple[float, Callable[[bool], Values]]]:
    """Return every part in order, the most important first, with the most seconds that it may take."""
    found: dict[str, tuple[float, Callable[[bool], Values]]] = {"attention": (40, attention)}
    for name in CONFIGS:
        found[f"step-{name}-eager"] = (60, lambda tiny, name=name: step(name, False, tiny))
    found |= {"pixart": (120, pixart), "continuation": (60, continuation)}
    for name in CONFIGS:
        found[f"step-{name}-compiled"] = (90, lambda tiny, name=name: step(name, True, tiny))
    others = {"sampling": sampling, "fp16": half, "cache": cache, "loader": loader}
    return found | {name: (60, call) for name, call in others.items()} | {"quickstart": (200, quickstart)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="try every part with tiny sizes, on any machine")
    parser.add_argument("--again", action="store_true", help="measure again what was measured")
    parser.add_argument("--folder", type=Path, default=ROOT / "benchmarks" / "results", help="folder of the results")
    parser.add_argument("--only", nargs="*", choices=[*parts()], help="measure only these parts")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        print(json.dumps(parts()[arguments.part][1](arguments.tiny)))
        return 0
    if not arguments.tiny and _device().type != "cuda":
        parser.error("this machine has no CUDA GPU; --tiny tries the parts without one")
    found = dict(_measured(arguments))
    report = report_of(found)
    (arguments.folder / "gpu.json").write_text(
        json.dumps({"parts": found, "report": report, **_surroundings()}, indent=1)
    )
    print(report)
    if not arguments.tiny:
        write_section(ROOT / "benchmarks" / "RESULTS.md", report)
    return int(any("error" in values for values in found.values()))


def _measured(arguments: argparse.Namespace) -> Iterator[tuple[str, Values]]:
    """Yield the values of each part, measured now or before."""
    began, folder = time.monotonic(), arguments.folder / "gpu"
    slack = 10 if arguments.tiny else 1  # a machine without a GPU may be slow, and its numbers do not count
    folder.mkdir(parents=True, exist_ok=True)
    for name, (most, _) in parts().items():
        file, left = folder / f"{name}.json", slack * BUDGET - (time.monotonic() - began)
        if arguments.only and name not in arguments.only:
            continue
        if not file.exists() or arguments.again or "error" in json.loads(file.read_text()):
            most = min(slack * most, left)
            values = {"error": "no time was left"} if left < 5 else _apart(name, arguments.tiny, most)
            file.write_text(json.dumps(values))
        yield name, json.loads(file.read_text())


def _apart(name: str, tiny: bool, most: float) -> Values:
    """Measure a part in its own process."""
    print(f"{name} …", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "benchmarks.gpu", "--part", name, *(["--tiny"] if tiny else [])]
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1"}
    began = time.monotonic()
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment, timeout=most, capture_output=True, text=True)
    except subprocess.TimeoutExpired:
        return {"error": f"took longer than {most:.0f} s"}
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["no output"])[-1][:300]}
    values: Values = json.loads(done.stdout.strip().splitlines()[-1])
    return {**values, "seconds": round(time.monotonic() - began, 1)}


def report_of(found: Mapping[str, Values]) -> str:
    """Return the section of RESULTS.md."""
    place = _surroundings()
    versions = ", ".join(f"{name} {version}" for name, version in place["versions"].items())
    lines = [SECTION, "", f"`python -m benchmarks.gpu`. Machine: {place['machine']}. Versions: {versions}.", ""]
    lines += ["| part | measured |", "| --- | --- |"]
    for name, values in found.items():
        shown = "; ".join(f"{key} {_shown(value)}" for key, value in values.items() if key != "seconds")
        lines.append(f"| {name} | {shown} |")
    return "\n".join(lines) + "\n"


def _shown(value: Any) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


def section_of(page: Path) -> str | None:
    """Return the section of a page, or None."""
    _, found, rest = (page.read_text() if page.exists() else "").partition(SECTION)
    return found + rest.split("\n## ")[0] if found else None


def write_section(page: Path, section: str) -> None:
    """Replace the section of the page, or add it before that of long runs."""
    text = page.read_text()
    before, found, rest = text.partition(SECTION)
    if not found:
        before, found, rest = text.partition("## Results of long runs")
        page.write_text(f"{before}{section}\n{found}{rest}")
        return
    following = rest.find("\n## ")
    page.write_text(before + section + (rest[following:] if following >= 0 else ""))


def _surroundings() -> dict[str, Any]:
    from benchmarks.measuring import surroundings

    return surroundings()


if __name__ == "__main__":
    raise SystemExit(main())
