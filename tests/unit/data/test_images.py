"""Reading images: every kind of file becomes the same square of RGB."""

from __future__ import annotations

import io
import os
import struct
import sys

import numpy as np
import pytest
import simplejpeg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageCms, ImageOps
from PIL.PngImagePlugin import PngInfo

from dit_run.data.image_sizes import jxl_size
from dit_run.data.images import decoder, image_size, read_image
from dit_run.problems import InputError


def saved(tmp_path, image, name, **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


def cropped_then_bicubic(image, size, background=(255, 255, 255)):
    """The reference, in Pillow alone."""
    if image.has_transparency_data:
        canvas = Image.new("RGBA", image.size, (*background, 255))
        image = Image.alpha_composite(canvas, image.convert("RGBA"))
    image = image.convert("RGB")
    side = min(image.size)
    left, top = (image.width - side + 1) // 2, (image.height - side + 1) // 2
    square = image.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((size, size), Image.Resampling.BICUBIC)).astype(int)


def difference(pixels, reference):
    return np.abs(pixels.astype(int) - reference).mean()


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.bmp.png"])
@pytest.mark.parametrize("size", [8, 32, 64])
def test_lossless_files_equal_pillow(tmp_path, photo, name, size):
    path = saved(tmp_path, photo, name, lossless=True)
    pixels = read_image(path, (size, size))
    assert pixels.dtype == np.uint8 and pixels.shape == (size, size, 3) and pixels.flags.c_contiguous
    assert difference(pixels, cropped_then_bicubic(photo, size)) == 0


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 30}, {"restart_marker_blocks": 1}]
)
def test_jpeg_agrees_with_pillow(tmp_path, photo, options):
    path = saved(tmp_path, photo, "a.jpg", **options)
    assert difference(read_image(path, (32, 32)), cropped_then_bicubic(Image.open(path), 32)) < 0.05


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_plain_jpeg_is_read_by_the_fast_libraries(tmp_path, photo, mode):
    path = saved(tmp_path, photo.convert(mode), "a.jpg")
    square = torch.from_numpy(simplejpeg.decode_jpeg(path.read_bytes())[:, 15:75].copy()).permute(2, 0, 1)[None]
    resized = torch.ops.aten._upsample_bicubic2d_aa(square, [32, 32], False)
    assert np.array_equal(read_image(path, (32, 32)), resized[0].permute(1, 2, 0))


def test_a_jpeg_read_later_leaves_an_earlier_one_as_it_was(tmp_path, photo):
    path, other = saved(tmp_path, photo, "a.jpg"), saved(tmp_path, photo.rotate(180), "b.jpg")
    first = read_image(path, (32, 32))
    before = first.copy()
    assert (read_image(other, (32, 32)) != before).any() and (first == before).all()


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
@pytest.mark.parametrize("sides", [(900, 600), (901, 601), (607, 905), (1031, 523), (257, 257)])
@pytest.mark.parametrize("size", [8, 16])
def test_a_large_jpeg_is_decoded_smaller_and_still_agrees(tmp_path, photo, mode, sides, size):
    path = saved(tmp_path, photo.resize(sides, Image.Resampling.BICUBIC).convert(mode), "a.jpg", quality=92)
    assert difference(read_image(path, (size, size)), cropped_then_bicubic(Image.open(path), size)) < 0.5


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "YCbCr"])
def test_modes_without_alpha_become_rgb(tmp_path, photo, mode):
    name = "a.jpg" if mode in ("CMYK", "YCbCr") else "a.png"
    path = saved(tmp_path, photo.convert(mode), name)
    assert difference(read_image(path, (30, 30)), cropped_then_bicubic(Image.open(path), 30)) < 0.05


def test_greyscale_jpeg_becomes_rgb(tmp_path, photo):
    path = saved(tmp_path, photo.convert("L"), "a.jpg")
    assert difference(read_image(path, (30, 30)), cropped_then_bicubic(Image.open(path), 30)) < 0.05


@pytest.mark.parametrize(("background", "colour"), [("white", 255), ("gray", 128), ("black", 0)])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_parts_show_the_background(tmp_path, photo, mode, background, colour):
    image = photo.convert(mode)
    image.putalpha(Image.linear_gradient("L").resize(photo.size))
    pixels = read_image(saved(tmp_path, image, "a.png"), (20, 20), background=background)
    assert difference(pixels, cropped_then_bicubic(image, 20, (colour,) * 3)) < 0.5
    clear = saved(tmp_path, Image.new(mode, (8, 8)), "clear.png")
    assert (read_image(clear, (8, 8), background=background) == colour).all()


