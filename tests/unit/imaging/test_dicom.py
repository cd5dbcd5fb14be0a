"""DICOM: every transfer syntax, colour space and way to say what grey a value is, and files that lie."""

import struct
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_windowing, convert_color_space

from core.errors import ImageBroken, ImageTooLarge, ImageTypeRefused
from core.imaging.decode import ONLY_PIXELS, DecodedImage, ImageFormat, decode_upload
from core.imaging.dicom_process import DicomProcess
from core.imaging.dicom_sniff import is_dicom
from tests.unit.imaging.dicom_files import LOSSLESS, LOSSY, PLAIN, dataset_of, written

LIMITS = {"max_bytes": 2**22, "max_pixels": 1_000_000}
Y, X = np.mgrid[:48, :64]
DEEP = ((X * 40 + Y * 17) % 4096).astype(np.uint16)  # 12 bits
SIGNED = DEEP.astype(np.int16) - 2000
SHALLOW = (DEEP >> 4).astype(np.uint8)
COLOUR = np.stack([X * 4 % 256, Y * 5 % 256, (X + Y) * 2 % 256], -1).astype(np.uint8)
WINDOWED: dict[str, Any] = {"bits": 12, "WindowCenter": 2048, "WindowWidth": 4096}


def decoded(data: bytes, frame: int | None = None) -> DecodedImage:
    return decode_upload(data, frame=frame, **LIMITS)


def grey(dataset: Dataset) -> NDArray[np.uint8]:
    """Decode a grey picture; its three channels are equal."""
    pixels = decoded(written(dataset)).pixels
    assert np.array_equal(pixels[..., 0], pixels[..., 1])
    assert np.array_equal(pixels[..., 0], pixels[..., 2])
    return pixels[..., 0]


def item(**attributes: Any) -> Dataset:
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


@pytest.mark.parametrize("syntax", [*PLAIN, *LOSSLESS], ids=lambda syntax: syntax.name)
@pytest.mark.parametrize(
    ("stored", "options"),
    [(DEEP, WINDOWED), (SIGNED, {"RescaleSlope": 1, "RescaleIntercept": -24}), (SHALLOW, {}), (COLOUR, {})],
    ids=["12 bits", "signed", "8 bits", "colour"],
)
def test_every_lossless_transfer_syntax_shows_the_same_picture(
    syntax: uid.UID, stored: NDArray[Any], options: dict[str, Any]
) -> None:
    photometric = "RGB" if stored.ndim == 3 else "MONOCHROME2"
    plain = decoded(written(dataset_of(stored, photometric=photometric, **options)))
    packed = decoded(written(dataset_of(stored, photometric=photometric, **options), syntax))
    assert packed.format is ImageFormat.DICOM
    assert packed.frames == 1
    assert np.array_equal(packed.pixels, plain.pixels)
    if stored.dtype == np.uint8:
        assert np.array_equal(plain.pixels, stored if stored.ndim == 3 else np.repeat(stored[..., None], 3, axis=2))


@pytest.mark.parametrize(
    ("syntax", "stored"),
    [
        pytest.param(syntax, stored, id=f"{syntax.name}, {name}")
        for syntax in LOSSY
        for name, stored in (("12 bits", DEEP), ("8 bits", SHALLOW), ("colour", COLOUR))
        if stored is not DEEP or syntax != uid.JPEGBaseline8Bit  # which holds 8 bits only
    ],
)
def test_every_lossy_transfer_syntax_shows_nearly_the_same_picture(syntax: uid.UID, stored: NDArray[Any]) -> None:
    options = WINDOWED if stored is DEEP else {"photometric": "RGB" if stored is COLOUR else "MONOCHROME2"}
    plain = decoded(written(dataset_of(stored, **options))).pixels
    packed = decoded(written(dataset_of(stored, **options), syntax)).pixels
    assert np.abs(packed.astype(int) - plain).mean() < 2


