"""DICOM files for tests, written with the libraries that read them: every transfer syntax, nobody's picture."""

import io
import tempfile
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate

CT = "1.2.840.10008.5.1.4.1.1.2"
PLAIN = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
)
LOSSLESS = (uid.RLELossless, uid.JPEGLossless, uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEG2000Lossless)
_LOSS: dict[str, dict[str, Any]] = {uid.JPEGLSNearLossless: {"jls_error": 2}, uid.JPEG2000: {"j2k_cr": [5]}}
LOSSY = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLSNearLossless, uid.JPEG2000)


def dataset_of(
    pixels: NDArray[Any],
    *,
    photometric: str = "MONOCHROME2",
    bits: int | None = None,
    frames: int | None = None,
    **attributes: Any,
) -> FileDataset:
    """A data set with these pixels, [h, w], [h, w, 3] or, with `frames`, with one dimension before these."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = uid.UID(CT)
    meta.MediaStorageSOPInstanceUID = uid.UID("1.2.826.0.1.3680043.8.498.1")
    meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    shape = pixels.shape[1:] if frames else pixels.shape
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.Modality = "CT"
    dataset.Rows, dataset.Columns = shape[:2]
    dataset.SamplesPerPixel = 3 if len(shape) == 3 else 1
    if len(shape) == 3:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = photometric
    dataset.BitsAllocated = pixels.dtype.itemsize * 8
    dataset.BitsStored = bits or dataset.BitsAllocated
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    if frames:
        dataset.NumberOfFrames = frames
    dataset.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    dataset["PixelData"].VR = "OW" if dataset.BitsAllocated == 16 else "OB"
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def written(dataset: Dataset, syntax: str = uid.ExplicitVRLittleEndian) -> bytes:
    """The data set as a file of a transfer syntax."""
    shallow = dataset.BitsStored == 8
    if syntax in {uid.JPEGLossless, uid.JPEGLosslessSV1} or (syntax == uid.JPEGExtended12Bit and not shallow):
        return _by_gdcm(dataset, syntax)
    if syntax in {uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit}:
        buffer = io.BytesIO()
        Image.fromarray(_frame(dataset)).save(buffer, "JPEG", quality=95, subsampling=0)
        dataset.PixelData = encapsulate([buffer.getvalue()])
        dataset["PixelData"].VR = "OB"
        if dataset.SamplesPerPixel == 3:
            dataset.PhotometricInterpretation = "YBR_FULL_422"
    elif syntax not in PLAIN:
        dataset.compress(syntax, generate_instance_uid=False, **_LOSS.get(syntax, {}))
    dataset.file_meta.TransferSyntaxUID = uid.UID(syntax)
    if syntax == uid.ExplicitVRBigEndian:
        dataset.set_original_encoding(is_implicit_vr=False, is_little_endian=False)
        if dataset.BitsAllocated == 16:
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    buffer = io.BytesIO()
    dataset.save_as(
        buffer,
        implicit_vr=syntax == uid.ImplicitVRLittleEndian,
        little_endian=syntax != uid.ExplicitVRBigEndian,
        enforce_file_format=True,
    )
    return buffer.getvalue()


def _frame(dataset: Dataset) -> NDArray[np.uint8]:
    shape = (dataset.Rows, dataset.Columns, 3)[: 3 if dataset.SamplesPerPixel == 3 else 2]
    return np.frombuffer(dataset.PixelData, np.uint8)[: int(np.prod(shape))].reshape(shape)


def _by_gdcm(dataset: Dataset, syntax: str) -> bytes:
    with tempfile.TemporaryDirectory() as place:
        plain, packed = Path(place) / "plain.dcm", Path(place) / "packed.dcm"
        dataset.save_as(plain, enforce_file_format=True)
        reader = gdcm.ImageReader()
        reader.SetFileName(str(plain))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(syntax))))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.SetFileName(str(packed))
        assert writer.Write()
        return packed.read_bytes()
