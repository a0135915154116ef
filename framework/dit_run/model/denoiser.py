"""The denoiser: all trainable parts of a run as one module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dit_run.compute.sharding import copy_into
from dit_run.compute.split_tensor import StoredTensor
from dit_run.model.conditioning import Text, TextIds, joined
from dit_run.model.latent_normalization import LATENT_PREFIX, LatentNormalization
from dit_run.problems import InputError
from dit_run.protocols import VAE, ParameterRole, TextEncoder, TextStates

__all__ = [
    "OBJECTIVE_PREFIX",
    "TEXT_ENCODER_PREFIX",
    "Denoiser",
    "check_tensors",
    "checkpoint_name",
    "encoder_prefix",
    "model_keywords",
    "parameter_roles",
    "trainable_parameters",
]

TEXT_ENCODER_PREFIX = "text_encoder."
OBJECTIVE_PREFIX = "objective."
_OF_SEVERAL = "encoder"
"""Name of one of several encoders, followed by its place in the config's list."""


class Denoiser(nn.Module):
    """The model and the text encoders that train: optimised, averaged, saved and wrapped as one module."""

    def __init__(
        self, model: nn.Module, *text_encoders: nn.Module | None, normalization: LatentNormalization | None = None
    ) -> None:
        """Take the model and each text encoder of the config, None for a frozen one.

        ``normalization`` is that of the latents which the model takes and predicts; it belongs to the weights.
        """
        super().__init__()
        self.model = model
        self.normalization = normalization
        trained = {f"{_OF_SEVERAL}{place}": each for place, each in enumerate(text_encoders) if each is not None}
        self._single = len(text_encoders) < 2
        self.text_encoder: nn.Module | None = None
        if trained:
            self.text_encoder = next(iter(trained.values())) if self._single else nn.ModuleDict(trained)
        self.objective: nn.ModuleDict | None = None
        self.base = ""
        self._of_adapter: frozenset[str] | None = None

    @property
    def scalars(self) -> tuple[str, ...]:
        """Names of the numbers of each sample that the model takes."""
        names: tuple[str, ...] = getattr(self.model, "scalars", ())
        return names

    @property
    def taps(self) -> Mapping[str, int]:
        """Widths of the states inside the model that it offers, by name."""
        offered: Mapping[str, int] = getattr(self.model, "taps", {})
        return offered

    @property
    def second_time(self) -> bool:
        """True if the model takes a second timestep."""
        return bool(getattr(self.model, "second_time", False))

    @property
    def routes(self) -> bool:
        """True if patches of the model may skip blocks while images are sampled."""
        return bool(getattr(self.model, "routes", False))

    def forward(
        self,
        noisy: Tensor,
        timesteps: Tensor,
        text: Text,
        scalars: Tensor | None = None,
        taps: tuple[str, ...] = (),
        kept: Tensor | None = None,
        second_timesteps: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Mapping[str, Tensor]]:
        """Return the prediction [n, c, h, w] for noisy latents [n, c, h, w] at timesteps [n].

        ``scalars``, float [n, k], are the numbers that the model takes; those of one row are those of all n. With
        ``taps`` the states inside the model of these names follow, each float [n, d, rows, columns]. ``kept``, int64
        [n, k], are the patches that pass all blocks, of a model that routes; None for all patches. A model with a
        second time takes ``second_timesteps`` [n].
        """
        numbers = () if scalars is None else (scalars.expand(len(noisy), -1),)
        given = {"taps": taps or None, "kept": kept, "second_timesteps": second_timesteps}
        asked = {name: value for name, value in given.items() if value is not None}
        found: Tensor | tuple[Tensor, Mapping[str, Tensor]]
        found = self.model(noisy, timesteps, self.condition(text), *numbers, **asked)
        return found

    def condition(self, text: Text) -> TextStates:
        """Return the text states for the model: encoded here if an encoder trains, joined if there are several."""
        if isinstance(text, TextStates | TextIds):
            return self._encoded(text, 0)
        return joined([self._encoded(each, place) for place, each in enumerate(text)])

    def add_objectives(self, modules: Mapping[str, nn.Module]) -> None:
        """Take the modules that objectives train, by the objectives' names. A model for sampling has none."""
        if modules:
            self.objective = nn.ModuleDict(modules)

    def latents_of_vae(self, latents: Tensor) -> Tensor:
        """Return the latents [n, c, h, w] that the VAE decodes from those of the model."""
        return latents if self.normalization is None else self.normalization.undone(latents)

    def trained_encoder(self, place: int) -> nn.Module | None:
        """Return the text encoder at this place in the config's list; None for a frozen one."""
        if self._single or self.text_encoder is None:
            return self.text_encoder
        return self.text_encoder._modules.get(f"{_OF_SEVERAL}{place}")

    def _encoded(self, text: TextStates | TextIds, place: int) -> TextStates:
        if isinstance(text, TextStates):
            return text
        encoder = self.trained_encoder(place)
        assert encoder is not None
        tokens, pooled = encoder(text.ids, text.mask)
        return TextStates(tokens, text.mask, pooled, text.null)

    def keep_base_apart(self, digest: str) -> None:
        """Let checkpoints leave out all parameters but those that train now, which are an adapter's.

        ``digest``, of the weights that they change, is :attr:`base` from now on; it is empty without an adapter.
        """
        self.base = digest
        self._of_adapter = frozenset(checkpoint_name(name) for name, _ in trainable_parameters(self))

    def tensors(self) -> dict[str, Tensor]:
        """Return parameters and buffers by their names in checkpoints: the model's, then those of others, prefixed.

        With an adapter these are its parameters, those of objectives, and the normalisation of latents.
        """
        named, own = {**self.model.state_dict(), **self.other_tensors()}, self._of_adapter
        kept = (LATENT_PREFIX, OBJECTIVE_PREFIX)
        return {name: named[name] for name in named if own is None or name in own or name.startswith(kept)}

    def other_tensors(self) -> dict[str, Tensor]:
        """Return those of all parts but the model, by their names in checkpoints."""
        named: dict[str, Tensor] = {}
        parts = {
            TEXT_ENCODER_PREFIX: self.text_encoder,
            LATENT_PREFIX: self.normalization,
            OBJECTIVE_PREFIX: self.objective,
        }
        for prefix, part in parts.items():
            if part is not None:
                named |= {prefix + name: value for name, value in part.state_dict().items()}
        return named

    def load_tensors(self, tensors: Mapping[str, StoredTensor], *, where: str) -> None:
        """Load tensors that :meth:`tensors` returned; without objectives, those of objectives are left out.

        Raises InputError with the names that are missing, unknown or of another shape, and then changes nothing.
        """
        expected = self.tensors()
        if self.objective is None:
            tensors = {name: tensors[name] for name in tensors if not name.startswith(OBJECTIVE_PREFIX)}
        check_tensors(expected, tensors, where=where)
        with torch.no_grad():
            for name, value in expected.items():
                copy_into(value, tensors[name])


