"""Erasure reaches every copy of the database, survives a stop anywhere, proves itself, and is nobody else's to ask."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

import pytest
from sqlmodel import col, func, select

from core.clock import FixedClock
from core.diagnosis.wire import image_context, result_context
from core.errors import (
    AccountLocked,
    DatabaseUnavailable,
    DataErased,
    HemaSealError,
    NotAuthorised,
    RecordDamaged,
    SignInFailed,
)
from core.services import audit, erasure, setup
from core.services.accounts import Profile, change_profile, check_password, profile, register_patient
from core.services.app import Actor, App
from core.services.appointments import book
from core.services.case_reading import read_case
from core.services.case_records import summary_context
from core.services.consents import ConsentPurpose, has_consent
from core.services.context import display_name, open_profile
from core.services.erasure import erase, resume
from core.services.erasure_records import evidence_of
from core.services.messages import message_context, read_thread, send
from core.services.referral_records import ReferralView, referral_context
from core.services.referrals import referrals
from core.services.review_records import review_context
from core.services.reviews import Decision, reviews_of, sign_review
from core.services.vault import key_for_new_case
from core.services.worklist import worklist
from core.settings import Settings
from core.studies import LEUKEMIA
from db.engine import read_scope, session_scope
from db.models import (
    Appointment,
    Blob,
    BlobPart,
    Case,
    CaseImage,
    CaseMessage,
    CaseReferral,
    CaseReview,
    PatientKey,
    Slot,
    User,
    UserSession,
)
from security.context import Context
from security.errors import SealBroken
from security.sealing import open_sealed
from tests.conftest import fill
from tests.integration.clinic import offered_slots, stored_request
from tests.integration.vault_support import BODY, RESULT, full_case, identity_of, opened_image, stored_objects

PASSWORD = "hemaseal-demo"
PARTIES = (
    "app",
    "authority",
    "aggregation",
    "coordinator",
    *(f"{slug}.{part}" for slug in ("north", "east", "south", "west") for part in ("serving", "training")),
)
PROVEN = {"keys": 1, "objects": 7}
MESSAGE, NOTE, WHY = "Should I bring the older smears?", "Nothing to worry about.", "They have seen more of these."
NOTHING_LEFT = {
    "Case": 0,
    "CaseImage": 0,
    "CaseMessage": 0,
    "CaseReferral": 0,
    "CaseReview": 0,
    "Appointment": 0,
    "Slot": 2,
}


@dataclass(frozen=True)
class Story:
    """The demo patient, with a case that has image, result, review, messages both ways and an appointment."""

    patient: Actor
    doctor: Actor
    case: str


@pytest.fixture
def story(app: App, patient: Actor, doctor: Actor) -> Story:
    case = full_case(app, patient)
    sign_review(app, doctor, case, decision=Decision.AGREE, note=NOTE)
    send(app, patient, case, MESSAGE)
    send(app, doctor, case, "Yes, please.")
    stored_request(app, doctor, case, "east", WHY)
    book(app, patient, case_id=case, slot_id=offered_slots(app, doctor)[0])
    return Story(patient, doctor, case)


def rows_of(app: App) -> dict[str, int]:
    tables = (Case, CaseImage, CaseMessage, CaseReferral, CaseReview, Appointment, Slot)
    with read_scope(app.engine) as session:
        return {table.__name__: session.exec(select(func.count()).select_from(table)).one() for table in tables}


def blobs_of_cases(app: App) -> int:
    with read_scope(app.engine) as session:
        wanted = col(Blob.kind).in_(["image", "result"])
        parts = select(func.count()).select_from(BlobPart).join(Blob, col(Blob.id) == col(BlobPart.blob_id))
        return session.exec(parts.where(wanted)).one()


def entries(app: App, authority: Actor, person: Actor) -> list[audit.EntryView]:
    listed = audit.list_entries(app, authority, object_id=person.user_id)
    return [entry for entry in listed if entry.action.startswith(("erasure.", "refused.data"))][::-1]


def test_after_erasure_nothing_of_the_patient_is_left_and_everything_of_others_is(
    app: App, other_patient: Actor, authority: Actor, story: Story
) -> None:
    other = full_case(app, other_patient)
    done = erase(app, story.patient, password=PASSWORD)
    assert rows_of(app) == {**NOTHING_LEFT, "Case": 1, "CaseImage": 1}
    assert blobs_of_cases(app) == 2
    assert opened_image(app, other) == BODY
    with read_scope(app.engine) as session:
        user = session.get_one(User, story.patient.user_id)
        assert (user.username, user.is_active) == (f"erased-{story.patient.user_id}", False)
        assert session.exec(select(UserSession).where(UserSession.user_id == story.patient.user_id)).first() is None
        assert not any(has_consent(session, story.patient.user_id, purpose) for purpose in ConsentPurpose)
        name = session.get_one(PatientKey, story.patient.user_id).name
    assert app.vault.is_destroyed(name)
    with pytest.raises(SignInFailed):
        check_password(app, story.patient.username, PASSWORD)
    assert [entry.case.id for entry in worklist(app, story.doctor)] == [other]
    assert audit.verify(app, authority).size >= done.entry


def test_the_log_proves_what_was_destroyed_and_holds_nothing_of_the_person(
    app: App, authority: Actor, story: Story
) -> None:
    with read_scope(app.engine) as session:
        before = evidence_of(session, story.patient.user_id)
    done = erase(app, story.patient, password=PASSWORD)
    begun, ended = entries(app, authority, story.patient)
    assert (begun.action, begun.actor) == ("erasure.begin", story.patient.user_id)
    assert (ended.action, ended.number) == ("erasure.done", done.entry)
    assert ended.details == {**PROVEN, "key": done.key, "evidence": before.digest}
    made = audit.list_entries(app, authority, action="vault.create")
    assert [(entry.object_id, entry.details["key"]) for entry in made] == [(story.patient.user_id, done.key)]
    assert story.patient.username not in str(ended)


@dataclass(frozen=True)
class Backup:
    """Copies of the database and, as no backup must have it, of the vault."""

    database: Path
    vault: Path


Keep = Callable[[App], Backup]


@pytest.fixture
def keep(tmp_path: Path, sqlite_template: Path) -> Keep:
    """Take a backup, whatever the engine, as an SQLite file."""

    def taken(app: App) -> Backup:
        database = tmp_path / "backup.db"
        shutil.copyfile(sqlite_template, database)
        fill(app.settings.database, f"sqlite:///{database}")
        return Backup(database, shutil.copytree(app.vault.folder, tmp_path / "vault copy"))

    return taken


def restored(app: App, backup: Backup, *, vault: Path) -> App:
    """Start the application anew on a backup, with every key of every party at hand."""
    settings = Settings(
        data_dir=app.settings.data_dir,
        database_url=f"sqlite:///{backup.database}",
        vault_dir=vault,
        master_key=None,
    )
    return App.start(settings, clock=app.clock)


def _whole(views: list[ReferralView]) -> None:
    if any(view.is_damaged for view in views):
        raise RecordDamaged


def readable(app: App, patient: Actor, case_id: str) -> set[str]:
    """Try every key of every party on everything that is stored of a case; returns what could be read."""
    found: set[str] = set()

    def attempt(what: str, read: Callable[[], object]) -> None:
        try:
            read()
        except (HemaSealError, SealBroken):
            return
        found.add(what)

    attempt("image", lambda: opened_image(app, case_id))
    attempt("case", lambda: read_case(app, patient, case_id))
    attempt("messages", lambda: read_thread(app, patient, case_id))
    attempt("reviews", lambda: reviews_of(app, patient, case_id))
    attempt("referrals", lambda: _whole(referrals(app, patient)))
    attempt("profile", lambda: profile(app, patient))
    contexts = [image_context(study=LEUKEMIA.name, case_id=case_id)]
    contexts += [
        result_context(study=LEUKEMIA.name, case_id=case_id, party=f"{slug}.serving") for slug in ("north", "east")
    ]
    stored, trust, at = stored_objects(app, case_id), app.trust(), app.clock.now()
    for party in PARTIES:
        identity = identity_of(app, party)
        for data in stored:
            for context in contexts:
                attempt(
                    f"object by {party}",
                    lambda data=data, context=context, identity=identity: open_sealed(  # type: ignore[misc]
                        data, recipient=identity, trust=trust, context=context, sender=context.sender, at=at
                    ),
                )
    with read_scope(app.engine) as session:
        case, user = session.get_one(Case, case_id), session.get_one(User, patient.user_id)
        records: list[tuple[bytes, Context]] = [(case.summary or b"", summary_context(case_id))]
        records += [(row.body, review_context(case, row.id)) for row in session.exec(select(CaseReview)).all()]
        records += [(row.body, message_context(row.id)) for row in session.exec(select(CaseMessage)).all()]
        records += [(row.body, referral_context(row.id)) for row in session.exec(select(CaseReferral)).all()]
    attempt("profile", lambda: open_profile(app.records, user))
    for data, context in records:
        attempt("record", lambda data=data, context=context: app.records.open(data, context=context))  # type: ignore[misc]
    return found


def test_a_backup_of_before_opens_nothing_of_the_patient_with_every_key_of_every_party(
    app: App, other_patient: Actor, story: Story, keep: Keep
) -> None:
    other = full_case(app, other_patient)
    with read_scope(app.engine) as session:
        before = evidence_of(session, story.patient.user_id)
    backup = keep(app)
    done = erase(app, story.patient, password=PASSWORD)

    attacked = restored(app, backup, vault=app.vault.folder)
    assert readable(attacked, story.patient, story.case) == set()
    assert opened_image(attacked, other) == BODY
    with pytest.raises(DataErased):
        read_thread(attacked, story.patient, story.case)
    with pytest.raises(DataErased), session_scope(attacked.engine) as session:
        key_for_new_case(attacked, session, story.patient.user_id)
    raw = backup.database.read_bytes()
    assert not any(secret in raw for secret in (BODY[:64], RESULT[:22], MESSAGE.encode(), NOTE.encode(), WHY.encode()))
    with read_scope(attacked.engine) as session:
        assert evidence_of(session, story.patient.user_id) == before == done.evidence

    with_vault = restored(app, backup, vault=backup.vault)  # the control: what a backup of the vault would do
    assert readable(with_vault, story.patient, story.case) == {
        "image",
        "case",
        "messages",
        "reviews",
        "referrals",
        "profile",
    }
    for used in (attacked, with_vault):
        used.engine.dispose()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_set_up_erases_again_what_a_restored_backup_brings_back(
    app: App, clock: FixedClock, authority: Actor, story: Story, keep: Keep
) -> None:
    backup = keep(app)
    done = erase(app, story.patient, password=PASSWORD)
    back = restored(app, backup, vault=app.vault.folder)
    assert rows_of(back)["Case"] == 1
    setup.run(back.settings, clock=clock, demo_contents=False, rounds=4)
    assert rows_of(back) == NOTHING_LEFT
    ended = entries(back, authority, story.patient)[-1]
    assert (ended.actor, ended.details) == (
        "app",
        {**PROVEN, "key": done.key, "evidence": done.evidence.digest},
    )
    assert resume(back) == 0
    back.engine.dispose()


class Stop(Exception):
    """The machine stops here."""


@pytest.mark.parametrize("stage", ["make good the wish", "destroy", "delete", "evidence", "audit", "commit"])
def test_a_stop_anywhere_is_made_good_by_asking_again_or_by_set_up(
    app: App, authority: Actor, story: Story, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    _stop_at(monkeypatch, app, stage)
    with pytest.raises(Stop):
        erase(app, story.patient, password=PASSWORD)
    monkeypatch.undo()
    destroyed = stage not in {"make good the wish", "destroy"}
    assert (readable(app, story.patient, story.case) == set()) is destroyed
    if stage in {"delete", "audit"}:
        assert resume(app) == 1
    else:
        erase(app, story.patient, password=PASSWORD)
    assert resume(app) == 0
    assert rows_of(app)["Case"] == blobs_of_cases(app) == 0
    assert [entry.action for entry in entries(app, authority, story.patient)] == ["erasure.begin", "erasure.done"]
    assert entries(app, authority, story.patient)[-1].details["objects"] == 7


def _stop_at(monkeypatch: pytest.MonkeyPatch, app: App, stage: str) -> None:
    def stop(*_arguments: object, **_options: object) -> None:
        raise Stop

    if stage == "make good the wish":
        monkeypatch.setattr(erasure, "_finish", stop)
    elif stage == "destroy":
        monkeypatch.setattr(type(app.vault), "destroy", stop)
    elif stage == "delete":
        monkeypatch.setattr(erasure, "delete_all", stop)
    elif stage == "evidence":
        monkeypatch.setattr(erasure, "evidence_of", stop)
    else:
        real = audit.append

        def append(*arguments: object, **options: object) -> int:
            if arguments[3] != "erasure.done":
                return real(*arguments, **options)  # type: ignore[arg-type]
            if stage == "commit":
                real(*arguments, **options)  # type: ignore[arg-type]
            raise Stop

        monkeypatch.setattr(audit, "append", append)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_patient_without_a_case_can_be_erased_too_and_only_once(app: App, patient: Actor, authority: Actor) -> None:
    done = erase(app, patient, password=PASSWORD)
    assert done.evidence.objects == 0
    with pytest.raises(SignInFailed):
        erase(app, patient, password=PASSWORD)
    with pytest.raises(DataErased):
        erasure._finish(app, patient.user_id, patient)
    assert len([entry for entry in entries(app, authority, patient) if entry.action == "erasure.done"]) == 1


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_profile_lies_under_the_patients_key_from_the_registration_on(app: App) -> None:
    person = register_patient(app, username="anna", password="a long enough one", display_name="Anna Example")
    with read_scope(app.engine) as session:
        user = session.get_one(User, person.user_id)
        assert display_name(app, session, person.user_id) == "Anna Example"
        with pytest.raises(RecordDamaged):
            open_profile(app.records, user)
    change_profile(app, person, Profile("Anna Changed"))
    assert profile(app, person).display_name == "Anna Changed"
    erase(app, person, password="a long enough one")
    with read_scope(app.engine) as session:
        assert display_name(app, session, person.user_id) == "(erased)"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_lost_key_file_does_not_keep_the_rest_from_being_erased(app: App, story: Story) -> None:
    for file in app.vault.folder.iterdir():
        file.unlink()
    assert erase(app, story.patient, password=PASSWORD).key is None
    assert rows_of(app)["Case"] == blobs_of_cases(app) == 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_wrong_password_erases_nothing_and_guessing_is_locked(app: App, story: Story) -> None:
    for _ in range(4):
        with pytest.raises(SignInFailed):
            erase(app, story.patient, password="a guess")
    with pytest.raises(AccountLocked):
        erase(app, story.patient, password="a guess")
    with pytest.raises(AccountLocked):
        erase(app, story.patient, password=PASSWORD)
    assert opened_image(app, story.case) == BODY


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("who", ["doctor", "hospital", "authority"])
def test_nobody_else_can_erase(app: App, request: pytest.FixtureRequest, authority: Actor, who: str) -> None:
    actor: Actor = request.getfixturevalue(who)
    with pytest.raises(NotAuthorised):
        erase(app, actor, password=PASSWORD)
    assert [entry.action for entry in entries(app, authority, actor)] == ["refused.data.erase"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_one_patient_cannot_erase_another_by_borrowing_the_id(app: App, other_patient: Actor, story: Story) -> None:
    borrowed = replace(other_patient, user_id=story.patient.user_id)
    with pytest.raises(SignInFailed):
        erase(app, borrowed, password="quite long enough")
    assert opened_image(app, story.case) == BODY


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_answer_that_arrives_after_the_wish_is_not_added(app: App, story: Story) -> None:
    with session_scope(app.engine) as session:
        session.get_one(PatientKey, story.patient.user_id).erasing_at = app.clock.now()
    with pytest.raises(DataErased), session_scope(app.engine) as session:
        key_for_new_case(app, session, story.patient.user_id)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_who_can_write_the_database_erases_nobody_and_keeps_nobody_from_it(
    app: App, other_patient: Actor, story: Story, keep: Keep
) -> None:
    other = full_case(app, other_patient)
    backup = keep(app)
    with session_scope(app.engine) as session:
        mine, theirs = (session.get_one(PatientKey, who.user_id) for who in (story.patient, other_patient))
        names = mine.name, theirs.name
        theirs.erasing_at = app.clock.now()
    assert resume(app) == 0
    with session_scope(app.engine) as session:  # each row names the key of the other
        for user, name in ((story.patient, "0" * 32), (other_patient, names[0]), (story.patient, names[1])):
            session.get_one(PatientKey, user.user_id).name = name
            session.flush()
    assert erase(app, story.patient, password=PASSWORD).key is None
    assert resume(app) == 0
    assert [app.vault.is_destroyed(name) for name in names] == [True, False]
    back = restored(app, backup, vault=app.vault.folder)
    assert readable(back, story.patient, story.case) == set()
    assert opened_image(back, other) == BODY
    back.engine.dispose()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_key_that_the_database_was_made_to_forget_is_destroyed_too(app: App, story: Story, keep: Keep) -> None:
    backup = keep(app)
    with session_scope(app.engine) as session:
        session.delete(session.get_one(PatientKey, story.patient.user_id))
    erase(app, story.patient, password=PASSWORD)
    assert app.vault.names_of(story.patient.user_id) == []
    back = restored(app, backup, vault=app.vault.folder)
    assert readable(back, story.patient, story.case) == set()
    back.engine.dispose()


def test_cases_that_are_stored_while_the_erasure_is_under_way_are_refused_or_erased_with_it(
    app: App, story: Story
) -> None:
    erasing = Event()

    def send_until_refused(_number: int) -> int:
        for stored in range(500):
            try:
                full_case(app, story.patient)
            except DataErased:
                return stored
            except (DatabaseUnavailable, RecordDamaged):
                continue
            erasing.set()
        return -1

    with ThreadPoolExecutor(3) as pool:
        senders = [pool.submit(send_until_refused, number) for number in range(3)]
        erasing.wait(timeout=30)
        done = erase(app, story.patient, password=PASSWORD)
        stored = [sender.result() for sender in senders]
    assert min(stored) >= 0
    assert done.evidence.objects > 6
    assert rows_of(app)["Case"] == blobs_of_cases(app) == 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_rows_of_an_account_that_was_changed_from_outside_stay_but_open_nothing(app: App, story: Story) -> None:
    with session_scope(app.engine) as session:
        session.get_one(User, story.patient.user_id).is_demo = False
        name = session.get_one(PatientKey, story.patient.user_id).name
    app.vault.destroy(name, story.patient.user_id)
    assert resume(app) == 0
    assert readable(app, story.patient, story.case) == set()
