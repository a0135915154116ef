"""Hostile images: each is refused by name, or read rightly; nothing else happens."""

from __future__ import annotations

import contextlib
import io
import itertools
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from profiles import rgb_profile

from dit_run.data.headers import HeaderError, open_image, orientation_of
from dit_run.data.images import image_size, read_image
from dit_run.problems import InputError

SMALL = Image.linear_gradient("L").resize((20, 14)).convert("RGB")


def encoded(image, kind, **options):
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


WHOLE = {
    "jpeg": encoded(SMALL, "JPEG"),
    "progressive": encoded(SMALL, "JPEG", progressive=True),
    "png": encoded(SMALL, "PNG"),
    "webp": encoded(SMALL, "WEBP"),
    "lossless": encoded(SMALL, "WEBP", lossless=True),
}


@pytest.fixture
def read(tmp_path):
    def read(data, size=8):
        path = tmp_path / "image.bin"
        path.write_bytes(data)
        return read_image(path, (size, size))

    return read


def chunk(name, payload):
    return struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", zlib.crc32(name + payload))


def png(width, height, *chunks, depth=8, colour=2, pixels=b""):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.slow
@pytest.mark.parametrize("kind", WHOLE)
def test_a_file_cut_at_any_length_is_refused_or_whole(kind, read):
    data = WHOLE[kind]
    whole, refused = read(data), 0
    for length in range(len(data)):
        try:
            assert np.array_equal(read(data[:length]), whole), length
        except InputError as error:
            assert "image.bin" in str(error)
            refused += 1
    assert refused >= len(data) - (12 if kind == "png" else 2)  # a PNG is whole without its last chunk


def test_a_cut_webp_is_always_refused(read):
    for length in range(len(WHOLE["webp"])):
        with pytest.raises(InputError):
            read(WHOLE["webp"][:length])


def test_a_png_cut_in_its_pixels_is_refused_and_one_cut_after_them_is_whole(read):
    data, whole = WHOLE["png"], read(WHOLE["png"])
    after_pixels = data.index(b"IEND") - 4
    for length in range(after_pixels):
        with pytest.raises(InputError):
            read(data[:length])
    for length in range(after_pixels, len(data)):
        assert np.array_equal(read(data[:length]), whole), length


def test_a_png_that_ends_in_a_text_after_its_pixels_is_whole(read):
    data = WHOLE["png"]
    text = data[: data.index(b"IEND") - 4] + chunk(b"tEXt", b"key\0" + bytes(100))[:-20]
    assert np.array_equal(read(text), read(data))


def test_a_png_without_one_of_its_pixel_chunks_is_refused(read):
    pixels = zlib.compress(b"".join(b"\0" + np.random.default_rng(y).bytes(3 * 64) for y in range(64)), 0)
    parts = [chunk(b"IDAT", pixels[:5000]), chunk(b"IDAT", pixels[5000:])]
    start, end = png(64, 64)[: 8 + 25], chunk(b"IEND", b"")
    assert np.array_equal(read(start + b"".join(parts)), read(start + b"".join(parts) + end))
    with pytest.raises(InputError, match=r"cut short|truncated"):
        read(start + parts[0])


def test_every_flipped_byte_of_a_png_is_noticed(read):
    data, whole = WHOLE["png"], read(WHOLE["png"])
    for place in range(len(data)):
        with pytest.raises(InputError):
            read(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :])
    assert np.array_equal(read(data), whole)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["jpeg", "progressive", "webp", "lossless"])
def test_a_flipped_byte_elsewhere_gives_pixels_or_an_input_error(kind, read):
    data = WHOLE[kind]
    for place, bit in itertools.product(range(len(data)), (1, 0x80)):
        try:
            assert read(data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :]).shape == (8, 8, 3)
        except InputError:
            continue


