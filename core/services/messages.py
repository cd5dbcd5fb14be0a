"""Messages between a patient and the doctors of a case, both ways. Plain text, sealed; reading marks as read.

A sealed message says itself which case it belongs to, who wrote it and when: a row that says otherwise is not shown.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, or_, update
from sqlmodel import Session, col, select

from core.errors import RecordDamaged
from core.services import audit
from core.services.app import APP_PARTY, Actor, App
from core.services.authorise import Action, Relation, authorise
from core.services.case_access import care_hospital, case_for
from core.services.case_records import CaseView, case_views
from core.services.context import display_name
from core.services.hospital_cases import is_of
from core.services.mail_outbox import MailKind, note_mail, tell_doctors
from core.services.rate_limits import MESSAGES, spend
from core.services.texts import clean
from core.services.vault import key_of
from db.engine import read_scope, session_scope
from db.models import Case, CaseMessage, Role, User
from db.types import new_id
from security.context import Context, Purpose
from security.errors import SealBroken
from security.records import RecordCipher

MAX_CHARACTERS = 2000
MAX_MESSAGES = 500
MOST_SPOKEN_OF = 100
"""A doctor's list has the cases of so many of the newest messages."""


@dataclass(frozen=True, kw_only=True)
class MessageView:
    """A message.

    Attributes:
        id: the message.
        mine: whether the reader wrote it.
        by_doctor: whether a doctor wrote it.
        author: how the author is addressed.
        text: plain text; never to be drawn as HTML or Markdown.
        sent_at: UTC.
        read_at: when the other side opened it, UTC.
    """

    id: str
    mine: bool
    by_doctor: bool
    author: str
    text: str
    sent_at: datetime
    read_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """A case with its messages counted.

    Attributes:
        case: what it is about.
        messages: all messages.
        unread: messages of the other side that nobody of this side has opened.
        last_at: newest message, UTC; None without any.
    """

    case: CaseView
    messages: int
    unread: int
    last_at: datetime | None


def send(app: App, actor: Actor, case_id: str, text: str) -> None:
    """Write to the other side of a case.

    Raises:
        InvalidInput: empty, longer than `MAX_CHARACTERS`, or with control characters.
        TooOften: more than a person may write in ten minutes.
        NotFound: there is no such case.
        NotAuthorised: neither the patient nor a doctor of the case's hospital.
    """
    body = clean(text, most=MAX_CHARACTERS)
    spend(app, MESSAGES, actor.user_id)
    with session_scope(app.engine) as session:
        case = case_for(app, session, actor, case_id, Action.SEND_MESSAGE)
        message_id, now = new_id(), app.clock.now()
        stated = {"case": case.id, "sender": actor.user_id, "sent_at": now.isoformat(), "text": body}
        key = key_of(app, session, case.patient_id)
        sealed = key.seal(json.dumps(stated).encode(), context=message_context(message_id))
        session.add(CaseMessage(id=message_id, case_id=case.id, sender_id=actor.user_id, body=sealed, sent_at=now))
        if actor.user_id != case.patient_id:
            note_mail(app, session, case.patient_id, MailKind.MESSAGE_RECEIVED)
        else:
            tell_doctors(app, session, care_hospital(case), MailKind.PATIENT_WROTE)
        audit.append(app, session, actor, "message.send", object_id=case.id)


def read_thread(app: App, actor: Actor, case_id: str) -> list[MessageView]:
    """Return the messages of a case, the oldest first (the last `MAX_MESSAGES`), and mark the other side's as read.

    Raises:
        NotFound: there is no such case.
        NotAuthorised: neither the patient nor a doctor of the case's hospital.
        RecordDamaged: a message was changed or moved.
    """
    with session_scope(app.engine) as session:
        case = case_for(app, session, actor, case_id, Action.READ_MESSAGES)
        views = messages_of(app, session, actor, case)
        session.connection().execute(
            update(CaseMessage)
            .where(col(CaseMessage.case_id) == case.id, _from_other_side(actor, case.patient_id), _unread())
            .values(read_at=app.clock.now())
        )
        audit.append(app, session, actor, "message.read", object_id=case.id, details={"messages": len(views)})
    return views


def messages_of(app: App, session: Session, actor: Actor, case: Case) -> list[MessageView]:
    """Return the messages of a case, the oldest first (the last `MAX_MESSAGES`), and mark none as read.

    The caller has authorised the reading and audits it.

    Raises:
        RecordDamaged: a message was changed or moved.
    """
    newest = select(CaseMessage).where(CaseMessage.case_id == case.id).order_by(col(CaseMessage.sent_at).desc())
    rows = list(session.exec(newest.limit(MAX_MESSAGES)).all())[::-1]
    key = key_of(app, session, case.patient_id)
    authors = {sender: display_name(app, session, sender) for sender in {row.sender_id for row in rows}}
    return [
        MessageView(
            id=row.id,
            mine=row.sender_id == actor.user_id,
            by_doctor=row.sender_id != case.patient_id,
            author=authors[row.sender_id],
            text=_open(key, row),
            sent_at=row.sent_at,
            read_at=row.read_at,
        )
        for row in rows
    ]


