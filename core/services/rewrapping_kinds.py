"""What is stored, kind by kind, and how each kind is brought to new keys (`core.services.rewrapping`)."""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlmodel import Session, col, or_, select

from core.diagnosis.approvals import Approvals
from core.diagnosis.checkpoint_file import model_context, open_model, seal_model
from core.diagnosis.exports import check_exports
from core.diagnosis.wire import image_context, result_context
from core.errors import CheckpointRefused, DataErased, MeasurementRefused, NotFound, RecordDamaged, StorageFailed
from core.imaging.archive import dataset_context
from core.learning.lineage import checkpoint_context, sealer_of, vouch_for
from core.learning.orders import serving_party
from core.services import approvals
from core.services.app import APP_PARTY
from core.services.authority import AUTHORITY
from core.services.case_objects import ObjectKind, get_object, image_rows, replace_recipients
from core.services.dataset_store import sealed_path
from core.services.model_store import own_lineage
from core.services.models import check_against
from core.services.promotions import highest_seen, sign_promotion, verify_promotion
from core.services.review_records import review_context
from core.services.rewrapping import Hands
from core.services.run_memory import figures_context
from core.services.second_readings import second_reading_context
from core.services.vault import key_of
from core.studies import STUDIES_BY_CODE
from db.blobs import delete_blob, get_blob, put_blob
from db.engine import read_scope, session_scope
from db.models import (
    ApprovalList,
    Case,
    CaseReview,
    CaseStatus,
    Checkpoint,
    CheckpointStatus,
    Dataset,
    EncryptedHeadRecord,
    Hospital,
    Run,
    RunEvent,
    SecondReading,
)
from security.certificates import Trust
from security.context import Context
from security.encrypted_inference.signed import head_context
from security.errors import SecurityError
from security.sealed_files import replace_front
from security.signing import sign, signer_of, verify

_DAMAGE = (CheckpointRefused, MeasurementRefused, NotFound, RecordDamaged, SecurityError)
_FORMER = "hemaseal_former_blobs"
Work = Callable[[Hands, Session, Any], None]


def counts(hands: Hands) -> dict[str, int]:
    """Return how many objects of each kind there are to look at."""
    with read_scope(hands.app.engine) as session:
        return {kind: len(_keys(session, which)) for kind, (which, _) in KINDS.items()}


def renew_all(hands: Hands, kinds: Sequence[str] = ()) -> None:
    """Bring every stored object to the keys of now; `kinds` names some of them only.

    Raises:
        StorageFailed: a file could not be read or written, so nothing is known of what it holds; to be done again.
    """
    for kind in kinds or KINDS:
        which, work = KINDS[kind]
        _renew(hands, kind, which, work)


def _renew(hands: Hands, kind: str, which: Any, work: Work) -> None:
    with read_scope(hands.app.engine) as session:
        keys = _keys(session, which)
    for key in keys:
        hands.tell(kind)
        try:
            with session_scope(hands.app.engine) as session:
                work(hands, session, key)
                session.flush()
                for former in session.info.pop(_FORMER, []):
                    delete_blob(session, former)
        except _DAMAGE:
            hands.damaged.append(kind)
        except OSError as error:
            raise StorageFailed(kind) from error


def renew_late(hands: Hands, *, since: datetime) -> None:
    """Bring cases to the keys of now that came or were answered since, or wait, once more.

    What was under way when everything was renewed may have been stored for former keys after that. Asked once these
    are revoked, it finds the last of that (`core.services.dispatch.none_revoked`).
    """
    recent = or_(col(Case.created_at) >= since, col(Case.answered_at) >= since, col(Case.status) == CaseStatus.WAITING)
    _renew(hands, "case", select(Case.id).where(recent), _case)


def _keys(session: Session, which: Any) -> list[Any]:
    return sorted(session.exec(which).all())


def _case(hands: Hands, session: Session, case_id: str) -> None:
    """Renew images and results of a case."""
    case = session.get(Case, case_id, with_for_update=True)
    if case is None:
        return
    with suppress(DataErased):
        key, rows = key_of(hands.app, session, case.patient_id), image_rows(session, case_id)
        names: dict[str, Any] = {
            "study": STUDIES_BY_CODE[case.study_code].name,
            "case_id": case_id,
            "images": len(rows),
        }
        answered = session.get(Hospital, case.answered_by_hospital_id) if case.answered_by_hospital_id else None
        for row in rows:
            contexts = {ObjectKind.IMAGE: image_context(image=row.number, **names)}
            if row.result_blob_id is not None and answered is not None:
                party = serving_party(answered.slug)
                contexts[ObjectKind.RESULT] = result_context(party=party, image=row.number, **names)
            for kind, context in contexts.items():
                try:
                    sealed = get_object(session, row, kind, key=key)
                    again = hands.renew(sealed, context=context, signer=hands.app.identity)
                    if again is not None:
                        replace_recipients(session, row, again, key=key, kind=kind)
                except _DAMAGE:
                    hands.damaged.append(kind.value)


