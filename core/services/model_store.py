"""Models in the database: the lineage that proves them, the one that serves, and bringing one in from elsewhere.

Authorises nothing; `core.services.models` does that for people, set-up installs the shipped model.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session, col, select

from core.diagnosis.bundle import ServingModel
from core.diagnosis.checkpoint_file import seal_model
from core.diagnosis.client import SealedModel
from core.errors import CheckpointRefused, MemberRefused, NoModel, RunRefused
from core.learning.lineage import (
    BLIND,
    Lineage,
    check_chain,
    checkpoint_context,
    is_vouched_for,
    read_lineage,
    sign_lineage,
    signers_needed,
    signers_of,
)
from core.learning.orders import AGGREGATION, AUTHORITY, read_order, serving_party, survivors_needed, training_party
from core.services import encrypted_keyholder
from core.services.app import App
from core.services.authority import authority_office
from core.services.promotions import read_promotion, sign_promotion
from core.services.run_orders import order_bytes
from core.studies import STUDIES, Inference, Study
from db.blobs import get_blob, put_blob
from db.models import Checkpoint, Hospital, Run
from db.models.federation import CheckpointStatus
from security.certificates import Certificate, Trust
from security.errors import SecurityError
from security.identity import Identity
from security.keys import KeyUse
from security.sealing import seal

MAX_CHAIN = 10_000
IMPORTED = "import"


def verified_lineage(app: App, session: Session, row: Checkpoint) -> list[Lineage]:
    """Walk from a checkpoint to its first weights and return the lineages, the checkpoint's own first.

    Raises:
        CheckpointRefused: a signature does not hold, a row states something else than its lineage, a link is missing.
    """
    trust, at = app.trust(session).for_stored(), app.clock.now()
    chain: list[tuple[bytes, Lineage]] = []
    current: Checkpoint | None = row
    while current is not None:
        chain.append((current.lineage, own_lineage(session, current, trust=trust, at=at)))
        if len(chain) > MAX_CHAIN:
            raise CheckpointRefused("the lineage does not end")
        current = session.get(Checkpoint, current.parent_id) if current.parent_id else None
    check_chain(chain)
    return [lineage for _, lineage in chain]


def own_lineage(session: Session, row: Checkpoint, *, trust: Trust, at: datetime) -> Lineage:
    """Return the lineage of one checkpoint, and for a blind run hold it against the run's order; parents are left out.

    Raises:
        CheckpointRefused: a signature does not hold, or the row states something else than its lineage.
    """
    lineage = read_lineage(row.lineage, study=row.study_code, weights_sha256=row.weights_sha256, trust=trust, at=at)
    if lineage.round != row.round_number or (lineage.mode != IMPORTED and lineage.run != row.run_id):
        raise CheckpointRefused("the stored row states another run or round than its lineage")
    if lineage.mode == BLIND and not is_vouched_for(row.lineage):
        _check_order(session, row.lineage, lineage, trust, at)
    return lineage


def _check_order(session: Session, signed: bytes, lineage: Lineage, trust: Trust, at: datetime) -> None:
    """Hold what members signed against the authority's order: they are its members, and enough of them.

    Raises:
        CheckpointRefused: they are not, or the order is not the one that they signed for.
    """
    run = session.get(Run, lineage.run)
    try:
        order = order_bytes(run)
        options = read_order(order, run=lineage.run, study=lineage.study, trust=trust, at=at)
    except (SecurityError, RunRefused, ValueError) as error:
        raise CheckpointRefused("the order of its run does not hold") from error
    asked = options.participants(lineage.round) if lineage.round else options.parties
    known = set(lineage.members) <= set(asked) and len(lineage.members) >= survivors_needed(len(asked))
    enough = len(signers_of(signed)) >= signers_needed(len(asked))
    if not known or not enough or lineage.order != hashlib.sha256(order).hexdigest():
        raise CheckpointRefused("its members are not those of the order, or too few")


def model_in_service(app: App, session: Session, study: Study) -> SealedModel:
    """Return the model that answers for a study now, sealed, ready for `EnclaveClient.load_model`.

    Raises:
        NoModel: none is in service.
        CheckpointRefused: the authority did not promote it last, or the stored bytes or the lineage were changed.
    """
    row = session.exec(
        select(Checkpoint).where(Checkpoint.study_code == study.code, Checkpoint.status == CheckpointStatus.IN_SERVICE)
    ).first()
    if row is None or row.serving_blob_id is None or row.serving_sender is None:
        raise NoModel(study.title)
    promotion = read_promotion(app, session, row)
    lineage = read_lineage(
        row.lineage,
        study=row.study_code,
        weights_sha256=row.weights_sha256,
        trust=app.trust(session).for_stored(),
        at=app.clock.now(),
    )
    sealed = get_blob(session, row.serving_blob_id)
    promotion.check_sealed(sealed)
    return SealedModel(
        checkpoint_id=row.id,
        study=study.name,
        run=lineage.run,
        sender=row.serving_sender,
        sealed=sealed,
        head=encrypted_keyholder.head_of(session, row.id) if has_hidden_head(study) else b"",
    )


def install(app: App, session: Session, model: ServingModel) -> str:
    """Bring a model from elsewhere (it must hold its weights) into service, vouched for by the authority.

    Returns the checkpoint's id. The caller has decided that this may happen (set-up does), and audits it.

    Raises:
        CheckpointRefused: it does not hold its weights or is not consistent.
    """
    model.check()
    model = model.standing_alone()
    manifest = model.manifest
    study = STUDIES[manifest.study]
    if model.weights is None:
        raise CheckpointRefused("the weights are not in it, so nobody could train on")
    with authority_office(app.settings, app.clock) as office:
        signed = sign_lineage(
            Lineage(
                study=study.code,
                run=manifest.run_id,
                round=manifest.round,
                attempt="",
                weights_sha256=manifest.weights_sha256,
                parent="",
                mode=IMPORTED,
                members=manifest.members,
                metrics=manifest.metrics,
                order="",
                at=app.clock.now().isoformat(),
            ),
            signer=office.identity,
        )
        context = checkpoint_context(
            study=study.code,
            run=manifest.run_id,
            round_number=manifest.round,
            weights_sha256=manifest.weights_sha256,
            sender=AUTHORITY,
        )
        trainers = [training_party(slug) for slug in _active_slugs(session)]
        readers = _certificates(app, session, [*trainers, AGGREGATION, AUTHORITY])
        weights = seal(model.weights, sender=office.identity, recipients=readers, context=context)
        sealed = seal_for_enclaves(app, session, model, office.identity)
        row = Checkpoint(
            study_code=study.code,
            round_number=manifest.round,
            weights_sha256=manifest.weights_sha256,
            weights_blob_id=put_blob(session, weights, "weights", app.clock).id,
            serving_blob_id=put_blob(session, sealed, "serving", app.clock).id,
            serving_sender=AUTHORITY,
            lineage=signed,
            metrics=dict(manifest.metrics),
            created_at=app.clock.now(),
        )
        sign_promotion(app, session, row, sealed, office.identity, litert_sha256=manifest.litert_sha256)
        session.add(row)
        session.flush()
        if has_hidden_head(study):
            encrypted_keyholder.take_over(app, session, row, office=office, model=model)
    retire_others(session, row, CheckpointStatus.RETIRED)
    row.status, row.promoted_at = CheckpointStatus.IN_SERVICE, app.clock.now()
    session.flush()
    return row.id


def has_hidden_head(study: Study) -> bool:
    """Whether a study's models serve with their heads encrypted."""
    return study.inference is Inference.ENCRYPTED_HEAD


