"""PixArt of diffusers with a training step as written by hand, which dit-run is compared with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dit_run.compute.precision import Precision
from dit_run.protocols import TextStates
from dit_run.training.step import EncodedBatch

__all__ = ["pixart_forward", "pixart_model", "pixart_output", "pixart_step"]


def pixart_model(
    *, width: int, layers: int, heads: int, latent_side: int, text_width: int = 768, device: torch.device
) -> Any:
    """Return a PixArtTransformer2DModel in training mode for latents of 4 channels."""
    from diffusers import PixArtTransformer2DModel

    model = PixArtTransformer2DModel(
        num_attention_heads=heads,
        attention_head_dim=width // heads,
        in_channels=4,
        out_channels=4,
        num_layers=layers,
        cross_attention_dim=width,
        sample_size=latent_side,
        patch_size=2,
        caption_channels=text_width,
        use_additional_conditions=False,
    )
    return model.to(device).train()


def pixart_output(model: Any, noisy: Tensor, timesteps: Tensor, text: TextStates) -> Any:
    """Return the prediction for noisy latents [n, 4, h, w]."""
    return model(
        noisy,
        encoder_hidden_states=text.tokens,
        encoder_attention_mask=text.mask,
        timestep=timesteps,
        return_dict=False,
    )[0]


def pixart_forward(model: Any, batch: EncodedBatch, precision: Precision) -> Callable[[], Any]:
    """Return a forward pass on the batch, with timesteps made once."""
    text, timesteps = batch.text, batch.uniform * 1000
    assert isinstance(text, TextStates)

    def forward() -> Any:
        noisy = torch.lerp(batch.latents, batch.noise, batch.uniform[:, None, None, None])
        with precision.autocast():
            return pixart_output(model, noisy, timesteps, text)

    return forward


def pixart_step(model: Any, batch: EncodedBatch, forward: Callable[[], Any]) -> Callable[[], None]:
    """Return a training step: gradients are clipped to a norm of 1, and a fused AdamW updates."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01, fused=True)

    def step() -> None:
        loss = (forward().float() - (batch.noise - batch.latents)).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step
