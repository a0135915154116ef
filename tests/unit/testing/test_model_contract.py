"""Models that break one promise each."""

from __future__ import annotations

import random
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest
import torch
from faults import Nothing, fault, keep
from torch import Tensor, nn

from dit_run.protocols import TextStates
from dit_run.registry.components import Kind

KIND = Kind.MODEL


class Mixer(nn.Module):
    """A convolution of the latents plus a condition from time and text; a test breaks a part of it."""

    patch_size = 1

    def __init__(self, channels: int, width: int, pooled: int) -> None:
        super().__init__()
        self.image = nn.Conv2d(channels, channels, 3, padding=1)
        self.time = nn.Linear(1, channels)
        self.words = nn.Linear(width, channels)
        self.vector = nn.Linear(pooled, channels)

    def said(self, text: TextStates) -> Tensor:
        weights = text.mask[..., None].float()
        mean = (self.words(text.tokens) * weights).sum(1) / weights.sum(1)
        said: Tensor = mean + self.vector(text.pooled)
        return said

    def forward(self, latents: Tensor, timesteps: Tensor, text: TextStates) -> Any:
        condition = self.said(text) + self.time(timesteps[:, None] / 1000)
        return self.image(latents) + condition[:, :, None, None]


def factory(cls: type[nn.Module]) -> Any:
    def build(options: Nothing, *, latent_channels: int, text_width: int, pooled_width: int) -> nn.Module:
        return cls(latent_channels, text_width, pooled_width)

    return build


def broken(cls: type[nn.Module]) -> str:
    return fault(KIND, factory(cls))


def test_a_mixer_keeps_the_contract() -> None:
    keep(KIND, factory(Mixer))


class Between(Mixer):
    """Takes a second timestep."""

    second_time = True

    def forward(self, latents: Tensor, timesteps: Tensor, text: TextStates, second_timesteps: Any = None) -> Any:
        return super().forward(latents, timesteps, text) + self.added(timesteps, second_timesteps)

    def added(self, first: Tensor, second: Any) -> Any:
        return (first if second is None else second)[:, None, None, None] / 1000


def test_a_second_timestep_is_used_and_the_first_one_by_default() -> None:
    class Ignored(Between):
        def added(self, first: Tensor, second: Any) -> Any:
            return 0

    class Nought(Between):
        def added(self, first: Tensor, second: Any) -> Any:
            return 0 if second is None else super().added(first, second)

    keep(KIND, factory(Between))
    assert broken(Ignored) == "other second_timesteps give the same prediction; use them in forward()"
    assert broken(Nought).startswith("without second_timesteps the prediction is not that for the first timesteps as ")


class Routing(Mixer):
    """Patches that are not kept skip the condition."""

    routes = True

    def forward(self, latents: Tensor, timesteps: Tensor, text: TextStates, kept: Any = None) -> Any:
        output = super().forward(latents, timesteps, text)
        return output if kept is None else self.routed(output, self.image(latents), kept)

    def routed(self, output: Tensor, skipped: Tensor, kept: Tensor) -> Tensor:
        chosen = torch.zeros(len(kept), output[0, 0].numel(), dtype=torch.bool).scatter(1, kept, True)
        return torch.where(chosen.view(len(kept), 1, *output.shape[2:]), output, skipped)


def test_patches_that_are_not_kept_skip_something() -> None:
    class Deaf(Routing):
        def routed(self, output: Tensor, skipped: Tensor, kept: Tensor) -> Tensor:
            return output

    class Other(Routing):
        def routed(self, output: Tensor, skipped: Tensor, kept: Tensor) -> Tensor:
            return skipped

    keep(KIND, factory(Routing))
    assert broken(Deaf) == "with half of the patches in kept it gives the same prediction; let the others skip blocks"
    assert broken(Other) == "with the indices of all patches in kept it gives another prediction than without"


def test_no_patch_size() -> None:
    class Patched(Mixer):
        patch_size = 0

    assert broken(Patched) == "Model.patch_size is 0; set it to a positive number, or to 1 if any size fits"


def test_parameters_of_another_dtype() -> None:
    class Half(Mixer):
        def __init__(self, *sizes: int) -> None:
            super().__init__(*sizes)
            self.half()

    assert broken(Half) == (
        "parameter 'image.weight' is torch.float16 on cpu; create it as float32 on the CPU; the core moves it"
    )


def test_parameters_from_another_generator() -> None:
    import random

    class Own(Mixer):
        def __init__(self, *sizes: int) -> None:
            super().__init__(*sizes)
            nn.init.constant_(self.time.weight, random.random())

    assert broken(Own) == (
        "parameter 'time.weight' differs between two builds with the same seed; use torch's own generator only"
    )


def test_a_prediction_of_another_shape() -> None:
    class Flat(Mixer):
        def forward(self, latents: Tensor, timesteps: Tensor, text: TextStates) -> Any:
            return super().forward(latents, timesteps, text).flatten(2)

    assert broken(Flat) == (
        "the prediction for [2, 4, 4, 2]: return [2, 4, 4, 2] torch.float32, not [2, 4, 8] torch.float32"
    )


def test_a_prediction_that_is_no_tensor() -> None:
    class Wrapped(Mixer):
        def forward(self, latents: Tensor, timesteps: Tensor, text: TextStates) -> Any:
            return {"sample": super().forward(latents, timesteps, text)}

    assert broken(Wrapped) == "the prediction for [2, 4, 4, 2]: return a tensor [2, 4, 4, 2], not dict"


