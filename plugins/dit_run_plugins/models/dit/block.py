"""A block of the transformer: attention among patches, attention to text, MLP."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dit_run_plugins.models.dit import Dit, mlp_width
from dit_run_plugins.models.dit.attention import CrossAttention, SelfAttention
from dit_run_plugins.models.dit.layers import PatchConvolution, make_mlp, make_norm, modulate

__all__ = ["Block"]


class Block(nn.Module):
    """Modulated self-attention and MLP, with cross-attention between them (PixArt-α, Chen et al. 2024).

    With adaln_single the six modulations are one projection shared by all blocks plus the table of this block. With
    adaln_zero (Peebles and Xie 2023) each block has its own projection, initialised to zero, so that the block starts
    as the identity.
    """

    def __init__(self, options: Dit) -> None:
        super().__init__()
        width, norm = options.hidden_size, options.norm
        qk_norm = norm if options.qk_norm else None
        self.self_norm = make_norm(norm, width, affine=False)
        self.self_attention = SelfAttention(width, options.num_heads, qk_norm=qk_norm)
        self.convolution = PatchConvolution(width) if options.attention_convolution else None
        self.cross_norm = make_norm(norm, width, affine=True)
        self.cross_attention = CrossAttention(width, options.num_heads, qk_norm=qk_norm)
        self.mlp_norm = make_norm(norm, width, affine=False)
        self.mlp = make_mlp(options.mlp, width, mlp_width(options))
        self.dropout = nn.Dropout(options.dropout)
        self._attends_again = options.gradient_checkpointing == "attention"
        self.table: nn.Parameter | None = None
        self.modulation: nn.Linear | None = None
        if options.modulation == "adaln_single":
            self.table = nn.Parameter(torch.randn(6, width) / width**0.5)
        else:
            self.modulation = nn.Linear(width, 6 * width)

    def zero_outputs(self) -> None:
        """Set the last layers to zero of the branches whose gate does not start at zero."""
        nn.init.zeros_(self.cross_attention.out.weight)
        if self.modulation is None:
            nn.init.zeros_(self.self_attention.out.weight)
            nn.init.zeros_(self.mlp.down.weight)

    def forward(
        self,
        x: Tensor,
        condition: Tensor,
        text: Tensor,
        mask: Tensor,
        turn: tuple[Tensor, Tensor] | None,
        grid: tuple[int, int],
    ) -> Tensor:
        """Return the new states of the patches, [n, patches, d].

        ``x`` [n, patches, d]; ``condition`` [n, 6, d] or, for adaln_zero, [n, d]; ``text`` [n, l, d]; ``grid`` has the
        rows and columns of all patches, some of which may be missing without a convolution.
        """
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = self._modulations(condition, x.dtype)
        states = (x, shift, scale, gate, text, mask, turn, grid)
        if self._attends_again and self.training and torch.is_grad_enabled():
            x = checkpoint(self._attended, *states, use_reentrant=False)
        else:
            x = self._attended(*states)
        change = self.mlp(modulate(self.mlp_norm(x), mlp_shift, mlp_scale))
        out: Tensor = x + mlp_gate * self.dropout(change)
        return out

    def _attended(
        self,
        x: Tensor,
        shift: Tensor,
        scale: Tensor,
        gate: Tensor,
        text: Tensor,
        mask: Tensor,
        turn: tuple[Tensor, Tensor] | None,
        grid: tuple[int, int],
    ) -> Tensor:
        """Return the states of the patches after both kinds of attention."""
        inner = modulate(self.self_norm(x), shift, scale)
        change = self.self_attention(inner, turn)
        if self.convolution is not None:
            change = change + self.convolution(inner, grid)
        x = x + gate * self.dropout(change)
        out: Tensor = x + self.dropout(self.cross_attention(self.cross_norm(x), text, mask))
        return out

    def _modulations(self, condition: Tensor, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """Return six modulations [n, 1, d]."""
        if self.table is not None:
            return torch.chunk((condition + self.table).to(dtype), 6, dim=1)
        assert self.modulation is not None
        return torch.chunk(self.modulation(condition).to(dtype)[:, None], 6, dim=-1)
