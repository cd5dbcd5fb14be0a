"""Accounts and consents on both databases: who makes them, what is refused, and what the database never shows."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text
from sqlmodel import SQLModel, col, select

from core.errors import InvalidInput, NotAuthorised, NotFound, RecordDamaged, RegistrationRefused
from core.services import accounts, audit
from core.services.accounts import ConsentPurpose, Profile, Role
from core.services.app import Actor, App
from core.services.consents import has_consent
from core.services.context import DAMAGED_NAME, display_name, open_profile
from core.services.vault import profile_key
from db.engine import read_scope, session_scope
from db.models import Consent, Hospital, User

PASSWORD = "quite long enough"


def _register(app: App, username: str = "new-patient", **changes: str) -> Actor:
    fields = {"password": PASSWORD, "display_name": "New Patient", "email": "new@example.org", "city": "Oslo, Norway"}
    fields |= changes
    return accounts.register_patient(
        app,
        username=username,
        password=fields["password"],
        display_name=fields["display_name"],
        email=fields["email"],
        city=fields["city"],
        consents=[ConsentPurpose.DIAGNOSIS],
    )


def test_a_patient_registers_with_consent_and_signs_in(app: App) -> None:
    actor = _register(app, "  New-Patient ")
    token = accounts.redeem_code(app, accounts.check_password(app, "new-patient", PASSWORD))
    assert accounts.session_actor(app, token) == actor
    assert actor.role is Role.PATIENT
    given = {view.purpose: view.given_at for view in accounts.consents(app, actor)}
    assert given == {**dict.fromkeys(accounts.CONSENT_TEXTS), ConsentPurpose.DIAGNOSIS: app.clock.now()}


def test_personal_fields_are_read_back_and_never_stored_in_clear(app: App) -> None:
    actor = _register(app)
    assert accounts.profile(app, actor) == Profile("New Patient", "new@example.org", "Oslo, Norway")
    accounts.change_profile(app, actor, Profile("Newer Patient", "", "Naples, Italy"))
    with read_scope(app.engine) as session:
        assert display_name(app, session, actor.user_id) == "Newer Patient"
        tables = SQLModel.metadata.sorted_tables
        stored = "".join(str(row) for table in tables for row in session.connection().execute(table.select()))
    assert not any(word in stored for word in ("New Patient", "Newer Patient", "new@example.org", "Naples"))


def test_a_profile_moved_to_another_account_does_not_open(app: App, patient: Actor, doctor: Actor) -> None:
    for actor in (doctor, _register(app)):
        with session_scope(app.engine) as session:
            user, key = session.get_one(User, actor.user_id), profile_key(app, session, actor.user_id)
            open_profile(key, user)
            user.profile = session.get_one(User, patient.user_id).profile
            with pytest.raises(RecordDamaged):
                open_profile(key, user)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "changes",
    [
        {"username": "ab"},
        {"username": "with blank"},
        {"username": "demo-somebody"},
        {"username": "ünlaut"},
        {"password": "short"},
        {"password": "x" * 73},
        {"password": "my new-patient one"},
        {"display_name": "   "},
        {"display_name": "x" * 81},
        {"display_name": "two\nlines"},
        {"email": "not an address"},
        {"city": "x" * 200},
    ],
)
def test_what_cannot_be_used_is_refused_at_registration(app: App, changes: dict[str, str]) -> None:
    with pytest.raises(RegistrationRefused):
        _register(app, **changes)


def test_a_user_name_is_given_once_whatever_its_capitals(app: App) -> None:
    _register(app)
    with pytest.raises(RegistrationRefused, match="taken"):
        _register(app, "NEW-patient")


@pytest.mark.parametrize("attempt", range(2))
def test_of_many_who_register_one_name_at_once_one_succeeds(app: App, attempt: int) -> None:
    def register(_: int) -> bool:
        try:
            _register(app)
        except RegistrationRefused:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(register, range(4))) == 1


def test_a_consent_can_be_withdrawn_and_given_again_and_the_history_stays(app: App, patient: Actor) -> None:
    purpose = ConsentPurpose.DIAGNOSIS
    accounts.withdraw_consent(app, patient, purpose)
    with read_scope(app.engine) as session:
        assert not has_consent(session, patient.user_id, purpose)
    accounts.give_consent(app, patient, purpose)
    accounts.give_consent(app, patient, purpose)
    with read_scope(app.engine) as session:
        assert has_consent(session, patient.user_id, purpose)
        assert has_consent(session, patient.user_id, ConsentPurpose.FALLBACK_HOSPITAL)
        rows = session.exec(select(Consent).where(col(Consent.purpose) == purpose)).all()
    assert len(rows) == 2


def test_only_patients_consent(app: App, doctor: Actor) -> None:
    with pytest.raises(NotAuthorised):
        accounts.give_consent(app, doctor, ConsentPurpose.DIAGNOSIS)


def test_the_authority_makes_a_doctor_who_can_sign_in(app: App, authority: Actor) -> None:
    with read_scope(app.engine) as session:
        north = session.exec(select(Hospital.id).where(col(Hospital.slug) == "north")).one()
    made = accounts.create_account(
        app,
        authority,
        username="doctor-two",
        password=PASSWORD,
        display_name="Doctor Two",
        role=Role.DOCTOR,
        hospital_id=north,
    )
    token = accounts.redeem_code(app, accounts.check_password(app, "doctor-two", PASSWORD))
    assert accounts.session_actor(app, token) == made


@pytest.mark.parametrize(
    ("role", "hospital_id"),
    [(Role.PATIENT, None), (Role.DOCTOR, None), (Role.HOSPITAL, None), (Role.AUTHORITY, "x"), (Role.DOCTOR, "nowhere")],
)
def test_an_account_that_does_not_fit_its_role_is_not_made(
    app: App, authority: Actor, role: Role, hospital_id: str | None
) -> None:
    with pytest.raises(InvalidInput):
        accounts.create_account(
            app,
            authority,
            username="somebody",
            password=PASSWORD,
            display_name="Somebody",
            role=role,
            hospital_id=hospital_id,
        )


def test_nobody_else_makes_or_closes_accounts(
    app: App, patient: Actor, doctor: Actor, hospital: Actor, authority: Actor
) -> None:
    for actor in (patient, doctor, hospital):
        with pytest.raises(NotAuthorised):
            accounts.create_account(
                app, actor, username="x-y-z", password=PASSWORD, display_name="X", role=Role.AUTHORITY
            )
        with pytest.raises(NotAuthorised):
            accounts.set_active(app, actor, authority.user_id, active=False)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_authority_cannot_close_its_own_account_or_one_that_is_not_there(app: App, authority: Actor) -> None:
    with pytest.raises(InvalidInput):
        accounts.set_active(app, authority, authority.user_id, active=False)
    with pytest.raises(NotFound):
        accounts.set_active(app, authority, "nobody", active=False)


def test_every_act_on_an_account_is_in_the_audit_log_without_its_name(app: App, authority: Actor) -> None:
    actor = _register(app)
    accounts.profile(app, actor)
    accounts.change_profile(app, actor, Profile("Somebody Else"))
    accounts.withdraw_consent(app, actor, ConsentPurpose.DIAGNOSIS)
    entries = audit.list_entries(app, authority, person=actor.user_id)
    actions = ["consent.withdraw", "profile.change", "profile.read", "consent.give", "account.register"]
    assert [entry.action for entry in entries] == actions
    with read_scope(app.engine) as session:
        log = str(session.connection().execute(text("SELECT entry FROM audit_entry")).all())
    assert "new-patient" not in log


def test_a_damaged_profile_hides_a_name_and_nothing_else(app: App, patient: Actor, doctor: Actor) -> None:
    with session_scope(app.engine) as session:
        session.get_one(User, patient.user_id).profile = b"changed"

    with read_scope(app.engine) as session:
        assert display_name(app, session, patient.user_id) == DAMAGED_NAME
        assert display_name(app, session, doctor.user_id) != DAMAGED_NAME
    with pytest.raises(RecordDamaged):
        accounts.profile(app, patient)
