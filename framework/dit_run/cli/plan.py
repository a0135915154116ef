"""``dit-run plan``: predict memory, disk and time from a short probe, and propose a batch size."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from dit_run.cli.common_options import add_config, print_notices, resolved
from dit_run.cli.plan_gpus import run_for_gpus
from dit_run.problems import InputError
from dit_run.runs.run_folder import place_of
from dit_run.system.durable import write_atomic
from dit_run.system.units import duration_text, read_size, size_text

if TYPE_CHECKING:
    from dit_run.planning.batch_choice import BatchSplit
    from dit_run.planning.forecast import Forecast, Shortage
    from dit_run.planning.probe import ProbeResult
    from dit_run.planning.split_estimate import EstimatedSplit
    from dit_run.planning.workload import Workload
    from dit_run.settings import Config

__all__ = ["configure", "run"]

_SHOWN = 6
"""Rows of the table."""
_PER_NODE = 8
"""Default of ``--gpus-per-node`` (GPUs)."""
_OF_ONE_DEVICE, _OF_MANY_GPUS = ("memory", "device", "output"), ("gpu_memory", "gpus_per_node", "assume")
"""Options without an effect next to ``--gpus``, and those without one alone."""


def configure(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument(
        "--memory", type=_bytes, metavar="SIZE", help="memory for the run, such as 24GB (default: all of the device)"
    )
    parser.add_argument("--output", metavar="FILE", help="file for the prediction as JSON, such as RUN/plan.json")
    parser.add_argument(
        "--device",
        metavar="DEVICE",
        help="device to plan for (default: training.device); for cuda on a machine without a GPU, the memory is "
        "estimated for a card of --memory",
    )
    parser.add_argument("--gpus", type=int, metavar="N", help="plan for so many GPUs, which need not be at hand")
    parser.add_argument("--gpu-memory", type=_bytes, metavar="SIZE", help="memory of each of the --gpus, such as 80GB")
    parser.add_argument("--gpus-per-node", type=int, metavar="N", help=f"GPUs of a machine (default: {_PER_NODE})")
    parser.add_argument(
        "--assume",
        action="append",
        metavar="NAME=VALUE",
        help="speed or size that the plan for --gpus assumes, such as between=25GB (a second); it prints all names",
    )


def run(arguments: argparse.Namespace) -> int:
    _refuse_unused(arguments)
    config = resolved(arguments).config
    print_notices(config, arguments)
    if arguments.gpus is not None:
        per_node = _PER_NODE if arguments.gpus_per_node is None else arguments.gpus_per_node
        return run_for_gpus(config, arguments.gpus, arguments.gpu_memory, per_node, arguments.assume or [])
    from dit_run.cli.progress import progress_on_stderr
    from dit_run.compute.devices import choose_device
    from dit_run.planning.batch_choice import best_split, splits
    from dit_run.planning.forecast import forecast, shortages
    from dit_run.planning.probe import probe

    if arguments.device is not None and _is_absent(arguments.device):
        if arguments.output is not None:
            raise InputError(f"this machine has no {arguments.device}, so no times are predicted: leave out --output")
        return _run_estimate(config, arguments.device, arguments.memory)
    device = choose_device(arguments.device or config.training.device)
    with progress_on_stderr(quiet=arguments.quiet) as reporter:
        probed = probe(config, device=device, reporter=reporter)
    needs = forecast(probed.measured, probed.workload)
    if arguments.output is not None:
        write_atomic(Path(arguments.output), _json(needs))
    memory = probed.memory if arguments.memory is None else arguments.memory
    candidates = splits(probed.measured, probed.workload)
    proposal = best_split(candidates, probed.workload, memory)
    missing = shortages(probed.measured, probed.workload, memory, tried_in=probed.memory)
    for line in [*_needs(config, probed, needs, memory), "", *_table(candidates, proposal, probed, memory)]:
        print(line)
    print(_proposed(proposal, missing, probed, memory))
    for shortage in missing:
        print(_advice(shortage, config, memory))
    return 0 if proposal is not None and not missing else 1


def _refuse_unused(arguments: argparse.Namespace) -> None:
    """Raise InputError for an option that has no effect next to ``--gpus``, or without it."""
    unused = _OF_ONE_DEVICE if arguments.gpus is not None else _OF_MANY_GPUS
    given = next((name for name in unused if getattr(arguments, name) is not None), None)
    if given is not None:
        reason = "with --gpus; leave one of the two out" if arguments.gpus is not None else "without --gpus N"
        raise InputError(f"--{given.replace('_', '-')} has no effect {reason}")


def _is_absent(device: str) -> bool:
    import torch

    return device.startswith("cuda") and not torch.cuda.is_available()


def _run_estimate(config: Config, device: str, memory: int | None) -> int:
    """Print the memory that training takes on a GPU that this machine does not have."""
    from dit_run.planning.batch_choice import fits
    from dit_run.planning.split_estimate import estimate_splits

    if memory is None:
        raise InputError(f"this machine has no {device}; name the memory of the card with --memory, such as 24GB")
    estimate = estimate_splits(config)
    proposal = estimate.proposal(memory)
    print(
        f"device   {device}, {size_text(memory)}, is not on this machine: the memory is estimated, by a step without "
        "numbers; times are unknown"
    )
    print(f"memory   training {size_text(estimate.own.peak)}; {estimate.parameters:,} trained parameters\n")
    print(f"{'batch_size':>10}  {'accumulation':>12}  {'memory':>9}")
    for split in estimate.splits:
        notes = ["this config"] * (split == estimate.own) + ["too large"] * (not fits(split.peak, memory))
        row = f"{split.batch_size:>10}  {split.accumulation:>12}  {size_text(split.peak):>9}  {', '.join(notes)}"
        print(row.rstrip())
    print(_proposed_split(estimate.own, proposal, memory))
    return 0 if proposal is not None else 1


def _needs(config: Config, probed: ProbeResult, needs: Forecast, memory: int) -> list[str]:
    from dit_run.planning.batch_choice import MARGIN

    load = probed.workload
    parts = ", ".join(f"{name} {size_text(value)}" for name, value in needs.memory.items())
    times = ", ".join(f"{name} {duration_text(value)}" for name, value in needs.seconds.items())
    effective = load.batch_size * load.accumulation
    compiled = " (measured without compile_model, which makes it shorter)" if config.training.compile_model else ""
    cache = f"{size_text(needs.disk['cache'])} of cache" if needs.disk["cache"] else "no cache"
    return [
        f"device   {probed.device}, {size_text(memory)}, of which {1 - MARGIN:.0%} stays free; "
        f"{probed.measured.parameters:,} trained parameters",
        f"memory   at most {size_text(needs.peak)}: {parts}",
        f"disk     {cache}; {size_text(needs.disk['checkpoints'])} of checkpoints, "
        f"{size_text(needs.disk['checkpoint'])} each; {size_text(_free(config))} free",
        f"time     {duration_text(needs.total)}: {times}",
        f"step     {needs.step:.3g} s for {effective} samples{compiled}; {load.steps:,} steps over "
        f"{probed.samples:,} samples",
    ]


def _json(needs: Forecast) -> bytes:
    values = {
        "step_seconds": needs.step,
        "total_seconds": needs.total,
        "checkpoint_bytes": needs.disk["checkpoint"],
        "peak_bytes": needs.peak,
    }
    return json.dumps(values, indent=1).encode() + b"\n"


def _table(candidates: list[BatchSplit], proposal: BatchSplit | None, probed: ProbeResult, memory: int) -> list[str]:
    """Return the batch sizes around the one of the config, and the proposed one."""
    from dit_run.planning.batch_choice import fits

    own = next(index for index, split in enumerate(candidates) if split.batch_size == probed.workload.batch_size)
    first = max(0, min(own - _SHOWN // 2, len(candidates) - _SHOWN))
    rows = [f"{'batch_size':>10}  {'accumulation':>12}  {'memory':>9}  {'s/step':>9}"]
    for index, split in enumerate(candidates):
        if first <= index < first + _SHOWN or split is proposal:
            notes = ["this config"] * (index == own) + ["too large"] * (not fits(split.peak, memory))
            rows.append(
                f"{split.batch_size:>10}  {split.accumulation:>12}  {size_text(split.peak):>9}  {split.seconds:>9.3g}  "
                f"{', '.join(notes)}"
            )
    return [row.rstrip() for row in rows]


def _proposed(proposal: BatchSplit | None, missing: list[Shortage], probed: ProbeResult, memory: int) -> str:
    if missing and proposal is not None and proposal.batch_size == probed.workload.batch_size:
        return f"training fits into {size_text(memory)}"
    return _proposed_split(probed.workload, proposal, memory)


def _proposed_split(own: Workload | EstimatedSplit, proposal: BatchSplit | EstimatedSplit | None, memory: int) -> str:
    effective = own.batch_size * own.accumulation
    if proposal is None:
        problem = f"no batch size fits {effective} samples per step into {size_text(memory)}"
        return f"{problem}; reduce the model or data.image_size"
    if proposal.batch_size == own.batch_size:
        return f"this config fits into {size_text(memory)}"
    return (
        f"proposed: training.batch_size={proposal.batch_size} "
        f"training.gradient_accumulation_steps={proposal.accumulation}, which trains on the same {effective} "
        "samples per step"
    )


def _advice(shortage: Shortage, config: Config, memory: int) -> str:
    """Return a line about a part that does not fit, and what to reduce."""
    many = f" for {shortage.count} images at a time" if shortage.count else ""
    verb = "do" if shortage.count else "does"
    problem = f"{shortage.name} {verb} not fit into {size_text(memory)} ({size_text(shortage.size)}{many})"
    fewer, never = "", "build it with dit-run cache on a machine with more memory"
    if shortage.name == "previews":
        fewer = f"reduce sampling.num_images to {shortage.most}"
        if config.sampling.prompts:
            fewer = f"write at most {shortage.most} sampling.prompts"
        never = "turn previews off with sampling.every_n_steps=null"
    elif shortage.name == "metrics":
        fewer, never = f"reduce their count to {shortage.most}", "remove them"
    return f"{problem}: {fewer if shortage.most else f'reduce data.image_size, or {never}'}"


def _free(config: Config) -> int:
    """Return the free bytes of the disk of the run folder."""
    return shutil.disk_usage(place_of(Path(config.training.output_dir))).free


def _bytes(text: str) -> int:
    try:
        return read_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
