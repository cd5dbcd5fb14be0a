"""Which hospitals can still answer a case that waits: the image is sealed for them, and their certificates hold now."""

from collections.abc import Collection
from contextlib import suppress

from sqlalchemy import func
from sqlmodel import Session, col, select

from core.errors import RecordDamaged
from core.learning.orders import serving_party
from core.services.app import App
from core.services.case_objects import ObjectKind, object_context
from core.services.vault import key_of
from db.models import BlobPart, Case, CaseImage, CaseStatus, CertificateRecord, Consent, ConsentPurpose, Hospital
from security.certificates import Certificate
from security.errors import CertificateRefused, SealBroken
from security.keys import KeyUse
from security.sealed_format import recipients_of
from security.vault import unwrap_front

HEAD_BYTES = 2**14  # certificates, signatures and both recipients lie at the front of a sealed image


def hospitals_asked(session: Session, case: Case) -> tuple[str, ...]:
    """Return the ids of the hospitals that may be asked now: the fallback only while its consent is in force."""
    return _asked(case, _agreed_to_fallback(session, [case]))


def out_of_reach(app: App, session: Session, cases: Collection[Case]) -> set[str]:
    """Return the ids of those cases that wait and that nobody can answer any more, whatever is tried.

    That is so after a hospital's certificate was revoked or expired, or when the stored image is no sealed object.
    """
    waiting = [case for case in cases if case.status is CaseStatus.WAITING]
    if not waiting:
        return set()
    agreed, readers = _agreed_to_fallback(session, waiting), _readers(app, session, waiting)
    asked = {case.id: _asked(case, agreed) for case in waiting}
    slugs = dict(session.exec(select(Hospital.id, Hospital.slug)).all())
    able = {key: _openers(app, session, slugs[key]) for key in {key for keys in asked.values() for key in keys}}
    return {case.id for case in waiting if not any(able[key] & readers[case.id] for key in asked[case.id])}


def _asked(case: Case, agreed: Collection[str]) -> tuple[str, ...]:
    if case.fallback_hospital_id is None or case.patient_id not in agreed:
        return (case.hospital_id,)
    return case.hospital_id, case.fallback_hospital_id


def _agreed_to_fallback(session: Session, cases: Collection[Case]) -> set[str]:
    """Return the patients of the cases whose consent to a fallback is in force."""
    rows = session.exec(
        select(Consent.user_id).where(
            col(Consent.user_id).in_({case.patient_id for case in cases}),
            Consent.purpose == ConsentPurpose.FALLBACK_HOSPITAL,
            col(Consent.withdrawn_at).is_(None),
        )
    )
    return set(rows.all())


def _readers(app: App, session: Session, cases: Collection[Case]) -> dict[str, set[str]]:
    """Return the serials that each case's first image names (all of a case name the same); none if it is damaged."""
    rows = session.exec(
        select(CaseImage.case_id, func.substr(BlobPart.data, 1, HEAD_BYTES))
        .join(BlobPart, col(BlobPart.blob_id) == col(CaseImage.image_blob_id))
        .where(col(CaseImage.case_id).in_({case.id for case in cases}), CaseImage.number == 0, BlobPart.number == 0)
    )
    heads, named = dict(rows.all()), {}
    for case in cases:
        named[case.id] = set[str]()
        with suppress(SealBroken, RecordDamaged):
            key, context = key_of(app, session, case.patient_id), object_context(case.id, 0, ObjectKind.IMAGE)
            named[case.id] |= set(recipients_of(unwrap_front(bytes(heads.get(case.id, b"")), key=key, context=context)))
    return named


def _openers(app: App, session: Session, slug: str) -> set[str]:
    """Return the serials of the sealing certificates under which this hospital can answer now."""
    party, trust, now = serving_party(slug), app.trust(session), app.clock.now()
    trusts = {KeyUse.SEAL: trust.for_stored(), KeyUse.SIGN: trust}  # a renewed certificate's key still opens
    held: dict[str, set[str]] = {KeyUse.SEAL.value: set(), KeyUse.SIGN.value: set()}
    rows = session.exec(
        select(CertificateRecord.key_use, CertificateRecord.pem).where(
            CertificateRecord.party == party, col(CertificateRecord.key_use).in_(held)
        )
    ).all()
    for use, pem in rows:
        try:
            held[use].add(
                trusts[KeyUse(use)].check(Certificate.from_pem(pem), party=party, use=KeyUse(use), at=now).serial
            )
        except CertificateRefused:
            continue
    return held[KeyUse.SEAL.value] if held[KeyUse.SIGN.value] else set()
