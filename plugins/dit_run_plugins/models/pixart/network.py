"""PixArt's network: the class of diffusers with the interface of the core."""

from __future__ import annotations

from diffusers.models.transformers.pixart_transformer_2d import PixArtTransformer2DModel
from torch import Tensor, nn

from dit_run.protocols import TextStates
from dit_run_plugins.models.dit.rules import check_channels
from dit_run_plugins.models.pixart import Pixart

__all__ = ["Network", "build"]


def build(options: Pixart, *, latent_channels: int, text_width: int) -> Network:
    """Return the model for these latents and this text encoder. Raises InputError if the channels do not match."""
    check_channels(options.in_channels, latent_channels)
    return Network(options, text_width=text_width)


class Network(nn.Module):
    """A PixArtTransformer2DModel that takes token states and their mask; a dropped caption is the encoded empty one."""

    def __init__(self, options: Pixart, *, text_width: int) -> None:
        super().__init__()
        self.patch_size = options.patch_size
        self.transformer = PixArtTransformer2DModel(
            num_attention_heads=options.num_heads,
            attention_head_dim=options.hidden_size // options.num_heads,
            in_channels=options.in_channels,
            out_channels=options.out_channels,
            num_layers=options.num_layers,
            dropout=options.dropout,
            cross_attention_dim=options.hidden_size,
            sample_size=options.sample_size,
            patch_size=options.patch_size,
            interpolation_scale=1,
            use_additional_conditions=False,
            caption_channels=text_width,
        )
        if options.gradient_checkpointing:
            self.transformer.enable_gradient_checkpointing()

    def forward(self, latents: Tensor, timesteps: Tensor, text: TextStates) -> Tensor:
        """Return the prediction [n, c, h, w] for noisy latents [n, c, h, w] at timesteps [n] in [0, 1000]."""
        output: Tensor = self.transformer(
            latents,
            encoder_hidden_states=text.tokens,
            timestep=timesteps,
            encoder_attention_mask=text.mask,
            return_dict=False,
        )[0]
        return output