def checkpoint_name(parameter: str) -> str:
    """Return the name in checkpoints of a parameter of a denoiser, under which patterns of a config find it."""
    return parameter.removeprefix("model.")


def encoder_prefix(place: int, count: int) -> str:
    """Return the prefix in :meth:`Denoiser.tensors` of the text encoder at this place of ``count`` encoders."""
    return TEXT_ENCODER_PREFIX if count == 1 else f"{TEXT_ENCODER_PREFIX}{_OF_SEVERAL}{place}."


def model_keywords(texts: Sequence[TextEncoder], vae: VAE) -> dict[str, Any]:
    """Return the runtime keywords of a model's factory, which describe the latents and the text states.

    ``initial`` is False: weights of a checkpoint follow.
    """
    widths, pooled_widths = tuple(text.width for text in texts), tuple(text.pooled_width for text in texts)
    return {
        "latent_channels": vae.latent_channels,
        "latent_factor": vae.factor,
        "text_width": sum(widths),
        "pooled_width": sum(pooled_widths),
        "text_widths": widths,
        "pooled_widths": pooled_widths,
        "initial": False,
    }


def check_tensors(expected: Mapping[str, Tensor], got: Mapping[str, StoredTensor], *, where: str) -> None:
    """Raise InputError where names or shapes differ."""
    faults = [f"{name} is missing" for name in sorted(set(expected) - set(got))]
    faults += [f"{name} is not in the model" for name in sorted(set(got) - set(expected))]
    faults += [
        f"{name} has the shape {list(got[name].shape)}, and the model expects {list(expected[name].shape)}"
        for name in sorted(set(expected) & set(got))
        if got[name].shape != expected[name].shape
    ]
    if faults:
        shown = "; ".join(faults[:5]) + (f"; and {len(faults) - 5} more" if len(faults) > 5 else "")
        raise InputError(f"the weights in {where} do not fit the model of this config: {shown}")


def parameter_roles(module: nn.Module) -> dict[str, ParameterRole]:
    """Return the role of each parameter by name, from its layer: see :data:`dit_run.protocols.ParameterRole`."""
    roles: dict[str, ParameterRole] = {}
    for path, layer in module.named_modules():
        inside_block = any(part.isdigit() for part in path.split("."))
        for name, parameter in layer.named_parameters(recurse=False):
            full = f"{path}.{name}" if path else name
            roles[full] = _role(layer, name, parameter, inside_block)
    return roles


def _role(layer: nn.Module, name: str, parameter: nn.Parameter, inside_block: bool) -> ParameterRole:
    kind = type(layer).__name__.lower()
    if "norm" in kind:
        return "norm"
    if "bias" in name:
        return "bias"
    if isinstance(layer, nn.Embedding):
        return "embedding"
    if isinstance(layer, nn.Linear | nn.modules.conv._ConvNd):
        return "matrix" if inside_block and parameter.ndim == 2 else "edge"
    return "other"


def trainable_parameters(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Return (name, parameter) of all parameters that take gradients."""
    return [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
