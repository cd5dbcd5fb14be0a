"""A doctor's signed decision as a value: its canonical bytes, how they are signed and sealed, how they are read back.

The signature is the app's, on behalf of the doctor who is named in the signed bytes. It covers a hash, so that the
envelope, which is stored in clear, tells nothing; a random nonce keeps a short review from being guessed.
"""

import hashlib
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlmodel import Session, col, select

from core.errors import RecordDamaged
from core.services.app import APP_PARTY, App
from core.services.case_records import CaseSummary
from core.services.context import display_name
from core.services.vault import key_of
from core.studies import STUDIES_BY_CODE
from db.models import Case, CaseReview
from db.types import new_id
from security.certificates import Trust
from security.context import Context, Purpose
from security.encoding import decode, encode
from security.errors import SecurityError
from security.records import RecordCipher
from security.signing import sign, verify

_TRUSTED = "hemaseal_trust_of_reviews"
VERSION = 1
NONCE_BYTES = 16


class Decision(StrEnum):
    """What a doctor does with the program's answer."""

    AGREE = "agree"
    OVERRIDE = "override"
    DEFER = "defer"


@dataclass(frozen=True, kw_only=True)
class ReviewView:
    """A verified review.

    Attributes:
        id: the review.
        decision: agree, override or defer.
        conclusion: class index in the study's order; None when deferred.
        reason: why, for the record; "" when shown to the patient.
        note: what the doctor tells the patient, plain text.
        doctor: how the doctor is addressed.
        signed_at: UTC.
        amends: the review that it replaces, or None.
        is_current: whether no later one replaces it.
    """

    id: str
    decision: Decision
    conclusion: int | None
    reason: str
    note: str
    doctor: str
    signed_at: datetime
    amends: str | None
    is_current: bool


@dataclass(frozen=True, kw_only=True)
class Signed:
    """Sealed canonical bytes of a review, and the signature of their hash."""

    body: bytes
    signature: bytes


def seal_and_sign(
    app: App, case: Case, record_id: str, key: RecordCipher, statement: Mapping[str, Any], *, context: Context
) -> Signed:
    """Return what a doctor states about a case, sealed under the patient's key and signed."""
    canonical = encode(
        {
            **statement,
            "version": VERSION,
            "review": record_id,
            "case": case.id,
            "nonce": secrets.token_bytes(NONCE_BYTES),
        }
    )
    return Signed(
        body=key.seal(canonical, context=context),
        signature=sign(hashlib.sha256(canonical).digest(), signer=app.identity, context=context),
    )


def new_review(
    app: App,
    case: Case,
    key: RecordCipher,
    *,
    doctor_id: str,
    hospital_id: str,
    program: CaseSummary,
    decision: Decision,
    conclusion: int | None,
    reason: str,
    note: str,
    amends: str | None,
) -> CaseReview:
    """Return a review of a case, sealed under its patient's `key` and signed as of now; checks and stores nothing.

    `hospital_id` is the doctor's, `program` what the program had answered; the other values are those of `ReviewView`.
    """
    now, review_id = app.clock.now(), new_id()
    signed = seal_and_sign(
        app,
        case,
        review_id,
        key,
        {
            "doctor": doctor_id,
            "hospital": hospital_id,
            "study": STUDIES_BY_CODE[case.study_code].name,
            "checkpoint": case.checkpoint_id or "",
            "program": {
                "outcome": program.outcome.value,
                "label": program.label_index,
                "positive_probability": program.positive_probability,
            },
            "decision": decision.value,
            "conclusion": conclusion,
            "reason": reason,
            "note": note,
            "amends": amends,
            "signed_at": now.isoformat(),
        },
        context=review_context(case, review_id),
    )
    return CaseReview(
        id=review_id,
        case_id=case.id,
        doctor_id=doctor_id,
        live_key=case.id,
        body=signed.body,
        signature=signed.signature,
        signed_at=now,
    )


