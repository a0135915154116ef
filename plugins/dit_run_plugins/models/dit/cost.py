"""What a dit costs, from its options alone: parameters and floating-point operations."""

from __future__ import annotations

from dit_run_plugins.models.dit import Dit, mlp_width

__all__ = ["flops_per_sample"]


def flops_per_sample(
    options: Dit, *, rows: int, columns: int, text_length: int, text_width: int, pooled_width: int
) -> int:
    """Floating-point operations of one forward pass for one sample; a training step takes three times as many.

    ``rows`` and ``columns`` are those of the latents. A multiplication and an addition count as two; norms,
    activations and softmax, a few hundredths of the whole, are left out.
    """
    width, area = options.hidden_size, options.patch_size**2
    patches = (rows // options.patch_size) * (columns // options.patch_size)
    tokens = text_length + 1
    edges = patches * width * area * (options.in_channels + options.out_channels) + text_length * text_width * width
    edges += width * (256 + width + 2 * width + pooled_width * options.pooled_text)
    modulation = 6 * width * width
    block = _attention(width, patches, patches) + _attention(width, patches, tokens)
    block += patches * width * mlp_width(options) * (3 if options.mlp == "swiglu" else 2)
    single = options.modulation == "adaln_single"
    return 2 * (edges + options.num_layers * (block + modulation * (not single)) + modulation * single)


def _attention(width: int, queries: int, keys: int) -> int:
    """Multiplications of the four projections and the two products of attention."""
    return 2 * queries * width * width + 2 * keys * width * width + 2 * queries * keys * width
