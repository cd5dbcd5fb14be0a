"""Federated runs for people: order one, watch it, pause, resume, abort, make a node drop out. Authorised here.

What a run is to do is signed by the authority when it is ordered; the row in the database only repeats it. The worker
that carries runs out is another process (`core.services.worker_process`).
"""

import base64
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlmodel import Session, col, select

from core.errors import InvalidInput, NotFound, RunRefused
from core.learning.group_key import seal_group_key
from core.learning.lineage import sha256_of_lineage
from core.learning.orders import (
    MIN_MEMBERS,
    AggregationMode,
    Member,
    RunOptions,
    check_validation,
    sign_order,
    training_party,
)
from core.learning.recipes import recipe_of
from core.learning.run_choices import Combining, PrivacyOptions, RoundRules, ServerOptions
from core.learning.training import MAX_PROXIMAL
from core.services import audit, worker_process
from core.services.app import Actor, App
from core.services.authorise import Action, Relation, authorise
from core.services.authority import authority_office
from core.services.dataset_store import open_name
from core.services.models import verified_lineage
from core.studies import STUDIES, STUDIES_BY_CODE, Study
from db.engine import read_scope, session_scope
from db.models import Checkpoint, Dataset, Hospital, Run, RunMember
from db.models.federation import Provenance, RunStatus, RunWish
from db.types import new_id
from security.keys import KeyUse

__all__ = [
    "MIN_MEMBERS",
    "AggregationMode",
    "DatasetChoice",
    "Provenance",
    "RunStatus",
    "RunWish",
    "abort",
    "dataset_choices",
    "pause",
    "resume",
    "set_drop_out",
    "start_run",
    "wake_worker",
]

MAX_LOCAL_EPOCHS = 50
DEFAULT_COMBINING, DEFAULT_SERVER, DEFAULT_RULES = Combining(), ServerOptions(), RoundRules()
_UNDER_WAY = (RunStatus.QUEUED, RunStatus.RUNNING)


@dataclass(frozen=True)
class DatasetChoice:
    """A data set that can take part in a run.

    Attributes:
        id: id of the data set.
        hospital_id: whose it is.
        hospital: name of the hospital.
        name: name of the data set.
        study: name of the study.
        provenance: synthetic, public or clinical.
        training_images: images of its training part.
        validation_images: images of its validation part.
    """

    id: str
    hospital_id: str
    hospital: str
    name: str
    study: str
    provenance: Provenance
    training_images: int
    validation_images: int


def dataset_choices(app: App, actor: Actor) -> list[DatasetChoice]:
    """Return the data sets of active hospitals, by hospital, the newest first.

    Raises:
        NotAuthorised: only the authority orders runs.
    """
    with read_scope(app.engine) as session:
        authorise(app, session, actor, Action.PLAN_RUN, Relation.ANY)
        rows = session.exec(
            select(Dataset, Hospital)
            .join(Hospital, col(Hospital.id) == col(Dataset.hospital_id))
            .where(col(Hospital.is_active))
            .order_by(col(Hospital.name), col(Dataset.created_at).desc())
        ).all()
    return [
        DatasetChoice(
            id=row.id,
            hospital_id=hospital.id,
            hospital=hospital.name,
            name=open_name(app, row),
            study=STUDIES_BY_CODE[row.study_code].name,
            provenance=row.provenance,
            training_images=_images(row, "training"),
            validation_images=_images(row, "validation"),
        )
        for row, hospital in rows
        if row.study_code in STUDIES_BY_CODE
    ]


