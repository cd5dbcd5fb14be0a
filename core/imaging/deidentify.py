"""DICOM files without the people in them: the basic profile of PS3.15 (`core.imaging.confidentiality`), and stricter.

The picture stays bit for bit; names, numbers, dates, free text, private attributes, overlays, curves and comments
inside compressed pictures go. Identifiers are replaced by keyed ones, so that files of one patient, study or series
stay together, and nobody without the key can find out, or check, whose they are. Text that is burned into the picture
stays where it is: its risk is judged and told.
"""

import base64
import hashlib
import hmac
import io
import warnings
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom
from pydicom import uid
from pydicom._uid_dict import UID_dictionary
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.sequence import Sequence

from core.errors import HemaSealError, ImageBroken, ImageTypeRefused
from core.imaging.burned_in import burned_in_risk
from core.imaging.codestream import without_comments
from core.imaging.confidentiality import (
    CODES,
    DATA,
    EDITION,
    NUMBER_TEXTS,
    NUMBERS,
    PALETTE,
    PROFILE,
    Action,
    action_for,
    is_known_word,
)
from core.imaging.dicom import TRANSFER_SYNTAXES, transfer_syntax

MAX_DEPTH = 16
IMPLEMENTATION = "2.25.320714129341245087712391274950183265"  # this program, as file meta information names it
_DUMMIES: dict[str, Any] = {
    "DA": "19000101",
    "TM": "000000",
    "DT": "19000101000000",
    "AS": "000Y",
    "PN": "REMOVED",
    "IS": "0",
    "DS": "0",
    **dict.fromkeys(("US", "SS", "UL", "SL", "UV", "SV", "AT"), 0),
    **dict.fromkeys(("FL", "FD"), 0.0),
    **dict.fromkeys(("OB", "OW", "OF", "OD", "OL", "OV", "UN"), b"\0\0"),
}


@dataclass(frozen=True)
class Deidentified:
    """A file without the person.

    Attributes:
        data: the new file, in the same transfer syntax.
        patient: pseudonym; the same for all files of a patient under one key.
        series: the new series identifier, or "".
        instance: the new identifier of the file's object.
        counts: number of attributes by what was done: removed, emptied, replaced, kept.
        burned_in: why text may be burned into the picture, or "".
    """

    data: bytes
    patient: str
    series: str
    instance: str
    counts: dict[str, int]
    burned_in: str


def deidentify(data: bytes, *, key: bytes) -> Deidentified:
    """Return a DICOM file without what names, dates or describes a person.

    Args:
        data: a trusted DICOM file; hostile ones are for `core.imaging.dicom_process`.
        key: at least 32 secret bytes of the hospital; the same key gives the same pseudonyms.

    Raises:
        ImageTypeRefused: not DICOM, a transfer syntax whose pictures cannot be cleaned, or encapsulated documents.
        ImageBroken: damaged, or compressed pictures that cannot be followed.
    """
    if len(key) < hashlib.sha256().digest_size:
        raise ValueError("a key of at least 32 bytes expected")
    try:
        with warnings.catch_warnings(), pydicom.config.disable_value_validation():
            warnings.simplefilter("ignore")
            return _deidentify(pydicom.dcmread(io.BytesIO(data), force=True), key)
    except HemaSealError:
        raise
    except Exception as error:  # parsers fail in any way on damaged files; for the person all are one
        raise ImageBroken from error


def pseudonym(patient: str, *, key: bytes) -> str:
    """Return the pseudonym of a patient: 80 bits of a keyed hash, in letters and digits."""
    return "P-" + base64.b32encode(_mac(key, "patient", patient)[:10]).decode()


def _deidentify(original: FileDataset, key: bytes) -> Deidentified:
    syntax = transfer_syntax(original)
    if syntax not in TRANSFER_SYNTAXES:
        raise ImageTypeRefused("the DICOM transfer syntax is not supported")
    if "SOPClassUID" not in original or "SOPInstanceUID" not in original:
        raise ImageTypeRefused("this is not a DICOM object: it has no class or no identifier")
    risk = burned_in_risk(original)
    cleaner = _Cleaner(key)
    clean = cleaner.dataset(original, depth=0)
    patient = pseudonym(_patient_of(original), key=key)
    clean.PatientID = clean.PatientName = patient
    clean.PatientIdentityRemoved = "YES"
    clean.DeidentificationMethod = f"HemaSeal: {PROFILE}, {EDITION}"
    clean.DeidentificationMethodCodeSequence = Sequence([_method_code()])
    clean.LongitudinalTemporalInformationModified = "REMOVED"
    if "PixelData" in clean:
        _clean_pixels(clean, syntax)
    made = FileDataset("", clean, preamble=bytes(128), file_meta=_meta(clean, syntax))
    made.set_original_encoding(
        is_implicit_vr=syntax == uid.ImplicitVRLittleEndian, is_little_endian=syntax != uid.ExplicitVRBigEndian
    )
    buffer = io.BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    series = str(clean.get("SeriesInstanceUID", ""))
    return Deidentified(buffer.getvalue(), patient, series, str(clean.SOPInstanceUID), dict(cleaner.counts), risk)


