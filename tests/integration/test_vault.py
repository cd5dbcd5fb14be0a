"""Everything of a patient lies under one key: what is refused without it or exchanged, and how old rows come there."""

import shutil
from collections.abc import Callable

import pytest
from sqlmodel import Session, delete, select

from core.errors import DatabaseUnavailable, RecordDamaged
from core.services import audit, vault_intake
from core.services.app import Actor, App
from core.services.case_objects import ObjectKind, image_rows, sealed_objects
from core.services.case_reading import own_cases, read_case
from core.services.case_records import summary_context
from core.services.messages import message_context, read_thread, send
from core.services.reach import out_of_reach
from core.services.review_records import review_context
from core.services.reviews import Decision, reviews_of, sign_review
from core.services.vault import key_of
from core.services.vault_intake import take_in
from core.services.worklist import worklist
from db.blobs import put_blob
from db.engine import read_scope, session_scope
from db.models import BlobPart, Case, CaseImage, CaseMessage, CaseReview, PatientKey
from security.context import Context
from security.keys import KeyUse
from security.records import RecordCipher
from tests.integration.vault_support import BODY, full_case, opened_image, stored_objects


def _is_refused(app: App, case_id: str) -> bool:
    try:
        opened_image(app, case_id)
    except RecordDamaged:
        return True
    return False


def test_what_is_stored_opens_with_the_patients_key_and_names_no_reader(app: App, patient: Actor) -> None:
    case = full_case(app, patient)
    assert opened_image(app, case) == BODY
    serial = app.certificate_of("north.serving", KeyUse.SEAL).serial.encode()
    stored = stored_objects(app, case)
    assert len(stored) == 2
    assert not any(serial in data or b"north.serving" in data or b"app" in data[:2000] for data in stored)


def test_each_patient_has_one_key_that_is_made_with_the_first_case(
    app: App, patient: Actor, other_patient: Actor, authority: Actor
) -> None:
    for person in (patient, patient, other_patient):
        full_case(app, person)
    with read_scope(app.engine) as session:
        keys = {row.user_id: row.name for row in session.exec(select(PatientKey)).all()}
    assert set(keys) == {patient.user_id, other_patient.user_id}
    assert {f"{name}.kek" for name in keys.values()} == {file.name for file in app.vault.folder.iterdir()}


def _change_blob(session: Session, one: str, _other: str) -> None:
    blob = session.get_one(CaseImage, (one, 0)).image_blob_id
    part = session.get_one(BlobPart, (blob, 0))
    part.data = part.data[:-1] + bytes((part.data[-1] ^ 1,))


def _swap_blobs(session: Session, one: str, other: str) -> None:
    first, second = session.get_one(CaseImage, (one, 0)), session.get_one(CaseImage, (other, 0))
    first.image_blob_id, second.image_blob_id = second.image_blob_id, first.image_blob_id


def _swap_kinds(session: Session, one: str, _other: str) -> None:
    row = session.get_one(CaseImage, (one, 0))
    row.image_blob_id, row.result_blob_id = row.result_blob_id or "", row.image_blob_id


def _swap_keys(session: Session, one: str, other: str) -> None:
    rows = [session.get_one(PatientKey, session.get_one(Case, case).patient_id) for case in (one, other)]
    names = [row.name for row in rows]
    for row, name in zip(rows, ("0" * 32, names[0]), strict=True):
        row.name = name
        session.flush()
    rows[0].name = names[1]


def _drop_keys(session: Session, _one: str, _other: str) -> None:
    session.connection().execute(delete(PatientKey))


