"""What people can agree to in advance, the words shown, and who agreed when. Withdrawing is a date, not a deletion.

Patients agree to what happens with their images and to e-mails; doctors to e-mails alone.

A referral to another hospital is agreed to alone, one request at a time (`core.services.referrals`).
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam
from sqlmodel import Session, col, select

from core.errors import DataErased, RecordDamaged
from core.services import audit
from core.services.app import Actor, App
from core.services.authorise import Action, Relation, authorise
from core.services.context import open_profile
from core.services.vault import profile_key
from db.engine import session_scope
from db.models import Consent, ConsentPurpose, Role, User

__all__ = [
    "CONSENT_TEXTS",
    "CONSENT_VERSION",
    "ConsentPurpose",
    "ConsentView",
    "consents",
    "give_consent",
    "has_consent",
    "record_consents",
    "withdraw_consent",
]

CONSENT_VERSION = "2026-2"
_PURPOSES = select(Consent.purpose).where(Consent.user_id == bindparam("user"), col(Consent.withdrawn_at).is_(None))
CONSENT_TEXTS: dict[ConsentPurpose, str] = {
    ConsentPurpose.DIAGNOSIS: (
        "HemaSeal may analyse the images that I upload, on a protected computer of a hospital, and show the result to "
        "me and to the doctors of that hospital. I understand that this is research software and not a diagnosis."
    ),
    ConsentPurpose.FALLBACK_HOSPITAL: (
        "If the chosen hospital cannot be reached, one other hospital may analyse my image in its place."
    ),
    ConsentPurpose.EMAIL: (
        "HemaSeal may write to my e-mail address when there is something new: an answer, a doctor's word, a message, "
        "an appointment. The e-mail says no more than that; with an appointment comes a calendar file that names the "
        "hospital and the time. E-mails can be read on their way."
    ),
}

DOCTOR_TEXTS: dict[ConsentPurpose, str] = {
    ConsentPurpose.EMAIL: (
        "HemaSeal may write to my e-mail address when there is something new: a case in the worklist of my hospital, a "
        "second reading that is asked for, a patient's message, a change of my schedule. The e-mail says no more than "
        "that and names nobody. What comes within five minutes is one e-mail of each kind."
    ),
}
_FORMER_TEXTS: dict[ConsentPurpose, str] = {
    ConsentPurpose.REFERRAL: (
        "My doctor or I may refer a case of mine to another hospital. Its protected computer then analyses my images "
        "anew, its doctors see them, and the former hospital can no longer open them."
    ),
}
"""What is asked at each request now."""


def wording(purpose: ConsentPurpose) -> str:
    """Return what a purpose means, in the words that patients are, or were, shown."""
    return CONSENT_TEXTS.get(purpose) or _FORMER_TEXTS[purpose]


@dataclass(frozen=True)
class ConsentView:
    """The state of one consent.

    Attributes:
        purpose: what it is for.
        text: the words that are agreed to.
        given_at: when it was given, or None if it is not in force.
        lacks_address: it is in force and of no use, since the profile has no e-mail address.
    """

    purpose: ConsentPurpose
    text: str
    given_at: datetime | None
    lacks_address: bool = False


def consents(app: App, actor: Actor) -> list[ConsentView]:
    """Return every purpose with the date of one's own consent in force.

    Raises:
        NotAuthorised: only patients and doctors consent.
    """
    with session_scope(app.engine) as session:
        authorise(app, session, actor, Action.READ_CONSENT, Relation.SELF, object_id=actor.user_id)
        given = {row.purpose: row.given_at for row in _in_force(session, actor.user_id)}
        unreachable = ConsentPurpose.EMAIL in given and not _has_address(app, session, actor.user_id)
        audit.append(app, session, actor, "consent.read", object_id=actor.user_id)
    return [
        ConsentView(purpose, text, given.get(purpose), lacks_address=unreachable and purpose is ConsentPurpose.EMAIL)
        for purpose, text in texts_for(actor.role).items()
    ]


def texts_for(role: Role) -> dict[ConsentPurpose, str]:
    """Return what people of a role can agree to, with the words that they are shown."""
    return {Role.PATIENT: CONSENT_TEXTS, Role.DOCTOR: DOCTOR_TEXTS}.get(role, {})


def _has_address(app: App, session: Session, user_id: str) -> bool:
    with suppress(DataErased, RecordDamaged):
        return bool(open_profile(profile_key(app, session, user_id), session.get_one(User, user_id)).email)
    return False


def _relation(actor: Actor, purpose: ConsentPurpose) -> Relation:
    """Nobody can agree to what their role is not asked."""
    return Relation.SELF if purpose in texts_for(actor.role) else Relation.ANY


def give_consent(app: App, actor: Actor, purpose: ConsentPurpose) -> None:
    """Agree to a purpose; agreeing again changes nothing.

    Raises:
        NotAuthorised: this role is not asked for this.
    """
    with session_scope(app.engine) as session:
        authorise(app, session, actor, Action.CHANGE_CONSENT, _relation(actor, purpose), object_id=actor.user_id)
        if not has_consent(session, actor.user_id, purpose):
            record_consents(app, session, actor, [purpose])


def withdraw_consent(app: App, actor: Actor, purpose: ConsentPurpose) -> None:
    """Withdraw a consent from now on; withdrawing what is not in force changes nothing.

    Raises:
        NotAuthorised: this role is not asked for this.
    """
    with session_scope(app.engine) as session:
        authorise(app, session, actor, Action.CHANGE_CONSENT, _relation(actor, purpose), object_id=actor.user_id)
        rows = [row for row in _in_force(session, actor.user_id) if row.purpose is purpose]
        for row in rows:
            row.withdrawn_at = app.clock.now()
        if rows:
            audit.append(
                app, session, actor, "consent.withdraw", object_id=actor.user_id, details={"purpose": purpose.value}
            )


def record_consents(app: App, session: Session, actor: Actor, purposes: Iterable[ConsentPurpose]) -> None:
    """Write consents, and their audit entries, inside the caller's transaction."""
    for purpose in sorted(set(purposes)):
        now = app.clock.now()
        session.add(Consent(user_id=actor.user_id, purpose=purpose, text_version=CONSENT_VERSION, given_at=now))
        audit.append(app, session, actor, "consent.give", object_id=actor.user_id, details={"purpose": purpose.value})


def purposes_in_force(session: Session, user_id: str) -> set[ConsentPurpose]:
    """Return everything that a person has agreed to and not withdrawn."""
    return {ConsentPurpose(purpose) for purpose in session.exec(_PURPOSES, params={"user": user_id}).all()}


def has_consent(session: Session, user_id: str, purpose: ConsentPurpose) -> bool:
    """Tell whether a consent is in force."""
    return purpose in purposes_in_force(session, user_id)


def _in_force(session: Session, user_id: str) -> list[Consent]:
    statement = select(Consent).where(col(Consent.user_id) == user_id, col(Consent.withdrawn_at).is_(None))
    return list(session.exec(statement).all())
