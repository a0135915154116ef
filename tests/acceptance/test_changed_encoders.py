"""An encoder whose plugin is being written: a change of its code encodes again, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import pytest
from runs import Command

VAE = '''
from dataclasses import dataclass
from dit_run import Component, Kind, hookimpl

@dataclass(frozen=True, kw_only=True)
class Plain:
    """Pixels."""

def build(options):
    from torch import nn

    class PlainVae(nn.Module):
        latent_channels, factor, cacheable = 3, 1, True

        def encode(self, images):
            return images, None

        def decode(self, latents):
            return latents.clamp(-1, 1)

        def fingerprint(self):
            return "0123456789abcdef"

    return PlainVae()

@hookimpl
def dit_run_components():
    return [Component(Kind.VAE, "plain", Plain, build)]
'''

TEXT = '''
from dataclasses import dataclass
from dit_run import Component, Kind, hookimpl
from dit_run.protocols import Tokens

@dataclass(frozen=True, kw_only=True)
class Letters:
    """Lengths of captions."""

def build(options):
    import torch
    from torch import nn

    class LettersEncoder(nn.Module):
        trainable, width, pooled_width, max_length = False, 2, 2, 4

        def tokenize(self, captions):
            ids = torch.tensor([[1 + len(caption)] * 4 for caption in captions])
            return Tokens(ids, ids > 0, 0)

        def forward(self, ids, mask):
            states = ids[..., None].float().repeat(1, 1, 2)
            return states, states[:, 0]

        def fingerprint(self):
            return "0123456789abcdef"

    return LettersEncoder()

@hookimpl
def dit_run_components():
    return [Component(Kind.TEXT_ENCODER, "letters", Letters, build)]
'''

CASES = {
    "vae": (VAE, "plain", "return images, None", "latents"),
    "text_encoder": (TEXT, "letters", "return states, states[:, 0]", "captions"),
}


@pytest.mark.slow
@pytest.mark.parametrize("section", CASES)
def test_a_changed_encoder_encodes_again(config: Path, command: Command, tmp_path: Path, section: str) -> None:
    text, type, line, part = CASES[section]
    plugin = tmp_path / "my_encoder.py"
    words = ("cache", config, "plugins=[./my_encoder.py]", f"{section}={{type: {type}}}", "cache.dir=kept")

    def spaces(text: str) -> int:
        plugin.write_text(text)
        result = command(*words)
        assert result.status == 0, result.words
        return len(list((tmp_path / "kept" / part).iterdir()))

    assert [spaces(text), spaces(text), spaces(text.replace(line, f"ids = 1; {line}")), spaces(text)] == [1, 1, 2, 2]
    plugin.write_text(text.replace(line, 'raise ValueError("unfinished")'))
    result = command(*words)
    assert result.status == 1 and "my_encoder.py failed: ValueError: unfinished" in result.words
