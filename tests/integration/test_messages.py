"""Messages between a patient and the doctors of a case."""

from datetime import timedelta

import pytest
from sqlalchemy import update
from sqlmodel import col, select

from core.clock import FixedClock
from core.errors import InvalidInput, NotAuthorised, NotFound, RecordDamaged
from core.services.app import Actor, App
from core.services.messages import MAX_CHARACTERS, conversations, read_thread, send, unread_count
from db.engine import read_scope, session_scope
from db.models import CaseMessage
from tests.integration.clinic import stored_case


def test_both_sides_write_and_reading_marks_as_read(app: App, clock: FixedClock, patient: Actor, doctor: Actor) -> None:
    case = stored_case(app, patient)
    send(app, patient, case, "  What does <b>uncertain</b> mean?\r\nThank you. ")
    assert (unread_count(app, doctor), unread_count(app, patient)) == (1, 0)
    assert [talk.unread for talk in conversations(app, doctor)] == [1]

    clock.advance(timedelta(minutes=1))
    thread = read_thread(app, doctor, case)
    assert [message.text for message in thread] == ["What does <b>uncertain</b> mean?\nThank you."]
    assert (thread[0].mine, thread[0].by_doctor, thread[0].author) == (False, False, "Demo patient")
    assert unread_count(app, doctor) == 0

    send(app, doctor, case, "It means that a doctor decides.")
    assert unread_count(app, patient) == 1
    answer = read_thread(app, patient, case)[-1]
    assert (answer.by_doctor, answer.mine) == (True, False)
    assert unread_count(app, patient) == 0


def test_a_doctors_list_has_what_was_spoken_of_lately_what_nobody_opened_and_what_is_asked_for(
    app: App, clock: FixedClock, patient: Actor, doctor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.services.messages.MOST_SPOKEN_OF", 1)
    unopened, earlier, latest, silent = (stored_case(app, patient) for _ in range(4))
    elsewhere = stored_case(app, patient, slug="east")
    for sender, case in ((patient, unopened), (doctor, earlier), (doctor, latest)):
        clock.advance(timedelta(minutes=1))
        send(app, sender, case, "Hello")
    listed = [talk.case.id for talk in conversations(app, doctor)]
    assert listed == [unopened, latest]
    assert [talk.case.id for talk in conversations(app, doctor, about=silent)] == [unopened, latest, silent]
    assert [talk.case.id for talk in conversations(app, doctor, about=elsewhere)] == listed
    assert {talk.case.id for talk in conversations(app, patient)} == {unopened, earlier, latest, silent, elsewhere}


def test_ones_own_messages_are_not_marked_read_by_looking(app: App, patient: Actor, doctor: Actor) -> None:
    case = stored_case(app, patient)
    send(app, patient, case, "Hello")
    read_thread(app, patient, case)
    assert unread_count(app, doctor) == 1


@pytest.mark.parametrize("text", ["", "   \n", "x" * (MAX_CHARACTERS + 1), "a\x00b", "a\u202eb"])
def test_text_that_cannot_be_sent_is_refused_and_nothing_is_stored(app: App, patient: Actor, text: str) -> None:
    case = stored_case(app, patient)
    with pytest.raises(InvalidInput):
        send(app, patient, case, text)
    assert read_thread(app, patient, case) == []


def test_text_in_any_script_comes_back_as_it_was(app: App, patient: Actor) -> None:
    case = stored_case(app, patient)
    text = "می‌خواهم 👩‍⚕️ Grüße\t\n你好"
    send(app, patient, case, text)
    assert read_thread(app, patient, case)[0].text == text


def test_nobody_else_reads_or_writes(app: App, patient: Actor, strangers: list[Actor]) -> None:
    case = stored_case(app, patient)
    for stranger in strangers:
        with pytest.raises(NotAuthorised):
            send(app, stranger, case, "Hello")
        with pytest.raises(NotAuthorised):
            read_thread(app, stranger, case)
    other_patient, doctor_east, *without_cases = strangers
    assert conversations(app, other_patient) == []
    assert conversations(app, doctor_east) == []
    for stranger in without_cases:
        with pytest.raises(NotAuthorised):
            conversations(app, stranger)
        with pytest.raises(NotAuthorised):
            unread_count(app, stranger)
    with pytest.raises(NotFound):
        read_thread(app, patient, "0" * 32)


def test_the_text_is_not_in_the_database_in_clear(app: App, patient: Actor) -> None:
    case = stored_case(app, patient)
    send(app, patient, case, "a very particular sentence")
    with read_scope(app.engine) as session:
        assert b"particular" not in session.exec(select(CaseMessage.body)).one()


def test_a_message_that_was_moved_to_another_case_is_not_shown(app: App, patient: Actor) -> None:
    case, other = stored_case(app, patient), stored_case(app, patient)
    send(app, patient, case, "Hello")
    with session_scope(app.engine) as session:
        session.connection().execute(update(CaseMessage).values(case_id=other))
    with pytest.raises(RecordDamaged):
        read_thread(app, patient, other)


def test_a_message_given_to_another_author_is_not_shown(app: App, patient: Actor, doctor: Actor) -> None:
    case = stored_case(app, patient)
    send(app, patient, case, "Hello")
    with session_scope(app.engine) as session:
        session.connection().execute(
            update(CaseMessage).where(col(CaseMessage.case_id) == case).values(sender_id=doctor.user_id)
        )
    with pytest.raises(RecordDamaged):
        read_thread(app, patient, case)


def test_a_message_with_another_time_is_not_shown(app: App, patient: Actor) -> None:
    case = stored_case(app, patient)
    send(app, patient, case, "Hello")
    assert len(read_thread(app, patient, case)) == 1
    with session_scope(app.engine) as session:
        session.connection().execute(update(CaseMessage).values(sent_at=app.clock.now() - timedelta(days=1)))
    with pytest.raises(RecordDamaged):
        read_thread(app, patient, case)