@settings(max_examples=150)
@given(st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x10\0\0\0WEBPVP8 "]), st.binary(max_size=80))
@example(b"\xff\xd8\xff", b"\xc2\x00\x08\x08\x00\x01\x00\x01\x00")
@example(b"\xff\xd8\xff", b"\xc0\x00\x00")
@example(b"RIFF", b"\xff\xff\xff\xffWEBPVP8L")
def test_any_bytes_give_a_header_or_a_header_error(start, rest):
    file = io.BytesIO(start + rest)
    with contextlib.suppress(HeaderError):
        open_image(file)


@pytest.mark.filterwarnings("ignore:.*EXIF", "ignore:.*TIFF")
@given(st.binary(max_size=60))
@example(b"Exif\0\0II*\0\xff\xff\xff\xff")
def test_any_exif_gives_an_orientation(block):
    for exif in (block, b"Exif\0\0MM\0*\0\0\0\x08" + block):
        image = Image.new("L", (1, 1))
        image.info["exif"] = exif
        assert 1 <= orientation_of(image) <= 8


@given(st.binary(max_size=60))
@example(b'tiff:Orientation="9"')
def test_any_xmp_gives_an_orientation(block):
    image = Image.new("L", (1, 1))
    image.info["xmp"] = block
    assert 1 <= orientation_of(image) <= 8


@pytest.mark.parametrize(("width", "height"), [(65_000, 65_000), (16_385, 16_384), (2**31 - 1, 2**31 - 1)])
def test_a_bomb_is_refused_from_its_header(width, height, read):
    with pytest.raises(InputError, match=f"{width} × {height} pixels are more than the 268,435,456 that are allowed"):
        read(png(width, height))


def test_a_jpeg_bomb_is_refused_from_its_header(read):
    data = bytearray(WHOLE["jpeg"])
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 65_000, 65_000)
    with pytest.raises(InputError, match="65000 × 65000 pixels"):
        read(bytes(data))


def test_a_gif_bomb_is_refused_from_its_header(read):
    data = bytearray(encoded(SMALL, "GIF"))
    data[6:10] = struct.pack("<HH", 65_000, 65_000)
    with pytest.raises(InputError, match="65000 × 65000 pixels"):
        read(bytes(data))


def test_a_tiff_whose_tags_share_bytes_to_grow_is_refused(read):
    entries = b"".join(struct.pack("<HHII", 50_000 + tag, 1, 2**20, 8) for tag in range(100))
    with pytest.raises(InputError, match="its tags hold more than 67,108,864 bytes"):
        read(b"II*\0\x08\0\0\0" + struct.pack("<H", 100) + entries + bytes(2**20))


@pytest.mark.parametrize("directory", [b"", b"\x01", b"\xff\xff", b"\x01\0" + bytes(5)])
def test_a_tiff_without_a_whole_directory_is_refused(directory, read):
    with pytest.raises(InputError, match="image"):
        read(b"MM\0*\0\0\0\x08" + directory)


def test_a_webp_of_many_pixels_is_read(read):
    image = Image.new("RGB", (2600, 2600), (9, 99, 199))
    assert np.array_equal(read(encoded(image, "WEBP", method=0, lossless=True)), np.asarray(image.resize((8, 8))))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1)])
def test_sides_of_one_pixel_are_read(kind, size, read):
    assert (read(encoded(Image.new("RGB", size, "white"), kind)) == 255).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("size", [(30_000, 2), (2, 30_000)])
def test_sides_of_30000_pixels_are_read(kind, size, read):
    assert (read(encoded(Image.new("RGB", size, "white"), kind)) == 255).all()


@pytest.mark.parametrize("sides", [(0, 5), (5, 0)])
def test_no_pixels_at_all_are_refused(sides, read):
    with pytest.raises(InputError, match="its header is cut short, broken or without pixels"):
        read(png(*sides))