def open_statement(
    app: App, session: Session, case: Case, *, body: bytes, signature: bytes, context: Context
) -> dict[str, Any]:
    """Return what `seal_and_sign` was given, with what it added; the caller compares it with the row.

    Raises:
        RecordDamaged: seal, signature, hash or version does not hold.
    """
    try:
        canonical = key_of(app, session, case.patient_id).open(body, context=context)
        trust = _trust(app, session)
        digest = verify(signature, trust=trust, context=context, party=APP_PARTY, at=app.clock.now())
    except SecurityError as error:
        raise RecordDamaged from error
    stated: dict[str, Any] = decode(canonical)
    if digest != hashlib.sha256(canonical).digest() or stated["version"] != VERSION:
        raise RecordDamaged
    return stated


def _trust(app: App, session: Session) -> Trust:
    """Return what stored signatures are checked against, looked up once in a transaction."""
    trust: Trust = session.info.get(_TRUSTED) or session.info.setdefault(_TRUSTED, app.trust(session).for_stored())
    return trust


def read_chain(
    app: App, session: Session, case: Case, rows: Collection[CaseReview], *, for_patient: bool
) -> list[ReviewView]:
    """Return all reviews of a case, the newest first: that one is in force which no other amends.

    The order is what the doctors signed, never what a row says.

    Raises:
        RecordDamaged: a review does not hold, or they are not one chain (one is missing).
    """
    views = {row.id: _read_review(app, session, case, row, for_patient=for_patient) for row in rows}
    newest = views.keys() - {view.amends for view in views.values()}
    chain: list[ReviewView] = []
    following = newest.pop() if len(newest) == 1 else None
    while following in views:
        chain.append(replace(views.pop(following), is_current=not chain))
        following = chain[-1].amends
    if views or following is not None:
        raise RecordDamaged
    return chain


def _read_review(app: App, session: Session, case: Case, row: CaseReview, *, for_patient: bool) -> ReviewView:
    """Return a stored review after checking seal, signature and that it belongs to this case, doctor and time.

    Raises:
        RecordDamaged: one of these does not hold.
    """
    context, at = review_context(case, row.id), row.signed_at
    stated = open_statement(app, session, case, body=row.body, signature=row.signature, context=context)
    said = (stated["review"], stated["case"], stated["doctor"], stated["signed_at"])
    if said != (row.id, row.case_id, row.doctor_id, at.isoformat()):
        raise RecordDamaged
    return ReviewView(
        id=row.id,
        decision=Decision(stated["decision"]),
        conclusion=stated["conclusion"],
        reason="" if for_patient else stated["reason"],
        note=stated["note"],
        doctor=display_name(app, session, row.doctor_id),
        signed_at=row.signed_at,
        amends=stated["amends"],
        is_current=False,
    )


def current_reviews(
    app: App, session: Session, cases: Collection[Case], *, for_patient: bool
) -> dict[str, ReviewView | None]:
    """Return the review in force of each case that has one, by case id; None where one was changed from outside.

    The caller has authorised the cases.
    """
    found: dict[str, ReviewView | None] = {}
    for case, rows in _rows_of(session, cases):
        try:
            found[case.id] = read_chain(app, session, case, rows, for_patient=for_patient)[0]
        except RecordDamaged:
            found[case.id] = None
    return found


def _rows_of(session: Session, cases: Collection[Case]) -> list[tuple[Case, list[CaseReview]]]:
    """Return the cases that have reviews, each with all of its rows."""
    by_case: dict[str, list[CaseReview]] = {}
    wanted = select(CaseReview).where(col(CaseReview.case_id).in_({case.id for case in cases}))
    for row in session.exec(wanted).all() if cases else ():
        by_case.setdefault(row.case_id, []).append(row)
    return [(case, by_case[case.id]) for case in cases if case.id in by_case]


def review_context(case: Case, review_id: str) -> Context:
    """Return what seal and signature of a review bind."""
    study = STUDIES_BY_CODE[case.study_code]
    return Context(purpose=Purpose.REVIEW, study=study.name, sender=APP_PARTY, object_id=review_id)
