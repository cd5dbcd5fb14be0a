"""Untrusted files: what is taken, what is refused, and that nothing but pixels comes through."""

import io
import tracemalloc
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from core.errors import ImageBroken, ImageTooLarge, ImageTypeRefused
from core.imaging.decode import ImageFormat, decode_upload, encode_png
from tests.unit.imaging.pictures import LIMITS, cell, encoded, png_that_declares


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_a_lossless_file_gives_back_exactly_its_pixels(kind: str) -> None:
    pixels = cell(1, side=64)
    decoded = decode_upload(encoded(pixels, kind), **LIMITS)
    assert decoded.format == kind
    assert np.array_equal(decoded.pixels, pixels)


def test_a_jpeg_gives_back_nearly_its_pixels() -> None:
    pixels = cell(1)
    decoded = decode_upload(encoded(pixels, "JPEG", quality=95, subsampling=0), **LIMITS)
    assert decoded.format is ImageFormat.JPEG
    assert np.abs(decoded.pixels.astype(int) - pixels).mean() < 3


@pytest.mark.parametrize(
    "data", [b"", b"path,label\n1.png,normal\n", b"<html><script>", b"GIF89a" + bytes(50), bytes(99)]
)
def test_what_is_no_picture_is_refused_whatever_it_is_called(data: bytes) -> None:
    with pytest.raises(ImageTypeRefused):
        decode_upload(data, **LIMITS)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_a_truncated_file_is_broken_and_never_half_a_picture(kind: str, share: float) -> None:
    whole = encoded(cell(1), kind)
    with pytest.raises(ImageBroken):
        decode_upload(whole[: max(int(len(whole) * share), 12)], **LIMITS)


@pytest.mark.parametrize("side", [4_000, 12_000, 60_000])
def test_a_decompression_bomb_is_refused_before_anything_is_unpacked(side: int) -> None:
    bomb = png_that_declares(side, side)
    tracemalloc.start()
    with pytest.raises(ImageTooLarge):
        decode_upload(bomb, max_bytes=20 * 2**20, max_pixels=10_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(bomb) < 1000
    assert peak < 2**20


def test_a_sixty_megapixel_picture_is_refused_with_its_size() -> None:
    picture = encoded(np.zeros((6_000, 10_000, 3), np.uint8))
    with pytest.raises(ImageTooLarge, match="10000 x 6000 pixels, at most 40 megapixels"):
        decode_upload(picture, max_bytes=20 * 2**20, max_pixels=40_000_000)


def test_a_file_over_the_limit_of_bytes_is_refused_unread() -> None:
    with pytest.raises(ImageTooLarge, match="MiB"):
        decode_upload(bytes(101), max_bytes=100, max_pixels=100)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright(orientation: int) -> None:
    pixels = cell(3, side=64)[:40]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(pixels, "PNG", exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    assert np.array_equal(decode_upload(data, **LIMITS).pixels, expected)


def test_pictures_higher_than_a_strip_are_converted_whole() -> None:
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 256, (700, 20, 3), dtype=np.uint8)
    assert np.array_equal(decode_upload(encoded(colour), **LIMITS).pixels, colour)
    deep = rng.integers(0, 65536, (700, 20), dtype=np.uint16)
    expected = np.rint((deep - float(deep.min())) * (255 / (int(deep.max()) - int(deep.min()))))
    assert np.array_equal(decode_upload(encoded(deep), **LIMITS).pixels[..., 0], expected)


def test_a_large_progressive_jpeg_is_refused_before_its_coefficients_are_held() -> None:
    limits = {"max_bytes": 2**24, "max_pixels": 40_000_000}
    blank = np.zeros((6_000, 6_000, 3), np.uint8)
    with pytest.raises(ImageTooLarge, match="progressive JPEG may have 27 megapixels"):
        decode_upload(encoded(blank, "JPEG", progressive=True, subsampling=0), **limits)
    assert decode_upload(encoded(blank[:, :, 0], "JPEG", progressive=True), **limits).pixels.shape == blank.shape


def test_orientation_is_applied_and_every_kind_of_metadata_is_dropped() -> None:
    pixels = cell(2, side=64)[:40]
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "name of a person"
    decoded = decode_upload(encoded(pixels, "PNG", exif=exif), **LIMITS).pixels
    assert np.array_equal(decoded, np.rot90(pixels, k=-1))
    note = PngInfo()
    note.add_text("Comment", "name of a person")
    clean = encode_png(decode_upload(encoded(pixels, "PNG", pnginfo=note), **LIMITS).pixels)
    assert b"person" not in clean
    assert {clean[i : i + 4] for i in (12,)} == {b"IHDR"}
    assert Image.open(io.BytesIO(clean)).info == {}


def test_sixteen_bit_grey_keeps_its_whole_range() -> None:
    deep = np.linspace(1_000, 5_000, 64 * 64).reshape(64, 64).astype(np.uint16)
    pixels = decode_upload(encoded(deep), **LIMITS).pixels
    assert pixels.shape == (64, 64, 3)
    assert (pixels.min(), pixels.max()) == (0, 255)
    assert np.array_equal(pixels[..., 0], pixels[..., 2])


def test_transparency_is_laid_on_white() -> None:
    layered = np.zeros((64, 64, 4), np.uint8)
    layered[:32, :, 3] = 255
    pixels = decode_upload(encoded(layered), **LIMITS).pixels
    assert pixels[0, 0].tolist() == [0, 0, 0]
    assert pixels[-1, -1].tolist() == [255, 255, 255]


@given(st.binary(max_size=300), st.sampled_from(["", "PNG", "JPEG", "TIFF", "BMP"]))
def test_any_bytes_give_a_picture_or_a_named_error(tail: bytes, kind: str) -> None:
    data = tail if not kind else encoded(np.zeros((8, 8, 3), np.uint8), kind)[:60] + tail
    with suppress(ImageTypeRefused, ImageBroken, ImageTooLarge):
        assert decode_upload(data, **LIMITS).pixels.dtype == np.uint8


@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(1, 20))
def test_a_stored_picture_comes_back_bit_for_bit(seed: int, height: int, width: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert np.array_equal(decode_upload(encode_png(pixels), **LIMITS).pixels, pixels)


def test_only_three_channels_of_bytes_can_be_stored() -> None:
    with pytest.raises(ValueError, match=r"expected uint8\[h, w, 3\], got float64\[4, 4\]"):
        encode_png(np.zeros((4, 4)))  # type: ignore[arg-type]