def start_run(
    app: App,
    actor: Actor,
    *,
    study: str,
    rounds: int,
    dataset_ids: Sequence[str],
    mode: AggregationMode = AggregationMode.BLIND,
    minimum_members: int = MIN_MEMBERS,
    start_from: str | None = None,
    local_epochs: int = 3,
    combining: Combining = DEFAULT_COMBINING,
    server: ServerOptions = DEFAULT_SERVER,
    proximal: float = 0.0,
    round_rules: RoundRules = DEFAULT_RULES,
    privacy: PrivacyOptions | None = None,
    architecture: str = "",
    seed: int = 0,
) -> str:
    """Order a run: check it, sign it as the authority, queue it. Returns its id; `wake_worker` gets it going.

    Args:
        app: the application.
        actor: who orders it.
        study: name of the study.
        rounds: number of rounds.
        dataset_ids: one data set of each hospital that takes part.
        mode: how updates travel; `plain` is refused when a data set is clinical.
        minimum_members: a round with fewer of them fails.
        start_from: id of the finished model to continue from, or None for new weights.
        local_epochs: epochs at each hospital in each round.
        combining: how updates become one; `blind` knows the mean only.
        server: what is done with the combined update.
        proximal: FedProx: how strongly local training is pulled back to the global model; 0 for not at all.
        round_rules: who is asked in a round, for how long, and what a failure means.
        privacy: differential privacy of local training, or None.
        architecture: network; the study's own by default.
        seed: of first weights and shuffling.

    Raises:
        NotAuthorised: only the authority orders runs.
        RunRefused: it cannot be done like this; the text says why.
        MemberRefused: a hospital's training node has no valid certificate.
        NotFound: the study, a data set or the model does not exist.
        CheckpointRefused: the lineage of the model to start from does not hold.
    """
    known = STUDIES.get(study)
    if known is None:
        raise NotFound("study")
    if not 1 <= local_epochs <= MAX_LOCAL_EPOCHS:
        raise RunRefused(f"1 to {MAX_LOCAL_EPOCHS} local epochs, not {local_epochs}")
    if not 0 <= proximal <= MAX_PROXIMAL:
        raise RunRefused(f"the proximal weight of FedProx is from 0 to {MAX_PROXIMAL:g}, not {proximal:g}")
    run_id = new_id()
    with session_scope(app.engine) as session:
        authorise(app, session, actor, Action.START_RUN, Relation.ANY)
        chosen = _chosen(session, known, dataset_ids)
        if mode is AggregationMode.PLAIN and any(row.provenance is Provenance.CLINICAL for row, _ in chosen):
            raise RunRefused("clinical images are never trained on in plain mode")
        parties = [training_party(hospital.slug) for _, hospital in chosen]
        signers = [app.certificate_of(party, KeyUse.SIGN, session) for party in parties]
        readers = [app.certificate_of(party, KeyUse.SEAL, session) for party in parties]
        check_validation(known, [row.class_counts.get("validation", [0] * len(known.classes)) for row, _ in chosen])
        options = RunOptions(
            study=known.code,
            architecture=architecture or known.architecture,
            mode=mode,
            rounds=rounds,
            members=tuple(
                Member(
                    party=training_party(hospital.slug),
                    dataset=row.id,
                    images=_images(row, "training"),
                    validation=_images(row, "validation"),
                )
                for row, hospital in chosen
            ),
            minimum_members=minimum_members,
            training=replace(recipe_of(known).training, epochs=local_epochs, proximal=proximal),
            seed=seed,
            draw=secrets.token_hex(16),
            combining=combining,
            server=server,
            round_rules=round_rules,
            privacy=privacy,
            start_from=_lineage_name(app, session, known, start_from),
        )
        options = options.naming(signers)
        with authority_office(app.settings, app.clock) as office:
            order = sign_order(options, run=run_id, signer=office.identity)
            group = seal_group_key(run_id, study=known.code, signer=office.identity, members=readers)
        session.add(
            Run(
                id=run_id,
                study_code=known.code,
                mode=mode.value,
                options={**options.to_json(), "order": _text(order), "group": _text(group)},
                rounds=rounds,
                requested_by=actor.user_id,
                created_at=app.clock.now(),
            )
        )
        session.flush()
        for row, hospital in chosen:
            session.add(RunMember(run_id=run_id, hospital_id=hospital.id, dataset_id=row.id))
        session.flush()
        details = {"mode": mode.value, "rounds": rounds, "members": len(chosen)}
        details |= {f"dataset.{hospital.slug}": row.id for row, hospital in chosen}
        audit.append(app, session, actor, "run.start", object_id=run_id, details=details)
    return run_id


def wake_worker(app: App, actor: Actor) -> bool:
    """Start the worker if a run waits for one and none lives; returns whether one was started.

    Raises:
        NotAuthorised: only the authority does this.
    """
    with read_scope(app.engine) as session:
        authorise(app, session, actor, Action.CONTROL_RUN, Relation.ANY)
        waiting = session.exec(select(Run.id).where(col(Run.status).in_(_UNDER_WAY)).limit(1)).first()
    if waiting is None or not worker_process.ensure_running(app.settings):
        return False
    with session_scope(app.engine) as session:
        audit.append(app, session, actor, "worker.start", object_id=waiting)
    return True


def dismiss_worker(app: App) -> bool:
    """End this installation's worker, as the server that stops, unless a run is under way; returns whether it was told.

    An idle one would hold the place of the next server's worker, with old settings and old code.

    Raises:
        DatabaseUnavailable: the database did not answer; the worker is left as it is.
    """
    with read_scope(app.engine) as session:
        under_way = session.exec(select(Run.id).where(col(Run.status).in_(_UNDER_WAY)).limit(1)).first()
    return under_way is None and worker_process.is_running(app.settings) and worker_process.stop(app.settings)


