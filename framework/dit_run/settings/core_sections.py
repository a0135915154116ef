"""The options of the core's own sections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from dit_run.options import (
    Adjustable,
    LocalPath,
    NonNegativeFloat,
    NonNegativeInt,
    Operational,
    PositiveFloat,
    PositiveInt,
    Probability,
    acts_if,
    acts_unless,
    bounds,
)

__all__ = [
    "SECTIONS",
    "CacheOptions",
    "SamplingOptions",
    "TrainingOptions",
    "ValidationOptions",
]


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """Training: length, precision, checkpoints and the run folder."""

    output_dir: Annotated[str, LocalPath, Operational] = "./outputs"
    """Run folder. The same command continues an unfinished run in it."""
    seed: Annotated[int, bounds(ge=0, lt=2**63)] = 42
    """Seed of all randomness: initial weights, data order, noise, timesteps and dropout."""
    batch_size: Annotated[PositiveInt, Adjustable] = 96
    """Samples per process and micro-step."""
    gradient_accumulation_steps: Annotated[PositiveInt, Adjustable] = 1
    """Micro-steps per optimizer step; their gradients are averaged."""
    learning_rate: Annotated[PositiveFloat, Adjustable] = 1e-4
    """Peak learning rate."""
    num_epochs: Annotated[PositiveInt | None, Adjustable] = 1000
    """Passes over the training samples; null sets no limit. If only `max_steps` is written, there is no limit."""
    max_steps: Annotated[PositiveInt | None, Adjustable] = None
    """Optimizer steps after which the run ends, if a written `num_epochs` does not end it earlier; null sets no limit.
    """
    save_every_n_epochs: Annotated[PositiveInt | None, Operational] = 10
    """Epochs between checkpoints, saved at the step that completes an epoch; null turns them off."""
    save_steps: Annotated[PositiveInt | None, Operational] = 500
    """Optimizer steps between checkpoints; null turns them off. The last step of a run is always saved."""
    save_total_limit: Annotated[Annotated[int, bounds(ge=2)] | None, Operational] = 3
    """Number of checkpoints kept, including the one with the lowest validation loss; null keeps all."""
    async_save: Annotated[Literal[False, True, "auto"], Operational] = "auto"
    """Write checkpoints while training continues: at their step their contents are copied to the memory of the host,
    which must have room for them. A save waits for the one before it, and the last save of a run that ends or stops is
    always waited for. `auto` does it on a GPU. Checkpoints are the same with and without it."""
    logging_steps: Annotated[PositiveInt, Operational] = 50
    """Optimizer steps between two logged lines."""
    mixed_precision: Annotated[Literal["no", "fp16", "bf16", "auto"], Adjustable] = "bf16"
    """Precision of the forward and backward pass; weights, optimizer and averages stay in fp32. `auto` is bf16 where
    the device multiplies it faster than fp32 (GPUs since Ampere, processors with AMX), and `no` elsewhere."""
    max_grad_norm: Annotated[NonNegativeFloat | None, Adjustable] = 1.0
    """Largest norm of the gradient; a larger gradient is scaled down to it. 0 or null turns clipping off."""
    use_ema: bool = False
    """Keep an exponential moving average (EMA) of the weights, and use it for sample images and validation."""
    ema_decay: Annotated[float, bounds(ge=0, lt=1), acts_if("use_ema", True)] = 0.9999
    """Decay of the EMA after its warm-up."""
    ema_warmup: Annotated[NonNegativeFloat, acts_if("use_ema", True)] = 0.75
    """Power p of the EMA's warm-up: the decay at update s is min(ema_decay, 1 - (1 + s)^-p). 0 means no warm-up."""
    caption_dropout: Probability = 0.1
    """Share of captions replaced by the empty caption in training, which classifier-free guidance needs."""
    init_from: Annotated[str, LocalPath, Adjustable] | None = None
    """Weights that a new run starts from, as far as they fit: a run folder, a checkpoint, an exported folder or a file
    of weights. Positions and patch embeddings of another size are resized. The run reports what it took, resized and
    left out, and refuses weights of which hardly any fits."""
    init_rename: Annotated[Mapping[str, str], Adjustable, acts_unless("init_from", None)] = field(default_factory=dict)
    """New names of the tensors in `init_from`, as patterns of whole names in which each `*` stands for any text:
    `{"net.*": "*"}` removes a prefix."""
    freeze: tuple[str, ...] = ()
    """Patterns of parameters that are not trained and keep their first values: `blocks.0` names all of a block,
    `blocks.*.mlp` a part of each, `text_encoder` that of a trained encoder. Each `*` stands for any text."""
    learning_rate_factors: Mapping[str, PositiveFloat] = field(default_factory=dict)
    """Factors on the learning rate of the parameters that a pattern names, such as `{"blocks.*.mlp": 0.1}`; those of
    several patterns multiply."""
    device: Annotated[str, bounds(pattern=r"^(auto|cpu|mps|cuda(:[0-9]+)?)$"), Operational] = "auto"
    """Device: `cpu`, `mps`, `cuda` or `cuda:1`; `auto` takes a GPU if there is one."""
    num_threads: Annotated[PositiveInt | None, Operational] = None
    """CPU threads per process. With null torch chooses, and a continued run keeps the number that it started with."""
    num_workers: Annotated[NonNegativeInt, Operational] = 8
    """Data-loading workers per process; 0 loads in the training process. Lowered to the CPU cores, with a notice."""
    prefetch_factor: Annotated[PositiveInt, Operational, acts_unless("num_workers", 0)] = 4
    """Batches that each worker prepares ahead; no effect with 0 workers."""
    compile_model: Annotated[Literal[False, True, "auto", "whole"], Operational] = False
    """Compile the model's blocks with torch.compile. `auto` does it on a CUDA GPU where compiling works, and elsewhere
    reports why not. `whole` compiles the model in one piece, with CUDA graphs on a GPU: for small models, whose
    launches take longer than their work. Checkpoints are the same with and without it."""
    deterministic: Annotated[bool, Adjustable] = False
    """Use deterministic algorithms only, so that a GPU run repeats bit for bit."""
    elastic_exact: Annotated[bool, Adjustable] = False
    """Add up gradients in a fixed binary tree, so that 1, 2 and 4 processes give the same weights bit for bit, also
    where they share weights (`shard`). `num_threads` is then 1 by default."""
    shard: Annotated[PositiveInt | Annotated[str, bounds(pattern=r"^node$")], Adjustable] = 1
    """Processes that share weights, gradients, optimizer state and averages, each holding a part of them, so that
    larger models fit: a number that divides the processes of the run, or `node` for those of a machine. 1 gives each
    process all of them. Frozen text encoders that work in the step are shared too. Each process writes its part of a
    checkpoint, with which any number of processes continues."""
    max_bad_steps: Annotated[NonNegativeInt, Operational] = 0
    """Optimizer steps in a row that may be skipped because the loss or gradient is not finite."""
    max_hours: Annotated[PositiveFloat | None, Operational] = None
    """Hours after which a start of the run saves and ends with exit status 143, for machines that are lent for a
    limited time; the same command continues. null sets no limit."""
    on_watch_error: Annotated[Literal["report", "fail"], Operational] = "report"
    """Exit status of a run in which validation, sampling, a metric, a callback or a tracker failed. The run always
    continues to its end and reports the failures; then it ends with status 0 (`report`) or 1 (`fail`)."""


