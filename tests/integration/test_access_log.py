"""What patients see of who looked at their data: all of it, in plain words, and nothing of anybody else's."""

import re
from datetime import timedelta

import pytest

from core.clock import FixedClock
from core.errors import NotAuthorised
from core.services import access_log, audit
from core.services.access_log import accesses
from core.services.app import Actor, App
from core.services.appointments import appointments, book
from core.services.case_reading import read_case
from core.services.messages import conversations, read_thread, send
from core.services.reviews import reviews_of
from core.services.slots import own_slots
from core.services.worklist import worklist
from core.settings import ROOT
from db.engine import session_scope
from tests.integration.clinic import offered_slots, stored_case
from tests.integration.page_support import draw, words


def seen(app: App, patient: Actor) -> list[tuple[str, str, str]]:
    """Who did what, the newest first, without lists."""
    return [(act.who, act.what, act.case) for act in accesses(app, patient).acts]


def number(case: str) -> str:
    return f"{case[:4]}-{case[4:8]}".upper()


def test_a_patient_sees_which_doctor_read_what_and_when(
    app: App, clock: FixedClock, patient: Actor, doctor: Actor
) -> None:
    case = stored_case(app, patient)
    assert seen(app, patient) == []
    clock.advance(timedelta(days=1))
    read_case(app, doctor, case)
    reviews_of(app, doctor, case)
    send(app, doctor, case, "Good morning")
    read_thread(app, doctor, case)
    first = accesses(app, patient).acts
    assert [act.what for act in first] == [
        "Read your messages",
        "Wrote to you",
        "Read what doctors have signed about your picture",
        "Read the result of your picture",
    ]
    assert {(act.who, act.place, act.case, act.time) for act in first} == {
        ("Demo doctor, North", "North Hospital (demo)", number(case), clock.now())
    }


def test_own_acts_and_those_on_others_are_not_in_it(
    app: App, patient: Actor, other_patient: Actor, doctor: Actor
) -> None:
    case, other = stored_case(app, patient), stored_case(app, other_patient)
    read_case(app, patient, case)
    read_case(app, doctor, other)
    assert seen(app, patient) == []
    assert [what for _, what, _ in seen(app, other_patient)] == ["Read the result of your picture"]


def test_a_stranger_who_was_refused_is_shown_without_a_name(app: App, patient: Actor, strangers: list[Actor]) -> None:
    case = stored_case(app, patient)
    for stranger in strangers:
        with pytest.raises(NotAuthorised):
            read_case(app, stranger, case)
    shown = accesses(app, patient).acts
    assert {act.what for act in shown} == {"Tried to read your result, and was not let"}
    assert [act.who for act in shown] == [
        "The trusted authority",
        "The hospital's administration",
        "Demo doctor, East",
        "Another patient",
    ]


def test_a_look_at_a_list_is_shown_since_there_was_something_in_it(
    app: App, clock: FixedClock, patient: Actor, doctor: Actor, doctor_east: Actor
) -> None:
    worklist(app, doctor)
    clock.advance(timedelta(minutes=1))
    case = stored_case(app, patient)
    for _ in range(3):
        worklist(app, doctor)
    worklist(app, doctor_east)
    conversations(app, doctor)
    shown = accesses(app, patient).acts
    assert [(act.what, act.times, act.case) for act in shown] == [
        (access_log.WORDS["message.list"], 1, ""),
        (access_log.WORDS["worklist.read"], 3, ""),
    ]
    slots = offered_slots(app, doctor)
    appointments(app, doctor)
    book(app, doctor, case_id=case, slot_id=slots[0])
    own_slots(app, doctor)
    appointments(app, doctor)
    assert seen(app, patient)[:3] == [
        ("Demo doctor, North", access_log.WORDS["appointment.list"], ""),
        ("Demo doctor, North", access_log.WORDS["slot.list"], ""),
        ("Demo doctor, North", "Booked an appointment for you", number(case)),
    ]


