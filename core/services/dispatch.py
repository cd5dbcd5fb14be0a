"""Where a picture goes: the choice of hospitals (`routing`) made on what the database and the certificates say now."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from sqlmodel import Session, col, select

from core.errors import MemberRefused
from core.services.app import App
from core.services.candidates import ServedModel, ServingCertificate, candidates, served_model
from core.services.places import Place
from core.services.routing import Candidate, RoutingDecision, choose
from core.studies import Study
from db.engine import read_scope
from db.models import CertificateRecord
from security.certificates import Certificate
from security.errors import CertificateRefused
from security.keys import KeyUse


@dataclass(frozen=True, kw_only=True)
class Route:
    """Where a picture goes: decision, model, and the certificates that it is sealed for."""

    decision: RoutingDecision
    model: ServedModel
    recipients: tuple[Certificate, ...]


def route(app: App, study: Study, *, place: Place | None, preferred: str | None, allow_fallback: bool) -> Route:
    """Choose hospitals whose certificates hold now; one with a certificate that does not is left out and chosen again.

    Both are looked at: without the sealing one the image cannot go there, without the signing one no answer comes back.

    Raises:
        NoModel, NoHospital: nobody can answer.
    """
    with read_scope(app.engine) as session:
        model = served_model(app, session, study)
        hospitals, readers = candidates(session, model, now=app.clock.now())
        trust = app.trust(session)
    hospitals = [replace(known, healthy=known.healthy and not _is_silent(app, known, readers)) for known in hospitals]
    refused: set[str] = set()
    while True:
        able = [replace(known, has_model=known.has_model and known.hospital_id not in refused) for known in hospitals]
        decision = choose(able, preferred=preferred, place=place, allow_fallback=allow_fallback)
        recipients = []
        for key in filter(None, (decision.hospital_id, decision.fallback_id)):
            try:
                offered, party = Certificate.from_pem(readers[key].pem), readers[key].party
                app.certificate_of(party, KeyUse.SIGN)
                recipients.append(trust.check(offered, party=party, use=KeyUse.SEAL, at=app.clock.now()))
            except (CertificateRefused, MemberRefused):
                refused.add(key)
        if not refused.intersection({decision.hospital_id, decision.fallback_id}):
            return Route(decision=decision, model=model, recipients=tuple(recipients))


def _is_silent(app: App, known: Candidate, readers: Mapping[str, ServingCertificate]) -> bool:
    return known.hospital_id in readers and app.supervisor.is_silent(readers[known.hospital_id].party)


def none_revoked(session: Session, certificates: Collection[Certificate]) -> bool:
    """Tell whether none of these certificates was revoked, and let nobody revoke one before the caller's commit.

    So an exchange of keys, which revokes and then looks through what is stored once more, finds what is stored now.
    """
    serials = {certificate.serial for certificate in certificates}
    rows = select(CertificateRecord.revoked_at).where(col(CertificateRecord.serial).in_(serials))
    revoked = session.exec(rows.with_for_update(read=True)).all()
    return len(revoked) == len(serials) and not any(revoked)
