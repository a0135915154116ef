"""Colours: pixels are converted to sRGB by the profile that their file embeds."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageCms
from profiles import SRGB, cmyk_profile, grey_profile, rgb_profile, srgb_profile

from dit_run.data.colours import to_srgb
from dit_run.data.images import read_image

GREEN, GREEN_IN_SRGB = (60, 200, 60), (0, 201, 37)
WRITTEN = {"a.jpg": {"quality": 98, "subsampling": 0}, "a.png": {}, "a.webp": {"lossless": True}}


def saved(tmp_path, image, name, profile, **options):
    path = tmp_path / name
    image.save(path, icc_profile=profile, **{**WRITTEN[name], **options})
    return path


def colour_of(path, size=8):
    pixels = read_image(path, (size, size))
    assert (pixels == pixels[0, 0]).all()
    return tuple(pixels[0, 0].tolist())


def by_pillow(image, profile):
    profiles = [ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))]
    return ImageCms.profileToProfile(image, *profiles, outputMode="RGB")


@pytest.mark.parametrize("name", WRITTEN)
def test_adobe_rgb_becomes_srgb(tmp_path, name):
    assert colour_of(saved(tmp_path, Image.new("RGB", (40, 30), GREEN), name, rgb_profile())) == GREEN_IN_SRGB


@pytest.mark.parametrize("sides", [(40, 30), (400, 300)])
def test_a_photo_in_adobe_rgb_agrees_with_its_conversion(tmp_path, photo, sides):
    path = saved(tmp_path, photo.resize(sides), "a.jpg", rgb_profile())
    converted = by_pillow(Image.open(path), rgb_profile())
    left = (sides[0] - sides[1]) // 2
    square = converted.crop((left, 0, left + sides[1], sides[1])).resize((16, 16), Image.Resampling.BICUBIC)
    assert np.abs(read_image(path, (16, 16)).astype(int) - np.asarray(square)).mean() < 1


def test_a_palette_is_converted(tmp_path):
    image = Image.new("P", (8, 8))
    image.putpalette(GREEN)
    assert colour_of(saved(tmp_path, image, "a.png", rgb_profile())) == GREEN_IN_SRGB


def test_the_background_under_transparency_is_not_converted(tmp_path):
    image = Image.new("RGBA", (8, 8), (*GREEN, 0))
    image.paste((*GREEN, 255), (0, 0, 4, 8))
    pixels = read_image(saved(tmp_path, image, "a.png", rgb_profile()), (8, 8), background="gray")
    assert (pixels[:, :4] == GREEN_IN_SRGB).all() and (pixels[:, 4:] == 128).all()


@pytest.mark.parametrize(("inks", "grey"), [((0, 0, 0, 0), 255), ((128, 0, 0, 0), 139), ((0, 0, 0, 255), 0)])
def test_cmyk_is_converted_by_its_profile(tmp_path, inks, grey):
    """In this profile every ink is a dark grey, and half of it lies in the middle of the lightness."""
    path = saved(tmp_path, Image.new("CMYK", (16, 16), inks), "a.jpg", cmyk_profile())
    assert colour_of(path) == pytest.approx((grey,) * 3, abs=1)


def test_a_cmyk_photo_agrees_with_its_conversion(tmp_path, photo):
    profile = cmyk_profile(paper=(95, 0, 10), ink=(20, 5, -5))
    path = saved(tmp_path, photo.convert("CMYK"), "a.jpg", profile)
    square = by_pillow(Image.open(path), profile).crop((15, 0, 75, 60))
    assert np.abs(read_image(path, (60, 60)).astype(int) - np.asarray(square)).max() <= 1


def test_cmyk_without_a_profile_is_converted_by_pillow(tmp_path):
    path = saved(tmp_path, Image.new("CMYK", (16, 16), (255, 0, 0, 0)), "a.jpg", None)
    assert colour_of(path) == pytest.approx((0, 255, 255), abs=1)


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
def test_grey_is_converted_by_its_profile(tmp_path, mode):
    image = Image.new(mode, (8, 8), {"L": 100, "LA": (100, 255), "I;16": 100 * 257}[mode])
    assert colour_of(saved(tmp_path, image, "a.png", grey_profile(1.0))) == (168, 168, 168)


def test_a_grey_jpeg_is_converted_by_its_profile(tmp_path):
    assert colour_of(saved(tmp_path, Image.new("L", (8, 8), 100), "a.jpg", grey_profile(1.0))) == (168, 168, 168)


@pytest.mark.parametrize(
    "profile", [srgb_profile(), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()]
)
def test_srgb_by_any_profile_is_left_as_it_is(photo, profile):
    image = photo.copy()
    image.info["icc_profile"] = profile
    assert to_srgb(image) is None


def test_the_primaries_of_srgb_with_another_gamma_are_converted(photo):
    image = photo.copy()
    image.info["icc_profile"] = rgb_profile(SRGB, gamma=1.8)
    assert to_srgb(image) is not None


@pytest.mark.parametrize("profile", [b"", b"x" * 500, rgb_profile()[:300], grey_profile(1.0), cmyk_profile()])
@pytest.mark.parametrize("name", WRITTEN)
def test_a_profile_that_is_broken_or_of_another_space_is_ignored(tmp_path, name, profile):
    path = saved(tmp_path, Image.new("RGB", (8, 8), GREEN), name, profile)
    assert colour_of(path) == pytest.approx(GREEN, abs=1)


def test_a_drawn_picture_is_converted_by_its_profile():
    image = Image.new("RGB", (8, 8), GREEN)
    image.info["icc_profile"] = rgb_profile()
    assert read_image(lambda: image, (8, 8))[0, 0].tolist() == list(GREEN_IN_SRGB)
