"""The diffusion transformer: patches in, blocks, patches out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dit_run.protocols import TextStates
from dit_run_plugins.models.dit import Dit, routed_range
from dit_run_plugins.models.dit.block import Block
from dit_run_plugins.models.dit.condition import ConditionEmbedder, ScalarEmbedding, Text
from dit_run_plugins.models.dit.layers import make_norm, modulate
from dit_run_plugins.models.dit.patch_weights import resized_input, resized_output
from dit_run_plugins.models.dit.positions import rotations, sincos
from dit_run_plugins.models.dit.routing import Route
from dit_run_plugins.models.dit.rules import check_channels

__all__ = ["Network", "build"]


def build(options: Dit, *, latent_channels: int, text_widths: Sequence[int], pooled_widths: Sequence[int]) -> Network:
    """Return the model for these latents and text encoders. Raises InputError if the channels do not match."""
    check_channels(options.in_channels, latent_channels)
    return Network(options, text_widths=text_widths, pooled_widths=pooled_widths)


class Network(nn.Module):
    """The diffusion transformer. Its output is zero at initialisation."""

    def __init__(self, options: Dit, *, text_widths: Sequence[int], pooled_widths: Sequence[int]) -> None:
        super().__init__()
        self.options = options
        self.patch_size = options.patch_size
        self.scalars = options.scalars
        self._routed = routed_range(options)
        self.routes = bool(self._routed)
        width, area = options.hidden_size, options.patch_size**2
        self.input = nn.Linear(options.in_channels * area, width)
        self.condition = ConditionEmbedder(options, pooled_widths)
        self.text = Text(options, text_widths)
        self.blocks = nn.ModuleList(Block(options) for _ in range(options.num_layers))
        self.output_norm = make_norm(options.norm, width, affine=False)
        self.output_modulation = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, options.out_channels * area)
        self._initialise()
        self.second_time_code: ScalarEmbedding | None = None
        if options.second_time:  # after all others, whose first weights are those that they have without it
            self.second_time_code = ScalarEmbedding(1, width)
            _initialise_linear(self.second_time_code)
            nn.init.zeros_(self.second_time_code.last.weight)

    @property
    def second_time(self) -> bool:
        """True if it takes a second timestep."""
        return self.second_time_code is not None

    @property
    def taps(self) -> dict[str, int]:
        """Width of the states after each block, by the names ``blocks.0`` to the last.

        Blocks that some patches skip have no states of these, except for the last of them, after which they return.
        """
        partly = self._routed[:-1]
        return {f"blocks.{index}": self.options.hidden_size for index in range(len(self.blocks)) if index not in partly}

    def forward(
        self,
        latents: Tensor,
        timesteps: Tensor,
        text: TextStates,
        scalars: Tensor | None = None,
        taps: Sequence[str] = (),
        kept: Tensor | None = None,
        second_timesteps: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """Return the prediction [n, c, h, w] for noisy latents [n, c, h, w] at timesteps [n] in [0, 1000].

        ``scalars``, float [n, k], are the values of ``options.scalars``. With names in ``taps`` the states after these
        blocks follow, each [n, width, rows, columns]. ``kept``, int64 [n, k], are the patches that pass all blocks;
        None draws them in training, and elsewhere keeps all. ``second_timesteps`` [n] are those of
        ``options.second_time``; None stands for ``timesteps``.
        """
        rows, columns = (side // self.patch_size for side in latents.shape[-2:])
        x = self._positioned(self.input(self._patches(latents)), rows, columns)
        vector, shared = self.condition(timesteps, text, scalars, self._second_time(timesteps, second_timesteps))
        tokens, mask = self.text(text)
        turn = self._rotations(rows, columns, x.device)
        tapped, route, whole, turned = {}, self._route(x, kept), x, turn
        for index, block in enumerate(self.blocks):
            if route is not None and index == self._routed[0]:
                whole, x, turned = x, route.enter(x), route.turned(turn)
            x = self._run(block, index, x, shared, tokens, mask, turned, (rows, columns))
            if route is not None and index == self._routed[-1]:
                x, turned = route.leave(whole, x), turn
            if (name := f"blocks.{index}") in taps:
                tapped[name] = x.transpose(1, 2).reshape(len(x), -1, rows, columns)
        shift, scale = self.output_modulation(vector).to(x.dtype)[:, None].chunk(2, dim=-1)
        output = self._pixels(self.output(modulate(self.output_norm(x), shift, scale)), rows, columns)
        return (output, tapped) if taps else output

    def resized(self, name: str, value: Tensor, options: Mapping[str, Any]) -> Tensor | None:
        """Return the input or output layer of a model with these options in the shape of this model's, or None."""
        if name == "input.weight":
            return resized_input(value, self.input.weight.detach(), options, self.options)
        if name in ("output.weight", "output.bias"):
            return resized_output(value, self.get_parameter(name).detach(), options, self.options)
        return None

    def _route(self, x: Tensor, kept: Tensor | None) -> Route | None:
        """Return the route of the patches [n, patches, d] past some blocks; None where all pass them."""
        if kept is not None:
            return Route(kept)
        if not (self.training and self._routed):
            return None
        return Route.drawn(x.shape[0], x.shape[1], self.options.routed_share, x.device)

    def _second_time(self, timesteps: Tensor, second: Tensor | None) -> Tensor | None:
        """Return what the second timestep adds to the condition, [n, d]; None for a model without it."""
        if self.second_time_code is None:
            return None
        added: Tensor = self.second_time_code(timesteps if second is None else second)
        return added

    def _run(self, block: nn.Module, index: int, *states: Tensor | tuple[Any, ...] | None) -> Tensor:
        if self.training and torch.is_grad_enabled() and self._computes_again(index):
            out: Tensor = checkpoint(block, *states, use_reentrant=False)
        else:
            out = block(*states)
        return out

    def _computes_again(self, index: int) -> bool:
        """Return True if the block of this number is computed again in the backward pass."""
        chosen = self.options.gradient_checkpointing
        return False if isinstance(chosen, str) or not chosen else index % int(chosen) == 0

    def _positioned(self, x: Tensor, rows: int, columns: int) -> Tensor:
        if self.options.positions == "rope":
            return x
        return x + sincos(rows, columns, self.options.hidden_size, x.device).to(x.dtype)

    def _rotations(self, rows: int, columns: int, device: torch.device) -> tuple[Tensor, Tensor] | None:
        if self.options.positions == "sincos":
            return None
        return rotations(rows, columns, self.options.hidden_size // self.options.num_heads, device)

    def _patches(self, latents: Tensor) -> Tensor:
        """Convert [n, c, h, w] to [n, patches, c · patch²]."""
        return F.pixel_unshuffle(latents, self.patch_size).flatten(2).transpose(1, 2)

    def _pixels(self, patches: Tensor, rows: int, columns: int) -> Tensor:
        """Convert [n, patches, c · patch²] to [n, c, h, w]."""
        grid = patches.transpose(1, 2).reshape(len(patches), -1, rows, columns)
        return F.pixel_shuffle(grid, self.patch_size)

    def _initialise(self) -> None:
        """Initialise all layers; those that must start without effect are zero."""
        _initialise_linear(self)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output_modulation.weight)
        if self.condition.scalars is not None:
            nn.init.zeros_(self.condition.scalars.last.weight)
        for block in self.modules():
            if isinstance(block, Block):
                if block.modulation is not None:
                    nn.init.zeros_(block.modulation.weight)
                if block.convolution is not None:
                    nn.init.zeros_(block.convolution.weight)
                if self.options.zero_outputs:
                    block.zero_outputs()


def _initialise_linear(module: nn.Module) -> None:
    """Initialise the weights of linear layers Xavier-uniform, and their biases to zero."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
