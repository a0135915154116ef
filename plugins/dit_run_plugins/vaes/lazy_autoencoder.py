"""What autoencoders have in common here: two lazy halves, slicing, and weights that fit or are refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from dit_run.problems import InputError
from dit_run_plugins.frozen_networks import LazyNetwork

__all__ = ["Halves", "filled"]


class Halves(nn.Module):
    """An encoder and a decoder, each read when it is first used."""

    def __init__(
        self, encoder: Callable[[], nn.Module], decoder: Callable[[], nn.Module], *, use_slicing: bool
    ) -> None:
        super().__init__()
        self.encoder = LazyNetwork(encoder)
        self.decoder = LazyNetwork(decoder)
        self._use_slicing = use_slicing

    def release(self) -> None:
        """Give memory back; weights are read again when they are needed."""
        self.encoder.release()
        self.decoder.release()

    @torch.no_grad()
    def run_encoder(self, images: Tensor) -> Tensor:
        """The encoder's float32 output for images [n, 3, H, W] in [-1, 1]."""
        return self._sliced(self.encoder, images)

    @torch.no_grad()
    def run_decoder(self, latents: Tensor) -> Tensor:
        """Images float32 [n, 3, H, W], clamped to [-1, 1], for the decoder's input."""
        return self._sliced(self.decoder, latents).clamp(-1, 1)

    def _sliced(self, network: LazyNetwork, batch: Tensor) -> Tensor:
        parts: Iterable[Tensor] = torch.split(batch, 1) if self._use_slicing else (batch,)
        return torch.cat([network(part).float() for part in parts]).contiguous()


def filled(module: nn.Module, tensors: Mapping[str, Tensor], where: str) -> nn.Module:
    """The module with these weights as float32, laid out with channels last, which convolutions want.

    Raises InputError naming the first that are missing, left over or of
    another shape."""
    own = module.state_dict()
    faults = [f"{name} is missing" for name in own if name not in tensors]
    faults += [f"{name} is left over" for name in tensors if name not in own]
    faults += [
        f"{name} is {list(tensors[name].shape)}, expected {list(value.shape)}"
        for name, value in own.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise InputError(f"{where}: the weights do not fit this kind of VAE: {'; '.join(faults[:3])}{more}")
    module.load_state_dict({name: value.float() for name, value in tensors.items()}, assign=True)
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