def test_the_lists_of_a_hospital_that_had_the_case_before_count_too(
    app: App, patient: Actor, doctor: Actor, doctor_east: Actor
) -> None:
    case = stored_case(app, patient)
    details = {"from": doctor_east.hospital_id, "to": doctor.hospital_id, "images": 1}
    with session_scope(app.engine) as session:
        audit.append(app, session, patient, "case.refer", object_id=case, details=details)
    worklist(app, doctor_east)
    assert seen(app, patient) == [("Demo doctor, East", access_log.WORDS["worklist.read"], "")]


def test_programs_are_named_as_what_they_are(app: App, patient: Actor) -> None:
    case = stored_case(app, patient)
    with session_scope(app.engine) as session:
        audit.append(app, session, "north.serving", "case.answer", object_id=case)
    with session_scope(app.engine) as session:
        audit.append(app, session, "app", "case.answer", object_id=case, outcome=audit.Outcome.FAILED)
    with session_scope(app.engine) as session:
        audit.append(app, session, "coordinator", "case.unheard-of", object_id=case)
    assert seen(app, patient) == [
        ("A part of this program", access_log.OTHER, number(case)),
        ("This program", access_log.FAILED["case.answer"], number(case)),
        ("The hospital's protected computer", "Examined your picture by program", number(case)),
    ]


def test_only_a_patient_asks_and_the_asking_is_an_entry(
    app: App, patient: Actor, doctor: Actor, hospital: Actor, authority: Actor
) -> None:
    for actor in (doctor, hospital, authority):
        with pytest.raises(NotAuthorised):
            accesses(app, actor)
    accesses(app, patient)
    newest = audit.list_entries(app, authority, action="access.")[0]
    assert (newest.actor, newest.object_id, newest.details) == (patient.user_id, patient.user_id, {"entries": 0})


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_pages_follow_each_other_without_gap(
    app: App, patient: Actor, doctor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = stored_case(app, patient)
    monkeypatch.setattr(access_log, "PAGE", 4)
    for turn in range(11):
        read_case(app, doctor, case) if turn % 2 else reviews_of(app, doctor, case)
    found, before = 0, None
    while True:
        page = accesses(app, patient, before=before)
        found += sum(act.times for act in page.acts)
        before = page.before
        if before is None:
            break
    assert found == 11


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_rows_of_a_case_are_found_whatever_else_the_log_holds(app: App, patient: Actor, authority: Actor) -> None:
    case = stored_case(app, patient)
    for object_id in ("", case[:-1], case + "0", "x", case):
        with session_scope(app.engine) as session:
            audit.append(app, session, "app", "test.act", object_id=object_id, details={"case": case})
    assert [entry.object_id for entry in audit.list_entries(app, authority, object_id=case)] == [case]
    assert [entry.object_id for entry in audit.list_entries(app, authority, object_id="x")] == ["x"]


def test_every_act_on_a_case_has_words() -> None:
    """Read from the services: a new act on cases, messages or appointments needs its sentence for patients."""
    own = {"case.list", "case.submit"}  # a patient's own acts
    own |= {"referral.accept", "referral.decline", "referral.bring-back"}
    text = "\n".join(file.read_text() for file in sorted((ROOT / "core" / "services").glob("*.py")))
    kinds = "case|image|result|review|report|message|appointment|worklist|referral"
    acts = set(re.findall(rf'"((?:{kinds})\.[a-z-]+)"', text))
    acts -= {"image.look", "appointment.ics", "report.html", "report.pdf"}  # a rate limit, and files
    assert acts - own <= access_log.WORDS.keys()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_page_shows_it_in_words(served: App, patient: Actor, doctor: Actor) -> None:
    tab = draw(served, "patient/access", "demo-patient")
    assert not tab.exception
    assert "Nobody so far" in words(tab)
    case = stored_case(served, patient)
    read_case(served, doctor, case)
    read_case(served, doctor, case)
    tab = draw(served, "patient/access", "demo-patient")
    row = tab.table[0].value.iloc[0]
    assert row["Who"] == r"Demo doctor, North · North Hospital \(demo\)"
    assert row["What"] == f"Read the result of your picture (2 times) · {number(case)}"
    refused = draw(served, "patient/access", "demo-doctor")
    assert "not part of your account" in words(refused)