def test_rescale_and_window_follow_the_standard() -> None:
    dataset = dataset_of(SIGNED, RescaleSlope=2, RescaleIntercept=-100, WindowCenter=[300, 40], WindowWidth=[1500, 400])
    expected = apply_windowing(apply_modality_lut(SIGNED, dataset), dataset, index=0)
    expected = (expected - expected.min()) / (expected.max() - expected.min()) * 255
    assert np.abs(grey(dataset).astype(float) - expected).max() <= 0.51


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_every_window_function_is_the_one_of_the_standard(function: str) -> None:
    dataset = dataset_of(DEEP, bits=12, WindowCenter=1000, WindowWidth=500, VOILUTFunction=function)
    expected = apply_windowing(DEEP, dataset) / 4095 * 255
    assert np.abs(grey(dataset).astype(float) - expected).max() <= 0.51


def test_tables_for_modality_and_contrast_are_applied_one_after_the_other() -> None:
    steps, falling = np.arange(0, 8192, 32, dtype="<u2"), np.arange(4095, -1, -1, dtype="<u2")
    expected = falling[np.clip(steps[SHALLOW].astype(int) - 100, 0, 4095)] / 4095 * 255
    for syntax, order in ((uid.ImplicitVRLittleEndian, "<u2"), (uid.ExplicitVRBigEndian, ">u2")):
        modality = item(LUTDescriptor=[256, 0, 16], LUTData=steps.astype(order).tobytes(), ModalityLUTType="HU")
        contrast = item(LUTDescriptor=[4096, 100, 12], LUTData=falling.astype(order).tobytes())
        dataset = dataset_of(SHALLOW, ModalityLUTSequence=[modality], VOILUTSequence=[contrast])
        seen = decoded(written(dataset, syntax)).pixels[..., 0]
        assert np.abs(seen.astype(float) - expected).max() <= 0.51


def test_without_a_window_nearly_the_whole_range_is_shown_and_outliers_and_padding_do_not_darken_it() -> None:
    stored = (DEEP % 1000 + 500).astype(np.int16)
    stored[0, :3] = 32000
    stored[:, -20:] = -2000
    found = decoded(written(dataset_of(stored, PixelPaddingValue=-2000)))
    assert found.notes == ("the file states no window: contrast from the picture's own values", ONLY_PIXELS)
    seen = found.pixels[1:, :-20, 0]
    assert seen.min() == 0
    assert seen.max() == 255
    assert 115 < seen.mean() < 140


@pytest.mark.parametrize("width", [0, -5, "NaN", ""])
def test_a_window_that_means_nothing_counts_as_none(width: object) -> None:
    dataset = dataset_of(DEEP, bits=12, WindowCenter=100)
    dataset.add_new("WindowWidth", "DS", "1")
    if width == "NaN":
        dataset["WindowWidth"]._value = "NaN"
    else:
        dataset.WindowWidth = width
    assert np.array_equal(grey(dataset), grey(dataset_of(DEEP, bits=12)))


def test_monochrome1_is_the_negative_of_monochrome2() -> None:
    negative = grey(dataset_of(DEEP, photometric="MONOCHROME1", **WINDOWED))
    assert np.array_equal(negative, 255 - grey(dataset_of(DEEP, **WINDOWED)))


def test_bits_above_those_stored_are_no_part_of_the_picture() -> None:
    marked = DEEP | (DEEP[::-1] << 12)
    assert np.array_equal(grey(dataset_of(marked, **WINDOWED)), grey(dataset_of(DEEP, **WINDOWED)))


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.RLELossless, uid.ExplicitVRBigEndian])
@pytest.mark.parametrize("planar", [0, 1])
def test_ybr_becomes_rgb_whether_by_pixel_or_by_plane(syntax: uid.UID, planar: int) -> None:
    ybr = convert_color_space(COLOUR, "RGB", "YBR_FULL")
    stored = ybr if planar == 0 or syntax == uid.RLELossless else np.ascontiguousarray(ybr.transpose(2, 0, 1))
    dataset = dataset_of(ybr, photometric="YBR_FULL")
    if syntax != uid.RLELossless:
        dataset.PlanarConfiguration = planar
        dataset.PixelData = stored.tobytes()
    assert np.array_equal(decoded(written(dataset, syntax)).pixels, convert_color_space(ybr, "YBR_FULL", "RGB"))


def test_halved_chroma_is_spread_over_its_two_pixels() -> None:
    ybr = convert_color_space(np.repeat(COLOUR[:, ::2], 2, axis=1), "RGB", "YBR_FULL")
    pairs = ybr.reshape(48, 32, 2, 3)
    halved = np.stack([pairs[:, :, 0, 0], pairs[:, :, 1, 0], pairs[:, :, 0, 1], pairs[:, :, 0, 2]], -1)
    dataset = dataset_of(ybr, photometric="YBR_FULL_422")
    dataset.PixelData = np.ascontiguousarray(halved).tobytes()
    assert np.array_equal(decoded(written(dataset)).pixels, convert_color_space(ybr, "YBR_FULL", "RGB"))


