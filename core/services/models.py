"""Global models: what their signed lineage proves, which one is in service, promotion and roll-back.

Only the authority opens a model here, and only to promote it: it checks the serving model against its lineage and seals
it, as the authority, for the enclaves of the hospitals that are members now.
"""

from dataclasses import dataclass, field, fields
from datetime import datetime

from sqlmodel import Session, col, select

from core.diagnosis.bundle import ModelManifest, ServingModel
from core.diagnosis.checkpoint_file import open_model
from core.diagnosis.exports import check_exports
from core.errors import CheckpointRefused, InvalidInput, NotFound
from core.learning.lineage import Lineage
from core.learning.metric_sums import bounds_of
from core.learning.orders import AUTHORITY
from core.services import audit, encrypted_keyholder
from core.services.app import Actor, App
from core.services.authorise import Action, Relation, authorise
from core.services.authority import authority_office
from core.services.model_store import (
    has_hidden_head,
    install,
    model_in_service,
    retire_others,
    seal_for_enclaves,
    verified_lineage,
)
from core.services.promotions import answers, read_promotion, sign_promotion
from core.studies import STUDIES, STUDIES_BY_CODE
from db.blobs import delete_blob, get_blob, put_blob
from db.engine import read_scope, session_scope
from db.models import Checkpoint
from db.models.federation import CheckpointStatus

__all__ = [
    "CheckpointStatus",
    "ModelView",
    "install",
    "list_models",
    "model",
    "model_in_service",
    "promote",
    "roll_back",
    "verified_lineage",
]

_RULE = {item.name for item in fields(ModelManifest)}
"""Figures of a lineage with these names are the decision rule, which the manifest must repeat."""


@dataclass(frozen=True)
class ModelView:
    """A model that can serve, as pages show it.

    Attributes:
        id: id of the checkpoint.
        study: name of the study, or its code where it is not known here.
        run_id: the run that made it, or None for an imported one.
        round_number: the round of that run.
        status: candidate, in service, retired by a newer one, or rolled back.
        created_at: when it was stored.
        promoted_at: when it last went into service.
        weights_sha256: hash of its weights.
        verified: whether its signed lineage holds back to its first weights.
        problem: why it does not.
        answers: whether it is in service and the authority's statement of it holds.
        mode: how it was aggregated, from the lineage.
        members: whose updates are in it, from the lineage.
        metrics: global validation figures, from the lineage.
        steps: number of links from here to the first weights.
        privacy: its differential privacy, from the lineage; empty for none.
    """

    id: str
    study: str
    run_id: str | None
    round_number: int
    status: CheckpointStatus
    created_at: datetime
    promoted_at: datetime | None
    weights_sha256: str
    verified: bool
    problem: str = ""
    answers: bool = False
    mode: str = ""
    members: tuple[str, ...] = ()
    metrics: dict[str, float] = field(default_factory=dict)
    steps: int = 0
    privacy: dict[str, float | str] = field(default_factory=dict)


def list_models(app: App, actor: Actor) -> list[ModelView]:
    """Return every model with a serving form, the newest first, each with its lineage verified now.

    Raises:
        NotAuthorised: the role may not see models.
    """
    with read_scope(app.engine) as session:
        authorise(app, session, actor, Action.READ_MODEL, Relation.ANY)
        order = col(Checkpoint.created_at).desc(), col(Checkpoint.id)
        rows = session.exec(select(Checkpoint).where(col(Checkpoint.serving_blob_id).is_not(None)).order_by(*order))
        return [_view(app, session, row) for row in rows.all()]


def model(app: App, actor: Actor, checkpoint_id: str) -> ModelView:
    """Return one model, with its lineage verified now.

    Raises:
        NotAuthorised: the role may not see models.
        NotFound: there is no such model.
    """
    with read_scope(app.engine) as session:
        authorise(app, session, actor, Action.READ_MODEL, Relation.ANY, object_id=checkpoint_id)
        row = session.get(Checkpoint, checkpoint_id)
        if row is None:
            raise NotFound
        return _view(app, session, row)


def promote(app: App, actor: Actor, checkpoint_id: str) -> None:
    """Put a candidate into service; the model before it retires. One whose promotion holds no more is promoted again.

    Raises:
        NotAuthorised: only the authority promotes.
        NotFound: there is no such model.
        InvalidInput: it is in service already.
        CheckpointRefused: its lineage, its seal or its contents do not hold.
    """
    with session_scope(app.engine) as session:
        authorise(app, session, actor, Action.PROMOTE_MODEL, Relation.ANY, object_id=checkpoint_id)
        row = _lock(session, checkpoint_id)
        _put_into_service(app, session, row)
        audit.append(app, session, actor, "model.promote", object_id=row.id, details={"round": row.round_number})
    _remember(app, checkpoint_id)