ScalarValue = Annotated[str, bounds(pattern=r"^[^=\s]+=[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$")]
"""A name and its number: ``aesthetic_score=6.5``."""


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """Sampling: images made during training, and the defaults of `dit-run sample`."""

    every_n_steps: Annotated[PositiveInt | None, Operational] = 500
    """Optimizer steps between two grids of sample images; one more is made at the end. null turns grids off."""
    prompts: Annotated[tuple[str, ...], Operational] = ()
    """Prompts of the grid, one per image; if empty, captions of held-out samples are used."""
    num_images: Annotated[PositiveInt, Operational, acts_if("prompts", ())] = 16
    """Images in a grid if `prompts` is empty."""
    sampler: Annotated[str | None, Operational] = None
    """Sampler, one of those that the scheduler offers; null takes the first of them."""
    steps: Annotated[PositiveInt, Operational] = 50
    """Sampling steps per image."""
    guidance_scale: Annotated[NonNegativeFloat, Operational] = 4.0
    """Scale of classifier-free guidance. 1 turns guidance off; larger values follow the caption more closely."""
    guidance_rescale: Annotated[Probability, Operational, acts_unless("guidance_scale", 1.0)] = 0.0
    """Rescaling of the guided prediction to the standard deviation of the conditional one, from 0 (off) to 1."""
    guidance_interval: Annotated[tuple[Probability, Probability], Operational, acts_unless("guidance_scale", 1.0)] = (
        0.0,
        1.0,
    )
    """Part of the way from clean image (0) to noise (1) in which guidance is applied."""
    seed: Annotated[NonNegativeInt, Operational] = 0
    """Seed of the noise; image i uses seed + i."""
    scalars: Annotated[tuple[ScalarValue, ...], Operational] = ()
    """Values of the numbers that the model takes (`model.scalars`), such as `[aesthetic_score=6.5]`. Others have the
    mean of the training samples; those of images are the ones of a whole image of the sampled size."""

    def scalar_values(self) -> dict[str, float]:
        """Return the written values of scalars by name."""
        return {name: float(value) for name, _, value in (text.rpartition("=") for text in self.scalars)}