def test_transparent_webp_shows_the_background(tmp_path):
    path = saved(tmp_path, Image.new("RGBA", (8, 8), (200, 0, 0, 0)), "a.webp", lossless=True)
    assert (read_image(path, (8, 8), background="gray") == 128).all()


def test_a_transparent_palette_colour_shows_the_background(tmp_path):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([10, 20, 30, 250, 250, 250])
    image.putpixel((0, 0), 0)
    pixels = read_image(saved(tmp_path, image, "a.png", transparency=1), (4, 4), background="black")
    assert pixels[0, 0].tolist() == [10, 20, 30]
    assert (pixels.reshape(-1, 3)[1:] == 0).all()


@pytest.mark.parametrize(("mode", "clear"), [("L", 7), ("RGB", (7, 8, 9))])
def test_a_transparent_colour_shows_the_background(tmp_path, mode, clear):
    path = saved(tmp_path, Image.new(mode, (4, 4), clear), "a.png", transparency=clear)
    assert (read_image(path, (4, 4), background="gray") == 128).all()


def test_sixteen_bits_of_grey_are_rounded_to_eight(tmp_path):
    values = np.array([[0, 128, 129, 32768], [65535, 65406, 257, 1000]] * 2, dtype=np.uint16)
    pixels = read_image(saved(tmp_path, Image.fromarray(values), "a.png"), (4, 4))
    assert pixels[:2, :, 0].tolist() == [[0, 0, 1, 128], [255, 254, 1, 4]]


def test_a_transparent_value_of_sixteen_bits_shows_the_background(tmp_path):
    values = np.full((4, 4), 300, dtype=np.uint16)
    values[0, 0] = 301
    pixels = read_image(saved(tmp_path, Image.fromarray(values), "a.png", transparency=300), (4, 4), background="gray")
    assert pixels[0, 0, 0] == 1 and (pixels.reshape(-1, 3)[1:] == 128).all()


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_turns_the_picture(tmp_path, photo, name, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, photo, name, exif=exif, **({"quality": 95} if name == "a.jpg" else {"lossless": True}))
    upright = ImageOps.exif_transpose(Image.open(path))
    assert difference(read_image(path, (30, 30)), cropped_then_bicubic(upright, 30)) < 0.25


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
@pytest.mark.parametrize("size", [(20, 40), (40, 20), (24, 25)])
def test_an_image_is_cropped_to_the_aspect_ratio_of_its_size(tmp_path, photo, name, size):
    path = saved(tmp_path, photo, name)
    height, width = size
    across, down = min(90, round(60 * width / height)), min(60, round(90 * height / width))
    left, top = (90 - across + 1) // 2, (60 - down + 1) // 2
    part = Image.open(path).convert("RGB").crop((left, top, left + across, top + down))
    expected = np.asarray(part.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    pixels = read_image(path, size)
    assert pixels.shape == (height, width, 3) and pixels.flags.c_contiguous
    assert difference(pixels, expected) < 0.05


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_image_has_its_upright_size(tmp_path, photo, name, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, photo, name, exif=exif, **({"quality": 95} if name == "a.jpg" else {}))
    upright = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    assert image_size(path) == (upright.height, upright.width)
    pixels = read_image(path, (30, 20))
    across, down = (40, 60) if upright.height < upright.width else (60, 90)
    left, top = (upright.width - across + 1) // 2, (upright.height - down + 1) // 2
    part = upright.crop((left, top, left + across, top + down))
    assert difference(pixels, np.asarray(part.resize((20, 30), Image.Resampling.BICUBIC)).astype(int)) < 0.25


def test_the_size_of_an_image_is_read_from_its_header(tmp_path, photo):
    path = saved(tmp_path, photo, "a.png")
    assert image_size(path) == (60, 90)
    assert image_size(lambda: photo) == (60, 90)
    with pytest.raises(InputError, match="there is no such file"):
        image_size(tmp_path / "none.png")


def stored_orientation(kind, orientation):
    """Return the options of ``save`` that write an orientation elsewhere than in an EXIF block of its own."""
    attribute = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="{orientation}"/></x:xmpmeta>'
    text = PngInfo()
    if kind == "xmp in a png":
        text.add_itxt("XML:com.adobe.xmp", attribute)
    elif kind == "exif in a png's text":
        exif = Image.Exif()
        exif[0x0112] = orientation
        block = b"Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0")
        text.add_text("Raw profile type exif", f"\nexif\n{len(block):8}\n{block.hex()}\n", zip=True)
    return {"pnginfo": text} if "png" in kind else {"xmp": attribute.encode(), "quality": 95}


