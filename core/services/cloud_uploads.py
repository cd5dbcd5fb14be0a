"""What the cloud holds of a blind run, as pictures: each masked upload's numbers, beside the change that came of them.

The uploads are published: whoever may see the run may see them. A single hospital's true update is known to that
hospital alone. What the authority can open is the global model before and after the round; the difference is what all
hospitals changed together, and stands in for the true side of the comparison.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlmodel import Session, col, select

from core.errors import CheckpointRefused, NotFound
from core.evaluation.masked_uploads import (
    EDGES,
    HeldUploads,
    held_uploads,
    is_published,
    largest_number,
    shares_by_bin,
    vector_of_state,
)
from core.learning.lineage import checkpoint_context, sealer_of
from core.learning.orders import slug_of
from core.learning.run_choices import DEFAULT_CLIP
from core.services import audit
from core.services.app import Actor, App
from core.services.authorise import Action, Relation, authorise
from core.services.authority import authority_office
from db.blobs import get_blob
from db.engine import read_scope, session_scope
from db.models import Checkpoint, Run, RunAttempt
from security.errors import SealBroken
from security.identity import Identity
from security.sealing import open_sealed

__all__ = ["EDGES", "CloudUploads", "TrueChange", "UploadView", "change_beside_uploads", "uploads_in_cloud"]

_FINISHED = "finished"
_TWO_SIDED_95 = 1.96


@dataclass(frozen=True)
class UploadView:
    """One hospital's masked upload.

    Attributes:
        slug: short name of the hospital.
        shares: per cent of its words between each two of `EDGES`, which are shares of the largest number of a word.
        alike: correlation of its numbers with the true change; None where that was not opened.
    """

    slug: str
    shares: tuple[float, ...]
    alike: float | None = None


@dataclass(frozen=True)
class TrueChange:
    """How the round changed the global model.

    Attributes:
        shares: per cent of the weights' changes between each two of `EDGES`.
        largest: largest change of a weight.
        typical: root of the mean squared change.
        by_chance: what a correlation of two unrelated vectors of this length stays below in 95 of 100 cases.
    """

    shares: tuple[float, ...]
    largest: float
    typical: float
    by_chance: float


@dataclass(frozen=True)
class CloudUploads:
    """What the cloud holds of a run's last finished round.

    Attributes:
        round: its number.
        words: length of each vector: a word for each weight, and one for the number of images.
        sha256: of the published sum, hex; it was added again and its signatures were checked just now.
        uploads: by hospital.
        change: the true change, where it was asked for.
    """

    round: int
    words: int
    sha256: str
    uploads: tuple[UploadView, ...]
    change: TrueChange | None = None


def uploads_in_cloud(app: App, actor: Actor, run_id: str) -> CloudUploads | None:
    """Return the masked uploads that are published of a run; None where there are none (yet, or in other modes).

    Raises:
        NotAuthorised: only the authority looks at them here; anybody can, with `python -m federated verify`.
        NotFound: no such run.
        RecordDamaged: what is published does not prove itself.
    """
    with read_scope(app.engine) as session:
        authorise(app, session, actor, Action.READ_UPLOADS, Relation.ANY, object_id=run_id)
        held = _held(app, session, run_id)
    return None if held is None else _view(held)


def change_beside_uploads(app: App, actor: Actor, run_id: str) -> CloudUploads | None:
    """Return the same with the true change beside it: the authority opens the models before and after the round.

    Raises:
        NotAuthorised: only the authority opens models.
        NotFound: no such run, or a model of it is not stored.
        RecordDamaged: what is published does not prove itself.
        CheckpointRefused: a model does not open, or has another length than the uploads.
    """
    with session_scope(app.engine) as session:
        authorise(app, session, actor, Action.OPEN_MODELS, Relation.ANY, object_id=run_id)
        held = _held(app, session, run_id)
        if held is None:
            return None
        number = held.checked.round
        audit.append(app, session, actor, "model.open", object_id=run_id, details={"round": number})
        with authority_office(app.settings, app.clock) as office:
            before, after = (_weights(app, session, run_id, one, office.identity) for one in (number - 1, number))
        clip = float(str(session.get_one(Run, run_id).options.get("clip", DEFAULT_CLIP)))
    if before.shape != after.shape or len(after) + 1 != held.checked.words:
        raise CheckpointRefused("the models and the uploads are not of the same network")
    return _view(held, change=after - before, largest=largest_number(held.checked.asked, clip))


def _held(app: App, session: Session, run_id: str) -> HeldUploads | None:
    if session.get(Run, run_id) is None:
        raise NotFound
    finished = select(RunAttempt).where(RunAttempt.run_id == run_id, RunAttempt.outcome == _FINISHED)
    for row in session.exec(finished.order_by(col(RunAttempt.number).desc())).all():
        folder: Path = app.settings.data_dir / "published" / run_id / row.id
        if is_published(folder):
            return held_uploads(folder, app.trust(session).for_stored(), app.clock.now())
    return None


def _weights(app: App, session: Session, run_id: str, number: int, reader: Identity) -> NDArray[np.float64]:
    """Return all weights of the global model of a round in one vector, in the order in which uploads have them."""
    row = session.exec(select(Checkpoint).where(Checkpoint.run_id == run_id, Checkpoint.round_number == number)).first()
    run = session.get_one(Run, run_id)
    if row is None:
        raise NotFound("model")
    context = checkpoint_context(
        study=run.study_code,
        run=run_id,
        round_number=number,
        weights_sha256=row.weights_sha256,
        sender=sealer_of(row.lineage),
    )
    try:
        data = open_sealed(
            get_blob(session, row.weights_blob_id),
            recipient=reader,
            trust=app.trust(session).for_stored(),
            context=context,
            sender=context.sender,
            at=app.clock.now(),
        )
    except SealBroken as error:
        raise CheckpointRefused("its seal does not hold for this run and round") from error
    return vector_of_state(data, row.weights_sha256)


def _view(held: HeldUploads, *, change: NDArray[np.float64] | None = None, largest: float = 1.0) -> CloudUploads:
    uploads = [
        UploadView(
            slug=slug_of(party),
            shares=shares_by_bin(numbers),
            alike=None if change is None else _correlation(numbers[:-1], change),
        )
        for party, numbers in held.numbers.items()
    ]
    return CloudUploads(
        round=held.checked.round,
        words=held.checked.words,
        sha256=held.checked.sha256,
        uploads=tuple(uploads),
        change=None
        if change is None
        else TrueChange(
            shares=shares_by_bin(change / largest),
            largest=float(np.abs(change).max()),
            typical=float(np.sqrt(np.mean(change**2))),
            by_chance=_TWO_SIDED_95 / float(np.sqrt(len(change))),
        ),
    )


def _correlation(one: NDArray[np.floating], other: NDArray[np.float64]) -> float:
    """Return Pearson's correlation; 0 where a vector does not vary."""
    if not (one.std() and other.std()):
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])