@dataclass(frozen=True, kw_only=True)
class ValidationOptions:
    """Validation: the loss of held-out samples, on fixed noise and timesteps, and the metrics."""

    every_n_steps: Annotated[PositiveInt | None, Operational] = 500
    """Optimizer steps between two validations; one more runs at the end. null turns validation off."""
    num_samples: Annotated[PositiveInt, Adjustable, acts_unless("every_n_steps", None)] = 256
    """Largest number of held-out samples used. As many training samples are measured too, to show overfitting."""
    timestep_bins: Annotated[PositiveInt, Adjustable, acts_unless("every_n_steps", None)] = 4
    """Equal parts of the timestep distribution; the loss of each sample is measured at one timestep of each part."""
    metrics_every_n_steps: Annotated[PositiveInt | None, Operational, acts_unless("metrics", ())] = None
    """Optimizer steps between two computations of the `metrics`; null computes them only at the end of the run."""


@dataclass(frozen=True, kw_only=True)
class CacheOptions:
    """Cache: outputs of frozen encoders on disk, shared by all runs."""

    mode: Annotated[Literal["auto", "required", "off"], Adjustable] = "auto"
    """`auto` caches the outputs of frozen encoders; `required` refuses a run with an encoder whose output cannot be
    cached; `off` encodes in every step."""
    dir: Annotated[str | None, bounds(min_length=1), LocalPath, Operational] = None
    """Folder of the cache, and of copies of remote shards; null takes `$XDG_CACHE_HOME/dit-run`, or `~/.cache/dit-run`
    if that variable is not set."""
    num_workers: Annotated[NonNegativeInt, Operational, acts_unless("mode", "off"), acts_if("data.crop", "center")] = 0
    """Processes that read and decode images to fill the cache, at most one for each CPU core; 0 does it in the training
    process."""
    text_dtype: Literal["fp32", "bf16", "fp16", "fp8"] | None = None
    """Precision of the states of frozen text encoders, in the cache and without one: fp8 takes half the space of bf16
    and keeps 4 significant bits of each number. null takes that of `training.mixed_precision`."""
    max_tokens: PositiveInt | None = None
    """Number of tokens of a caption whose states the model reads, in the cache and without one; the encoder still reads
    the whole caption. null keeps all tokens, up to the encoder's `max_length`."""
    shards_gb: Annotated[PositiveFloat, Operational] = 50.0
    """Largest total size of the local copies of remote shards (GB, 10⁹ bytes), of which the longest unused are removed
    first. It acts for a `data.dataset_path` that is a URL."""


SECTIONS: Mapping[str, type] = {
    "training": TrainingOptions,
    "sampling": SamplingOptions,
    "validation": ValidationOptions,
    "cache": CacheOptions,
}
"""The core's own sections, by name."""