class _Cleaner:
    """Applies the profile to a data set and all sequences in it."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.counts: Counter[str] = Counter(removed=0, emptied=0, replaced=0, kept=0)

    def dataset(self, original: Dataset, *, depth: int) -> Dataset:
        """Return what may stay of a data set; sequences deeper than `MAX_DEPTH` are removed."""
        clean = Dataset()
        for tag in sorted(original.keys()):
            kept = self._element(original, tag, depth)
            if kept is None:
                self.counts["removed"] += 1
            else:
                clean.add(kept)
        return clean

    def _element(self, original: Dataset, tag: Any, depth: int) -> DataElement | None:
        """Return what becomes of one attribute, None when it goes."""
        action = action_for(tag.group, tag.element)
        if action is Action.REMOVE:  # before its value is parsed, which it need not be
            return None
        element = original[tag]
        if action is Action.EMPTY:
            self.counts["emptied"] += 1
            return DataElement(tag, element.VR, Sequence([]) if element.VR == "SQ" else None)
        if element.VR == "UI":
            return self._identifier(element)
        if action is Action.DUMMY:
            self.counts["replaced"] += 1
            return DataElement(tag, element.VR, Sequence([]) if element.VR == "SQ" else _dummy(element.VR))
        if element.keyword in PALETTE and original.get("PhotometricInterpretation") != "PALETTE COLOR":
            return None  # bytes that colour nothing
        return self._unlisted(element, depth) if action is None else None

    def _unlisted(self, element: DataElement, depth: int) -> DataElement | None:
        """Return what becomes of an attribute of which the profile says nothing."""
        if element.VR == "SQ" and depth < MAX_DEPTH:
            items = [self.dataset(item, depth=depth + 1) for item in element.value]
            element = DataElement(element.tag, "SQ", Sequence(items))
        elif not _names_nobody(element):
            return None
        self.counts["kept"] += 1
        return element

    def _identifier(self, element: DataElement) -> DataElement:
        """Return an identifier: as it is when the standard defines it, otherwise a keyed one."""
        values = [element.value] if isinstance(element.value, str) else list(element.value or ())
        made = [value if str(value) in UID_dictionary else new_uid(str(value), key=self._key) for value in values]
        self.counts["kept" if made == values else "replaced"] += 1
        return DataElement(element.tag, "UI", made[0] if len(made) == 1 else made)


def new_uid(old: str, *, key: bytes) -> uid.UID:
    """Return the identifier that takes the place of another: 122 bits of a keyed hash (PS3.5 B.2)."""
    number = int.from_bytes(_mac(key, "uid", old)[:16], "big")
    number = (number & ~(0xF << 76) | 8 << 76) & ~(0x3 << 62) | 2 << 62  # version and variant of a UUID, RFC 9562
    return uid.UID(f"2.25.{number}")


def _dummy(vr: str) -> Any:
    """Return a value that is valid and says nothing."""
    return _DUMMIES.get(vr, "REMOVED")


def _names_nobody(element: DataElement) -> bool:
    """Tell whether an attribute outside the profile's table may stay."""
    if element.VR in NUMBERS or element.keyword in DATA:
        return True
    values = [element.value] if isinstance(element.value, str | float | int) else list(element.value or ())
    if element.VR in NUMBER_TEXTS:
        return all(isinstance(value, float | int) or _is_number(value) for value in values)
    return element.keyword in CODES and all(is_known_word(element.keyword, str(value)) for value in values)


def _is_number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True


def _patient_of(original: Dataset) -> str:
    """Return what tells this patient from others: number and who gave it, else name and birth date, else the study."""
    number = str(original.get("PatientID", "") or "").strip()
    if number:
        return f"{number}|{str(original.get('IssuerOfPatientID', '') or '').strip()}"
    name = str(original.get("PatientName", "") or "").strip()
    if name:
        return f"{name}|{original.get('PatientBirthDate', '') or ''}|by name"
    return f"{original.get('StudyInstanceUID', '') or original.SOPInstanceUID}|by study"


def _clean_pixels(clean: Dataset, syntax: uid.UID) -> None:
    """Take comments out of compressed frames, and what is no picture out of others."""
    frames = int(clean.get("NumberOfFrames") or 1)
    if syntax.is_encapsulated:
        pictures = [without_comments(frame) for frame in generate_frames(clean.PixelData, number_of_frames=frames)]
        clean.PixelData = encapsulate(pictures)
        clean["PixelData"].VR, clean["PixelData"].is_undefined_length = "OB", True
        return
    allocated, stored = int(clean.BitsAllocated), int(clean.BitsStored)
    samples = 2 if clean.PhotometricInterpretation == "YBR_FULL_422" else int(clean.SamplesPerPixel)
    size = (int(clean.Rows) * int(clean.Columns) * samples * frames * allocated + 7) // 8
    if len(clean.PixelData) < size:
        raise ImageBroken("the file holds less than the picture that it describes")
    data = clean.PixelData[:size]
    if allocated == 16 and stored < allocated:  # noqa: PLR2004 - overlays of old files lie in the bits above
        order = ">" if syntax == uid.ExplicitVRBigEndian else "<"
        shift = allocated - stored
        kind = "i2" if clean.get("PixelRepresentation") == 1 else "u2"
        codes = np.frombuffer(data, f"{order}u2").astype("u2") << shift
        data = (codes.view(kind) >> shift).astype(f"{order}{kind}").tobytes()
    clean.PixelData = data + b"\0" * (len(data) % 2)


def _meta(clean: Dataset, syntax: uid.UID) -> FileMetaDataset:
    """Return new file meta information; nothing of the old one stays but class and syntax."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = clean.SOPClassUID
    meta.MediaStorageSOPInstanceUID = clean.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = uid.UID(IMPLEMENTATION)
    return meta


def _method_code() -> Dataset:
    """Return the code of the basic profile (PS3.16 CID 7050)."""
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator = "113100", "DCM"
    code.CodeMeaning = "Basic Application Confidentiality Profile"
    return code


def _mac(key: bytes, use: str, text: str) -> bytes:
    return hmac.digest(key, f"hemaseal/deidentify/1/{use}/{text}".encode(), "sha256")