def test_a_git_lfs_pointer_is_named_as_such(read):
    with pytest.raises(InputError, match=r"it is a Git LFS pointer: .* run `git lfs pull` in its folder"):
        read(b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 71537\n")


@pytest.mark.parametrize("kind", ["ICO", "PPM", "TGA", "JPEG2000"])
def test_other_formats_are_refused_whatever_their_name(kind, read):
    with pytest.raises(
        InputError, match="expected JPEG, PNG, WEBP, AVIF, GIF, BMP, TIFF, HEIF, JXL, but it begins with"
    ):
        read(encoded(SMALL, kind))


@pytest.mark.parametrize("data", [b"", b"\0" * 100, b"hello, I am text", b"<svg></svg>", b"%!PS-Adobe-3.0 EPSF-3.0"])
def test_what_is_no_image_is_refused(data, read):
    with pytest.raises(InputError, match="it is empty" if not data else "expected JPEG, PNG, WEBP"):
        read(data)


def plain_png(*chunks):
    return png(
        20, 14, *chunks, pixels=zlib.compress(b"".join(b"\0" + SMALL.tobytes()[y * 60 :][:60] for y in range(14)))
    )


LARGE = bytes(3 * 2**20)
LARGE_CHUNKS = {
    "a text that Pillow refuses": [chunk(b"zTXt", b"prompt\0\0" + zlib.compress(LARGE))],
    "an international text that Pillow refuses": [chunk(b"iTXt", b"key\0\1\0\0\0" + zlib.compress(LARGE))],
    "many texts that Pillow refuses together": [chunk(b"zTXt", b"k\0\0" + zlib.compress(LARGE[: 2**20]))] * 80,
    "a long plain text": [chunk(b"tEXt", b"workflow\0" + b"a" * 20 * 2**20)],
    "private chunks": [chunk(b"prIv", bytes(2**20))] * 70,
    "a profile that Pillow refuses": [chunk(b"iCCP", b"x\0\0" + zlib.compress(LARGE))],
    "frames of an animation": [chunk(b"fdAT", bytes(4) + bytes(2**20))] * 70,
}


@pytest.mark.parametrize("kind", LARGE_CHUNKS)
def test_a_png_is_read_in_spite_of_large_chunks(kind, read):
    assert np.array_equal(read(plain_png(*LARGE_CHUNKS[kind])), read(plain_png()))


def test_a_large_profile_of_a_png_is_used(read):
    profile = rgb_profile() + np.random.default_rng(0).bytes(3 * 2**20)
    profile = struct.pack(">I", len(profile)) + profile[4:]
    small, large = (plain_png(chunk(b"iCCP", b"x\0\0" + zlib.compress(each))) for each in (rgb_profile(), profile))
    assert np.array_equal(read(large), read(small)) and not np.array_equal(read(large), read(plain_png()))


@pytest.mark.parametrize("late", [False, True])
def test_the_orientation_of_a_png_is_followed_before_and_after_its_pixels(late, read, tmp_path):
    exif = chunk(b"eXIf", b"II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, 0x0112, 3, 1, 8, 0))
    data = plain_png() if late else plain_png(exif)
    end = data.index(b"IEND") - 4
    turned = read(data[:end] + exif + data[end:] if late else data)
    assert image_size(tmp_path / "image.bin") == (20, 14)
    assert np.array_equal(turned, np.rot90(read(plain_png())))


def test_the_orientation_of_a_png_with_a_large_text_is_followed(read):
    exif = chunk(b"eXIf", b"II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, 0x0112, 3, 1, 3, 0))
    turned = read(plain_png(exif, *LARGE_CHUNKS["a long plain text"]))
    assert np.array_equal(turned, read(plain_png())[::-1, ::-1])


def test_a_jpeg_with_more_before_its_pixels_than_pixels_is_refused(read):
    segment = b"\xff\xe2" + struct.pack(">H", 65_535) + bytes(65_533)
    with pytest.raises(InputError, match="holds more than 67108864 bytes before its pixels"):
        read(WHOLE["jpeg"][:2] + segment * 1030 + WHOLE["jpeg"][2:])


def test_a_jpeg_with_more_after_its_pixels_than_pixels_is_refused(read):
    with pytest.raises(InputError, match="bytes are too many for 20 × 14 pixels"):
        read(WHOLE["jpeg"] + bytes(65 * 2**20))


def test_a_jpeg_with_a_few_bytes_after_its_end_is_read(read):
    assert np.array_equal(read(WHOLE["jpeg"] + b"\0" * 9), read(WHOLE["jpeg"]))


def test_a_zlib_bomb_in_a_png_profile_is_harmless(read):
    profile = chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(50 * 2**20), 9))
    try:
        assert read(png(1, 1, profile, pixels=zlib.compress(bytes(4)))).shape == (8, 8, 3)
    except InputError as error:
        assert "image.bin" in str(error)


def test_a_png_whose_pixels_decompress_to_too_little_is_refused(read):
    with pytest.raises(InputError, match="image"):
        read(png(64, 64, pixels=zlib.compress(bytes(10))))


def test_a_webp_whose_canvas_and_picture_disagree_is_refused_or_read(read):
    data = bytearray(encoded(SMALL.convert("RGBA"), "WEBP", exif=b"Exif\0\0II*\0"))
    assert data[12:16] == b"VP8X"
    data[24:27] = (500).to_bytes(3, "little")
    with pytest.raises(InputError, match="image"):
        read(bytes(data))


MEMORY = """
import sys
from pathlib import Path
from PIL import Image
from dit_run.data import images
from dit_run.data.images import read_image
from dit_run.problems import InputError
Image.MAX_IMAGE_PIXELS = None
if sys.argv[3] == "without torch":
    sys.modules["torch"] = None
    images.resize_pixels = lambda part, size: part[: size[0], : size[1]].copy()

def peak(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name)) * 1024

folder = Path(sys.argv[1])
for kind in ("jpeg", "png", "webp", "avif", "gif", "bmp", "tiff"):
    Image.new("RGB", (40, 30)).save(folder / f"small.{kind}")
    read_image(folder / f"small.{kind}", (64, 64))
before = peak("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
try:
    read_image(folder / sys.argv[2], (64, 64))
except InputError:
    pass
with Image.open(folder / sys.argv[2]) as image:
    print((peak("VmHWM") - before) / (image.width * image.height))
"""


FILES = [
    ("a.jpg", "RGB", {}, 2),
    ("a.jpg", "RGB", {"progressive": True, "subsampling": 0, "quality": 95}, 11),
    ("a.jpg", "CMYK", {}, 2),
    ("a.jpg", "CMYK", {"progressive": True}, 11),
    ("a.png", "RGB", {"compress_level": 1}, 11),
    ("a.png", "RGBA", {"compress_level": 1}, 11),
    ("a.png", "LA", {"compress_level": 1}, 11),
    ("a.png", "I;16", {"compress_level": 1}, 11),
    ("a.webp", "RGB", {"method": 0}, 24),
    ("a.avif", "RGB", {"speed": 10}, 24),
    ("a.gif", "P", {}, 11),
    ("a.bmp", "RGB", {}, 11),
    ("a.tif", "RGBA", {"compression": "tiff_lzw"}, 12),
]
"""Name, mode and options of saving, and how many bytes a pixel may take; another copy as RGB takes three."""


@pytest.fixture(scope="module")
def grey():
    return Image.effect_noise((400, 400), 60).resize((3000, 3000))


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(
    ("name", "mode", "options", "most", "process"),
    [(*file, "without torch") for file in FILES] + [(*file, "with torch") for file in FILES if file[0] == "a.jpg"],
)
def test_reading_takes_at_most_some_bytes_a_pixel(tmp_path, grey, name, mode, options, most, process):
    """Torch resizes plain JPEGs and nothing else; without it their square is taken as it is decoded."""
    grey.convert(mode).save(tmp_path / name, **options)
    command = [sys.executable, "-c", MEMORY, tmp_path, name, process]
    grown = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(grown.stdout) <= most
