"""Image formats: how each is recognised by its first bytes, and which class reads it.

Those beyond Pillow need a package that is installed as an extra.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module, metadata

from PIL import features
from PIL.ImageFile import ImageFile

from dit_run.data.header_error import HeaderError
from dit_run.data.png import SIGNATURE

__all__ = ["FORMATS", "SUFFIXES", "Format", "extra_decoders", "format_of"]

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


@dataclass(frozen=True)
class Format:
    """A format that can be read."""

    name: str
    """As Pillow names it."""
    reader: str
    """Class of the reader, as ``package.module:Class``."""
    suffixes: tuple[str, ...]
    """Usual ends of file names; the content decides."""
    begins: Callable[[bytes], bool]
    """Returns True for the first 32 bytes of a file of this format."""
    in_memory: bool = False
    """True if the reader holds the whole file in memory."""
    extra: str = ""
    """Extra of dit-run that installs the reader, and its package; empty: Pillow reads the format."""
    package: str = ""

    def load(self) -> type[ImageFile]:
        """Import and return the reader. Raises HeaderError if it is not installed."""
        module, _, name = self.reader.partition(":")
        if self.name == "AVIF" and not features.check("avif"):
            raise HeaderError(
                "it is AVIF, which the installed Pillow cannot read; install one with AVIF, 11.3 or newer"
            )
        try:
            reader: type[ImageFile] = getattr(import_module(module), name)
        except ImportError as error:
            raise HeaderError(f"it is {self.name}; to read such images: pip install 'dit-run[{self.extra}]'") from error
        return reader


def _starts(*signatures: bytes) -> Callable[[bytes], bool]:
    return lambda start: start.startswith(signatures)


def _is_webp(start: bytes) -> bool:
    return start.startswith(b"RIFF") and start[8:12] == b"WEBP"


def _brands(start: bytes) -> tuple[bytes, ...]:
    """Return the main brand of an ISO media file, then the first compatible ones."""
    return (start[8:12], start[16:20], start[20:24], start[24:28]) if start[4:8] == b"ftyp" else ()


def _is_avif(start: bytes) -> bool:
    return any(brand in (b"avif", b"avis") for brand in _brands(start))


def _is_heif(start: bytes) -> bool:
    return not _is_avif(start) and any(brand in _HEIF_BRANDS for brand in _brands(start))


FORMATS: tuple[Format, ...] = (
    Format(
        "JPEG", "PIL.JpegImagePlugin:JpegImageFile", (".jpg", ".jpeg", ".jpe", ".jfif"), _starts(b"\xff\xd8\xff"), True
    ),
    Format("PNG", "PIL.PngImagePlugin:PngImageFile", (".png", ".apng"), _starts(SIGNATURE)),
    Format("WEBP", "PIL.WebPImagePlugin:WebPImageFile", (".webp",), _is_webp, True),
    Format("AVIF", "PIL.AvifImagePlugin:AvifImageFile", (".avif",), _is_avif, True),
    Format("GIF", "PIL.GifImagePlugin:GifImageFile", (".gif",), _starts(b"GIF87a", b"GIF89a")),
    Format("BMP", "PIL.BmpImagePlugin:BmpImageFile", (".bmp",), _starts(b"BM")),
    Format(
        "TIFF",
        "PIL.TiffImagePlugin:TiffImageFile",
        (".tif", ".tiff"),
        _starts(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    ),
    Format("HEIF", "pillow_heif:HeifImageFile", (".heic", ".heif"), _is_heif, True, "heic", "pillow-heif"),
    Format(
        "JXL",
        "pillow_jxl.JpegXLImagePlugin:JXLImageFile",
        (".jxl",),
        _starts(b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"),
        True,
        "jxl",
        "pillow-jxl-plugin",
    ),
)
SUFFIXES = tuple(suffix for format in FORMATS for suffix in format.suffixes)


def format_of(start: bytes) -> Format | None:
    """Return the format of a file that begins with these bytes, 32 or more where it has them."""
    return next((format for format in FORMATS if format.begins(start)), None)


def extra_decoders() -> dict[str, str]:
    """Return the versions of the installed packages that read further formats, by name."""
    versions = {}
    for format in FORMATS:
        if format.package:
            try:
                versions[format.package] = metadata.version(format.package)
            except metadata.PackageNotFoundError:
                continue
    return versions