def pause(app: App, actor: Actor, run_id: str) -> None:
    """Ask a run to stop at the next training step; the round in hand is tried again after `resume`.

    Raises:
        NotAuthorised, NotFound, RunRefused: not the authority, no such run, or not under way.
    """
    with session_scope(app.engine) as session:
        run = _controlled(app, session, actor, run_id, _UNDER_WAY)
        if run.status is RunStatus.QUEUED:
            run.status = RunStatus.PAUSED
        else:
            run.wish = RunWish.PAUSE
        _log(app, session, actor, run, "run.pause")


def resume(app: App, actor: Actor, run_id: str) -> None:
    """Queue a paused or failed run again; it goes on after its last finished round, with a new attempt.

    Raises:
        NotAuthorised, NotFound, RunRefused: not the authority, no such run, or neither paused nor failed.
    """
    with session_scope(app.engine) as session:
        run = _controlled(app, session, actor, run_id, (RunStatus.PAUSED, RunStatus.FAILED))
        run.status, run.wish, run.reason, run.finished_at = RunStatus.QUEUED, RunWish.GO, None, None
        _log(app, session, actor, run, "run.resume")


def abort(app: App, actor: Actor, run_id: str) -> None:
    """End a run for good; what its finished rounds made is kept.

    Raises:
        NotAuthorised, NotFound, RunRefused: not the authority, no such run, or at its end already.
    """
    with session_scope(app.engine) as session:
        run = _controlled(app, session, actor, run_id, (*_UNDER_WAY, RunStatus.PAUSED))
        if run.status is RunStatus.RUNNING:
            run.wish = RunWish.ABORT
        else:
            run.status, run.finished_at = RunStatus.ABORTED, app.clock.now()
        _log(app, session, actor, run, "run.abort")


def set_drop_out(app: App, actor: Actor, run_id: str, hospital_id: str, *, drop: bool) -> None:
    """Make a hospital's node drop out of a run, or let it come back: for demonstrations and tests.

    Raises:
        NotAuthorised, NotFound, RunRefused: not the authority, no such member, or the run is at its end.
    """
    with session_scope(app.engine) as session:
        authorise(app, session, actor, Action.DROP_NODE, Relation.ANY, object_id=run_id)
        run = _controlled(app, session, actor, run_id, (*_UNDER_WAY, RunStatus.PAUSED))
        member = session.get(RunMember, (run_id, hospital_id))
        if member is None:
            raise NotFound
        member.drop_requested = drop
        session.add(member)
        _log(app, session, actor, run, "run.drop-node" if drop else "run.return-node", hospital=hospital_id)


def _controlled(app: App, session: Session, actor: Actor, run_id: str, states: Sequence[RunStatus]) -> Run:
    authorise(app, session, actor, Action.CONTROL_RUN, Relation.ANY, object_id=run_id)
    run = session.get(Run, run_id, with_for_update=True)
    if run is None:
        raise NotFound
    if run.status not in states:
        raise RunRefused(f"the run is {run.status.value}")
    session.add(run)
    return run


def _log(app: App, session: Session, actor: Actor, run: Run, action: str, **details: str) -> None:
    session.flush()
    audit.append(app, session, actor, action, object_id=run.id, details=details)


def _chosen(session: Session, study: Study, dataset_ids: Sequence[str]) -> list[tuple[Dataset, Hospital]]:
    """Return the data sets with their hospitals, by hospital; one of each."""
    chosen: dict[str, tuple[Dataset, Hospital]] = {}
    for dataset_id in dataset_ids:
        row = session.get(Dataset, dataset_id)
        hospital = session.get(Hospital, row.hospital_id) if row else None
        if row is None or hospital is None or not hospital.is_active or row.study_code != study.code:
            raise NotFound("data set")
        if hospital.id in chosen:
            raise RunRefused(f"choose one data set of {hospital.name}, not two")
        if _images(row, "training") == 0:
            raise RunRefused(f"the data set of {hospital.name} has no training images")
        if _images(row, "validation") == 0:
            raise RunRefused(f"the data set of {hospital.name} has no validation images")
        chosen[hospital.id] = row, hospital
    if len(chosen) < MIN_MEMBERS:
        raise RunRefused(f"choose at least {MIN_MEMBERS} hospitals")
    return sorted(chosen.values(), key=lambda pair: pair[1].slug)


def _lineage_name(app: App, session: Session, study: Study, checkpoint_id: str | None) -> str:
    if checkpoint_id is None:
        return ""
    row = session.get(Checkpoint, checkpoint_id)
    if row is None or row.serving_blob_id is None:
        raise NotFound("model")
    if row.study_code != study.code:
        raise InvalidInput("the model is for another study")
    verified_lineage(app, session, row)
    return sha256_of_lineage(row.lineage)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _images(row: Dataset, part: str) -> int:
    return sum(row.class_counts.get(part, []))
