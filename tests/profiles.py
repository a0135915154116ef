"""ICC profiles (ICC.1:2001-04) for tests: an RGB one of any primaries and gamma, a grey one and a CMYK one."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

XYZ = tuple[float, float, float]
_WHITE: XYZ = (0.9642, 1.0, 0.8249)

ADOBE_RGB: Sequence[XYZ] = (
    (0.60974, 0.31111, 0.01947),
    (0.20528, 0.62567, 0.06087),
    (0.14919, 0.06322, 0.74457),
)
SRGB: Sequence[XYZ] = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))


def rgb_profile(primaries: Sequence[XYZ] = ADOBE_RGB, gamma: float = 563 / 256) -> bytes:
    """Return an RGB profile with these primaries (adapted to D50); by default that of Adobe RGB (1998)."""
    names = (b"rXYZ", b"gXYZ", b"bXYZ")
    tags = {name: _xyz(primary) for name, primary in zip(names, primaries, strict=True)}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _gamma(gamma))
    return _profile(b"mntr", b"RGB ", b"XYZ ", tags)


def srgb_profile() -> bytes:
    """Return a profile of sRGB with a sampled curve, as files hold it."""
    curve = [round(65535 * _linear(level / 1023)) for level in range(1024)]
    sampled = b"curv" + bytes(4) + struct.pack(f">I{len(curve)}H", len(curve), *curve)
    tags = {name: _xyz(primary) for name, primary in zip((b"rXYZ", b"gXYZ", b"bXYZ"), SRGB, strict=True)}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), sampled)
    return _profile(b"mntr", b"RGB ", b"XYZ ", tags)


def grey_profile(gamma: float) -> bytes:
    return _profile(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": _gamma(gamma)})


def cmyk_profile(
    paper: tuple[float, float, float] = (100, 0, 0), ink: tuple[float, float, float] = (20, 0, 0)
) -> bytes:
    """Return a CMYK profile in which any full ink has the Lab colour ``ink``, and no ink that of ``paper``."""
    corners = [paper] + [ink] * 15
    table = [value for light, a, b in corners for value in (light * 255 / 100, a + 128, b + 128)]
    ramp = bytes(range(256))
    matrix = struct.pack(">9i", *(65536 if at % 4 == 0 else 0 for at in range(9)))
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + ramp * 4 + bytes(map(round, table)) + ramp * 3
    return _profile(b"prtr", b"CMYK", b"Lab ", {b"A2B0": lut})


def _linear(level: float) -> float:
    return level / 12.92 if level <= 0.04045 else ((level + 0.055) / 1.055) ** 2.4


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def _xyz(colour: XYZ) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(map(_fixed, colour))


def _gamma(gamma: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)


def _profile(device: bytes, space: bytes, connection: bytes, tags: Mapping[bytes, bytes]) -> bytes:
    tags = {b"wtpt": _xyz(_WHITE), b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(79), **tags}
    index, data, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        index += struct.pack(">4sII", name, start + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    body = struct.pack(">I", len(tags)) + index + data
    header = struct.pack(">I4sI4s4s4s12x4s", 128 + len(body), b"test", 0x02400000, device, space, connection, b"acsp")
    header += bytes(28) + b"".join(map(_fixed, _WHITE))
    return header + bytes(128 - len(header)) + body