def _review(hands: Hands, session: Session, review_id: str) -> None:
    row = session.get(CaseReview, review_id, with_for_update=True)
    case = session.get(Case, row.case_id) if row is not None else None
    if row is not None and case is not None:
        context = review_context(case, review_id)
        row.signature = _statement(hands, session, case, row.body, row.signature, context=context)


def _second_reading(hands: Hands, session: Session, reading_id: str) -> None:
    row = session.get(SecondReading, reading_id, with_for_update=True)
    case = session.get(Case, row.case_id) if row is not None else None
    if row is not None and case is not None and row.body is not None and row.signature is not None:
        context = second_reading_context(case, reading_id)
        row.signature = _statement(hands, session, case, row.body, row.signature, context=context)


def _statement(hands: Hands, session: Session, case: Case, body: bytes, signature: bytes, *, context: Context) -> bytes:
    """Return the app's signature of what a doctor signed, made anew; the former one where the patient's key is gone."""
    again, at = _signed_again(hands, signature, context=context, signer=hands.app.identity), hands.app.clock.now()
    with suppress(DataErased):
        canonical = key_of(hands.app, session, case.patient_id).open(body, context=context)
        stated = verify(signature, trust=_trust(hands, signature), context=context, party=APP_PARTY, at=at)
        if stated != hashlib.sha256(canonical).digest():
            raise RecordDamaged
        return again
    return signature


def _data_set(hands: Hands, session: Session, dataset_id: str) -> None:
    row = session.get(Dataset, dataset_id)
    hospital = session.get(Hospital, row.hospital_id) if row is not None else None
    if row is None or hospital is None:
        return
    path: Path = sealed_path(hands.app.settings, hospital.slug, dataset_id)
    if not path.exists():  # it lies with the hospital, which renews it there
        return
    context = dataset_context(APP_PARTY, STUDIES_BY_CODE[row.study_code], dataset_id)
    replace_front(path, lambda front, body: hands.renew(front, context=context, signer=hands.app.identity, body=body))


def _checkpoint(hands: Hands, session: Session, checkpoint_id: str) -> None:
    """Renew lineage, weights, serving model and promotion of a checkpoint, or nothing of it."""
    row = session.get(Checkpoint, checkpoint_id, with_for_update=True)
    if row is None:
        return
    at, authority = hands.app.clock.now(), hands.authority
    try:
        lineage, holds = own_lineage(session, row, trust=hands.after.for_stored(), at=at), True
    except CheckpointRefused:
        lineage, holds = own_lineage(session, row, trust=hands.before.for_stored(), at=at), False
    context = checkpoint_context(
        study=row.study_code,
        run=lineage.run,
        round_number=lineage.round,
        weights_sha256=row.weights_sha256,
        sender=sealer_of(row.lineage),
    )
    weights = hands.renew(get_blob(session, row.weights_blob_id), context=context, signer=authority)
    if weights is not None:
        row.weights_blob_id = _exchange(hands, session, row.weights_blob_id, weights, "weights")
    if row.serving_blob_id is not None:
        _serving(hands, session, row, lineage)
    if not holds:
        names = {"study": row.study_code, "weights_sha256": row.weights_sha256}
        row.lineage = vouch_for(row.lineage, authority=authority, **names)


def _serving(hands: Hands, session: Session, row: Checkpoint, lineage: Any) -> None:
    at, authority, study = hands.app.clock.now(), hands.authority, STUDIES_BY_CODE[row.study_code].name
    sealed, promotion = get_blob(session, row.serving_blob_id or ""), None
    if row.status is CheckpointStatus.IN_SERVICE:
        promotion = verify_promotion(row, trust=_either(hands, row.promotion or b"", stored=False), at=at)
        promotion.check_sealed(sealed)
        if promotion.number < highest_seen(hands.app, row.study_code):
            raise CheckpointRefused("the authority has put another model into service since")
    again: bytes | None = None
    if row.serving_sender == AUTHORITY:
        context = model_context(study=study, run=lineage.run, sender=AUTHORITY)
        again = hands.renew(sealed, context=context, signer=authority)
    elif not hands.is_current(sealed):
        trust = hands.before.for_stored()
        sender = row.serving_sender or ""
        model = open_model(sealed, recipient=authority, trust=trust, study=study, run=lineage.run, sender=sender, at=at)
        check_against(model, lineage)
        check_exports(model, row.exports or b"", members=lineage.members, trust=trust, at=at)
        again, row.serving_sender = (
            seal_model(model, sender=authority, recipients=[authority.sealing_certificate]),
            AUTHORITY,
        )
    if again is not None:
        row.serving_blob_id = _exchange(hands, session, row.serving_blob_id or "", again, "serving")
    if promotion and (again is not None or signer_of(row.promotion or b"") != authority.signing_certificate):
        litert = promotion.litert_sha256
        sign_promotion(hands.app, session, row, again or sealed, authority, litert_sha256=litert)


