"""Places of a text encoder's files: a folder of its own, or subfolders of a pipeline."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dit_run.hub import Pretrained, local_path

__all__ = ["EncoderFolders"]

_ENCODER, _TOKENIZER = "text_encoder", "tokenizer"


@dataclass(frozen=True)
class EncoderFolders:
    """The files of an encoder and of its tokenizer; each folder is ``""`` or ends in a slash."""

    weights: Pretrained
    encoder: tuple[str, ...] = ("", f"{_ENCODER}/")
    """Folders that may hold config.json and the weights, the preferred first."""
    tokenizer: tuple[str, ...] = ("", f"{_TOKENIZER}/")
    """Folders that may hold the tokenizer's files."""

    @classmethod
    def of(cls, weights: Pretrained, subfolder: str | None) -> EncoderFolders:
        """Return the places in a repository or folder; ``subfolder`` is that of the encoder, such as text_encoder_2.

        A local text_encoder_2 whose tokenizer_2 lies next to it is taken as a subfolder of the folder of both.
        """
        path = local_path(weights.name) if subfolder is None else None
        if path is not None and path.name.startswith(_ENCODER) and (path.parent / _tokenizer_of(path.name)).is_dir():
            weights, subfolder = replace(weights, name=str(path.parent)), path.name
        if subfolder is None:
            return cls(weights)
        folder = subfolder.strip("/")
        return cls(weights, (f"{folder}/",), (f"{folder}/", f"{_tokenizer_of(folder)}/"))

    def encoder_files(self, *names: str) -> tuple[str, ...]:
        """Return the candidates for one of these files of the encoder."""
        return tuple(folder + name for folder in self.encoder for name in names)

    def tokenizer_files(self, *names: str) -> tuple[str, ...]:
        """Return the candidates for one of these files of the tokenizer."""
        return tuple(folder + name for name in names for folder in self.tokenizer)


def _tokenizer_of(folder: str) -> str:
    """Return tokenizer_2 for text_encoder_2."""
    return folder.replace(_ENCODER, _TOKENIZER, 1)
