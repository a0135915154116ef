"""``dit-run plan CONFIG --gpus N --gpu-memory 80GB``: ways to share a model over many GPUs that are not at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dit_run.problems import InputError
from dit_run.system.units import duration_text, size_text

if TYPE_CHECKING:
    from dit_run.planning.cluster_estimate import Cluster, Needs, ShardedStep
    from dit_run.planning.cluster_times import CacheNeeds
    from dit_run.settings import Config

__all__ = ["run_for_gpus"]


def run_for_gpus(config: Config, gpus: int, memory: int | None, per_node: int, assume: Sequence[str]) -> int:
    """Print memory, batch size and traffic of each way to share the weights, and propose one."""
    from dit_run.assembly.parts import encoder_shapes
    from dit_run.planning.assumptions import Assumptions
    from dit_run.planning.cluster_estimate import Cluster, estimate_needs, sharded_step, shards_of
    from dit_run.planning.cluster_times import estimate_cache_needs
    from dit_run.planning.text_weights import TextWeights

    if gpus < 1 or per_node < 1:
        raise InputError("--gpus and --gpus-per-node need at least 1 GPU")
    if memory is None:
        raise InputError("name the memory of a GPU with --gpu-memory, such as 80GB")
    per_node = min(per_node, gpus)
    if gpus % per_node:
        raise InputError(f"{gpus} GPUs are no whole number of machines with {per_node}; set --gpus-per-node")
    cluster = Cluster(gpus, per_node, memory, Assumptions().changed(assume))
    encoders = encoder_shapes(config)
    texts = TextWeights.of(config, encoders)
    needs = estimate_needs(config, encoders, texts)
    plan = _Plan(config, cluster, needs, estimate_cache_needs(config, encoders, texts, cluster.assumed))
    steps = [sharded_step(needs, cluster, shards, config.training.batch_size) for shards in shards_of(cluster)]
    for line in [*plan.facts(), "", *plan.table(steps), "", *plan.assumptions(), ""]:
        print(line)
    print(plan.proposed(steps))
    return 0 if any(step.fits(cluster) for step in steps) else 1


@dataclass(frozen=True)
class _Plan:
    """The text of a plan."""

    config: Config
    cluster: Cluster
    needs: Needs
    cache: CacheNeeds

    def facts(self) -> list[str]:
        """Return what holds for each way to share the weights."""
        from dit_run.planning.cluster_times import estimate_cache

        training, needs, cluster = self.config.training, self.needs, self.cluster
        samples = training.batch_size * training.gradient_accumulation_steps * cluster.gpus
        lines = [
            f"machines    {cluster.nodes} with {cluster.per_node} GPUs of {size_text(cluster.memory)}",
            f"model       {needs.trained:,} trained parameters; weights, optimizer and averages "
            f"{size_text(needs.held)}",
            f"step        {samples:,} samples: batch_size {training.batch_size} x gradient_accumulation_steps "
            f"{training.gradient_accumulation_steps} x {cluster.gpus} GPUs",
            f"checkpoint  about {size_text(needs.held)}",
        ]
        if needs.encoders:
            lines.append(f"encoders    {size_text(needs.encoders)} of frozen text encoders work in each step")
        if self.cache.records:
            full = estimate_cache(self.cache, cluster)
            lines.append(
                f"cache       {size_text(full.size)} for {cluster.assumed.images:,.0f} images, filled in "
                f"{duration_text(full.filling)}, opened in {duration_text(full.opening)}"
            )
        return lines

    def table(self, steps: Sequence[ShardedStep]) -> list[str]:
        """Return a row for each way to share the weights."""
        from dit_run.planning.cluster_times import save_times

        batch = self.config.training.batch_size
        head = ["shard", "memory", "evaluation", "largest batch", "traffic", "its time", "save waits", "written in", ""]
        rows = [head]
        for step in steps:
            saving = save_times(self.needs.held, step.shards, self.cluster.assumed)
            rows.append(
                [
                    str(step.shards),
                    size_text(step.memory),
                    size_text(step.evaluation) if step.evaluation else "-",
                    str(step.largest_batch),
                    size_text(step.traffic),
                    f"{step.seconds:.3g} s",
                    f"{saving.stall:.3g} s",
                    f"{saving.written:.3g} s",
                    self._note(step, batch),
                ]
            )
        widths = [max(len(row[column]) for row in rows) for column in range(len(head) - 1)]
        return [
            "  ".join([*(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip()
            for row in rows
        ]

    def _note(self, step: ShardedStep, batch: int) -> str:
        from dit_run.planning.batch_choice import fits

        if not fits(step.memory, self.cluster.memory):
            return f"batch_size {batch} is too large"
        return "" if step.fits(self.cluster) else "evaluation does not fit"

    def assumptions(self) -> list[str]:
        """Return what the numbers rest on."""
        from dit_run.planning.cluster_times import LOOKED_UP, PIXEL_FLOPS

        given = self.cluster.assumed
        return [
            "Estimated, not measured. Assumptions; --assume NAME=VALUE changes those with a name:",
            "- memory: that of a step with this batch size, and with twice as many samples; a tenth of the weights is "
            "gathered at a time",
            "- evaluation: with shards each GPU has whole copies of the weights, their first average and the encoders",
            f"- traffic: inside={size_text(given.inside)}/s for each GPU inside a machine, "
            f"between={size_text(given.between)}/s between machines, nothing overlaps with it; with shard 1 once a "
            "step, else in each micro-step",
            f"- saving: training waits for a copy to main memory, host={size_text(given.host)}/s for each GPU, and "
            f"each process that shares weights writes its part, writer={size_text(given.writer)}/s, to a disk that "
            f"takes storage={size_text(given.storage)}/s from all",
            f"- cache: images={given.images:,.0f} of {self.config.data.common.image_size} pixels, each with a caption "
            f"of tokens={given.tokens:g}; a GPU does flops={given.flops / 1e12:g}T operations a second, "
            f"{PIXEL_FLOPS / 1e6:g} million for a pixel and 2 for each weight of a text encoder and token; "
            f"{LOOKED_UP:,.0f} records are found a second",
        ]

    def proposed(self, steps: Sequence[ShardedStep]) -> str:
        """Return the keys to set: the fewest shards that fit, or the largest batch of the most shards."""
        cluster = self.cluster
        first = next((step for step in steps if step.fits(cluster)), None)
        if first is not None:
            shared = "node" if first.shards == cluster.per_node > 1 else str(first.shards)
            return f"proposed: training.shard={shared}, the fewest shards that fit"
        return self._smaller(steps)

    def _smaller(self, steps: Sequence[ShardedStep]) -> str:
        """Return advice for a run that fits with no shards as it is."""
        from dit_run.planning.batch_choice import fits

        cluster, training, least = self.cluster, self.config.training, steps[-1]
        trains = next((step for step in steps if fits(step.memory, cluster.memory)), None)
        if trains is not None:
            return (
                f"proposed: training.shard={trains.shards} validation.every_n_steps=null sampling.every_n_steps=null "
                "metrics=[], because the whole copies of the weights for evaluation during training do not fit"
            )
        if not least.largest_batch:
            return (
                f"not even one sample fits into {size_text(cluster.memory)}; use gradient checkpointing or a smaller "
                "model"
            )
        effective = training.batch_size * training.gradient_accumulation_steps
        batch = next(size for size in range(min(least.largest_batch, effective), 0, -1) if effective % size == 0)
        words = f"training.shard={least.shards} training.batch_size={batch}"
        words += f" training.gradient_accumulation_steps={effective // batch}"
        return f"proposed: {words}"