@pytest.mark.parametrize("order", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian])
@pytest.mark.parametrize("depth", [8, 16])
def test_a_palette_gives_its_colours(order: uid.UID, depth: int) -> None:
    palette = np.random.default_rng(0).integers(0, 256, (256, 3), dtype=np.uint8)
    dataset = dataset_of(SHALLOW, photometric="PALETTE COLOR")
    for number, name in enumerate(("Red", "Green", "Blue")):
        entries = palette[:, number].astype(np.uint16) * (257 if depth == 16 else 1)
        setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [256, 0, depth])
        setattr(dataset, f"{name}PaletteColorLookupTableData", entries.astype("<u2").tobytes())
    assert np.array_equal(decoded(written(dataset, order)).pixels, palette[SHALLOW])


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.RLELossless, uid.JPEG2000Lossless])
def test_the_middle_frame_is_shown_unless_another_is_asked_for(syntax: uid.UID) -> None:
    stack = np.stack([np.full_like(SHALLOW, 10 * number) for number in range(1, 6)])
    data = written(dataset_of(stack, frames=5), syntax)
    middle = decoded(data)
    assert (middle.frames, middle.pixels[0, 0, 0], middle.notes[0]) == (5, 30, "frame 3 of 5")
    assert [decoded(data, frame).pixels[0, 0, 0] for frame in range(5)] == [10, 20, 30, 40, 50]
    for missing in (5, -1):
        with pytest.raises(ImageBroken, match="there is no frame"):
            decoded(data, missing)


def test_a_frame_has_its_own_window_before_the_shared_one() -> None:
    stack = np.stack([DEEP, DEEP])
    shared = item(
        PixelValueTransformationSequence=[item(RescaleIntercept=0, RescaleSlope=1)],
        FrameVOILUTSequence=[item(WindowCenter=2048, WindowWidth=4096)],
    )
    own = [Dataset(), item(FrameVOILUTSequence=[item(WindowCenter=100, WindowWidth=200)])]
    dataset = dataset_of(
        stack,
        frames=2,
        bits=12,
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=own,
    )
    data = written(dataset)
    assert np.array_equal(decoded(data, 0).pixels[..., 0], grey(dataset_of(DEEP, **WINDOWED)))
    assert decoded(data, 1).notes[1] == "contrast from the file's window 100 / 200"


def test_a_file_without_preamble_is_taken_only_when_it_is_clearly_dicom() -> None:
    whole = written(dataset_of(SHALLOW), uid.ImplicitVRLittleEndian)
    meta_length = struct.unpack("<I", whole[140:144])[0]
    bare = whole[144 + meta_length :]
    for data in (whole[132:], bare):
        assert np.array_equal(decoded(data).pixels, decoded(whole).pixels)
    for other in (b"\x08\x00\x16\x00UI\x04\x00text" + bytes(40), b"\x08\x00" * 99, bytes(200), b"DICM" + whole[140:]):
        assert not is_dicom(other)


def test_a_tiff_before_the_magic_word_is_still_dicom() -> None:
    data = b"II*\0" + written(dataset_of(SHALLOW))[4:]
    assert decoded(data).format is ImageFormat.DICOM


@pytest.mark.parametrize(
    ("attributes", "error", "text"),
    [
        ({"Rows": 60_000, "Columns": 60_000}, ImageTooLarge, "60000 x 60000 pixels"),
        ({"NumberOfFrames": 2_000_000_000}, ImageBroken, None),
        ({"NumberOfFrames": -1}, ImageBroken, "NumberOfFrames is below 1"),
        ({"Rows": 0}, ImageBroken, "Rows is below 1"),
        ({"Rows": 49}, ImageBroken, None),
        ({"BitsAllocated": 32, "BitsStored": 32}, ImageTypeRefused, "32 in 32 bits"),
        ({"BitsAllocated": 1, "BitsStored": 1}, ImageTypeRefused, "1 in 1 bits"),
        ({"HighBit": 15}, ImageTypeRefused, "lowest bits"),
        ({"PhotometricInterpretation": "CMYK"}, ImageTypeRefused, "colour space"),
        ({"SamplesPerPixel": 3}, ImageTypeRefused, "colour space"),
        ({"RescaleSlope": 0, "RescaleIntercept": 0}, ImageBroken, "rescale slope"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, ImageBroken, None),
    ],
)
def test_a_file_that_lies_about_its_picture_is_refused_by_name(
    attributes: dict[str, Any], error: type[Exception], text: str | None
) -> None:
    with pytest.raises(error, match=text):
        decoded(written(dataset_of(SHALLOW, **attributes)))