ATTACKS: dict[str, Callable[[Session, str, str], None]] = {
    "a bit of the blob": _change_blob,
    "blobs of two patients": _swap_blobs,
    "image and result": _swap_kinds,
    "names of keys": _swap_keys,
    "no keys": _drop_keys,
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_was_changed_or_exchanged_in_the_database_does_not_open(
    app: App, patient: Actor, other_patient: Actor, attack: str
) -> None:
    one, other = full_case(app, patient), full_case(app, other_patient)
    assert not _is_refused(app, one)
    with session_scope(app.engine) as session:
        ATTACKS[attack](session, one, other)
    assert _is_refused(app, one)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_image_of_another_case_of_the_same_patient_does_not_open(app: App, patient: Actor) -> None:
    one, other = full_case(app, patient), full_case(app, patient)
    with session_scope(app.engine) as session:
        _swap_blobs(session, one, other)
    assert _is_refused(app, one)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_exchanged_and_lost_key_files_mark_the_cases_of_their_patients_only(
    app: App, patient: Actor, other_patient: Actor, doctor: Actor
) -> None:
    one, other = full_case(app, patient), full_case(app, other_patient)
    with read_scope(app.engine) as session:
        files = {row.user_id: app.vault.folder / f"{row.name}.kek" for row in session.exec(select(PatientKey)).all()}
    shutil.copy(files[other_patient.user_id], files[patient.user_id])
    assert _is_refused(app, one)
    assert {entry.case.id: entry.is_damaged for entry in worklist(app, doctor)} == {one: True, other: False}
    files[patient.user_id].unlink()
    for act in (read_case, read_thread):
        with pytest.raises(RecordDamaged):
            act(app, patient, one)
    assert [entry.is_damaged for entry in own_cases(app, patient)] == [True]
    assert opened_image(app, other) == BODY


def test_a_case_whose_key_is_lost_is_out_of_reach(app: App, patient: Actor) -> None:
    case_id = full_case(app, patient, None)

    def lost() -> set[str]:
        with read_scope(app.engine) as session:
            return out_of_reach(app, session, [session.get_one(Case, case_id)])

    assert lost() == set()
    for file in app.vault.folder.iterdir():
        file.unlink()
    assert lost() == {case_id}


def _as_before_the_vault(app: App, *case_ids: str) -> None:
    """Bring cases into the state in which an earlier version left them: nothing under a patient's key."""
    with session_scope(app.engine) as session:
        for case_id in case_ids:
            case = session.get_one(Case, case_id)
            _under_the_apps_key(app, session, case, key_of(app, session, case.patient_id))
        session.connection().execute(delete(PatientKey))
    shutil.rmtree(app.vault.folder)


def _under_the_apps_key(app: App, session: Session, case: Case, key: RecordCipher) -> None:
    def again(record: bytes | None, context: Context) -> bytes:
        return app.records.seal(key.open(record or b"", context=context), context=context)

    case.summary = again(case.summary, summary_context(case.id))
    for review in session.exec(select(CaseReview).where(CaseReview.case_id == case.id)).all():
        review.body = again(review.body, review_context(case, review.id))
    for message in session.exec(select(CaseMessage).where(CaseMessage.case_id == case.id)).all():
        message.body = again(message.body, message_context(message.id))
    image, result = (sealed_objects(session, case.id, kind, key=key)[0] for kind in ObjectKind)
    row = image_rows(session, case.id)[0]
    row.image_blob_id = put_blob(session, image, "image", app.clock).id
    row.result_blob_id = put_blob(session, result, "result", app.clock).id


def test_what_an_earlier_version_stored_is_taken_in_once_also_after_it_was_cut_off(
    app: App, patient: Actor, doctor: Actor, authority: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = full_case(app, patient, body=BODY * 5)
    sign_review(app, doctor, case, decision=Decision.AGREE, note="particular")
    send(app, patient, case, "a question")
    _as_before_the_vault(app, case)
    assert _is_refused(app, case)
    before = stored_objects(app, case)

    def cut_off(*_arguments: object, **_options: object) -> None:
        raise DatabaseUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(vault_intake, "note_key", cut_off)
        with pytest.raises(DatabaseUnavailable):
            take_in(app)
    assert stored_objects(app, case) == before

    assert take_in(app) == 1
    assert take_in(app) == 0
    assert opened_image(app, case) == BODY * 5
    assert reviews_of(app, patient, case)[0].note == "particular"
    assert [view.text for view in read_thread(app, doctor, case)] == ["a question"]
    assert [entry.is_damaged for entry in own_cases(app, patient)] == [False]
    for old, new in zip(before, stored_objects(app, case), strict=True):
        assert old[-2000:] == new[-2000:]
        assert old[:100] not in new
    made = audit.list_entries(app, authority, action="vault.create")
    assert (made[0].object_id, made[0].details["objects"]) == (patient.user_id, 5)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_does_not_open_stays_as_it_is_and_keeps_nothing_else_from_the_vault(app: App, patient: Actor) -> None:
    good, bad = full_case(app, patient), full_case(app, patient)
    _as_before_the_vault(app, good, bad)
    with session_scope(app.engine) as session:
        _change_blob(session, bad, good)
        session.get_one(Case, bad).summary = b"changed"
    assert take_in(app) == 1
    assert opened_image(app, good) == BODY
    assert _is_refused(app, bad)
