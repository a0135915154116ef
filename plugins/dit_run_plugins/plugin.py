"""What dit-run brings with it, offered through the hook like anyone's."""

from __future__ import annotations

from dit_run import Component, Kind, hookimpl
from dit_run_plugins.lr_schedulers.constant import Constant
from dit_run_plugins.lr_schedulers.cosine import Cosine
from dit_run_plugins.lr_schedulers.linear import Linear
from dit_run_plugins.lr_schedulers.wsd import WarmupStableDecay
from dit_run_plugins.optimizers.adamw import AdamW
from dit_run_plugins.schedulers.ddpm import Ddpm

HERE = "dit_run_plugins"
DDPM_RULES = (f"{HERE}.schedulers.ddpm:combinations_fit", f"{HERE}.schedulers.ddpm:sampler_fits")
WARMUP_RULES = (f"{HERE}.lr_schedulers.warmup:warmup_fits",)
WSD_RULES = (f"{HERE}.lr_schedulers.wsd:phases_fit",)


@hookimpl
def dit_run_components() -> list[Component]:
    return [
        Component(Kind.SCHEDULER, "ddpm", Ddpm, f"{HERE}.schedulers.ddpm:build", DDPM_RULES),
        Component(Kind.OPTIMIZER, "adamw", AdamW, f"{HERE}.optimizers.adamw:build"),
        Component(Kind.LR_SCHEDULER, "cosine", Cosine, f"{HERE}.lr_schedulers.cosine:build", WARMUP_RULES),
        Component(Kind.LR_SCHEDULER, "constant", Constant, f"{HERE}.lr_schedulers.constant:build", WARMUP_RULES),
        Component(Kind.LR_SCHEDULER, "linear", Linear, f"{HERE}.lr_schedulers.linear:build", WARMUP_RULES),
        Component(
            Kind.LR_SCHEDULER, "warmup_stable_decay", WarmupStableDecay, f"{HERE}.lr_schedulers.wsd:build", WSD_RULES
        ),
    ]