@pytest.mark.parametrize("kind", ["xmp in a jpeg", "xmp in a png", "exif in a png's text"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_an_orientation_elsewhere_turns_the_picture_as_pillow_does(tmp_path, photo, kind, orientation):
    path = saved(tmp_path, photo, "a.png" if "png" in kind else "a.jpg", **stored_orientation(kind, orientation))
    upright = ImageOps.exif_transpose(Image.open(path))
    assert (upright.size == (60, 90)) == (orientation in (6, 8))
    assert difference(read_image(path, (30, 30)), cropped_then_bicubic(upright, 30)) < 0.25


def test_an_orientation_of_another_number_type_is_followed(tmp_path, photo):
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, 0x0112, 4, 1, 3, 0)  # 4: a long number
    path = saved(tmp_path, photo, "a.png", exif=exif)
    assert difference(read_image(path, (30, 30)), cropped_then_bicubic(photo.rotate(180), 30)) == 0


def test_a_drawn_picture_is_turned_by_its_orientation(tmp_path, photo):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(tmp_path, photo, "a.png", exif=exif)
    assert np.array_equal(read_image(lambda: Image.open(path), (30, 30)), read_image(path, (30, 30)))


@pytest.mark.parametrize("turned", [False, True])
def test_the_offset_slides_the_square_from_one_end_to_the_other(tmp_path, photo, turned):
    image = photo.transpose(Image.Transpose.TRANSPOSE) if turned else photo
    path = saved(tmp_path, image, "a.png")
    for offset, first in ((0.0, 0), (0.5, 15), (0.999, 30)):
        box = (0, first, 60, first + 60) if turned else (first, 0, first + 60, 60)
        expected = np.asarray(image.crop(box))
        assert np.array_equal(read_image(path, (60, 60), offset=offset), expected)


def test_the_square_is_cut_before_it_is_resized(tmp_path):
    image = Image.new("RGB", (90, 30), "red")
    image.paste("blue", (30, 0, 60, 30))
    pixels = read_image(saved(tmp_path, image, "a.png"), (8, 8))
    assert (pixels == (0, 0, 255)).all()


def test_a_drawn_picture_is_read_like_a_file(photo):
    assert np.array_equal(read_image(lambda: photo, (20, 20)), cropped_then_bicubic(photo, 20))


def test_a_drawn_picture_stays_open_for_its_owner(photo):
    read_image(lambda: photo, (20, 20))
    assert photo.getpixel((0, 0)) == (0, 0, 200)


def test_pixels_can_be_written(photo):
    assert read_image(lambda: photo, (60, 60)).flags.writeable


@pytest.mark.parametrize("name", ["a.webp", "a.png"])
def test_of_an_animation_the_first_picture_is_taken(tmp_path, name):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    path = saved(tmp_path, frames[0], name, save_all=True, append_images=frames[1:], lossless=True)
    assert (read_image(path, (8, 8)) == (255, 0, 0)).all()


@pytest.mark.parametrize("name", ["a.bmp", "a.gif", "a.tif", "a.avif"])
def test_other_formats_equal_pillow(tmp_path, photo, name):
    path = saved(tmp_path, photo, name)
    assert difference(read_image(path, (30, 30)), cropped_then_bicubic(Image.open(path), 30)) == 0


@pytest.mark.parametrize("name", ["a.gif", "a.tif", "a.avif"])
def test_of_several_pictures_the_first_is_taken(tmp_path, name):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    path = saved(tmp_path, frames[0], name, save_all=True, append_images=frames[1:])
    assert read_image(path, (8, 8))[0, 0].tolist() == pytest.approx([255, 0, 0], abs=2)


@pytest.mark.parametrize("options", [{}, {"compression": "tiff_lzw"}, {"compression": "jpeg"}, {"big_tiff": True}])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "1", "CMYK", "LAB", "P"])
def test_tiffs_of_every_mode_are_read(tmp_path, photo, mode, options):
    if options == {"compression": "jpeg"} and mode not in ("RGB", "L"):
        pytest.skip("JPEG has no such mode")
    image = photo.convert("RGB").convert(mode) if mode != "LAB" else lab(photo)
    path = saved(tmp_path, image, "a.tif", **options)
    expected = photo if mode == "LAB" else Image.open(path)
    assert difference(read_image(path, (30, 30)), cropped_then_bicubic(expected, 30)) < 2


def lab(image):
    profiles = [ImageCms.ImageCmsProfile(ImageCms.createProfile(name)) for name in ("sRGB", "LAB")]
    return ImageCms.profileToProfile(image, *profiles, outputMode="LAB")


