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
        known, readers = candidates(session, model, now=app.clock.now())
        heard = [replace(one, healthy=one.healthy and not _is_silent(app, one, readers)) for one in known]
        refused: set[str] = set()
        while True:
            able = [replace(one, has_model=one.has_model and one.hospital_id not in refused) for one in heard]
            decision = choose(able, preferred=preferred, place=place, allow_fallback=allow_fallback)
            asked = [key for key in (decision.hospital_id, decision.fallback_id) if key is not None]
            recipients = []
            for key in asked:
                try:
                    recipients.append(_reader(app, session, readers[key]))
                except (CertificateRefused, MemberRefused):
                    refused.add(key)
            if not refused.intersection(asked):
                return Route(decision=decision, model=model, recipients=tuple(recipients))


def _reader(app: App, session: Session, claimed: ServingCertificate) -> Certificate:
    """Return the sealing certificate of a hospital that can answer now.

    Raises:
        CertificateRefused, MemberRefused: it, or the signing one, does not hold.
    """
    offered, party = Certificate.from_pem(claimed.pem), claimed.party
    app.certificate_of(party, KeyUse.SIGN, session)
    return app.trust(session).check(offered, party=party, use=KeyUse.SEAL, at=app.clock.now())


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
