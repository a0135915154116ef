"""The factory of DC-AE."""

from __future__ import annotations

from dit_run_plugins.vaes.autoencoder_dc import AutoencoderDc
from dit_run_plugins.vaes.diffusers_autoencoder.vae import DiffusersVae, build_vae

__all__ = ["build"]


def build(options: AutoencoderDc) -> DiffusersVae:
    """Return the VAE of a folder or a hub repository, whose weights are loaded at their first use.

    Raises InputError if files are missing or do not belong to such a VAE.
    """
    return build_vae(options.weights(), use_slicing=options.use_slicing, classes=["AutoencoderDC"])
