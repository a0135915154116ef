"""The condition of the model: timestep and caption."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dit_run.protocols import TextStates
from dit_run_plugins.models.dit import Dit
from dit_run_plugins.models.dit.layers import make_part_norm
from dit_run_plugins.models.dit.positions import timestep_code

__all__ = ["ConditionEmbedder", "ScalarEmbedding", "Text"]

CODE_WIDTH = 256


class ConditionEmbedder(nn.Module):
    """Timestep and pooled caption as one vector and, for adaln_single, the shared modulations of all blocks."""

    def __init__(self, options: Dit, pooled_widths: Sequence[int]) -> None:
        """Take the width of the pooled vector of each text encoder."""
        super().__init__()
        width = options.hidden_size
        self._learned_null = options.null_condition == "learned"
        self.first = nn.Linear(CODE_WIDTH, width)
        self.second = nn.Linear(width, width)
        self.pooled = nn.Linear(sum(pooled_widths), width) if options.pooled_text else None
        self.pooled_norm = make_part_norm(options.norm, pooled_widths) if options.pooled_text else None
        self.scalars = ScalarEmbedding(len(options.scalars), width) if options.scalars else None
        self.shared = nn.Linear(width, 6 * width) if options.modulation == "adaln_single" else None

    def forward(
        self, timesteps: Tensor, text: TextStates, scalars: Tensor | None = None, added: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the vector [n, d] and the blocks' input: [n, 6, d] for adaln_single, the vector for adaln_zero.

        ``added`` [n, d] is added to the vector.
        """
        code = timestep_code(timesteps, CODE_WIDTH).to(self.first.weight.dtype)
        vector = self.second(F.silu(self.first(code)))
        if self.pooled is not None and self.pooled_norm is not None:
            pooled = self.pooled(self.pooled_norm(text.pooled.to(code.dtype)))
            # A dropped caption adds nothing: the timestep's own path is its learned null.
            vector = vector + (pooled * ~text.null[:, None] if self._learned_null else pooled)
        if self.scalars is not None and scalars is not None:
            vector = vector + self.scalars(scalars)
        if added is not None:
            vector = vector + added
        vector = F.silu(vector)
        if self.shared is None:
            return vector, vector
        return vector, self.shared(vector).unflatten(-1, (6, -1))


class ScalarEmbedding(nn.Module):
    """Named numbers as one vector, each by a sinusoidal code as a timestep's (Podell et al. 2023); zero at first."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(count * CODE_WIDTH, width)
        self.last = nn.Linear(width, width)

    def forward(self, scalars: Tensor) -> Tensor:
        """Return the vector [n, d] for numbers [n, k]."""
        codes = timestep_code(scalars.flatten(), CODE_WIDTH).view(len(scalars), -1)
        vector: Tensor = self.last(F.silu(self.first(codes.to(self.first.weight.dtype))))
        return vector


class Text(nn.Module):
    """Text tokens for cross-attention, after one learned token that is always visible.

    A caption without tokens, or a dropped one with ``null_condition: learned``, has only that token. The states of
    several encoders lie in columns of their own, so that norm and projection have weights of their own for each.
    """

    def __init__(self, options: Dit, text_widths: Sequence[int]) -> None:
        """Take the width of the states of each text encoder."""
        super().__init__()
        width = options.hidden_size
        self._learned_null = options.null_condition == "learned"
        self.norm = make_part_norm(options.norm, text_widths)
        self.projection = nn.Linear(sum(text_widths), width)
        self.always = nn.Parameter(torch.randn(1, 1, width) / width**0.5)

    def forward(self, text: TextStates) -> tuple[Tensor, Tensor]:
        """Return tokens [n, 1 + l, d] and their mask, bool [n, 1, 1, 1 + l]."""
        mask = text.mask & ~text.null[:, None] if self._learned_null else text.mask
        tokens = self.projection(self.norm(text.tokens.to(self.projection.weight.dtype)))
        tokens = torch.cat([self.always.to(tokens.dtype).expand(len(tokens), -1, -1), tokens], dim=1)
        return tokens, F.pad(mask, (1, 0), value=True)[:, None, None]
