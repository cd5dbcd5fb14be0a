"""What becomes of each DICOM attribute: the basic application confidentiality profile of PS3.15, and stricter.

The table (E.1-1) is the one of the standard's edition 2026c as the package dicom-anonymizer carries it. Where it leaves
a choice (X/Z, X/D, X/Z/D, Z/D) the one that keeps an object valid is taken. Attributes that are not in the table are
kept only if they cannot name anybody: numbers, well-known identifiers, and coded words of a fixed list.
"""

from enum import StrEnum
from functools import cache
from importlib import import_module

EDITION = "2026c"
PROFILE = "DICOM PS3.15 basic application confidentiality profile"
_TABLE = f"dicomanonymizer.dicom_anonymization_databases.dicomfields_{EDITION}"


class Action(StrEnum):
    """What is done to an attribute (PS3.15 table E.1-1a)."""

    REMOVE = "X"
    EMPTY = "Z"
    DUMMY = "D"
    UID = "U"


_LISTS = {
    "X_TAGS": Action.REMOVE,
    "Z_TAGS": Action.EMPTY,
    "D_TAGS": Action.DUMMY,
    "U_TAGS": Action.UID,
    "X_Z_TAGS": Action.EMPTY,
    "X_D_TAGS": Action.DUMMY,
    "Z_D_TAGS": Action.DUMMY,
    "X_Z_D_TAGS": Action.DUMMY,
    "X_Z_U_STAR_TAGS": Action.REMOVE,
}
_FIRST_GROUP = 0x0008
NUMBERS = frozenset({"US", "SS", "UL", "SL", "UV", "SV", "FL", "FD", "AT"})
NUMBER_TEXTS = frozenset({"IS", "DS"})
PALETTE = frozenset(f"{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue"))
DATA = PALETTE | {"PixelData", "LUTData"}
CODES: dict[str, frozenset[str]] = {
    keyword: frozenset(words.split())
    for keyword, words in {
        "Modality": "AR AU BI BMD CR CT DG DX ECG EM EPS ES FID GM HC HD IO IVOCT IVUS KER KO LS MG MR NM OAM OCT OP "
        "OPM OPT OPV OSS OT PLAN PR PT PX REG RESP RF RG RTDOSE RTIMAGE RTPLAN RTRECORD RTSTRUCT RWV SC SEG SM SMR SR "
        "SRF STAIN TEXTUREMAP TG US VA XA XC",
        "ImageType": "ORIGINAL DERIVED PRIMARY SECONDARY AXIAL LOCALIZER OTHER MIXED VOLUME NONE LABEL OVERVIEW "
        "THUMBNAIL",
        "PhotometricInterpretation": "MONOCHROME1 MONOCHROME2 RGB YBR_FULL YBR_FULL_422 YBR_RCT YBR_ICT",
        "SpecificCharacterSet": "ISO_IR100 ISO_IR101 ISO_IR109 ISO_IR110 ISO_IR144 ISO_IR126 ISO_IR127 ISO_IR138 "
        "ISO_IR148 ISO_IR166 ISO_IR192 ISO_IR13 GB18030 GBK",
        "BodyPartExamined": "ABDOMEN ANKLE ARM BLADDER BRAIN BREAST CHEST CSPINE ELBOW EYE FOOT HAND HEAD HEART HIP "
        "JAW KIDNEY KNEE LEG LIVER LSPINE LUNG NECK PELVIS SHOULDER SKULL SPINE TSPINE WRIST",
        "Laterality": "L R B U",
        "ImageLaterality": "L R B U",
        "FrameLaterality": "L R B U",
        "PatientPosition": "HFP HFS HFDR HFDL FFDR FFDL FFP FFS",
        "PatientOrientation": "A P R L H F AR AL PR PL HR HL FR FL AH AF PH PF",
        "ViewPosition": "AP PA LL RL RLD LLD RLO LLO CC MLO ML LM",
        "BurnedInAnnotation": "YES NO",
        "LossyImageCompression": "00 01",
        "LossyImageCompressionMethod": "ISO_10918_1 ISO_14495_1 ISO_15444_1",
        "PresentationLUTShape": "IDENTITY INVERSE",
        "VOILUTFunction": "LINEAR LINEAR_EXACT SIGMOID",
        "RescaleType": "HU US OD MGML Z_EFF ED EDW",
        "ConversionType": "DV DI DF WSD SD SI DRW SYN",
        "ScanningSequence": "SE IR GR EP RM",
        "SequenceVariant": "SK MTC SS TRSS SP MP OSP NONE",
        "MRAcquisitionType": "2D 3D",
        "PixelPresentation": "COLOR MONOCHROME MIXED TRUE_COLOR",
        "PixelIntensityRelationship": "LIN LOG DISP",
        "VolumetricProperties": "VOLUME SAMPLED DISTORTED MIXED",
    }.items()
}


@cache
def _actions() -> dict[tuple[int, int], Action]:
    table = import_module(_TABLE)
    plain = {
        (tag[0], tag[1]): action
        for name, action in _LISTS.items()
        for tag in getattr(table, name)
        if len(tag) == 2  # noqa: PLR2004
    }
    return plain | {(0x0010, 0x0010): Action.EMPTY, (0x0010, 0x0020): Action.EMPTY}


def action_for(group: int, element: int) -> Action | None:
    """Return what the profile says of an attribute; None where it says nothing.

    Private groups, curves (50xx), overlays (60xx) and what is no part of a data set (below 0008) are removed whole.
    """
    if group % 2 or group < _FIRST_GROUP or group & 0xFF00 in {0x5000, 0x6000}:
        return Action.REMOVE
    return _actions().get((group, element))


def is_known_word(keyword: str, word: str) -> bool:
    """Tell whether a value is one of the fixed words of a coded attribute that is kept."""
    return word.strip().replace(" ", "") in CODES.get(keyword, frozenset()) or (
        keyword == "PhotometricInterpretation" and word.strip() == "PALETTE COLOR"
    )
