"""De-identification: nothing that names a person survives, wherever it is put; the picture does, bit for bit."""

import io
import struct
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom._dicom_dict import DicomDictionary
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from core.errors import ImageBroken, ImageTypeRefused
from core.imaging.codestream import without_comments
from core.imaging.confidentiality import Action, action_for
from core.imaging.decode import decode_upload
from core.imaging.deidentify import deidentify, new_uid, pseudonym
from core.imaging.dicom_sniff import is_dicom
from tests.unit.imaging.dicom_files import LOSSLESS, LOSSY, PLAIN, dataset_of, written

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
GREY = np.random.default_rng(0).integers(0, 256, (32, 48), dtype=np.uint8)
TEXTS = {"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"}
PLANTED = "MUSTERFRAU"
PLANTED_DATE, PLANTED_TIME, PLANTED_UID = "19470811", "101559", "1.2.3.47114711.815"
TRACES = [PLANTED.encode(), PLANTED_DATE.encode(), PLANTED_TIME.encode(), PLANTED_UID.encode()]
STRUCTURAL = {0x0000, 0x0002, 0x0004, 0x0006, 0xFFFE}  # not of a data set


def opened(data: bytes) -> pydicom.FileDataset:
    return pydicom.dcmread(io.BytesIO(data))


def planted(vr: str) -> Any:
    """A value of the type that names a person."""
    if vr in TEXTS:
        return PLANTED
    return {
        "DA": PLANTED_DATE,
        "TM": PLANTED_TIME,
        "DT": PLANTED_DATE + PLANTED_TIME,
        "AS": "047Y",
        "UI": PLANTED_UID,
        "OB": PLANTED.encode(),
        "OW": PLANTED.encode(),
        "UN": PLANTED.encode(),
    }.get(vr)


def dictionary() -> list[tuple[int, str]]:
    """Every attribute of the standard whose value could name somebody, with its value representation."""
    found = []
    for tag, (representation, *_) in DicomDictionary.items():
        vr = representation.split(" or ")[0]
        if tag >> 16 in STRUCTURAL or vr == "SQ" or planted(vr) is None:
            continue
        if tag in {0x00020010, 0x00080016, 0x7FE00010, 0x00280004}:  # what makes it a picture
            continue
        found.append((tag, vr))
    return found


def with_everything() -> Dataset:
    """A data set with a planted value in each such attribute, at the top, nested, and in private groups."""
    dataset = dataset_of(GREY)
    deep = Dataset()
    for place in (dataset, deep):
        for tag, vr in dictionary():
            place.add_new(tag, vr, planted(vr))
        for group in (0x0009, 0x0029, 0x7FE1):
            place.add_new((group, 0x0010), "LO", PLANTED)
            place.add_new((group, 0x1001), "UN", PLANTED.encode())
    private = Dataset()
    private.PatientName = PLANTED
    dataset.add_new((0x0029, 0x1010), "SQ", Sequence([private]))
    middle = Dataset()
    middle.SharedFunctionalGroupsSequence = Sequence([deep])
    middle.AnatomicRegionSequence = Sequence([deep])
    dataset.PerFrameFunctionalGroupsSequence = Sequence([middle])
    dataset.RequestAttributesSequence = Sequence([deep])
    for group in (0x5000, 0x6000, 0x6002):
        dataset.add_new((group, 0x0022), "LO", PLANTED)
        dataset.add_new((group, 0x3000), "OW", PLANTED.encode())
    dataset.preamble = PLANTED.encode().ljust(128, b"\0")
    dataset.file_meta.SourceApplicationEntityTitle = PLANTED
    dataset.file_meta.PrivateInformationCreatorUID = uid.UID(PLANTED_UID)
    dataset.file_meta.PrivateInformation = PLANTED.encode()
    return dataset


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian])
def test_no_value_that_names_a_person_survives_anywhere(syntax: uid.UID) -> None:
    assert len(dictionary()) > 1_800
    data = written(with_everything(), syntax)
    assert all(trace in data for trace in TRACES)
    made = deidentify(data, key=KEY)
    assert not [trace for trace in TRACES if trace in made.data]
    kept = opened(made.data)
    assert np.array_equal(kept.pixel_array, GREY)
    assert not any(element.tag.is_private for element in kept.iterall())
    assert is_dicom(made.data)
    assert made.counts["removed"] > 1_000


