"""Taking a case out in the format of hospital systems: HL7 FHIR R4, as one bundle. Audited like any other reading."""

import json

from core.services import audit, fhir
from core.services.answering_model import figure, lineage_of
from core.services.app import Actor, App
from core.services.appointments import appointments_of
from core.services.authorise import Action
from core.services.case_access import case_for
from core.services.case_reading import CaseDetail, read_case
from core.services.reviews import reviews_of
from db.engine import read_scope, session_scope

MIME = "application/fhir+json"


def case_bundle(app: App, actor: Actor, case_id: str) -> bytes:
    """Return a case as a FHIR R4 bundle (JSON): patient, report, observations, appointments.

    Consents are their patient's to take out (`core.services.data_export`), so they are not in it.

    Raises:
        NotFound: there is no such case.
        NotAuthorised: neither the patient nor a doctor of the case's hospital.
        RecordDamaged: the case or a review was changed.
    """
    with session_scope(app.engine) as session:
        case = case_for(app, session, actor, case_id, Action.READ_REPORT)
        audit.append(app, session, actor, "report.fhir", object_id=case.id)
    detail = read_case(app, actor, case_id)
    resources = [fhir.patient(detail.case.patient_id), *case_resources(app, actor, detail)]
    return encoded(fhir.bundle(resources, at=app.clock.now()))


def case_resources(app: App, actor: Actor, detail: CaseDetail) -> list[fhir.Resource]:
    """Return report, observations and appointments of a case that this person has just read.

    Raises:
        NotAuthorised, RecordDamaged: as `reviews_of`.
    """
    case = detail.case
    reviews = reviews_of(app, actor, case.id)
    with read_scope(app.engine) as session:
        lineage = lineage_of(app, session, detail.results[0]) if detail.results else None
        booked = appointments_of(app, session, case.id)
    sensitivity, specificity = figure(lineage, "sensitivity"), figure(lineage, "specificity")
    figures = None
    if sensitivity is not None and specificity is not None:
        figures = fhir.ModelFigures(sensitivity, specificity)
    return [
        *fhir.report(detail, reviews, figures),
        *(fhir.appointment(view, patient_id=case.patient_id) for view in booked),
    ]


def encoded(resource: fhir.Resource) -> bytes:
    """Return a resource as FHIR JSON (UTF-8)."""
    return json.dumps(resource, ensure_ascii=False, indent=2).encode()
