"""An installation with something of every kind stored, and whether all of it still opens."""

from dataclasses import dataclass
from typing import Any

from sqlmodel import select

from core.clock import FixedClock
from core.diagnosis.checkpoint_file import open_model
from core.diagnosis.wire import image_context, result_context
from core.imaging.archive import open_dataset
from core.learning.orders import AggregationMode
from core.services import approvals, audit, models, run_views
from core.services.app import Actor, App
from core.services.authority import authority_office
from core.services.case_objects import ObjectKind, image_rows, put_object, sealed_objects
from core.services.dataset_store import sealed_path
from core.services.encrypted_keyholder import head_of
from core.services.model_store import model_in_service
from core.services.reviews import Decision, reviews_of, sign_review
from core.services.runs import abort, start_run
from core.services.vault import key_of
from core.studies import LEUKEMIA
from db.blobs import put_blob
from db.engine import read_scope, session_scope
from db.models import Case, EncryptedHeadRecord, Run, RunStatus
from security.context import Context
from security.encrypted_inference.signed import head_context
from security.sealing import open_sealed, seal
from security.signing import sign, verify
from tests.federation import SLUGS
from tests.integration.clinic import stored_case
from tests.integration.runs_support import give_data, queue_run, worker_for
from tests.integration.vault_support import BODY, RESULT, full_case, identity_of


@dataclass(frozen=True)
class Estate:
    """What is stored: ids of cases (the second has a fallback), data sets, the run of the model in service, others."""

    cases: tuple[str, str]
    datasets: tuple[str, ...]
    served_run: str
    candidate_run: str
    queued_run: str


def build(app: App, clock: FixedClock, *, patient: Actor, doctor: Actor, authority: Actor) -> Estate:
    """Store something of every kind."""
    approvals.approve_own_code(app)
    first, second = full_case(app, patient), _with_fallback(app, patient)
    sign_review(app, doctor, first, decision=Decision.DEFER, reason="another laboratory")
    sets = give_data(app)
    runs = []
    for mode in (AggregationMode.BLIND, AggregationMode.SEALED):
        runs.append(start_run(app, authority, study=LEUKEMIA.name, mode=mode, rounds=1, dataset_ids=sets))
        worker = worker_for(app.settings, clock)
        assert worker.run_one()
        worker.close()
    served = next(view for view in models.list_models(app, authority) if view.run_id == runs[0])
    models.promote(app, authority, served.id)
    with session_scope(app.engine) as session, authority_office(app.settings, app.clock) as office:
        head = sign(b"head", signer=office.identity, context=_head(served.id))
        blob = put_blob(session, head, "head", app.clock)
        session.add(EncryptedHeadRecord(checkpoint_id=served.id, blob_id=blob.id, created_at=app.clock.now()))
    return Estate((first, second), tuple(sets), runs[0], runs[1], queue_run(app, authority, sets))


def _head(checkpoint_id: str) -> Context:
    return head_context(study=LEUKEMIA.name, checkpoint_id=checkpoint_id, sender="authority")


def _with_fallback(app: App, patient: Actor) -> str:
    case = stored_case(app, patient, None, fallback="south")
    enclaves = [identity_of(app, f"{slug}.serving").sealing_certificate for slug in ("north", "south")]
    context = image_context(study=LEUKEMIA.name, case_id=case)
    image = seal(BODY, sender=app.identity, recipients=enclaves, context=context)
    with session_scope(app.engine) as session:
        row, key = image_rows(session, case)[0], key_of(app, session, patient.user_id)
        row.image_blob_id = put_object(session, image, case, 0, ObjectKind.IMAGE, key=key, clock=app.clock)
    return case


def sealed_of(app: App, case_id: str, kind: ObjectKind) -> bytes:
    """Return the one object of a case as its recipients get it."""
    with read_scope(app.engine) as session:
        key = key_of(app, session, session.get_one(Case, case_id).patient_id)
        return sealed_objects(session, case_id, kind, key=key)[0]


def check_all_opens(app: App, estate: Estate, *, doctor: Actor, authority: Actor) -> None:
    """Open everything with the keys that the parties have now."""
    trust, at, study = app.trust().for_stored(), app.clock.now(), LEUKEMIA
    for case, slugs in zip(estate.cases, (("north",), ("north", "south")), strict=True):
        for slug in slugs:
            context = image_context(study=study.name, case_id=case)
            enclave, sealed = identity_of(app, f"{slug}.serving"), sealed_of(app, case, ObjectKind.IMAGE)
            opened = open_sealed(sealed, recipient=enclave, trust=trust, context=context, sender="app", at=at)
            assert opened == BODY
    context = result_context(study=study.name, case_id=estate.cases[0], party="north.serving")
    result = sealed_of(app, estate.cases[0], ObjectKind.RESULT)
    found = open_sealed(result, recipient=app.identity, trust=trust, context=context, sender=context.sender, at=at)
    assert found == RESULT
    assert [review.reason for review in reviews_of(app, doctor, estate.cases[0])] == ["another laboratory"]

    for slug, dataset in zip(SLUGS, estate.datasets, strict=True):
        file = sealed_path(app.settings, slug, dataset)
        node = identity_of(app, f"{slug}.training")
        assert len(open_dataset(file, node=node, trust=app.trust(), study=study, dataset_id=dataset, at=at).arrays)

    views = models.list_models(app, authority)
    assert {view.run_id for view in views} == {estate.served_run, estate.candidate_run}
    assert all(view.verified for view in views)
    with read_scope(app.engine) as session:
        served = model_in_service(app, session, study)
        for checkpoint in session.exec(select(EncryptedHeadRecord.checkpoint_id)).all():
            head = head_of(session, checkpoint)
            assert verify(head, trust=trust, context=_head(checkpoint), party="authority", at=at) == b"head"
    for slug in SLUGS:
        enclave = identity_of(app, f"{slug}.serving")
        which = {"study": study.name, "run": served.run, "sender": served.sender}
        assert open_model(served.sealed, recipient=enclave, trust=app.trust(), at=at, **which).manifest.run_id
    figures = run_views.run_detail(app, authority, estate.served_run).own[1]
    assert set(figures) == set(SLUGS)
    assert all(figures.values())
    assert approvals.overview(app, authority).standing is approvals.Standing.APPROVED
    audit.verify(app, authority)


def check_goes_on(app: App, estate: Estate, clock: FixedClock, *, patient: Actor, authority: Actor) -> None:
    """Work with the new keys: a new case, a run that continues from the model of before, another model in service."""
    case = full_case(app, patient)
    assert sealed_of(app, case, ObjectKind.IMAGE)
    views = {view.run_id: view for view in models.list_models(app, authority)}
    with read_scope(app.engine) as session:
        is_queued = session.get_one(Run, estate.queued_run).status is RunStatus.QUEUED
    if is_queued:
        abort(app, authority, estate.queued_run)
    for mode, before in ((AggregationMode.BLIND, estate.served_run), (AggregationMode.SEALED, estate.candidate_run)):
        which: dict[str, Any] = {"study": LEUKEMIA.name, "rounds": 1, "dataset_ids": list(estate.datasets)}
        run = start_run(app, authority, mode=mode, start_from=views[before].id, **which)
        worker = worker_for(app.settings, clock)
        assert worker.run_one()
        worker.close()
        with read_scope(app.engine) as session:
            row = session.get_one(Run, run)
        assert row.status is RunStatus.FINISHED, row.reason
    models.promote(app, authority, views[estate.candidate_run].id)
