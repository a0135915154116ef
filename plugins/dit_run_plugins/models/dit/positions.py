"""Positions of patches on the grid, computed from the size of the grid alone.

Coordinates are in patches from the middle of the grid, so that images of other sizes share the middle of training
images.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["grid", "rotate", "rotations", "sincos", "timestep_code"]

ROPE_BASE = 100.0
"""Ratio of the longest to the shortest wave, for grids of some tens of patches (Heo et al. 2024, axial frequencies)."""
CODE_BASE = 10_000.0


def grid(rows: int, columns: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return row and column of each patch from the middle, float [rows · columns] each."""
    down = torch.arange(rows, device=device, dtype=torch.float32) - (rows - 1) / 2
    right = torch.arange(columns, device=device, dtype=torch.float32) - (columns - 1) / 2
    down, right = torch.meshgrid(down, right, indexing="ij")
    return down.flatten(), right.flatten()


def _waves(count: int, base: float, device: torch.device) -> Tensor:
    """Return ``count`` angular frequencies that fall from 1 to about 1 / base."""
    steps = torch.arange(count, device=device, dtype=torch.float32)
    return torch.exp(-torch.log(torch.tensor(base)) * steps / max(count, 1))


def sincos(rows: int, columns: int, width: int, device: torch.device) -> Tensor:
    """Return sines and cosines of row and column (Vaswani et al. 2017), float [rows · columns, width]."""
    count = -(-width // 4)
    waves = _waves(count, CODE_BASE, device)
    angles = [place[:, None] * waves for place in grid(rows, columns, device)]
    code = torch.cat([part for angle in angles for part in (angle.sin(), angle.cos())], dim=1)
    return code[:, :width]


def rotations(rows: int, columns: int, head_width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the arguments of :func:`rotate`, float [rows · columns, head_width] each: cosines and signed sines.

    The first half of the pairs rotates with the row, the second with the column (axial RoPE, Su et al. 2021 and Heo et
    al. 2024). The first 4 · floor(width / 4) values of a head rotate; the rest stays.
    """
    waves = _waves(head_width // 4, ROPE_BASE, device)
    down, right = grid(rows, columns, device)
    angles = torch.cat([down[:, None] * waves, right[:, None] * waves], dim=1)
    cos, sin, rest = angles.cos(), angles.sin(), (0, head_width % 4)
    return F.pad(torch.cat([cos, cos], dim=1), rest, value=1.0), F.pad(torch.cat([-sin, sin], dim=1), rest)


def rotate(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Return queries or keys [..., patches, head width], rotated by the positions of their patches.

    A pair consists of one coordinate of the first half and the same coordinate of the second half.
    """
    cos, sin = (part.to(x.dtype) for part in turn)
    half = x.shape[-1] // 4 * 2
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return x * cos + torch.cat([second, first, rest], dim=-1) * sin


def timestep_code(timesteps: Tensor, width: int) -> Tensor:
    """Return the sinusoidal code of timesteps [n] in [0, 1000], float [n, width] (Ho et al. 2020)."""
    angles = timesteps.float()[:, None] * _waves(-(-width // 2), CODE_BASE, timesteps.device)
    return torch.cat([angles.cos(), angles.sin()], dim=1)[:, :width]
