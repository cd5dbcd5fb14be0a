"""Cases, appointments and consents as HL7 FHIR R4 (4.0.1) resources: plain JSON values, made from what services return.

Patients appear by the id of their account alone: no name, no address, no date of birth. Systems of codes that are this
project's own lie below `BASE`, a name that nobody can own (RFC 2606).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid5

from core.diagnosis.conclusion import Conclusion
from core.diagnosis.result import DiagnosisResult
from core.services.appointments import AppointmentStatus, AppointmentView
from core.services.case_reading import CaseDetail
from core.services.case_records import Outcome
from core.services.reviews import ReviewView
from core.studies import Study
from db.models import Consent

Resource = dict[str, Any]

BASE: Final = "https://hemaseal.invalid/fhir"
_NAMES = UUID("6f1d8a52-2f0e-5c51-9d0a-7b7f7a3f4b1e")  # of the observations' ids (RFC 9562, version 5)
_TERMS = "http://terminology.hl7.org/CodeSystem"
_INTERPRETATION = {
    Outcome.POSITIVE: ("POS", "Positive"),
    Outcome.NEGATIVE: ("NEG", "Negative"),
    Outcome.UNCERTAIN: ("IND", "Indeterminate"),
}
RESEARCH_USE = "Research use. Not a medical device. The program's numbers are estimates about pictures of one sample."


@dataclass(frozen=True)
class ModelFigures:
    """Sensitivity and specificity at a model's threshold, on validation, in 0..1."""

    sensitivity: float
    specificity: float


def bundle(resources: Iterable[Resource], *, at: datetime) -> Resource:
    """Return a collection of resources; each is found by its ``urn:uuid`` address."""
    return {
        "resourceType": "Bundle",
        "type": "collection",
        "timestamp": _instant(at),
        "entry": [{"fullUrl": address(str(resource["id"])), "resource": resource} for resource in resources],
    }


def address(object_id: str) -> str:
    """Return the address within a bundle of the resource with this id (a UUID with or without hyphens)."""
    return f"urn:uuid:{UUID(object_id)}"


def patient(user_id: str) -> Resource:
    """Return a patient, named by the account alone."""
    return {
        "resourceType": "Patient",
        "id": str(UUID(user_id)),
        "identifier": [{"system": f"{BASE}/account", "value": user_id}],
    }


def report(detail: CaseDetail, reviews: Sequence[ReviewView], figures: ModelFigures | None) -> list[Resource]:
    """Return the diagnostic report of a case and the observations that it stands on.

    Args:
        detail: the case with its verified results.
        reviews: all that doctors signed about it, the newest first.
        figures: of the model that answered; None leaves them out.
    """
    case, current = detail.case, reviews[0] if reviews else None
    signed = current is not None and current.conclusion is not None
    status = ("amended" if len(reviews) > 1 else "final") if signed else "preliminary"
    if not detail.results:
        status = "registered" if current is None else status
    observations = [_of_image(detail, result, figures, final=signed) for result in detail.results]
    if detail.conclusion is not None and (detail.conclusion.by_alarm or len(observations) > 1):
        observations.append(_of_case(detail, detail.conclusion, observations, final=signed))
    resource: Resource = {
        "resourceType": "DiagnosticReport",
        "id": str(UUID(case.id)),
        "identifier": [{"system": f"{BASE}/case", "value": case.id}],
        "status": status,
        "category": [{"coding": [_coding(f"{_TERMS}/v2-0074", *_section(case.study))]}],
        "code": _concept(f"{BASE}/study", case.study.code, case.study.title),
        "subject": {"reference": address(case.patient_id)},
        "effectiveDateTime": _instant(case.created_at),
        "performer": [{"display": case.care.name}],
        "result": [{"reference": address(observation["id"])} for observation in observations],
    }
    if current is not None:
        resource["issued"] = _instant(current.signed_at)
        resource["resultsInterpreter"] = [{"display": current.doctor}]
    elif case.answered_at is not None:
        resource["issued"] = _instant(case.answered_at)
    if current is not None and current.conclusion is not None:
        label = case.study.classes[current.conclusion]
        resource["conclusion"] = label.title
        resource["conclusionCode"] = [_concept(f"{BASE}/study/{case.study.code}", label.name, label.title)]
    if not observations:
        del resource["result"]
    return [resource, *observations]


def appointment(view: AppointmentView, *, patient_id: str) -> Resource:
    """Return an appointment; nothing of a case is in it."""
    cancelled = view.status is AppointmentStatus.CANCELLED
    standing = "declined" if cancelled else "accepted"
    return {
        "resourceType": "Appointment",
        "id": str(UUID(view.id)),
        "identifier": [{"system": f"{BASE}/appointment", "value": view.id}],
        "status": "cancelled" if cancelled else "booked",
        "description": "Appointment",
        "start": _instant(view.starts_at),
        "end": _instant(view.ends_at),
        "participant": [
            {"actor": {"reference": address(patient_id)}, "status": standing},
            {"actor": {"display": f"{view.doctor}, {view.hospital}"}, "status": standing},
        ],
    }


