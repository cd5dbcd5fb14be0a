"""Everything of one's own in one file: complete, nobody else's, limited, audited."""

import io
import json
import zipfile
from typing import Any

import pytest
from sqlalchemy import update
from sqlmodel import col

from core.clock import FixedClock
from core.errors import EnclaveUnavailable, NotAuthorised, SignInFailed, TooOften
from core.imaging.decode import decode_upload
from core.services import audit, data_export
from core.services.app import Actor, App
from core.services.appointments import book
from core.services.case_reading import view_pictures
from core.services.cases import submit
from core.services.consents import ConsentPurpose, withdraw_consent
from core.services.data_export import ALL_THERE, export_data
from core.services.demo import DEMO_PASSWORD
from core.services.fhir_export import case_bundle
from core.services.messages import read_thread, send, unread_count
from core.services.rate_limits import EXPORTS
from core.services.reviews import Decision, sign_review
from core.services.second_readings import ask, sign_second
from core.studies import LEUKEMIA
from db.engine import session_scope
from db.models import Case
from tests.fhir_rules import check_bundle
from tests.integration.clinic import hospital_id, offered_slots, stored_case, stored_request
from tests.integration.test_many_images import cell
from tests.integration.test_reports import clinic
from tests.pdf_text import text_of

__all__ = ["clinic"]


def files_of(taken: bytes) -> dict[str, bytes]:
    archive = zipfile.ZipFile(io.BytesIO(taken))
    assert archive.testzip() is None
    names = archive.namelist()
    assert len(set(names)) == len(names)
    return {name: archive.read(name) for name in names}


def taken_out(app: App, who: Actor) -> dict[str, bytes]:
    return files_of(export_data(app, who, password=DEMO_PASSWORD))


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_all_of_ones_own_is_in_the_file_as_it_was_sent(
    clinic: App, patient: Actor, other_patient: Actor, doctor: Actor, second_doctor: Actor
) -> None:
    files = [cell(1, blast=True), cell(2, blast=False)]
    case = submit(clinic, patient, files=files, study="leukemia", preferred=hospital_id(clinic))
    sign_review(clinic, doctor, case.id, decision=Decision.DEFER, reason="for the record", note="More, please.")
    ask(clinic, doctor, case.id)
    sign_second(clinic, second_doctor, case.id, conclusion=0, reason="for the record, again")
    stored_request(clinic, doctor, case.id, "east", "They see more of these.")
    send(clinic, doctor, case.id, "Good morning")
    appointment = book(clinic, patient, case_id=case.id, slot_id=offered_slots(clinic, doctor)[0])
    withdraw_consent(clinic, patient, ConsentPurpose.FALLBACK_HOSPITAL)
    others = stored_case(clinic, other_patient)

    found = taken_out(clinic, patient)
    folder = next(name for name in found if name.endswith("case.json")).removesuffix("case.json")
    stated: dict[str, Any] = json.loads(found[f"{folder}case.json"])
    assert json.loads(found["profile.json"])["name"] == "Demo patient"
    assert [message["text"] for message in stated["messages"]] == ["Good morning"]
    assert [review["to_you"] for review in stated["signed_by_doctors"]] == ["More, please."]
    assert len(stated["results"]) == 2
    (reading,) = stated["second_readings"]
    assert (reading["asked_by"], reading["reader"]) == ("Demo doctor, North", "Second demo doctor, North")
    assert reading["conclusion"] == LEUKEMIA.classes[0].title
    assert reading["same_as_the_first"] is False
    (referral,) = stated["referrals"]
    assert (referral["from"], referral["to"]) == ("North Hospital (demo)", "East Hospital (demo)")
    assert (referral["status"], referral["answered_at"]) == ("asked", None)
    assert referral["reason"] == "They see more of these."
    for number, sent in enumerate(files):
        got = found[f"{folder}picture-{number + 1:02d}.png"]
        limits = {"max_bytes": 10**7, "max_pixels": 10**7}
        assert (decode_upload(got, **limits).pixels == decode_upload(sent, **limits).pixels).all()
        assert got == view_pictures(clinic, patient, case.id, image=number, heat_map=False).original
    assert "More, please." in text_of(found[f"{folder}report.pdf"])
    consents = json.loads(found["consents.json"])
    assert {row["purpose"]: bool(row["withdrawn_at"]) for row in consents} == {
        "diagnosis": False,
        "fallback_hospital": True,
        "email": False,
    }
    assert json.loads(found["appointments.json"])[0]["starts_at"] == appointment.starts_at.isoformat()
    assert any(b"BEGIN:VCALENDAR" in data for name, data in found.items() if name.endswith(".ics"))
    assert "Wrote to you" in [act["what"] for act in json.loads(found["who-looked.json"])]
    kinds = [resource["resourceType"] for resource in check_bundle(json.loads(found["fhir-bundle.json"]))]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "Patient": 1,
        "Consent": 3,
        "DiagnosticReport": 1,
        "Observation": 3,
        "Appointment": 1,
    }
    assert ALL_THERE.encode() in found["README.txt"]
    everything = b"".join(data for name, data in found.items() if name.endswith((".json", ".txt")))
    assert others.encode() not in everything
    assert b"for the record" not in everything
    assert unread_count(clinic, patient) == 1, "taking data out is not reading a message"
    read_thread(clinic, patient, case.id)

    for reader in (patient, doctor):
        resources = check_bundle(json.loads(case_bundle(clinic, reader, case.id)))
        assert [resource["resourceType"] for resource in resources] == [
            "Patient",
            "DiagnosticReport",
            *["Observation"] * 3,
            "Appointment",
        ]
        assert "sensitivity" in json.dumps(resources)


def test_what_cannot_be_opened_is_named_and_the_rest_is_there(
    app: App, patient: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(*_: object, **__: object) -> None:
        raise EnclaveUnavailable

    monkeypatch.setattr(data_export, "view_pictures", silent)
    broken, whole = stored_case(app, patient), stored_case(app, patient)
    with session_scope(app.engine) as session:
        session.connection().execute(update(Case).where(col(Case.id) == broken).values(summary=b"changed"))
    found = taken_out(app, patient)
    kept = [json.loads(data)["id"] for name, data in found.items() if name.endswith("case.json")]
    assert kept == [whole]
    told = found["README.txt"].decode()
    assert told.count("picture-01.png: ") == 2
    assert told.count("case.json: ") == 1
    check_bundle(json.loads(found["fhir-bundle.json"]))


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_pictures_beyond_the_limit_are_named(app: App, patient: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_export, "MAX_BYTES", 100)
    stored_case(app, patient)
    found = taken_out(app, patient)
    assert "too large" in found["README.txt"].decode()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_it_needs_the_password_is_limited_and_is_in_the_log(
    app: App, patient: Actor, authority: Actor, clock: FixedClock
) -> None:
    with pytest.raises(SignInFailed):
        export_data(app, patient, password="a guess")
    for _ in range(EXPORTS.times):
        export_data(app, patient, password=DEMO_PASSWORD)
    with pytest.raises(TooOften):
        export_data(app, patient, password=DEMO_PASSWORD)
    clock.advance(EXPORTS.share)
    export_data(app, patient, password=DEMO_PASSWORD)
    taken = audit.list_entries(app, authority, action="data.export")
    assert [entry.actor for entry in taken] == [patient.user_id] * (EXPORTS.times + 1)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_only_patients_take_out_data(app: App, doctor: Actor, hospital: Actor, authority: Actor) -> None:
    for stranger in (doctor, hospital, authority):
        with pytest.raises(NotAuthorised):
            export_data(app, stranger, password=DEMO_PASSWORD)
