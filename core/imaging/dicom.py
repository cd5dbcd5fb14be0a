"""One DICOM picture: what a file of DICOM PS3.3 and PS3.5 shows, in 8 bits.

Only for trusted bytes or for the child process of `core.imaging.dicom_process`: pydicom and the codecs behind it
(GDCM, CharLS, OpenJPEG) parse hostile files slowly and in native code. How stored values become grey levels or colours
is in `core.imaging.dicom_display`.
"""

import io
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import uid
from pydicom._uid_dict import UID_dictionary
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder

from core.errors import HemaSealError, ImageBroken, ImageTooLarge, ImageTypeRefused
from core.imaging.burned_in import burned_in_risk
from core.imaging.dicom_display import show
from core.imaging.dicom_process import DicomPicture

TRANSFER_SYNTAXES: dict[str, str] = {  # each with the plug-in of pydicom that decodes it; "" for plain pixels
    uid.ImplicitVRLittleEndian: "",
    uid.ExplicitVRLittleEndian: "",
    uid.DeflatedExplicitVRLittleEndian: "",
    uid.ExplicitVRBigEndian: "",
    uid.RLELossless: "pydicom",
    uid.JPEGBaseline8Bit: "pillow",
    uid.JPEGExtended12Bit: "pillow",  # of 8 bits; see `_gdcm_frame` for 12
    uid.JPEGLossless: "gdcm",
    uid.JPEGLosslessSV1: "gdcm",
    uid.JPEGLSLossless: "pyjpegls",
    uid.JPEGLSNearLossless: "pyjpegls",
    uid.JPEG2000Lossless: "pylibjpeg",
    uid.JPEG2000: "pylibjpeg",
}
PHOTOMETRICS: dict[str, int] = {  # with the samples of a pixel
    "MONOCHROME1": 1,
    "MONOCHROME2": 1,
    "PALETTE COLOR": 1,
    "RGB": 3,
    "YBR_FULL": 3,
    "YBR_FULL_422": 3,
    "YBR_RCT": 3,
    "YBR_ICT": 3,
}
MIN_BITS, MAX_BITS = 8, 16
MAX_SAMPLES = {"pillow": 64_000_000}  # values of a frame, by plug-in; plain pixels are bounded by the file
MAX_SAMPLES_OF_OTHERS = 16_000_000  # these codecs hold each value in four bytes, and the whole several times


@dataclass(frozen=True)
class _Layout:
    """How the pixels are stored: the attributes of the image pixel module (PS3.3 C.7.6.3), checked."""

    rows: int
    columns: int
    samples: int
    photometric: str
    allocated: int
    stored: int
    frames: int
    syntax: uid.UID


def decode_dicom(data: bytes, *, max_pixels: int, frame: int | None = None) -> DicomPicture:
    """Decode one frame: rescaled, windowed, in colour where the file has colour.

    Args:
        data: the whole file, with or without preamble.
        max_pixels: largest accepted rows times columns; checked before anything is decompressed.
        frame: which frame, from 0; the middle one when None.

    Raises:
        ImageTypeRefused: a transfer syntax, colour space or sample size that is not supported, or no picture at all.
        ImageTooLarge: more pixels, or more memory, than accepted.
        ImageBroken: truncated, contradictory or damaged, or without the frame that was asked for.
    """
    try:
        with warnings.catch_warnings(), pydicom.config.disable_value_validation():
            warnings.simplefilter("ignore")  # pydicom tells of each oddity; what matters is checked here
            dataset = pydicom.dcmread(io.BytesIO(data), force=True)
            layout = _layout(dataset, max_pixels)
            chosen = _frame_of(layout, frame)
            stored, photometric = _stored_values(dataset, layout, chosen)
            pixels, notes = show(dataset, stored, photometric, bits=layout.stored, frame=chosen)
            if layout.frames > 1:
                notes = (f"frame {chosen + 1} of {layout.frames}", *notes)
            return DicomPicture(pixels, layout.frames, notes, burned_in_risk(dataset))
    except HemaSealError:
        raise
    except MemoryError:
        raise ImageTooLarge("it needs more memory than a picture may") from None
    except Exception as error:  # a parser of hostile bytes may fail in any way; for the person all are one
        raise ImageBroken from error


def load_codecs() -> None:
    """Load all codecs, so that a process that bounds its memory afterwards bounds what files take."""
    import gdcm  # noqa: F401, PLC0415
    import jpeg_ls  # noqa: F401, PLC0415
    import openjpeg  # noqa: F401, PLC0415

    for syntax in TRANSFER_SYNTAXES:
        get_decoder(syntax)


def transfer_syntax(dataset: Dataset) -> uid.UID:
    """Return the stated transfer syntax, or, in files without file meta information, the one they were read with."""
    stated = getattr(dataset, "file_meta", Dataset()).get("TransferSyntaxUID")
    if stated:
        return uid.UID(str(stated))
    implicit, little = dataset.original_encoding
    if implicit:
        return uid.ImplicitVRLittleEndian
    return uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian


