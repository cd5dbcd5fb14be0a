"""Which model may serve: the authority signs a numbered statement for one model of a study, and the newest one counts.

Whoever can write to the database can set a status, but cannot make such a statement; and an older one is refused, since
the app keeps the highest number that it has seen of each study in its own key folder.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlmodel import Session, col, select

from core.errors import CheckpointRefused
from core.learning.orders import AUTHORITY
from core.services.app import App
from db.models import Checkpoint
from db.models.federation import CheckpointStatus
from security.certificates import Trust
from security.context import Context, Purpose
from security.errors import SecurityError
from security.identity import Identity
from security.signing import sign, verify


@dataclass(frozen=True)
class Promotion:
    """What the authority states.

    Attributes:
        number: counts a study's promotions, roll-backs included.
        sealed_sha256: SHA-256 (hex) of the serving model as it was sealed for the enclaves.
        litert_sha256: SHA-256 (hex) of the network in it, which is part of a result's measurement; "" in a statement
            from before it was stated.
    """

    number: int
    sealed_sha256: str
    litert_sha256: str = ""

    def check_sealed(self, sealed: bytes) -> None:
        """Hold the stored serving model against the statement.

        Raises:
            CheckpointRefused: it is another one.
        """
        if hashlib.sha256(sealed).hexdigest() != self.sealed_sha256:
            raise CheckpointRefused("the serving model is not the one that was promoted")


def sign_promotion(
    app: App, session: Session, row: Checkpoint, sealed: bytes, authority: Identity, *, litert_sha256: str
) -> None:
    """Write the next statement of the row's study, for this row and its sealed serving model, into the row."""
    rows = select(Checkpoint).where(Checkpoint.study_code == row.study_code, col(Checkpoint.promotion).is_not(None))
    numbers = [highest_seen(app, row.study_code)]
    for other in session.exec(rows).all():
        try:
            numbers.append(_read(app, session, other).number)
        except CheckpointRefused:
            continue
    promotion = Promotion(max(numbers) + 1, hashlib.sha256(sealed).hexdigest(), litert_sha256)
    payload = json.dumps(asdict(promotion), sort_keys=True).encode()
    row.promotion = sign(payload, signer=authority, context=_context(row))


def read_promotion(app: App, session: Session, row: Checkpoint) -> Promotion:
    """Return the statement by which a row serves; its number is remembered.

    Raises:
        CheckpointRefused: the authority did not promote this model, or promoted another one since.
    """
    promotion = _read(app, session, row)
    highest = highest_seen(app, row.study_code)
    if promotion.number < highest:
        raise CheckpointRefused("the authority has put another model into service since")
    if promotion.number > highest:
        app.store.write(_file_name(row.study_code), str(promotion.number).encode())
    return promotion


def answers(app: App, session: Session, row: Checkpoint) -> bool:
    """Whether a model is in service and the authority's statement of it holds."""
    if row.status is not CheckpointStatus.IN_SERVICE:
        return False
    try:
        read_promotion(app, session, row)
    except CheckpointRefused:
        return False
    return True


def _read(app: App, session: Session, row: Checkpoint) -> Promotion:
    return verify_promotion(row, trust=app.trust(session), at=app.clock.now())


def verify_promotion(row: Checkpoint, *, trust: Trust, at: datetime) -> Promotion:
    """Return what the authority stated of a row; whether it is the newest statement is not asked.

    Raises:
        CheckpointRefused: it stated nothing, or its certificate does not hold.
    """
    try:
        payload = verify(row.promotion or b"", trust=trust, context=_context(row), party=AUTHORITY, at=at)
        return Promotion(**json.loads(payload))
    except (SecurityError, ValueError, TypeError) as error:
        raise CheckpointRefused("the authority did not put this model into service") from error


def highest_seen(app: App, study_code: str) -> int:
    """Return the number of the newest promotion of a study that the app has seen."""
    file = app.store.folder / _file_name(study_code)
    try:
        return int(file.read_bytes())
    except FileNotFoundError:
        return 0


def _file_name(study_code: str) -> str:
    return f"promoted-{study_code}"


def _context(row: Checkpoint) -> Context:
    return Context(purpose=Purpose.PROMOTION, study=row.study_code, sender=AUTHORITY, object_id=row.id)
