"""Member hospitals and their certificates: who takes part, who no longer does. The authority's page draws from this."""

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select

from core.errors import InvalidInput, NoModel
from core.services import audit
from core.services.app import Actor, App
from core.services.authorise import Action, Relation, authorise
from core.services.authority import AuthorityOffice, authority_office
from core.services.candidates import served_model
from core.studies import STUDIES
from db.engine import read_scope, session_scope
from db.models import CertificateRecord, Hospital, RevocationList
from security.authority import RevocationReason
from security.errors import SecurityError
from security.keys import KeyUse

__all__ = [
    "AuthorityOffice",
    "CertificateView",
    "HospitalView",
    "MemberState",
    "RevocationListView",
    "RevocationReason",
    "authority_office",
    "certificates",
    "enrol_hospital",
    "hospitals",
    "in_use",
    "member_state",
    "new_revocation_list",
    "parties_with_model",
    "revocation_lists",
    "revoke_certificate",
]

PARTS = ("training", "serving")
_SLUG = re.compile(r"[a-z][a-z0-9-]{1,30}")
_MAX_LATITUDE, _MAX_LONGITUDE, _MAX_TEXT = 90.0, 180.0, 64


@dataclass(frozen=True)
class HospitalView:
    """A member hospital.

    Attributes:
        id: id of the hospital.
        slug: its short name, the first part of its parties' names.
        name: its name.
        city: where it is.
        latitude: degrees north.
        longitude: degrees east.
        is_active: whether it takes part.
    """

    id: str
    slug: str
    name: str
    city: str
    latitude: float
    longitude: float
    is_active: bool


@dataclass(frozen=True)
class CertificateView:
    """A certificate that the authority issued.

    Attributes:
        serial: serial number, hex.
        party: whose key it certifies.
        key_use: ``sign`` or ``seal``.
        issued_at: start of validity.
        not_after: end of validity.
        revoked_at: when it was revoked, or None.
        reason: why (RFC 5280 5.3.1), or "".
        state: ``valid``, ``expired`` or ``revoked``.
    """

    serial: str
    party: str
    key_use: str
    issued_at: datetime
    not_after: datetime
    revoked_at: datetime | None
    reason: str
    state: str


class MemberState(StrEnum):
    """How far a hospital has come; the last that holds."""

    REGISTERED = "registered"
    APPROVED = "approved"
    KEYED = "keyed"
    REVOKED = "revoked"


@dataclass(frozen=True)
class RevocationListView:
    """A published revocation list.

    Attributes:
        number: the highest is in force.
        issued_at: when it was published.
    """

    number: int
    issued_at: datetime


def hospitals(app: App, actor: Actor) -> list[HospitalView]:
    """Return the hospitals by name. They are no secret: everyone who is signed in may see them."""
    with read_scope(app.engine) as session:
        authorise(app, session, actor, Action.LIST_MEMBERS, Relation.ANY)
        rows = session.exec(select(Hospital).order_by(Hospital.name)).all()
    return [
        HospitalView(row.id, row.slug, row.name, row.city, row.latitude, row.longitude, row.is_active) for row in rows
    ]


def certificates(app: App, actor: Actor) -> list[CertificateView]:
    """Return all certificates, by party and use, the newest first.

    Raises:
        NotAuthorised: only the authority sees them.
    """
    now = app.clock.now()
    with read_scope(app.engine) as session:
        authorise(app, session, actor, Action.READ_MEMBER, Relation.ANY)
        order = col(CertificateRecord.party), col(CertificateRecord.key_use), col(CertificateRecord.issued_at).desc()
        rows = session.exec(select(CertificateRecord).order_by(*order)).all()
    return [_certificate_view(row, now) for row in rows]


def member_state(slug: str, views: Sequence[CertificateView]) -> MemberState:
    """Return the state of a hospital, from all certificates.

    Registered: it is on the list of hospitals. Approved: the authority has certified it. Keyed: its training node and
    its serving enclave each have a valid certificate for both keys, so that it takes part. Revoked: it would be keyed,
    had the authority not revoked a certificate that nothing has replaced.
    """
    wanted = {(f"{slug}.{part}", use.value) for part in PARTS for use in (KeyUse.SIGN, KeyUse.SEAL)}
    own = [view for view in views if (view.party, view.key_use) in wanted]
    missing = wanted - {(view.party, view.key_use) for view in own if view.state == "valid"}
    if not own:
        return MemberState.REGISTERED
    if not missing:
        return MemberState.KEYED
    revoked = {(view.party, view.key_use) for view in own if view.state == "revoked"}
    return MemberState.REVOKED if missing & revoked else MemberState.APPROVED