def conversations(app: App, actor: Actor, *, about: str = "") -> list[Conversation]:
    """Return cases with counts, unread ones first, then the newest: a patient's own, all of them.

    A doctor gets those of the hospital's about which somebody wrote lately or that nobody has opened, and `about`.

    Raises:
        NotAuthorised: neither a patient nor a doctor.
    """
    with session_scope(app.engine) as session:
        _authorise(app, session, actor)
        spoken = () if actor.role is Role.PATIENT else (or_(_spoken_of(actor), col(Case.id) == about),)
        cases = list(session.exec(select(Case).where(_mine(actor), *spoken)).all())
        unread = unread_counts(session, actor, [case.id for case in cases])
        totals = _totals(session, [case.id for case in cases])
        found = [
            Conversation(
                case=view,
                messages=totals.get(view.id, (0, None))[0],
                unread=unread.get(view.id, 0),
                last_at=totals.get(view.id, (0, None))[1],
            )
            for view in case_views(app, session, cases, to_patient=actor.role is Role.PATIENT)
        ]
        audit.append(
            app,
            session,
            actor,
            "message.list",
            object_id=actor.hospital_id or actor.user_id,
            details={"cases": len(found)},
        )
    found.sort(key=lambda talk: talk.last_at or talk.case.created_at, reverse=True)
    return sorted(found, key=lambda talk: not talk.unread)


def unread_count(app: App, actor: Actor) -> int:
    """Return how many messages wait to be read; only a number, so not a read of patient data.

    Raises:
        NotAuthorised: neither a patient nor a doctor.
    """
    with read_scope(app.engine) as session:
        _authorise(app, session, actor)
        return unread_total(session, actor)


def unread_total(session: Session, actor: Actor) -> int:
    """Return how many messages wait to be read by a person's side. Authorises nothing."""
    by_patient = col(CaseMessage.sender_id) == col(Case.patient_id)
    other_side = ~by_patient if actor.role is Role.PATIENT else by_patient
    statement = select(func.count()).select_from(CaseMessage).join(Case, col(Case.id) == col(CaseMessage.case_id))
    return session.exec(statement.where(_mine(actor), _unread(), other_side)).one()


def _authorise(app: App, session: Session, actor: Actor) -> None:
    relation = Relation.SELF if actor.role is Role.PATIENT else Relation.OWN_HOSPITAL
    authorise(app, session, actor, Action.LIST_CASES, relation, object_id=actor.hospital_id or actor.user_id)


def _mine(actor: Actor) -> ColumnElement[bool]:
    return col(Case.patient_id) == actor.user_id if actor.role is Role.PATIENT else is_of(actor.hospital_id)


def _spoken_of(actor: Actor) -> ColumnElement[bool]:
    """Return the condition that a case is among those of a hospital with the newest messages, or has an unread one."""
    written = select(CaseMessage.case_id).join(Case, col(Case.id) == col(CaseMessage.case_id)).where(_mine(actor))
    newest = written.order_by(col(CaseMessage.sent_at).desc()).limit(MOST_SPOKEN_OF).subquery()
    unread = written.where(_unread(), col(CaseMessage.sender_id) == col(Case.patient_id))
    return or_(col(Case.id).in_(select(newest.c.case_id)), col(Case.id).in_(unread))


def _unread() -> ColumnElement[bool]:
    return col(CaseMessage.read_at).is_(None)


def _from_other_side(actor: Actor, patient_id: str) -> ColumnElement[bool]:
    """To a patient all doctors are the other side; to a doctor the patient is."""
    if actor.role is Role.PATIENT:
        return col(CaseMessage.sender_id) != patient_id
    return col(CaseMessage.sender_id) == patient_id


def unread_counts(session: Session, actor: Actor, case_ids: Collection[str]) -> dict[str, int]:
    """Return, by case, how many messages of the other side nobody of this side has opened. Authorises nothing."""
    by_patient = col(User.role) == Role.PATIENT
    rows = session.exec(
        select(CaseMessage.case_id, func.count())
        .join(User, col(User.id) == col(CaseMessage.sender_id))
        .where(
            col(CaseMessage.case_id).in_(case_ids), _unread(), ~by_patient if actor.role is Role.PATIENT else by_patient
        )
        .group_by(col(CaseMessage.case_id))
    ).all()
    return dict(rows)


def _totals(session: Session, case_ids: list[str]) -> dict[str, tuple[int, datetime]]:
    rows = session.exec(
        select(CaseMessage.case_id, func.count(), func.max(CaseMessage.sent_at))
        .where(col(CaseMessage.case_id).in_(case_ids))
        .group_by(col(CaseMessage.case_id))
    ).all()
    return {case_id: (count, last) for case_id, count, last in rows}


def _open(key: RecordCipher, row: CaseMessage) -> str:
    try:
        stored: dict[str, str] = json.loads(key.open(row.body, context=message_context(row.id)))
    except SealBroken as error:
        raise RecordDamaged from error
    said = (stored["case"], stored["sender"], stored["sent_at"])
    if said != (row.case_id, row.sender_id, row.sent_at.isoformat()):
        raise RecordDamaged
    return stored["text"]


def message_context(message_id: str) -> Context:
    """Return what the seal of a message binds."""
    return Context(purpose=Purpose.MESSAGE, study="", sender=APP_PARTY, object_id=message_id)
