"""Cases, appointments and consents as FHIR R4: valid, complete, and without names."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.diagnosis.conclusion import conclude
from core.diagnosis.predictor import Outcome
from core.diagnosis.result import CellFinding, DiagnosisResult
from core.services import fhir
from core.services.appointments import AppointmentStatus, AppointmentView
from core.services.case_reading import CaseDetail
from core.services.case_records import CaseStatus, CaseView, HospitalRef
from core.services.reviews import Decision, ReviewView
from core.studies import LEUKEMIA, STUDIES, Study
from db.models import Consent, ConsentPurpose
from tests.fhir_rules import check_bundle, check_resource

AT = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
PATIENT, CASE, BOOKING = "a" * 32, "b" * 32, "c" * 32
NORTH = HospitalRef("d" * 32, "north", "North Hospital", "Oslo")
FIGURES = fhir.ModelFigures(0.934, 0.92)
REVIEW = ReviewView(
    id="e" * 32,
    decision=Decision.AGREE,
    conclusion=1,
    reason="",
    note="Please come.",
    doctor="Dr North",
    signed_at=AT + timedelta(hours=1),
    amends=None,
    is_current=True,
)
APPOINTMENT = AppointmentView(
    id=BOOKING,
    status=AppointmentStatus.BOOKED,
    sequence=0,
    starts_at=AT + timedelta(days=1),
    ends_at=AT + timedelta(days=1, minutes=30),
    doctor="Dr North",
    patient="Zoë Secret",
    hospital="North Hospital",
    city="Oslo",
    case_id=CASE,
    booked_by_patient=True,
    is_over=False,
)


def result(study: Study, image: int = 0, images: int = 1, *, cells: int = 0) -> DiagnosisResult:
    count = len(study.classes)
    first = 0.91
    probabilities = ((1 - first) / (count - 1),) * (count - 1) + (first,)
    finding = CellFinding(
        box=(0, 0, 96),
        probabilities=probabilities,
        label_index=count - 1,
        outcome=Outcome.POSITIVE,
        positive_probability=first,
        heat_map_png=b"",
    )
    return DiagnosisResult(
        case_id=CASE,
        image=image,
        images=images,
        study=study.name,
        checkpoint_id="f" * 32,
        weights_sha256="ab" * 32,
        box=finding.box,
        probabilities=probabilities,
        label_index=count - 1,
        outcome=Outcome.POSITIVE,
        positive_probability=first,
        confidence=first,
        threshold=0.5,
        prediction_set=(count - 1,),
        coverage=0.95,
        heat_map_png=b"",
        cells=(finding,) * cells,
        cells_seen=cells,
        alarm_threshold=0.6,
        alarm_rate=0.02,
        false_alarm_bound=0.05,
        stages_ms={},
        answered_by="north.serving",
        measurement="cd" * 32,
        at=AT,
    )


def detail(study: Study = LEUKEMIA, *, images: int = 1, cells: int = 0, answered: bool = True) -> CaseDetail:
    results = tuple(result(study, n, images, cells=cells) for n in range(images)) if answered else ()
    case = CaseView(
        id=CASE,
        study=study,
        status=CaseStatus.ANSWERED if answered else CaseStatus.WAITING,
        created_at=AT,
        answered_at=AT if answered else None,
        patient_id=PATIENT,
        patient_name="Zoë Secret",
        hospital=NORTH,
        fallback=None,
        answered_by=NORTH if answered else None,
        routing_reason="",
        summary=None,
    )
    return CaseDetail(case, None, images, results, conclude(results, study) if results else None, "")


def bundle_of(shown: CaseDetail, reviews: list[ReviewView]) -> list[dict[str, Any]]:
    resources = [fhir.patient(PATIENT), *fhir.report(shown, reviews, FIGURES)]
    return check_bundle(json.loads(json.dumps(fhir.bundle(resources, at=AT))))


@pytest.mark.parametrize("study", STUDIES.values(), ids=lambda study: study.name)
def test_a_case_of_every_study_is_a_valid_bundle_with_each_class_as_a_component(study: Study) -> None:
    _, report, observation = bundle_of(detail(study), [REVIEW])[:3]
    assert report["conclusion"] == study.classes[1].title
    named = [part["code"]["coding"][0]["code"] for part in observation["component"]]
    assert named == list(study.class_names)
    assert observation["valueQuantity"]["value"] == 0.91
    assert observation["referenceRange"][0]["high"]["value"] == 0.5
    assert "sensitivity 0.934, specificity 0.920" in observation["referenceRange"][0]["text"]


@pytest.mark.parametrize(
    ("outcome", "code"), [(Outcome.POSITIVE, "POS"), (Outcome.NEGATIVE, "NEG"), (Outcome.UNCERTAIN, "IND")]
)
def test_each_outcome_has_its_standard_interpretation(outcome: Outcome, code: str) -> None:
    shown = detail()
    shown = replace(shown, results=(replace(shown.results[0], outcome=outcome),))
    observation = bundle_of(shown, [])[2]
    assert observation["interpretation"][0]["coding"][0]["code"] == code


@pytest.mark.parametrize(
    ("reviews", "status"),
    [
        ([], "preliminary"),
        ([REVIEW], "final"),
        ([replace(REVIEW, amends="0" * 32), replace(REVIEW, is_current=False)], "amended"),
        ([replace(REVIEW, decision=Decision.DEFER, conclusion=None)], "preliminary"),
    ],
)
def test_a_report_is_final_only_when_a_doctor_concluded(reviews: list[ReviewView], status: str) -> None:
    _, report, observation = bundle_of(detail(), reviews)
    assert report["status"] == status
    assert ("conclusion" in report) == (status != "preliminary")
    assert observation["status"] == ("preliminary" if status == "preliminary" else "final")


def test_counted_cells_have_their_share_with_its_interval() -> None:
    resources = bundle_of(detail(cells=60, images=2), [])
    share = resources[-1]
    parts = {part["code"]["coding"][0]["code"]: part for part in share["component"]}
    assert parts["cells"]["valueInteger"] == 120
    assert parts["positive-share-low"]["valueQuantity"]["value"] < 1
    assert len(share["hasMember"]) == 2
    assert share["referenceRange"][0]["high"]["value"] == 0.02


def test_a_case_that_waits_is_registered_without_observations() -> None:
    _, report = bundle_of(detail(answered=False), [])
    assert report["status"] == "registered"
    assert "result" not in report


def test_nobodys_name_but_the_doctors_is_in_a_bundle() -> None:
    resources = [
        fhir.patient(PATIENT),
        *fhir.report(detail(), [REVIEW], FIGURES),
        fhir.appointment(APPOINTMENT, patient_id=PATIENT),
    ]
    written = json.dumps(fhir.bundle(resources, at=AT), ensure_ascii=False)
    check_bundle(json.loads(written))
    assert "Secret" not in written
    assert "Please come" not in written


def test_an_appointment_is_booked_or_cancelled_and_says_nothing_of_the_case() -> None:
    booked = fhir.appointment(APPOINTMENT, patient_id=PATIENT)
    cancelled = fhir.appointment(replace(APPOINTMENT, status=AppointmentStatus.CANCELLED), patient_id=PATIENT)
    for resource, status in ((booked, "booked"), (cancelled, "cancelled")):
        check_resource(resource)
        assert resource["status"] == status
        assert CASE not in json.dumps(resource)
    assert {person["status"] for person in cancelled["participant"]} == {"declined"}


def test_a_withdrawn_consent_is_inactive_and_has_an_end() -> None:
    row = Consent(id="1" * 32, user_id=PATIENT, purpose=ConsentPurpose.DIAGNOSIS, text_version="2026-1", given_at=AT)
    given = fhir.consent(row, "the words")
    row.withdrawn_at = AT + timedelta(days=1)
    withdrawn = fhir.consent(row, "the words")
    check_resource(given)
    check_resource(withdrawn)
    assert (given["status"], withdrawn["status"]) == ("active", "inactive")
    assert "end" not in given["provision"]["period"]
    assert withdrawn["provision"]["period"]["end"] == "2026-01-06T09:00:00.000+00:00"


def test_the_rules_find_what_is_not_r4() -> None:
    observation = fhir.report(detail(), [], None)[1]
    for broken in (
        observation | {"status": "done"},
        observation | {"subject": {"reference": "urn:uuid:elsewhere"}},
        {name: value for name, value in observation.items() if name != "code"},
    ):
        resources = [fhir.patient(PATIENT), broken]
        with pytest.raises((AssertionError, ValueError)):
            check_bundle(fhir.bundle(resources, at=AT))
