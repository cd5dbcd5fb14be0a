"""What routing needs to know of the hospitals, read from the database: open cases, health, who can open the model."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, or_
from sqlmodel import Session, col, select

from core.errors import CheckpointRefused, NoModel
from core.learning.orders import serving_party
from core.services.app import App
from core.services.promotions import read_promotion
from core.services.routing import Candidate
from core.studies import Study
from db.models import BlobPart, Case, CaseStatus, CertificateRecord, Checkpoint, CheckpointStatus, Hospital, Role, User
from security.errors import SealBroken
from security.sealed_format import recipients_of

GRACE = timedelta(seconds=5)  # a case that waits no longer than this is being answered
QUARANTINE = timedelta(minutes=10)  # after this a hospital that did not answer is asked again
_NOT_REVIEWED = tuple(status for status in CaseStatus if status is not CaseStatus.REVIEWED)
_STAFFED = (
    select(Hospital)
    .where(
        col(Hospital.is_active),
        col(Hospital.id).in_(select(User.hospital_id).where(User.role == Role.DOCTOR, col(User.is_active))),
    )
    .order_by(Hospital.slug)
)
_CARE = func.coalesce(Case.answered_by_hospital_id, Case.hospital_id)
_OPEN = select(_CARE, func.count()).where(col(Case.status).in_(_NOT_REVIEWED)).group_by(_CARE)
HEAD_BYTES = 2**17  # certificates, signatures and some 500 recipients lie at the front of a sealed model


@dataclass(frozen=True)
class ServedModel:
    """The model in service, without its bytes.

    Attributes:
        checkpoint_id: the checkpoint.
        weights_sha256: hash of its weights, which every result must name.
        litert_sha256: hash of its network, which is part of every result's measurement; "" if its promotion is from
            before that was stated.
        readers: serials of the certificates that can open it.
    """

    checkpoint_id: str
    weights_sha256: str
    litert_sha256: str
    readers: frozenset[str]


@dataclass(frozen=True)
class ServingCertificate:
    """What the database says is a party's sealing certificate (PEM)."""

    party: str
    pem: str


def served_model(app: App, session: Session, study: Study) -> ServedModel:
    """Return the model that answers for a study now.

    Raises:
        NoModel: none is in service, the authority did not promote it last, or its first bytes are damaged.
    """
    row = session.exec(
        select(Checkpoint, func.substr(BlobPart.data, 1, HEAD_BYTES))
        .join(BlobPart, col(BlobPart.blob_id) == col(Checkpoint.serving_blob_id))
        .where(
            Checkpoint.study_code == study.code,
            Checkpoint.status == CheckpointStatus.IN_SERVICE,
            BlobPart.number == 0,
        )
    ).first()
    if row is None:
        raise NoModel(study.title)
    checkpoint, head = row
    try:
        litert = read_promotion(app, session, checkpoint).litert_sha256
        readers = frozenset(recipients_of(bytes(head)))
        return ServedModel(checkpoint.id, checkpoint.weights_sha256, litert, readers)
    except (CheckpointRefused, SealBroken) as error:
        raise NoModel(study.title) from error


def candidates(
    session: Session, model: ServedModel, *, now: datetime
) -> tuple[list[Candidate], dict[str, ServingCertificate]]:
    """Return the active hospitals as routing sees them, and their serving certificates by hospital id.

    A hospital to which the model is not sealed has no model; one without an active doctor, who would review the answer,
    is left out. Certificates are claims of the database here: check those
    that are used.
    """
    hospitals = session.exec(_STAFFED).all()
    rows = session.exec(
        select(CertificateRecord.party, CertificateRecord.pem).where(
            col(CertificateRecord.serial).in_(model.readers), col(CertificateRecord.revoked_at).is_(None)
        )
    ).all()
    pems = dict(rows)
    readers = {
        row.id: ServingCertificate(party, pems[party])
        for row in hospitals
        if (party := serving_party(row.slug)) in pems
    }
    loads = _open_cases(session)
    silent = _silent(session, now)
    found = [
        Candidate(
            hospital_id=hospital.id,
            latitude=hospital.latitude,
            longitude=hospital.longitude,
            open_cases=loads.get(hospital.id, 0),
            healthy=hospital.id not in silent,
            has_model=hospital.id in readers,
        )
        for hospital in hospitals
    ]
    return found, readers


def _open_cases(session: Session) -> dict[str, int]:
    """Cases per hospital that wait for an answer or a doctor."""
    return dict(session.exec(_OPEN).all())


def _silent(session: Session, now: datetime) -> Collection[str]:
    """Hospitals that did not answer a case of the last minutes and none since."""
    elsewhere = col(Case.answered_by_hospital_id) != col(Case.hospital_id)
    waits = (col(Case.answered_by_hospital_id).is_(None)) & (col(Case.created_at) < now - GRACE)
    failed = session.exec(
        select(Case.hospital_id, func.max(Case.created_at))
        .where(col(Case.created_at) > now - QUARANTINE, or_(elsewhere, waits))
        .group_by(Case.hospital_id)
    ).all()
    if not failed:
        return ()
    rows = session.exec(
        select(Case.answered_by_hospital_id, func.max(Case.answered_at))
        .where(col(Case.answered_at) > now - QUARANTINE)
        .group_by(Case.answered_by_hospital_id)
    ).all()
    answered = {hospital: at for hospital, at in rows if at is not None}
    return {hospital for hospital, at in failed if hospital not in answered or answered[hospital] < at}