@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_a_tiff_of_sixteen_bits_is_rounded_to_eight(tmp_path, order):
    values = np.array([[0, 128, 129, 32768], [65535, 65406, 257, 1000]] * 2, dtype=order)
    pixels = read_image(saved(tmp_path, Image.fromarray(values), "a.tif"), (4, 4))
    assert pixels[:2, :, 0].tolist() == [[0, 0, 1, 128], [255, 254, 1, 4]]


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_a_tiff_of_numbers_that_are_no_colours_is_refused(tmp_path, kind):
    path = saved(tmp_path, Image.fromarray(np.zeros((4, 4), kind)), "a.tif")
    with pytest.raises(InputError, match="32-bit numbers of an unknown range"):
        read_image(path, (4, 4))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.tif", "lzw.tif", "a.avif"])
def test_the_orientation_of_a_tiff_or_avif_turns_the_picture(tmp_path, photo, name, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, photo, name, exif=exif, **({"compression": "tiff_lzw"} if name == "lzw.tif" else {}))
    upright = ImageOps.exif_transpose(Image.open(path))
    assert upright.size == ((60, 90) if orientation >= 5 else (90, 60)) == image_size(path)[::-1]
    assert difference(read_image(path, (30, 30)), cropped_then_bicubic(upright, 30)) < 0.25


@pytest.mark.parametrize("package", ["pillow_heif", "pillow_jxl"])
def test_heic_and_jpeg_xl_are_read_where_their_package_is_installed(tmp_path, photo, package):
    pytest.importorskip(package)
    if package == "pillow_heif":
        sys.modules[package].register_heif_opener()
        path = saved(tmp_path, photo, "a.heic", quality=95)
    else:
        path = saved(tmp_path, photo, "a.jxl", lossless=True)
    assert difference(read_image(path, (30, 30)), cropped_then_bicubic(photo, 30)) < 2


@pytest.mark.parametrize(
    ("start", "extra"), [(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "heic"), (b"\xff\x0a\xff\x07\x08", "jxl")]
)
def test_a_format_whose_package_is_missing_names_the_extra(tmp_path, monkeypatch, start, extra):
    for package in ("pillow_heif", "pillow_jxl", "pillow_jxl.JpegXLImagePlugin"):
        monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / "a.bin").write_bytes(start + bytes(100))
    with pytest.raises(InputError, match=rf"pip install 'dit-run\[{extra}\]'"):
        read_image(tmp_path / "a.bin", (8, 8))


@pytest.mark.parametrize("sides", [(8, 8), (64, 48), (90, 60), (1000, 10), (320, 180), (3000, 2000), (1, 70_000)])
def test_the_size_of_a_jpeg_xl_is_read_before_its_pixels(sides):
    pytest.importorskip("pillow_jxl")
    for container in (False, True):
        data = io.BytesIO()
        Image.new("L", sides).save(data, "JXL", use_container=container)
        assert jxl_size(data.getvalue()[:4096]) == sides


def test_the_content_decides_and_not_the_name(tmp_path, photo):
    path = saved(tmp_path, photo, "a.jpg", format="PNG")
    assert difference(read_image(path, (20, 20)), cropped_then_bicubic(photo, 20)) == 0


def test_a_link_to_a_file_is_followed(tmp_path, photo):
    target = saved(tmp_path, photo, "a.png")
    (tmp_path / "link.png").symlink_to(target)
    assert np.array_equal(read_image(tmp_path / "link.png", (20, 20)), read_image(target, (20, 20)))


@settings(max_examples=40)
@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([3, 4]))),
    st.integers(1, 24),
)
def test_any_png_equals_pillow(tmp_path_factory, values, size):
    image = Image.fromarray(values)
    path = saved(tmp_path_factory.mktemp("png"), image, "a.png")
    assert difference(read_image(path, (size, size)), cropped_then_bicubic(image, size)) < 1


def test_the_decoder_names_every_library_that_decides_pixels():
    assert [part.split()[0] for part in decoder().split(", ")][:4] == ["simplejpeg", "torch", "pillow", "littlecms"]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"cannot read the image .*none\.png: there is no such file"):
        read_image(tmp_path / "none.png", (8, 8))


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="it is a folder"):
        read_image(tmp_path, (8, 8))


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(InputError, match="not a regular file"):
        read_image(tmp_path / "pipe.png", (8, 8))


def test_real_pictures_agree_with_pillow(shared_data):
    photos = sorted((shared_data / "coco_subset" / "val2017").glob("*.jpg"))[:40]
    emoji = sorted((shared_data / "emoji").glob("*.png"))[::100]
    for path in [*photos, *emoji]:
        upright = ImageOps.exif_transpose(Image.open(path))
        assert difference(read_image(path, (64, 64)), cropped_then_bicubic(upright, 64)) < 0.05, path