def test_every_attribute_of_the_standards_table_is_treated_as_the_table_says() -> None:
    assert action_for(0x0010, 0x0030) is Action.EMPTY  # birth date
    assert action_for(0x0008, 0x0020) is Action.EMPTY  # study date
    assert action_for(0x0010, 0x1000) is Action.REMOVE  # other patient IDs
    assert action_for(0x0020, 0x000D) is Action.UID  # study instance
    assert action_for(0x0008, 0x0023) is Action.DUMMY  # content date, Z/D
    assert action_for(0x6002, 0x3000) is Action.REMOVE  # overlay data
    assert action_for(0x0009, 0x0010) is Action.REMOVE  # private
    assert action_for(0x0028, 0x0010) is None  # rows
    dataset = dataset_of(GREY, StudyDate="20250101", ContentDate="20250101", PatientBirthDate="19470811")
    clean = opened(deidentify(written(dataset), key=KEY).data)
    assert (clean.StudyDate, clean.PatientBirthDate, clean.ContentDate) == ("", "", "19000101")
    assert clean.PatientIdentityRemoved == "YES"
    assert clean.DeidentificationMethodCodeSequence[0].CodeValue == "113100"


def test_one_patients_files_stay_together_and_only_the_key_tells_whose_they_are() -> None:
    first = dataset_of(GREY, PatientID="4711", StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.4")
    second = dataset_of(GREY[::-1], PatientID="4711 ", StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.5")
    other = dataset_of(GREY, PatientID="4712", StudyInstanceUID="1.2.9", SeriesInstanceUID="1.2.9.1")
    a, b, c = (deidentify(written(dataset), key=KEY) for dataset in (first, second, other))
    assert a.patient == b.patient != c.patient
    one, two, three = (opened(made.data) for made in (a, b, c))
    assert one.StudyInstanceUID == two.StudyInstanceUID != three.StudyInstanceUID
    assert a.series != b.series
    assert one.PatientID == a.patient
    assert one.file_meta.MediaStorageSOPInstanceUID == one.SOPInstanceUID
    assert one.StudyInstanceUID.is_valid
    assert deidentify(written(first), key=OTHER_KEY).patient != a.patient
    assert new_uid("1.2.3", key=KEY) == one.StudyInstanceUID != new_uid("1.2.3", key=OTHER_KEY)
    assert pseudonym("a", key=KEY) != pseudonym("b", key=KEY)


def test_references_between_files_still_fit() -> None:
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3.9"
    dataset = dataset_of(GREY, ReferencedInstanceSequence=[reference])
    clean = opened(deidentify(written(dataset), key=KEY).data)
    found = clean.ReferencedInstanceSequence[0]
    assert found.ReferencedSOPInstanceUID == new_uid("1.2.3.9", key=KEY)
    assert found.ReferencedSOPClassUID == "1.2.840.10008.5.1.4.1.1.2"


@pytest.mark.parametrize("syntax", [*PLAIN, *LOSSLESS, *LOSSY], ids=lambda syntax: syntax.name)
def test_the_picture_is_the_same_in_every_transfer_syntax(syntax: uid.UID) -> None:
    data = written(dataset_of(GREY, WindowCenter=100, WindowWidth=150, PatientName=PLANTED), syntax)
    made = deidentify(data, key=KEY).data
    assert PLANTED.encode() not in made
    assert opened(made).file_meta.TransferSyntaxUID == syntax
    limits = {"max_bytes": 2**20, "max_pixels": 10**6}
    assert np.array_equal(decode_upload(made, **limits).pixels, decode_upload(data, **limits).pixels)


@pytest.mark.parametrize("syntax", [uid.RLELossless, uid.JPEGBaseline8Bit, uid.ExplicitVRLittleEndian])
def test_all_frames_stay(syntax: uid.UID) -> None:
    stack = np.stack([GREY, GREY[::-1], GREY[:, ::-1]])
    plain = dataset_of(stack, frames=3)
    if syntax == uid.JPEGBaseline8Bit:
        singles = [opened(written(dataset_of(np.ascontiguousarray(one)), syntax)).PixelData for one in stack]
        plain.PixelData = pydicom.encaps.encapsulate([next(pydicom.encaps.generate_frames(one)) for one in singles])
        plain.file_meta.TransferSyntaxUID = syntax
        buffer = io.BytesIO()
        plain.save_as(buffer, enforce_file_format=True)
        data = buffer.getvalue()
    else:
        data = written(plain, syntax)
    made = opened(deidentify(data, key=KEY).data)
    assert np.array_equal(made.pixel_array, opened(data).pixel_array)


def test_comments_inside_compressed_pictures_go_and_the_picture_stays() -> None:
    comment = b"\xff\xfe" + struct.pack(">H", 2 + len(PLANTED)) + PLANTED.encode()
    exif = b"\xff\xe1" + struct.pack(">H", 8 + len(PLANTED)) + b"Exif\0\0" + PLANTED.encode()
    for syntax in (uid.JPEGBaseline8Bit, uid.JPEGLosslessSV1, uid.JPEGLSLossless):
        frame = next(pydicom.encaps.generate_frames(opened(written(dataset_of(GREY), syntax)).PixelData))
        spoiled = frame[:2] + comment + exif + frame[2:].rstrip(b"\0") + PLANTED.encode()
        assert without_comments(spoiled).rstrip(b"\0") == without_comments(frame).rstrip(b"\0")
        assert PLANTED.encode() not in without_comments(spoiled)
    frame = next(pydicom.encaps.generate_frames(opened(written(dataset_of(GREY), uid.JPEG2000Lossless)).PixelData))
    size = 4 + struct.unpack(">H", frame[4:6])[0]
    note = b"\xff\x64" + struct.pack(">HH", 4 + len(PLANTED), 1) + PLANTED.encode()
    spoiled = frame[:size] + note + frame[size:]
    assert PLANTED.encode() not in without_comments(spoiled)
    assert without_comments(spoiled) == without_comments(frame)


@pytest.mark.parametrize("cut", [3, 20, 200, -2])
def test_a_compressed_picture_that_cannot_be_followed_is_refused(cut: int) -> None:
    frame = next(pydicom.encaps.generate_frames(opened(written(dataset_of(GREY), uid.JPEGBaseline8Bit)).PixelData))
    with pytest.raises(ImageBroken, match="cannot be cleaned"):
        without_comments(frame.rstrip(b"\0")[:cut])


def test_what_hides_beside_a_plain_picture_goes() -> None:
    deep = GREY.astype(np.uint16) | 0xA000
    dataset = dataset_of(deep, bits=12)
    dataset.PixelData += PLANTED.encode()
    made = opened(deidentify(written(dataset), key=KEY).data)
    assert np.array_equal(made.pixel_array, GREY)
    assert len(made.PixelData) == GREY.size * 2
    signed = (GREY.astype(np.int16) - 128) * 8
    made = opened(deidentify(written(dataset_of(signed, bits=12)), key=KEY).data)
    assert np.array_equal(made.pixel_array, signed)


def test_the_risk_of_burned_in_text_is_told() -> None:
    assert "ultrasound" in deidentify(written(dataset_of(GREY, Modality="US")), key=KEY).burned_in
    assert deidentify(written(dataset_of(GREY)), key=KEY).burned_in == ""


def test_what_is_no_dicom_or_damaged_is_refused() -> None:
    whole = written(dataset_of(GREY), uid.ExplicitVRLittleEndian)
    for data in (b"", b"text" * 99, bytes(400)):
        with pytest.raises((ImageTypeRefused, ImageBroken)):
            deidentify(data, key=KEY)
    with pytest.raises(ImageBroken):
        deidentify(whole[:-200], key=KEY)
    with pytest.raises(ValueError, match="32 bytes"):
        deidentify(whole, key=b"short")
