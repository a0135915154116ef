"""``dit-run plan``: predict memory, disk and time from a short probe, and propose batch sizes."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from dit_run.cli.common_options import add_config, resolved
from dit_run.cli.problem_rendering import print_problems
from dit_run.runs.run_folder import place_of
from dit_run.system.units import read_size

if TYPE_CHECKING:
    from dit_run.planning.batch_split import BatchSplit
    from dit_run.planning.forecast import Forecast, Shortage
    from dit_run.planning.probe import ProbeResult
    from dit_run.settings import Config

__all__ = ["configure", "run"]

_SHOWN = 6
"""Splits in the table."""


def configure(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument(
        "--memory", type=_bytes, metavar="SIZE", help="what the run may take: 24GB (default: all there is)"
    )


def run(arguments: argparse.Namespace) -> int:
    config = resolved(arguments).config
    print_problems(config.notices)
    from dit_run.cli.progress import beside
    from dit_run.compute.distributed import choose_device
    from dit_run.planning.batch_split import best_split, splits
    from dit_run.planning.forecast import forecast, shortages
    from dit_run.planning.probe import probe

    with beside() as reporter:
        probed = probe(config, device=choose_device(config.training.device), reporter=reporter)
    needs = forecast(probed.measured, probed.workload)
    memory = probed.memory if arguments.memory is None else arguments.memory
    candidates = splits(probed.measured, probed.workload)
    proposal = best_split(candidates, probed.workload, memory)
    lacking = shortages(probed.measured, probed.workload, memory, tried_in=probed.memory)
    for line in [*_needs(config, probed, needs, memory), "", *_table(candidates, proposal, probed, memory)]:
        print(line)
    print(_proposed(proposal, lacking, probed, memory))
    for lack in lacking:
        print(_told(lack, config, memory))
    return 0 if proposal is not None and not lacking else 1


def _needs(config: Config, probed: ProbeResult, needs: Forecast, memory: int) -> list[str]:
    from dit_run.planning.batch_split import MARGIN

    load = probed.workload
    parts = ", ".join(f"{name} {_size(value)}" for name, value in needs.memory.items())
    times = ", ".join(f"{name} {_duration(value)}" for name, value in needs.seconds.items())
    effective = load.batch_size * load.accumulation
    compiled = " (not compiled: with compile_model it is less)" if config.training.compile_model else ""
    cache = f"{_size(needs.disk['cache'])} of cache" if needs.disk["cache"] else "no cache"
    return [
        f"device   {probed.device}, {_size(memory)}, of which {1 - MARGIN:.0%} is kept free; "
        f"{probed.measured.parameters:,} parameters train",
        f"memory   {_size(needs.peak)} at most: {parts}",
        f"disk     {cache}; {_size(needs.disk['checkpoints'])} of checkpoints, "
        f"{_size(needs.disk['checkpoint'])} each; {_size(_free(config))} free",
        f"time     {_duration(needs.total)}: {times}",
        f"step     {needs.step:.3g} s for {effective} samples{compiled}; {load.steps:,} steps over "
        f"{probed.samples:,} samples",
    ]


def _table(candidates: list[BatchSplit], proposal: BatchSplit | None, probed: ProbeResult, memory: int) -> list[str]:
    """The splits about the config's own, and the proposed one."""
    from dit_run.planning.batch_split import fits

    own = next(index for index, split in enumerate(candidates) if split.batch_size == probed.workload.batch_size)
    first = max(0, min(own - _SHOWN // 2, len(candidates) - _SHOWN))
    rows = [f"{'batch_size':>10}  {'accumulation':>12}  {'memory':>9}  {'s a step':>9}"]
    for index, split in enumerate(candidates):
        if first <= index < first + _SHOWN or split is proposal:
            notes = ["this config"] * (index == own) + ["too large"] * (not fits(split.peak, memory))
            rows.append(
                f"{split.batch_size:>10}  {split.accumulation:>12}  {_size(split.peak):>9}  {split.seconds:>9.3g}  "
                f"{', '.join(notes)}"
            )
    return [row.rstrip() for row in rows]


def _proposed(proposal: BatchSplit | None, lacking: list[Shortage], probed: ProbeResult, memory: int) -> str:
    effective = probed.workload.batch_size * probed.workload.accumulation
    if proposal is None:
        return f"no split of {effective} samples fits into {_size(memory)}: take a smaller model or data.image_size"
    if proposal.batch_size == probed.workload.batch_size:
        return f"{'training' if lacking else 'this config'} fits into {_size(memory)}"
    return (
        f"proposed: training.batch_size={proposal.batch_size} "
        f"training.gradient_accumulation_steps={proposal.accumulation}, which learns from the same {effective} "
        "samples a step"
    )


def _told(lack: Shortage, config: Config, memory: int) -> str:
    """A part that does not fit, and what to lower."""
    many = f"; {lack.count} are drawn at a time" if lack.count else ""
    said = f"{lack.name} {'do' if lack.count else 'does'} not fit into {_size(memory)} ({_size(lack.size)}{many}): "
    if lack.name == "previews":
        fewer = f"write at most {lack.most} sampling.prompts" if config.sampling.prompts else ""
        fewer = fewer or f"lower sampling.num_images to {lack.most}"
        never = "make no pictures with sampling.every_n_steps=null"
    elif lack.name == "metrics":
        fewer, never = f"lower their count to {lack.most}", "leave them out"
    else:
        fewer, never = "", "fill it with dit-run cache where there is more memory"
    return said + (fewer if lack.most else f"take a smaller data.image_size, or {never}")


def _free(config: Config) -> int:
    """Bytes left where the run folder is or would be."""
    return shutil.disk_usage(place_of(Path(config.training.output_dir))).free


def _size(count: float) -> str:
    if count >= 1e9:
        return f"{count / 1e9:.2f} GB"
    return f"{count / 1e6:.0f} MB" if count >= 1e6 or not count else f"{count / 1e3:.0f} kB"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, hours = round(seconds / 60), seconds / 3600
    return f"{minutes} min" if minutes < 90 else f"{hours:.1f} h" if hours < 72 else f"{hours / 24:.1f} days"


def _bytes(text: str) -> int:
    try:
        return read_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
