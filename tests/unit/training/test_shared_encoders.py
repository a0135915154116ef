"""Text encoders whose weights processes share: all are called equally often, and only those that can be are shared."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from joint_threads import in_threads
from torch import Tensor, nn

from dit_run.assembly.parts import Encoders
from dit_run.compute.distributed import Processes
from dit_run.training.shared_encoders import SharedEncoder, shareable

CPU = torch.device("cpu")


class Encoder(nn.Module):
    """Notes the ids that it is called with, and has weights once it is loaded."""

    trainable, width, pooled_width, max_length = False, 1, 1, 8

    def __init__(self, weight: Tensor | None, *, lazy: bool = False) -> None:
        super().__init__()
        self._weight, self.calls = weight, list[list[int]]()
        self.weight: nn.Parameter | None = None
        if not lazy:
            self.load()

    def load(self) -> None:
        self.weight = None if self._weight is None else nn.Parameter(self._weight, requires_grad=False)

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        self.calls.append(ids[:, 0].tolist())
        return ids[..., None].float(), ids[:, :1].float()


def test_each_process_takes_part_in_the_calls_of_the_others() -> None:
    """A call that nobody needs takes one caption of the process's own last one."""

    def encoded(processes: Processes) -> list[list[int]]:
        encoder = Encoder(torch.ones(1))
        sharding: Any = SimpleNamespace(processes=processes, apply_frozen=lambda module: None)
        shared = SharedEncoder(encoder, sharding)
        for _ in range(2):  # micro-batches
            for call in range(1 + processes.rank):
                ids = torch.tensor([[10 * processes.rank + call], [99]])
                assert shared(ids, ids > 0)[1].tolist() == ids.tolist()
            shared.finish()
        return encoder.calls

    assert in_threads(3, encoded) == [
        [[0, 99], [0], [0]] * 2,
        [[10, 99], [11, 99], [11]] * 2,
        [[20, 99], [21, 99], [22, 99]] * 2,
    ]


@pytest.mark.parametrize(
    ("encoder", "shared"),
    [
        (Encoder(torch.ones(2)), True),
        (Encoder(torch.ones(2), lazy=True), True),
        (Encoder(torch.tensor(1.0)), False),
        (Encoder(None), False),
    ],
)
def test_encoders_with_weights_that_have_dimensions_are_shared(encoder: Any, shared: bool) -> None:
    trained = Encoder(torch.ones(2))
    trained.trainable = True
    texts: Any = (trained, encoder)
    found = shareable(Encoders(texts, vae=nn.Identity(), dtype=None), CPU)  # type: ignore[arg-type]
    assert found == ({1: encoder} if shared else {})
