"""Models: the networks that are trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from dit_run.protocols.text_encoder import TextStates

__all__ = ["Model"]


class Model(Protocol):
    """``build(options, *, latent_channels, latent_factor, text_width, pooled_width, text_widths, pooled_widths, initial)``.

    The factory returns the torch module that is trained. ``latent_channels`` and ``latent_factor`` are those of the
    VAE; ``text_width`` and ``pooled_width`` are those of the text encoder. With several text encoders they are the
    sums of the encoders' widths, and :class:`TextStates` says how the states stand in these. A factory that treats
    the encoders apart asks for ``text_widths`` and ``pooled_widths`` instead, tuples with the width of each encoder
    in the order of the config, of length 1 for one encoder.

    ``initial`` is True where the first weights of a new run are made. A factory reads pretrained weights only then:
    in all other cases the weights of a checkpoint follow, or weights are only counted.

    The factory creates the parameters on the CPU in float32; the core seeds torch's generator before the call and moves
    the module afterwards. It is also called with the meta device as torch's default: weights then have shapes, and no
    values. Put repeated blocks into a ``torch.nn.ModuleList``: ``training.compile_model`` compiles its
    members one by one, and the linear weights in them have the role ``matrix`` for optimizers.

    A model may have an attribute ``notices``, a tuple of lines that a new run shows at its start, such as the name of
    its pretrained weights. A model that calls a network of diffusers may have an attribute ``diffusers_module``, that
    network: its ``config`` and its ``state_dict`` make a folder that diffusers loads. If that network reads a fixed
    number of text tokens, the model has it as an attribute ``text_length``.

    A model may have a method ``resized(name, value, options) -> Tensor | None``. It gets a tensor of another model that
    ``training.init_from`` names, whose shape is not that of this model's tensor ``name``, and the section ``model`` of
    the other's config, ``type`` included. It returns the tensor in the shape of its own, or None if it cannot.
    Convolutions over patches and tables of positions are resized without it.
    """  # noqa: E501 (the signature is one line)

    patch_size: int
    """Latent rows and columns must be multiples of this number."""

    # A model may take named numbers of each sample, such as a score or the original size of the image. Its options then
    # have the key ``scalars``, a tuple of names, and the module has the attribute ``scalars`` with the same names. If
    # there are any, it is called with a fourth argument, float [n, k], their values in this order. The names in
    # ``dit_run.data.scalars.OF_IMAGES`` need no data. Other models need not have the attribute.

    # A model may offer states inside it to objectives: it then has the attribute ``taps``, a mapping of their names to
    # their widths, and takes the keyword ``taps``, a tuple of names. With names it returns the prediction and a mapping
    # of these names to states, float [n, width, rows, columns].

    # A model whose patches may skip blocks offers that to guidance: it then has the attribute ``routes``, True, and
    # takes the keyword ``kept``, int64 [n, k]: for each sample the indices, ascending, of the patches that pass all
    # blocks.

    # A model may take a second timestep of each sample, for objectives that train it between two times: it then has the
    # attribute ``second_time``, True, and takes the keyword ``second_timesteps``, float [n] in [0, 1000]. Without the
    # keyword, as in sampling, the second timestep is the first one.

    def __call__(self, latents: Tensor, timesteps: Tensor, text: TextStates) -> Tensor:
        """Return the prediction, float [n, c, h, w], for noisy ``latents``, float [n, c, h, w].

        ``timesteps`` is float [n] in [0, 1000]. h and w are any multiples of ``patch_size``, and the number of tokens
        varies between calls. The prediction for a sample depends on that sample alone.
        """
        ...