def _exchange(hands: Hands, session: Session, former: str, sealed: bytes, kind: str) -> str:
    """Store a renewed object and return its id; the former one is removed once nothing names it any more."""
    made = put_blob(session, sealed, kind, hands.app.clock).id
    session.info.setdefault(_FORMER, []).append(former)
    return made


def _head(hands: Hands, session: Session, checkpoint_id: str) -> None:
    """Sign an encrypted head anew."""
    record, row = session.get(EncryptedHeadRecord, checkpoint_id), session.get(Checkpoint, checkpoint_id)
    if record is None or row is None:
        return
    study = STUDIES_BY_CODE[row.study_code].name
    context = head_context(study=study, checkpoint_id=checkpoint_id, sender=AUTHORITY)
    envelope = get_blob(session, record.blob_id)
    again = _signed_again(hands, envelope, context=context, signer=hands.authority)
    if again != envelope:
        record.blob_id = _exchange(hands, session, record.blob_id, again, "head")


def _approved(hands: Hands, session: Session, number: int) -> None:
    """Sign the list of approved measurements anew; older lists are history."""
    row, authority = session.get(ApprovalList, number, with_for_update=True), hands.authority
    newer = session.exec(select(ApprovalList.number).where(col(ApprovalList.number) > number).limit(1)).first()
    if row is None or newer is not None or signer_of(row.statement) == authority.signing_certificate:
        return
    trust = _either(hands, row.statement, stored=False)
    found = Approvals.read(row.statement, trust=trust, at=hands.app.clock.now())
    if found.number != number or number < approvals.highest_seen(hands.app):
        raise MeasurementRefused("an older list was put back")
    row.statement = found.signed(authority).envelope


def _figures(hands: Hands, session: Session, event_id: int) -> None:
    row = session.get(RunEvent, event_id)
    run = session.get(Run, row.run_id) if row is not None else None
    if row is None or run is None or row.sealed is None:
        return
    again = hands.renew(row.sealed, context=figures_context(row, study=run.study_code), signer=hands.authority)
    row.sealed = row.sealed if again is None else again


def _signed_again(hands: Hands, envelope: bytes, *, context: Any, signer: Any) -> bytes:
    """Return an envelope of a party signed with its key of now; one that is so already comes back as it was."""
    at, trust = hands.app.clock.now(), _trust(hands, envelope)
    payload = verify(envelope, trust=trust, context=context, party=signer.party, at=at)
    return envelope if trust == hands.after.for_stored() else sign(payload, signer=signer, context=context)


def _trust(hands: Hands, envelope: bytes) -> Trust:
    return _either(hands, envelope, stored=True)


def _either(hands: Hands, envelope: bytes, *, stored: bool) -> Trust:
    """Return the trust that an envelope's certificate holds by: after, if it does, else before."""
    signer = signer_of(envelope)
    after = hands.after.for_stored() if stored else hands.after
    try:
        after.check(signer, party=None, use=signer.key_use, at=hands.app.clock.now())
    except SecurityError:
        return hands.before.for_stored() if stored else hands.before
    return after


KINDS: dict[str, tuple[Any, Work]] = {
    "case": (select(Case.id), _case),
    "review": (select(CaseReview.id), _review),
    "second reading": (select(SecondReading.id).where(col(SecondReading.signature).is_not(None)), _second_reading),
    "data set": (select(Dataset.id), _data_set),
    "model": (select(Checkpoint.id), _checkpoint),
    "approved programs": (select(ApprovalList.number), _approved),
    "encrypted head": (select(EncryptedHeadRecord.checkpoint_id), _head),
    "figures": (select(RunEvent.id).where(col(RunEvent.sealed).is_not(None)), _figures),
}
"""What is stored, by the word that progress names it with: which rows, and how one is renewed."""
