"""Special kernels that a step on a CPU can use in place of plain PyTorch, for `benchmarks/choices.py`.

Each function without arguments installs one of them in this process, before a model is built.
"""

from __future__ import annotations

import ctypes
import math
import os
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dit_run.training import step
from dit_run_plugins.models.dit import attention, block, kernels, layers, positions

swiglu_forward = layers.SwiGlu.forward


# ------------------------------------------------------------------------------------------------- autograd functions


class Normalised(torch.autograd.Function):
    """RMSNorm without a scale, in few operations."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        scale = (norm.square() / x.shape[-1] + layers.EPSILON).rsqrt()
        normal: Tensor = (x * scale).to(x.dtype)
        ctx.save_for_backward(normal, scale)
        return normal

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        normal, scale = ctx.saved_tensors
        along = (gradient * normal).mean(-1, keepdim=True)
        return (torch.addcmul(gradient, normal, along, value=-1) * scale).to(gradient.dtype)


class AddScaled(torch.autograd.Function):
    """base + x · scale in one operation, and a backward pass with one pass over each large tensor."""

    @staticmethod
    def forward(ctx: Any, base: Tensor, x: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(x, scale)
        ctx.base_shape = base.shape
        return torch.addcmul(base, x, scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, scale = ctx.saved_tensors
        return gradient.sum_to_size(ctx.base_shape), gradient * scale, (gradient * x).sum_to_size(scale.shape)


class Product(torch.autograd.Function):
    """x wᵀ, with the gradient of the weight computed in four parts of the rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.linear(x, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        rows, states = gradient.flatten(0, -2), x.flatten(0, -2)
        parts = min(4, max(1, len(rows) // 512))
        first, *rest = zip(rows.chunk(parts), states.chunk(parts), strict=True)
        change = first[0].t() @ first[1]
        for part, state in rest:
            change.addmm_(part.t(), state)
        return (rows @ weight).view(x.shape), change


class Gate(torch.autograd.Function):
    """silu(gate) · up, with silu(gate) computed again in the backward pass."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return F.silu(gate) * up

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        return torch.ops.aten.silu_backward(gradient * up, gate), gradient * F.silu(gate)


class Split(torch.autograd.Function):
    """Queries, keys and values of one tensor; their gradients are written into one tensor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
        return Split.views(x, parts, heads)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        n, heads, length, width = gradients[0].shape
        whole = gradients[0].new_empty(n, length, len(gradients) * heads * width)
        for part, gradient in zip(Split.views(whole, len(gradients), heads), gradients, strict=True):
            part.copy_(gradient)
        return whole, None, None

    @staticmethod
    def views(x: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
        return x.view(*x.shape[:2], parts, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)


class Rotation(torch.autograd.Function):
    """Rotary positions, whose gradient is the rotation back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return Rotation.rotated(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return Rotation.rotated(gradient, cos, -sin), None, None

    @staticmethod
    def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        half = x.shape[-1] // 2
        if torch.compiler.is_compiling():
            one, other = x.chunk(2, dim=-1)
            cos, sin = cos[..., :half], sin[..., half:]
            return torch.cat([one * cos - other * sin, other * cos + one * sin], dim=-1)
        return torch.addcmul(x * cos, x.roll(half, -1), sin)


@torch.library.custom_op("dit_run_benchmarks::gelu", mutates_args=())
def whole_gelu(x: Tensor) -> Tensor:
    """GELU that torch.compile leaves as it is."""
    return F.gelu(x)


@torch.library.custom_op("dit_run_benchmarks::gelu_backward", mutates_args=())
def whole_gelu_backward(gradient: Tensor, x: Tensor) -> Tensor:
    return torch.ops.aten.gelu_backward(gradient, x)


whole_gelu.register_fake(torch.empty_like)
whole_gelu_backward.register_fake(lambda gradient, x: torch.empty_like(x))
whole_gelu.register_autograd(
    lambda ctx, gradient: whole_gelu_backward(gradient, *ctx.saved_tensors),
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
)


# ------------------------------------------------------------------------------------------------------------ variants


def norm_function() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        normal: Tensor = Normalised.apply(x)
        return normal if self.weight is None else normal * self.weight.to(x.dtype)

    layers.RmsNorm.forward = forward


def modulation_function() -> None:
    def forward(self: Any, x: Tensor, condition: Tensor, text: Tensor, mask: Tensor, turn: Any) -> Tensor:
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = self._modulations(condition, x.dtype)
        change = self.self_attention(AddScaled.apply(shift, self.self_norm(x), 1 + scale), turn)
        x = AddScaled.apply(x, self.dropout(change), gate)
        x = x + self.dropout(self.cross_attention(self.cross_norm(x), text, mask))
        change = self.mlp(AddScaled.apply(mlp_shift, self.mlp_norm(x), 1 + mlp_scale))
        return AddScaled.apply(x, self.dropout(change), mlp_gate)

    block.Block.forward = forward


def weight_gradient_in_parts() -> None:
    plain = nn.Linear.forward

    def forward(self: nn.Linear, x: Tensor) -> Tensor:
        if self.bias is not None:
            return plain(self, x)
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        return Product.apply(x.to(dtype), self.weight.to(dtype))

    nn.Linear.forward = forward


def gelu_operator() -> None:
    layers.Mlp.forward = lambda self, x: self.down(whole_gelu(self.up(x)))


def gate_function() -> None:
    layers.SwiGlu.forward = lambda self, x: self.down(Gate.apply(*self.gate_up(x).chunk(2, dim=-1)))


def gate_checkpoint() -> None:
    layers.SwiGlu.forward = swiglu_forward


def plain_gate() -> None:
    layers.SwiGlu.forward = lambda self, x: self.down(layers.gated(*self.gate_up(x).chunk(2, dim=-1)))


def split_function() -> None:
    def self_attention(self: Any, x: Tensor, turn: Any, mask: Tensor | None = None) -> Tensor:
        query, key, value = Split.apply(self.qkv(x), 3, self.heads)
        query, key = self.query_norm(query), self.key_norm(key)
        if turn is not None:
            query, key = positions.rotate(query, turn), positions.rotate(key, turn)
        return self.out(attention.join_heads(attention.attend(query, key, value, mask)))

    def cross_attention(self: Any, x: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        (query,) = Split.apply(self.query(x), 1, self.heads)
        key, value = Split.apply(self.key_value(text), 2, self.heads)
        return self.out(attention.join_heads(attention.attend(self.query_norm(query), self.key_norm(key), value, mask)))

    attention.SelfAttention.forward, attention.CrossAttention.forward = self_attention, cross_attention


def rotation_function() -> None:
    def rotate(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        return Rotation.apply(x, *(part.to(x.dtype) for part in turn))

    attention.rotate = rotate


def fused_attention() -> None:
    attention.attend = lambda query, key, value, mask=None: F.scaled_dot_product_attention(
        query, key, value, attn_mask=mask
    )


def attention_by_products() -> None:
    attention.attend = kernels.attend_by_products


def norm_by_rows() -> None:
    """Take the norms of 64 rows of a large gradient first, on all cores."""

    def norm(self: Any) -> Tensor:
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        return torch.nn.utils.get_total_norm(map(condensed, gradients), foreach=True)

    def condensed(gradient: Tensor) -> Tensor:
        rows = math.gcd(gradient.numel(), 64 if gradient.numel() >= 2**17 else 1)
        return gradient if rows == 1 else torch.linalg.vector_norm(gradient.reshape(rows, -1), dim=1)

    step.TrainingStep._norm = norm


def keep_freed_memory() -> None:
    """Let the allocator keep large blocks that a step frees: by default they go back to the system."""
    library = ctypes.CDLL(None)
    library.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
    library.mallopt(-1, -1)  # M_TRIM_THRESHOLD


def huge_pages() -> None:
    """Keep freed memory, grow the heap's address range by half of the memory, and ask for huge pages there."""
    keep_freed_memory()
    library = ctypes.CDLL(None)
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    library.free.argtypes = [ctypes.c_void_p]
    library.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    library.mallopt(-4, 0)  # M_MMAP_MAX: use the heap, not a mapping of its own.
    library.free(library.malloc(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2))
    library.mallopt(-4, 65536)
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith("[heap]"):
            start, end = (int(edge, 16) for edge in line.split()[0].split("-"))
            library.madvise(start, end - start, 14)  # MADV_HUGEPAGE


# ------------------------------------------------------------------------------------------------- without products


def without_products() -> None:
    """Let matrix products and attention on the CPU return zeros at once."""
    library = torch.library.Library("aten", "IMPL")
    kept.append(library)

    def product(first: Tensor, second: Tensor) -> Tensor:
        return first.new_zeros(*first.shape[:-1], second.shape[-1])

    def added(base: Tensor, first: Tensor, second: Tensor, **factors: Any) -> Tensor:
        return product(first, second)

    def attended(query: Tensor, *others: Any, **options: Any) -> tuple[Tensor, Tensor]:
        n, heads, length, _ = query.shape
        return zeros(query), query.new_zeros(n, length, heads, dtype=torch.float32).transpose(1, 2)

    def unattended(gradient: Tensor, *tensors: Tensor, **options: Any) -> tuple[Tensor, ...]:
        return tuple(map(zeros, tensors[:3]))

    def zeros(like: Tensor) -> Tensor:
        """Return zeros in the layout of the real kernel's results."""
        return torch.zeros_like(like.transpose(1, 2), memory_format=torch.contiguous_format).transpose(1, 2)

    kernels_of = {
        "mm": product,
        "bmm": product,
        "addmm": added,
        "baddbmm": added,
        "mm.out": lambda first, second, *, out: out.zero_(),
        "bmm.out": lambda first, second, *, out: out.zero_(),
        "addmm.out": lambda base, first, second, *, out, **factors: out.zero_(),
        "baddbmm.out": lambda base, first, second, *, out, **factors: out.zero_(),
        "addmm_": lambda base, first, second, **factors: base,
        "_scaled_dot_product_flash_attention_for_cpu": attended,
        "_scaled_dot_product_flash_attention_for_cpu_backward": unattended,
    }
    for name, kernel in kernels_of.items():
        library.impl(name, kernel, "CPU")


kept: list[object] = []
"""Libraries: torch removes the kernels of one that is deleted."""