def in_use(views: Sequence[CertificateView]) -> list[CertificateView]:
    """Return of each party and use the newest certificate that is not revoked: a renewed one needs no warning."""
    newest: dict[tuple[str, str], CertificateView] = {}
    for view in views:
        known = newest.get((view.party, view.key_use))
        if view.state != "revoked" and (known is None or view.not_after > known.not_after):
            newest[view.party, view.key_use] = view
    return list(newest.values())


def _certificate_view(row: CertificateRecord, now: datetime) -> CertificateView:
    state = "revoked" if row.revoked_at else "expired" if row.not_after < now else "valid"
    return CertificateView(
        row.serial,
        row.party,
        row.key_use,
        row.issued_at,
        row.not_after,
        row.revoked_at,
        row.revocation_reason or "",
        state,
    )


def revocation_lists(app: App, actor: Actor) -> list[RevocationListView]:
    """Return the published lists, the one in force first.

    Raises:
        NotAuthorised: only the authority sees them.
    """
    with read_scope(app.engine) as session:
        authorise(app, session, actor, Action.READ_MEMBER, Relation.ANY)
        rows = session.exec(select(RevocationList).order_by(col(RevocationList.number).desc())).all()
    return [RevocationListView(row.number, row.issued_at) for row in rows]


def parties_with_model(app: App, actor: Actor) -> dict[str, frozenset[str]]:
    """Return by study the parties that can open its model in service; studies without such a model are left out.

    Raises:
        NotAuthorised: only the authority sees them.
    """
    with read_scope(app.engine) as session:
        authorise(app, session, actor, Action.READ_MEMBER, Relation.ANY)
        found = {}
        for study in STUDIES.values():
            with suppress(NoModel):
                readers = served_model(app, session, study).readers
                held = select(CertificateRecord.party).where(col(CertificateRecord.serial).in_(readers))
                found[study.name] = frozenset(session.exec(held).all())
        return found


def enrol_hospital(
    app: App, actor: Actor, *, slug: str, name: str, city: str, latitude: float, longitude: float
) -> HospitalView:
    """Admit a hospital: its keys are made in its own folders and certified for training and for serving.

    Raises:
        NotAuthorised: only the authority admits members.
        InvalidInput: a field is not acceptable, or the short name was used before.
    """
    slug, name, city = slug.strip().lower(), name.strip(), city.strip()
    if not _SLUG.fullmatch(slug):
        raise InvalidInput("the short name takes 2 to 31 small letters, digits and hyphens, a letter first")
    if not (0 < len(name) <= _MAX_TEXT and 0 < len(city) <= _MAX_TEXT):
        raise InvalidInput(f"name and city take 1 to {_MAX_TEXT} characters")
    if not (abs(latitude) <= _MAX_LATITUDE and abs(longitude) <= _MAX_LONGITUDE):
        raise InvalidInput("the coordinates are not on the globe")
    row = Hospital(slug=slug, name=name, city=city, latitude=latitude, longitude=longitude)
    try:
        with session_scope(app.engine) as session:
            authorise(app, session, actor, Action.MANAGE_MEMBERS, Relation.ANY)
            session.add(row)
            session.flush()
            with authority_office(app.settings, app.clock) as office:
                for part in PARTS:
                    office.enrol(session, f"{slug}.{part}")
            audit.append(app, session, actor, "member.enrol", object_id=row.id)
    except (IntegrityError, SecurityError) as error:
        raise InvalidInput("this short name was used before") from error
    return HospitalView(row.id, slug, name, city, latitude, longitude, is_active=True)


def revoke_certificate(app: App, actor: Actor, serial: str, reason: str) -> int:
    """Revoke a hospital's certificate and publish the next revocation list; returns the list's number.

    Raises:
        NotAuthorised: only the authority revokes.
        NotFound: no certificate has this serial.
        InvalidInput: revoked already, an unknown reason, or not a hospital's certificate.
    """
    with session_scope(app.engine) as session:
        authorise(app, session, actor, Action.REVOKE_CERTIFICATE, Relation.ANY, object_id=serial)
        record = session.get(CertificateRecord, serial)
        if record is not None and "." not in record.party:
            raise InvalidInput("only a hospital's certificate can be revoked here")
        with authority_office(app.settings, app.clock) as office:
            number = office.revoke(session, app.trust(session), serial, reason)
        audit.append(
            app, session, actor, "certificate.revoke", object_id=serial, details={"reason": reason, "list": number}
        )
    return number


def new_revocation_list(app: App, actor: Actor) -> int:
    """Publish the revocation list again with a new date; returns its number.

    Raises:
        NotAuthorised: only the authority does this.
    """
    with session_scope(app.engine) as session:
        authorise(app, session, actor, Action.MANAGE_MEMBERS, Relation.ANY)
        with authority_office(app.settings, app.clock) as office:
            number = office.publish_list(session, app.trust(session))
        audit.append(app, session, actor, "revocation-list.publish", details={"list": number})
    return number