def test_a_large_compressed_picture_is_refused_for_its_size_before_it_is_unpacked() -> None:
    data = written(dataset_of(SHALLOW), uid.JPEG2000Lossless).replace(
        b"\x28\0\x10\0US\x02\0\x30\0\x28\0\x11\0US\x02\0\x40\0",
        b"\x28\0\x10\0US\x02\0\x70\x17\x28\0\x11\0US\x02\0\x70\x17",
    )
    with pytest.raises(ImageTooLarge, match="36 million values, at most 16"):
        decode_upload(data, max_bytes=2**22, max_pixels=40_000_000)


def test_other_transfer_syntaxes_and_files_without_a_picture_are_refused_by_name() -> None:
    dataset = dataset_of(SHALLOW)
    data = written(dataset, uid.JPEG2000Lossless)
    for stated, said in ((b"1.2.840.10008.1.2.4.92", "JPEG 2000 Part 2"), (b"1.2.840.47.11.1.2.4.9", "of this file")):
        with pytest.raises(ImageTypeRefused, match=f"transfer syntax {said}"):
            decoded(data.replace(b"1.2.840.10008.1.2.4.90", stated.ljust(22, b"\0")))
    del dataset.PixelData
    with pytest.raises(ImageTypeRefused, match="holds no picture"):
        decoded(written(dataset))


@pytest.mark.parametrize("syntax", [*PLAIN, *LOSSLESS, *LOSSY], ids=lambda syntax: syntax.name)
def test_half_a_file_is_broken_and_never_half_a_picture(syntax: uid.UID) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    data = written(dataset_of(noise), syntax)
    with pytest.raises((ImageBroken, ImageTypeRefused)):
        decoded(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({}, ""),
        ({"BurnedInAnnotation": "YES"}, "text is burned into"),
        ({"BurnedInAnnotation": "NO", "Modality": "US"}, ""),
        ({"Modality": "US"}, "ultrasound"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.4"}, "secondary capture"),
        ({"ImageType": ["DERIVED", "SECONDARY"]}, "not an original"),
        ({"ImageType": ["ORIGINAL", "PRIMARY"]}, ""),
    ],
)
def test_the_risk_of_burned_in_text_is_told_with_its_reason(attributes: dict[str, Any], reason: str) -> None:
    found = decoded(written(dataset_of(SHALLOW, **attributes))).burned_in
    assert (reason in found) if reason else not found


@pytest.fixture
def process() -> Iterator[DicomProcess]:
    child = DicomProcess()
    yield child
    child.stop()


def test_a_file_that_takes_too_much_memory_is_refused_and_the_next_one_is_decoded(process: DicomProcess) -> None:
    sound = written(dataset_of(SHALLOW))
    bomb = written(dataset_of(np.zeros((20_000, 20_000), np.uint8)), uid.DeflatedExplicitVRLittleEndian)
    assert len(bomb) < 2**20
    with pytest.raises((ImageTooLarge, ImageBroken)):
        process.decode(bomb, max_pixels=10**9)
    assert process.decode(sound, max_pixels=10**6).pixels.shape == (48, 64)


def test_a_child_that_dies_costs_one_picture_and_is_started_again(process: DicomProcess) -> None:
    sound = written(dataset_of(SHALLOW))
    process.decode(sound, max_pixels=10**6)
    first = process.pid
    assert process._child is not None
    process._child.kill()
    process._child.wait()
    assert process.decode(sound, max_pixels=10**6).frames == 1
    assert process.pid != first


def test_the_decoding_process_never_enters_the_application() -> None:
    code = "import sys, core.imaging.decode; sys.exit('pydicom' in sys.modules or 'gdcm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
