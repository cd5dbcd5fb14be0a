"""Whether text may be written into the pixels of a DICOM file, where no list of attributes finds it."""

from pydicom.dataset import Dataset

STATED = "the file says that text is burned into the picture"
_TEXT_MODALITIES = {
    "US": "ultrasound pictures often carry the patient's name",
    "IVUS": "ultrasound pictures often carry the patient's name",
    "OT": "the kind of picture is not said",
    "SC": "a secondary capture may be a picture of a screen",
    "ES": "endoscopes often write the patient's name into the picture",
    "XC": "a photograph may show a label",
    "SM": "the label of a slide may be in the picture",
    "DOC": "a scanned document",
}
_SCREEN_TERMS = {
    "SECONDARY": "the file says that it is not an original acquisition",
    "SCREEN SAVE": "a picture of a screen",
    "LABEL": "the label of a slide",
}
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # and its multi-frame kinds below it


def burned_in_risk(dataset: Dataset) -> str:
    """Return why text may be burned into the picture, in plain words, or "" when nothing speaks for it.

    Judged by BurnedInAnnotation (PS3.3 C.7.6.1), which is believed when it says NO, then by SOP class, modality and
    image type.
    """
    stated = str(dataset.get("BurnedInAnnotation", "")).strip().upper()
    if stated == "YES":
        return STATED
    if stated == "NO":
        return ""
    if str(dataset.get("SOPClassUID", "")).startswith(_SECONDARY_CAPTURE):
        return _TEXT_MODALITIES["SC"]
    modality = str(dataset.get("Modality", "")).strip().upper()
    if modality in _TEXT_MODALITIES:
        return _TEXT_MODALITIES[modality]
    kinds = dataset.get("ImageType") or ()
    terms = {str(kind).strip().upper() for kind in ([kinds] if isinstance(kinds, str) else kinds)}
    return next((reason for term, reason in _SCREEN_TERMS.items() if term in terms), "")