def test_noise_in_eval_mode() -> None:
    class Noisy(Mixer):
        def forward(self, latents: Tensor, timesteps: Tensor, text: TextStates) -> Any:
            return super().forward(latents + torch.randn_like(latents), timesteps, text)

    assert broken(Noisy) == (
        "a second call in eval mode gives another prediction; use no random numbers, and nn.Dropout for dropout"
    )


def test_samples_that_see_each_other() -> None:
    class Centred(Mixer):
        def forward(self, latents: Tensor, timesteps: Tensor, text: TextStates) -> Any:
            return super().forward(latents - latents.mean(0, keepdim=True), timesteps, text)

    assert broken(Centred) == (
        "the prediction of a sample depends on the rest of the batch; do not normalise over the batch"
    )


@pytest.mark.parametrize("deaf_to", ["latents", "timesteps", "text"])
def test_inputs_that_are_not_used(deaf_to: str) -> None:
    class Deaf(Mixer):
        def forward(self, latents: Tensor, timesteps: Tensor, text: TextStates) -> Any:
            kept = {"latents": latents, "timesteps": timesteps, "text": text}
            silent = text._replace(tokens=text.tokens * 0, pooled=text.pooled * 0)
            kept[deaf_to] = {"latents": latents * 0, "timesteps": timesteps * 0, "text": silent}[deaf_to]
            return super().forward(*kept.values())

    assert broken(Deaf) == f"other {deaf_to} give the same prediction; use {deaf_to} in forward()"


def test_a_mask_that_is_not_respected() -> None:
    class Open(Mixer):
        def said(self, text: TextStates) -> Tensor:
            return super().said(text._replace(mask=torch.ones_like(text.mask)))

    assert broken(Open) == "masked token states change the prediction; apply text.mask in attention and pooling"


def test_a_dropped_caption_that_gives_no_number() -> None:
    class Divided(Mixer):
        def said(self, text: TextStates) -> Tensor:
            return super().said(text) / (~text.null).float()[:, None]

    assert broken(Divided) == "the prediction for a dropped caption: some values are not finite"


def test_a_parameter_that_is_not_used() -> None:
    class Spare(Mixer):
        def __init__(self, *sizes: int) -> None:
            super().__init__(*sizes)
            self.spare = nn.Parameter(torch.zeros(2))

    assert broken(Spare) == ("parameter 'spare' gets no gradient; use it in every forward pass, or make it a buffer")


def test_weights_outside_the_state_dict() -> None:
    class Hidden(Mixer):
        def __init__(self, *sizes: int) -> None:
            super().__init__(*sizes)
            self.hidden = torch.randn(())

        def forward(self, latents: Tensor, timesteps: Tensor, text: TextStates) -> Any:
            return super().forward(latents, timesteps, text) * self.hidden

    assert broken(Hidden) == (
        "a model that loaded the state_dict of another predicts something else; "
        "keep all learnt and random values in parameters and buffers"
    )


def test_a_mean_over_padding() -> None:
    class Averaging(Mixer):
        def said(self, text: TextStates) -> Tensor:
            tokens = self.words(text.tokens) * text.mask[..., None].float()
            said: Tensor = tokens.mean(1) + self.vector(text.pooled)
            return said

    assert broken(Averaging).startswith("padding changes the prediction, and its amount depends on the other captions")


def test_running_statistics() -> None:
    class Normed(Mixer):
        def __init__(self, *sizes: int) -> None:
            super().__init__(*sizes)
            self.norm = nn.BatchNorm2d(sizes[0])

        def forward(self, latents: Tensor, timesteps: Tensor, text: TextStates) -> Any:
            return super().forward(self.norm(latents), timesteps, text)

    assert broken(Normed).startswith("'norm.running_mean' changed in a forward pass in train mode")


def test_noise_of_another_generator_in_train_mode() -> None:
    class Dropping(Mixer):
        def forward(self, latents: Tensor, timesteps: Tensor, text: TextStates) -> Any:
            return super().forward(latents * (random.random() if self.training else 1.0), timesteps, text)

    assert broken(Dropping).startswith("in train mode two predictions after the same torch.manual_seed differ")


def test_a_batch_that_mixes_in_train_mode() -> None:
    class Mixing(Mixer):
        def forward(self, latents: Tensor, timesteps: Tensor, text: TextStates) -> Any:
            latents = latents - latents.mean(0) if self.training else latents
            return super().forward(latents, timesteps, text)

    assert broken(Mixing).startswith("in train mode the prediction of a sample depends on the rest of the batch")


def test_a_forward_that_fails_in_train_mode() -> None:
    class Failing(Mixer):
        def forward(self, latents: Tensor, timesteps: Tensor, text: TextStates) -> Any:
            prediction = super().forward(latents, timesteps, text)
            return prediction.log() * float("nan") if self.training else prediction

    assert broken(Failing) == "the prediction in train mode: some values are not finite"


def test_dropout_keeps_the_contract() -> None:
    class Dropping(Mixer):
        def forward(self, latents: Tensor, timesteps: Tensor, text: TextStates) -> Any:
            return super().forward(nn.functional.dropout(latents, 0.5, self.training), timesteps, text)

    keep(KIND, factory(Dropping))


def test_states_of_another_width() -> None:
    class Tapped(Mixer):
        taps: Mapping[str, int] = MappingProxyType({"image": 7})

        def forward(self, latents: Tensor, timesteps: Tensor, text: TextStates, taps: tuple[str, ...] = ()) -> Any:
            output = super().forward(latents, timesteps, text)
            return (output, dict.fromkeys(taps, self.image(latents))) if taps else output

    assert broken(Tapped).startswith("taps['image']: return [2, 7, 4, 2] torch.float32, not [2, 4, 4, 2]")