def roll_back(app: App, actor: Actor, study_name: str) -> str:
    """Put the model that served before back into service; the present one is marked as rolled back. Returns its id.

    Raises:
        NotAuthorised: only the authority rolls back.
        NotFound: the study is unknown, or no earlier model served.
        CheckpointRefused: the earlier model's lineage, seal or contents do not hold.
    """
    with session_scope(app.engine) as session:
        authorise(app, session, actor, Action.ROLL_BACK_MODEL, Relation.ANY)
        study = STUDIES.get(study_name)
        if study is None:
            raise NotFound
        earlier = session.exec(
            select(Checkpoint.id)
            .where(Checkpoint.study_code == study.code, Checkpoint.status == CheckpointStatus.RETIRED)
            .order_by(col(Checkpoint.promoted_at).desc())
            .limit(1)
        ).first()
        if earlier is None:
            raise NotFound("no earlier model")
        row = _lock(session, earlier)
        _put_into_service(app, session, row, replaced=CheckpointStatus.ROLLED_BACK)
        audit.append(app, session, actor, "model.roll-back", object_id=row.id, details={"round": row.round_number})
    _remember(app, earlier)
    return earlier


def _remember(app: App, checkpoint_id: str) -> None:
    """Keep the number of a promotion once it is stored, so that no older one is believed again."""
    with read_scope(app.engine) as session:
        read_promotion(app, session, session.get_one(Checkpoint, checkpoint_id))


def _put_into_service(
    app: App, session: Session, row: Checkpoint, *, replaced: CheckpointStatus = CheckpointStatus.RETIRED
) -> None:
    """Verify a model, seal it anew for today's enclaves, exchange it with the one in service."""
    if answers(app, session, row):
        raise InvalidInput("this model is in service already")
    lineage = verified_lineage(app, session, row)[0]
    old_blob = row.serving_blob_id or ""
    with authority_office(app.settings, app.clock) as office:
        model = open_model(
            get_blob(session, old_blob),
            recipient=office.identity,
            trust=app.trust(session).for_stored(),
            study=STUDIES_BY_CODE[row.study_code].name,
            run=lineage.run,
            sender=row.serving_sender or "",
            at=app.clock.now(),
        )
        check_against(model, lineage)
        if row.serving_sender != AUTHORITY:  # what the authority sealed it has checked before
            trust, at = app.trust(session).for_stored(), app.clock.now()
            check_exports(model, row.exports or b"", members=lineage.members, trust=trust, at=at)
        if has_hidden_head(STUDIES[model.manifest.study]):
            encrypted_keyholder.take_over(app, session, row, office=office, model=model)
        sealed = seal_for_enclaves(app, session, model, office.identity)
        litert = model.manifest.litert_sha256
        sign_promotion(app, session, row, sealed, office.identity, litert_sha256=litert)
    retire_others(session, row, replaced)
    row.serving_blob_id = put_blob(session, sealed, "serving", app.clock).id
    row.serving_sender = AUTHORITY
    row.status, row.promoted_at = CheckpointStatus.IN_SERVICE, app.clock.now()
    session.add(row)
    session.flush()
    delete_blob(session, old_blob)


def check_against(model: ServingModel, lineage: Lineage) -> None:
    """Hold what a node exported against what the aggregation signed: weights, members, figures, decision rule.

    Raises:
        CheckpointRefused: they differ.
    """
    model.check()
    manifest = model.manifest
    expected = (lineage.weights_sha256, lineage.round, lineage.members, lineage.metrics)
    stated = (manifest.weights_sha256, manifest.round, manifest.members, manifest.metrics)
    try:
        bounds = bounds_of(lineage.metrics)
    except TypeError as error:
        raise CheckpointRefused("its lineage states no prediction sets") from error
    rule = {name: value for name, value in lineage.metrics.items() if name in _RULE}
    same = manifest.set_bounds == bounds and all(getattr(manifest, name) == value for name, value in rule.items())
    if stated != expected or not same:
        raise CheckpointRefused("the serving model is not the one that its lineage describes")


def _lock(session: Session, checkpoint_id: str) -> Checkpoint:
    """Return a row with a serving model, all rows of its study being locked until the commit."""
    row = session.get(Checkpoint, checkpoint_id)
    if row is None or row.serving_blob_id is None:
        raise NotFound
    same_study = select(Checkpoint).where(Checkpoint.study_code == row.study_code).order_by(Checkpoint.id)
    session.exec(same_study.with_for_update()).all()
    session.refresh(row)
    return row


def _view(app: App, session: Session, row: Checkpoint) -> ModelView:
    study = STUDIES_BY_CODE.get(row.study_code)
    view = ModelView(
        id=row.id,
        study=study.name if study else row.study_code,
        run_id=row.run_id,
        round_number=row.round_number,
        status=row.status,
        created_at=row.created_at,
        promoted_at=row.promoted_at,
        weights_sha256=row.weights_sha256,
        verified=False,
    )
    try:
        chain = verified_lineage(app, session, row)
    except CheckpointRefused as error:
        return ModelView(**{**vars(view), "problem": error.detail})
    own = chain[0]
    return ModelView(
        **{
            **vars(view),
            "verified": True,
            "answers": answers(app, session, row),
            "mode": own.mode,
            "members": own.members,
            "metrics": own.metrics,
            "privacy": own.privacy,
            "steps": len(chain),
        }
    )