def seal_for_enclaves(app: App, session: Session, model: ServingModel, authority: Identity) -> bytes:
    """Seal a model, as the authority, for the enclaves of the hospitals that are members now, and for itself.

    Where its head is encrypted the weights stay behind: the authority has them in the checkpoint.
    """
    model = model.without_weights() if has_hidden_head(STUDIES[model.manifest.study]) else model
    parties = [serving_party(slug) for slug in _active_slugs(session)]
    recipients = [*_certificates(app, session, parties), authority.sealing_certificate]
    return seal_model(model, sender=authority, recipients=recipients)


def _certificates(app: App, session: Session, parties: Sequence[str]) -> list[Certificate]:
    """Sealing certificates that hold now; a party without one (revoked, expired) receives nothing."""
    found = []
    for party in parties:
        try:
            found.append(app.certificate_of(party, KeyUse.SEAL, session))
        except MemberRefused:
            continue
    return found


def _active_slugs(session: Session) -> list[str]:
    return list(session.exec(select(Hospital.slug).where(col(Hospital.is_active)).order_by(Hospital.slug)).all())


def retire_others(session: Session, row: Checkpoint, status: CheckpointStatus) -> None:
    """Take the study's other model out of service and give it `status`."""
    serving = select(Checkpoint).where(
        Checkpoint.study_code == row.study_code,
        Checkpoint.status == CheckpointStatus.IN_SERVICE,
        Checkpoint.id != row.id,
    )
    for other in session.exec(serving).all():
        other.status = status
        session.add(other)