def consent(row: Consent, words: str) -> Resource:
    """Return a consent that was given, whether it is in force or was withdrawn."""
    period = {"start": _instant(row.given_at)}
    if row.withdrawn_at is not None:
        period["end"] = _instant(row.withdrawn_at)
    return {
        "resourceType": "Consent",
        "id": str(UUID(row.id)),
        "status": "active" if row.withdrawn_at is None else "inactive",
        "scope": _concept(f"{_TERMS}/consentscope", "patient-privacy", "Privacy Consent"),
        "category": [_concept("http://loinc.org", "59284-0", "Patient Consent")],
        "patient": {"reference": address(row.user_id)},
        "dateTime": _instant(row.given_at),
        "policy": [{"uri": f"{BASE}/consent/{row.purpose.value}/{row.text_version}"}],
        "provision": {"type": "permit", "period": period, "code": [{"text": words}]},
    }


def _of_image(detail: CaseDetail, result: DiagnosisResult, figures: ModelFigures | None, *, final: bool) -> Resource:
    """Return what the program says of one picture: the positive probability, and each class as a component."""
    study = detail.case.study
    labels = [
        _share(f"{BASE}/study/{study.code}", label.name, label.title, probability)
        for label, probability in zip(study.classes, result.probabilities, strict=True)
    ]
    about = "the picture" if not result.cells else f"the cell that stands out most, of {result.cells_seen}"
    return {
        **_observation(detail, f"{detail.case.id}/{result.image}", result, final=final),
        "code": _concept(f"{BASE}/measure", "positive-probability", "Calibrated probability of a positive class"),
        "valueQuantity": _one(result.positive_probability),
        "interpretation": [_interpretation(result.outcome)],
        "referenceRange": [_range(result.threshold, "called positive from here on", figures)],
        "component": labels,
        "note": [{"text": f"About {about}; image {result.image + 1} of {result.images}. {RESEARCH_USE}"}],
    }


def _of_case(detail: CaseDetail, conclusion: Conclusion, members: Sequence[Resource], *, final: bool) -> Resource:
    """Return what all pictures together answer: the share of positive cells with its interval, or the gravest one."""
    lead = detail.results[0]
    resource = {
        **_observation(detail, f"{detail.case.id}/case", lead, final=final),
        "interpretation": [_interpretation(conclusion.outcome)],
        "hasMember": [{"reference": address(member["id"])} for member in members],
        "note": [{"text": RESEARCH_USE}],
    }
    if not conclusion.by_alarm:
        named = "Highest calibrated probability of a positive class among the pictures"
        value = {"valueQuantity": _one(conclusion.positive_probability)}
        return resource | {"code": _concept(f"{BASE}/measure", "highest-positive-probability", named)} | value
    measures = f"{BASE}/measure"
    return {
        **resource,
        "code": _concept(measures, "alarming-share", "Share of cells that count for the alarm"),
        "valueQuantity": _one(conclusion.alarming / conclusion.cells),
        "referenceRange": [_range(conclusion.alarm_rate, "raises the alarm above this", None)],
        "component": [
            _count(measures, "cells", "Cells looked at", conclusion.cells),
            _count(measures, "positive-cells", "Cells at or above the threshold", conclusion.positive),
            _share(measures, "positive-share", "Share of these cells", conclusion.share),
            _share(measures, "positive-share-low", "Its interval of 95 % (Wilson), from", conclusion.share_low),
            _share(measures, "positive-share-high", "Its interval of 95 % (Wilson), to", conclusion.share_high),
        ],
    }


def _observation(detail: CaseDetail, name: str, result: DiagnosisResult, *, final: bool) -> Resource:
    case = detail.case
    kind = ("laboratory", "Laboratory") if case.study.is_stained else ("imaging", "Imaging")
    return {
        "resourceType": "Observation",
        "id": str(uuid5(_NAMES, name)),
        "status": "final" if final else "preliminary",
        "category": [{"coding": [_coding(f"{_TERMS}/observation-category", *kind)]}],
        "subject": {"reference": address(case.patient_id)},
        "effectiveDateTime": _instant(case.created_at),
        "issued": _instant(result.at),
        "performer": [{"display": f"Enclave of {case.care.name}"}],
        "device": {
            "identifier": {"system": f"{BASE}/model-sha256", "value": result.weights_sha256},
            "display": f"HemaSeal model, checkpoint {result.checkpoint_id}",
        },
    }


def _section(study: Study) -> tuple[str, str]:
    return ("HM", "Hematology") if study.is_stained else ("RAD", "Radiology")


def _interpretation(outcome: Outcome) -> Resource:
    return {"coding": [_coding(f"{_TERMS}/v3-ObservationInterpretation", *_INTERPRETATION[outcome])]}


def _range(limit: float, words: str, figures: ModelFigures | None) -> Resource:
    known = (
        ""
        if figures is None
        else (f"; sensitivity {figures.sensitivity:.3f}, specificity {figures.specificity:.3f} there, on validation")
    )
    return {"high": _one(limit), "text": f"{words}{known}"}


def _share(system: str, code: str, title: str, value: float) -> Resource:
    return {"code": _concept(system, code, title), "valueQuantity": _one(value)}


def _count(system: str, code: str, title: str, value: int) -> Resource:
    return {"code": _concept(system, code, title), "valueInteger": value}


def _one(value: float) -> Resource:
    return {"value": round(value, 6), "unit": "1", "system": "http://unitsofmeasure.org", "code": "1"}


def _concept(system: str, code: str, title: str) -> Resource:
    return {"coding": [_coding(system, code, title)], "text": title}


def _coding(system: str, code: str, title: str) -> Mapping[str, str]:
    return {"system": system, "code": code, "display": title}


def _instant(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds")
