"""``dit-run plan --gpus``: ways to share a model over many GPUs that are not at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dit_run.problems import InputError
from dit_run.system.units import duration_text, size_text

if TYPE_CHECKING:
    from dit_run.planning.cluster_estimate import Cluster, Needs, ShardedStep
    from dit_run.settings import Config

__all__ = ["run_for_gpus"]


def run_for_gpus(config: Config, gpus: int, memory: int | None, per_node: int) -> int:
    """Print memory, batch size and traffic of each way to share the weights, and propose one."""
    from dit_run.planning.batch_choice import fits
    from dit_run.planning.cluster_estimate import Cluster, estimate_needs, sharded_step, shards_of

    if gpus < 1 or per_node < 1:
        raise InputError("--gpus and --gpus-per-node need at least 1 GPU")
    if memory is None:
        raise InputError("name the memory of a GPU with --gpu-memory, such as 80GB")
    per_node = min(per_node, gpus)
    if gpus % per_node:
        raise InputError(f"{gpus} GPUs are no whole number of machines with {per_node}; set --gpus-per-node")
    cluster, needs, batch = Cluster(gpus, per_node, memory), estimate_needs(config), config.training.batch_size
    steps = [sharded_step(needs, cluster, shards, batch) for shards in shards_of(cluster)]
    proposal = next((step for step in steps if fits(step.memory, memory)), None)
    for line in [*_facts(config, needs, cluster), "", *_table(steps, batch, cluster), "", *_assumptions(cluster), ""]:
        print(line)
    print(_proposed(proposal, steps[-1], cluster))
    return 0 if proposal is not None else 1


def _facts(config: Config, needs: Needs, cluster: Cluster) -> list[str]:
    training = config.training
    samples = training.batch_size * training.gradient_accumulation_steps * cluster.gpus
    whole = needs.held / cluster.writing
    return [
        f"machines    {cluster.nodes} with {cluster.per_node} GPUs of {size_text(cluster.memory)}",
        f"model       {needs.trained:,} trained parameters; weights, optimizer and averages {size_text(needs.held)}",
        f"step        {samples:,} samples: batch_size {training.batch_size} x gradient_accumulation_steps "
        f"{training.gradient_accumulation_steps} x {cluster.gpus} GPUs",
        f"checkpoint  about {size_text(needs.held)}, written in {duration_text(whole)}",
    ]


def _table(steps: list[ShardedStep], batch: int, cluster: Cluster) -> list[str]:
    from dit_run.planning.batch_choice import fits

    rows = [f"{'shard':>6}  {'memory':>9}  {'largest batch':>13}  {'traffic':>9}  {'s/micro-step':>12}"]
    for step in steps:
        note = "" if fits(step.memory, cluster.memory) else f"batch_size {batch} is too large"
        rows.append(
            f"{step.shards:>6}  {size_text(step.memory):>9}  {step.largest_batch:>13}  {size_text(step.traffic):>9}  "
            f"{step.seconds:>12.3g}  {note}".rstrip()
        )
    return rows


def _assumptions(cluster: Cluster) -> list[str]:
    return [
        "Estimated, not measured. Assumptions:",
        "- memory: that of a step with this batch size, and with twice as many samples; a tenth of the weights is "
        "gathered at a time",
        f"- traffic: {size_text(cluster.inside)}/s for each GPU inside a machine, {size_text(cluster.between)}/s "
        "between machines, nothing overlaps with it; with shard 1 once a step, else in each micro-step",
        f"- checkpoints: one process writes {size_text(cluster.writing)}/s",
    ]


def _proposed(proposal: ShardedStep | None, least: ShardedStep, cluster: Cluster) -> str:
    if proposal is not None:
        shared = "node" if proposal.shards == cluster.per_node > 1 else str(proposal.shards)
        return f"proposed: training.shard={shared}, the fewest shards that fit"
    if least.largest_batch:
        return f"proposed: training.shard={least.shards} training.batch_size={least.largest_batch}"
    return f"not even one sample fits into {size_text(cluster.memory)}; use gradient checkpointing or a smaller model"
