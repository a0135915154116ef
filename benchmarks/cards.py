"""The shipped configs on graphics cards: the memory of each, and the images per second to expect.

    python -m benchmarks.cards            # rewrites the table in docs/gpu.md

Memory is that of the real step, done with fake tensors. Images per second are the operations of a step over
``SHARE`` of the card's peak. No GPU, data or weights are needed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "gpu.md"
BEGIN, END = "<!-- cards: begin -->\n", "<!-- cards: end -->\n"
SHARE = 0.35
"""Share of a card's peak that a step is expected to reach."""


@dataclass(frozen=True)
class Card:
    """A graphics card."""

    name: str
    memory: int
    """Memory of the card (GiB)."""
    peak: float
    """Peak of matrix products in bf16 (operations per second)."""


CARDS: Mapping[str, tuple[Card, ...]] = {
    "small": (Card("RTX 4060", 8, 30e12), Card("RTX 3080", 10, 60e12), Card("RTX 4090", 24, 165e12)),
    "medium": (Card("RTX 4090", 24, 165e12), Card("RTX A6000", 48, 155e12), Card("A100", 80, 312e12)),
    "train_config": (Card("RTX 4090", 24, 165e12), Card("A100", 80, 312e12)),
    "large": (Card("A100", 80, 312e12), Card("H100", 80, 989e12)),
}
"""Cards that a config fits on."""
WIDTHS = {"openai/clip-vit-base-patch32": 512, "openai/clip-vit-large-patch14": 768, "google/t5-v1_1-large": 1024}
"""Width of the text encoders that the configs name."""
MEASURED: Mapping[tuple[str, str], float] = {}
"""Measured images per second, by config and card."""


class _Shapes:
    """Attributes of an encoder that a step reads."""

    trainable = False
    factor, latent_channels = 8, 4

    def __init__(self, width: int = 0, max_length: int = 77) -> None:
        self.width = self.pooled_width = width
        self.max_length = max_length


def encoders_of(config: Any) -> Any:
    from dit_run.assembly.parts import Encoders

    chosen = [choice.options for choice in config.chosen("text_encoder")]
    texts = [_Shapes(WIDTHS[each.pretrained_model_name], getattr(each, "max_length", 77)) for each in chosen]
    return Encoders(tuple(texts), _Shapes(), None)  # type: ignore[arg-type]


@cache
def memory_of(name: str) -> int:
    """Return the peak memory of a shipped config on a card (bytes)."""
    from dit_run import load_config
    from dit_run.planning.memory_estimate import estimate_step

    config = load_config(ROOT / "configs" / f"{name}.yaml", "training.init_from=null")
    training = config.training
    accumulates = training.gradient_accumulation_steps > 1
    estimate = estimate_step(config, encoders_of(config), batch_size=training.batch_size, accumulates=accumulates)
    return estimate.peak


def operations_of(config: Any) -> float:
    """Return the operations of training on an image: forward, and twice as many backward."""
    from dit_run.assembly.model_cost import cost_of

    return 3.0 * sum(part.flops for part in cost_of(config, encoders_of(config)).parts)


def card_memory(name: str) -> int:
    """Return the memory of the card that the first comment of a config, or of the one it extends, names (GiB)."""
    text = (ROOT / "configs" / f"{name}.yaml").read_text()
    head = "".join(line for line in text.splitlines(keepends=True)[1:6] if line.startswith("#"))
    found = re.search(r"(\d+) GB", head)
    if found is None:
        parent = re.search(r"^extends: (\w[\w-]*)\.yaml", text, re.MULTILINE)
        return card_memory(parent[1]) if parent else int(re.findall(r"(\d+) GB", text)[0])
    return int(found[1])


def table() -> str:
    from dit_run import load_config

    lines = [
        "| card | config | batch | memory (GiB) | images/s |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, cards in CARDS.items():
        config = load_config(ROOT / "configs" / f"{name}.yaml")
        memory, operations = memory_of(name) / 2**30, operations_of(config)
        batch = f"{config.training.batch_size} x {config.training.gradient_accumulation_steps}"
        for card in cards:
            measured = MEASURED.get((name, card.name))
            estimated = f"{_rounded(SHARE * card.peak / operations)} (estimated)"
            images = f"{measured:,.0f} (measured)" if measured else estimated
            lines.append(
                f"| {card.name}, {card.memory} GB | {name}.yaml | {batch} | {memory:.1f} of {card.memory} (estimated) "
                f"| {images} |"
            )
    return "\n".join(lines) + "\n"


def _rounded(value: float) -> str:
    """Return a number with two digits: an estimate has no more."""
    return f"{float(f'{value:.2g}'):,.0f}"


def page() -> str:
    """Return docs/gpu.md with a new table."""
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(page())