def _layout(dataset: Dataset, max_pixels: int) -> _Layout:
    """Read and check the image pixel module."""
    if "PixelData" not in dataset:
        raise ImageTypeRefused("this DICOM file holds no picture")
    syntax = transfer_syntax(dataset)
    if syntax not in TRANSFER_SYNTAXES:
        name = UID_dictionary[syntax][0] if syntax in UID_dictionary else "of this file"
        raise ImageTypeRefused(f"the DICOM transfer syntax {name} is not supported")
    photometric = str(dataset.get("PhotometricInterpretation", "")).strip()
    samples = _number(dataset, "SamplesPerPixel", 1)
    if PHOTOMETRICS.get(photometric) != samples:
        raise ImageTypeRefused("the DICOM colour space or its number of samples is not supported")
    layout = _Layout(
        rows=_number(dataset, "Rows"),
        columns=_number(dataset, "Columns"),
        samples=samples,
        photometric=photometric,
        allocated=_number(dataset, "BitsAllocated"),
        stored=_number(dataset, "BitsStored"),
        frames=_number(dataset, "NumberOfFrames", 1),
        syntax=syntax,
    )
    if layout.rows * layout.columns > max_pixels:
        raise ImageTooLarge(f"{layout.columns} x {layout.rows} pixels, at most {max_pixels / 1e6:.0f} megapixels")
    values, plugin = layout.rows * layout.columns * samples, TRANSFER_SYNTAXES[syntax]
    if plugin and values > MAX_SAMPLES.get(plugin, MAX_SAMPLES_OF_OTHERS):
        most = MAX_SAMPLES.get(plugin, MAX_SAMPLES_OF_OTHERS)
        raise ImageTooLarge(
            f"{values / 1e6:.0f} million values, at most {most / 1e6:.0f} in DICOM compressed like this"
        )
    if layout.allocated not in {MIN_BITS, MAX_BITS} or not MIN_BITS <= layout.stored <= layout.allocated:
        raise ImageTypeRefused(f"DICOM pixels of {layout.stored} in {layout.allocated} bits are not supported")
    if _number(dataset, "HighBit", layout.stored - 1) != layout.stored - 1:
        raise ImageTypeRefused("DICOM pixels that do not lie in the lowest bits are not supported")
    return layout


def _frame_of(layout: _Layout, wanted: int | None) -> int:
    """Return the frame that is to be decoded."""
    chosen = layout.frames // 2 if wanted is None else wanted
    if not 0 <= chosen < layout.frames:
        raise ImageBroken(f"there is no frame {chosen + 1}; the file has {layout.frames}")
    return chosen


def _number(dataset: Dataset, keyword: str, default: int | None = None) -> int:
    """Return a whole number; all that are read here are at least 1 but `HighBit`, which is at least 7.

    Raises:
        ImageBroken: it is missing, several, not a number or below 1.
    """
    value = dataset.get(keyword)
    if value is None or value == "":
        if default is None:
            raise ImageBroken(f"the DICOM attribute {keyword} is missing")
        return default
    try:
        number = int(value)
    except (TypeError, ValueError):
        raise ImageBroken(f"the DICOM attribute {keyword} is no number") from None
    if number < 1:
        raise ImageBroken(f"the DICOM attribute {keyword} is below 1")
    return number


def _stored_values(dataset: Dataset, layout: _Layout, frame: int) -> tuple[NDArray[Any], str]:
    """Return one frame, [h, w] or [h, w, 3], as it is stored, and the colour space that it then has."""
    if layout.syntax == uid.JPEGExtended12Bit and layout.stored > MIN_BITS:
        return _gdcm_frame(get_frame(dataset.PixelData, frame, number_of_frames=layout.frames), layout)
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = layout.syntax
    decoder = get_decoder(layout.syntax)
    plugin = TRANSFER_SYNTAXES[layout.syntax]
    values, found = decoder.as_array(dataset, index=frame, raw=True, decoding_plugin=plugin)
    expected = (layout.rows, layout.columns, 3)[: 2 if layout.samples == 1 else 3]
    if values.shape != expected or values.dtype.itemsize > MAX_BITS // 8:
        raise ImageBroken("the picture inside the DICOM file is not of the stated size")
    return values, str(found["photometric_interpretation"])


def _gdcm_frame(encoded: bytes, layout: _Layout) -> tuple[NDArray[Any], str]:
    """Decode JPEG Extended (process 2 and 4) of 12 bits, which none of pydicom's plug-ins that are free to use does."""
    import gdcm  # noqa: PLC0415 - the heaviest of the codecs, for one rare transfer syntax

    if layout.samples != 1:
        raise ImageTypeRefused("DICOM colour pictures in JPEG of 12 bits are not supported")
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(encoded)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((layout.columns, layout.rows, 1))
    image.SetDataElement(element)
    kind = gdcm.PhotometricInterpretation.GetPIType(layout.photometric)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(layout.syntax))))
    form = (layout.samples, layout.allocated, layout.stored, layout.stored - 1, 0)
    image.SetPixelFormat(gdcm.PixelFormat(*form))
    values = np.frombuffer(image.GetBuffer().encode("utf-8", "surrogateescape"), f"<u{layout.allocated // 8}")
    return values.reshape(layout.rows, layout.columns), layout.photometric
