"""From an upload to a preliminary answer: checked, routed, sealed and stored first; only then is an enclave asked.

Nothing that was stored is lost: while no enclave answers, the case waits and `retry_waiting` takes it up again. The
app holds the picture only during `submit`; afterwards only the enclaves that it was sealed for can open it.
"""

import random
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace

from sqlalchemy import exists
from sqlmodel import Session, col, select

from core.diagnosis.wire import MAX_IMAGE_BYTES, image_context
from core.errors import (
    CheckpointRefused,
    ConsentMissing,
    DatabaseUnavailable,
    HemaSealError,
    ImageTooLarge,
    InvalidInput,
    NoModel,
    NotFound,
    RecordDamaged,
)
from core.imaging.decode import Pixels, decode_upload, encode_png
from core.imaging.quality import check_quality
from core.services import audit
from core.services.answering import Answer, Question, ask
from core.services.app import APP_PARTY, Actor, App
from core.services.authorise import Action, Relation, authorise
from core.services.candidates import ServedModel, served_model
from core.services.case_records import CaseSummary, CaseView, HospitalRef, case_views, seal_summary
from core.services.consents import ConsentPurpose, has_consent, purposes_in_force
from core.services.dispatch import route
from core.services.genuine import change, is_genuine, stamp
from core.services.places import find_place
from core.services.reach import hospitals_asked, out_of_reach
from core.services.routing import RoutingDecision, explain
from core.services.stages import Stages
from core.studies import STUDIES, STUDIES_BY_CODE, Study
from db.blobs import get_blob, put_blob
from db.engine import read_scope, session_scope
from db.models import Case, CaseStatus, Consent, Role
from db.types import new_id
from security.sealing import seal

MAX_RETRIED = 20


def submit(
    app: App,
    actor: Actor,
    *,
    data: bytes,
    study: str,
    place: str | None = None,
    preferred: str | None = None,
    allow_fallback: bool = False,
) -> CaseView:
    """Take a patient's image, store it sealed, and return the case with its preliminary answer if one came.

    Args:
        app: the application.
        actor: the patient.
        data: the uploaded file, whatever it is.
        study: name of the study.
        place: title of a city of the bundled list, for the distance; None leaves distance out.
        preferred: id of the hospital that the patient wishes; None leaves the choice to routing.
        allow_fallback: one other hospital may answer if the chosen one does not.

    Returns:
        The case: answered, or waiting when no enclave answered. `stages_ms` holds decode, gate, encode, route, seal,
        store, enclave (and ``enclave.…``, measured inside), record and total.

    Raises:
        NotAuthorised: not a patient.
        ConsentMissing: no consent for the diagnosis, or for the fallback that is allowed.
        ImageTypeRefused, ImageBroken, ImageTooLarge, ImageRefused: the image cannot be used; nothing was stored.
        NoModel, NoHospital: nobody can answer; nothing was stored.
        DatabaseUnavailable: nothing was stored.
    """
    stages = Stages()
    asked = STUDIES.get(study)
    if asked is None:
        raise InvalidInput("the study is not known")
    near = find_place(place) if place else None
    with read_scope(app.engine) as session:
        authorise(app, session, actor, Action.SUBMIT_CASE, Relation.SELF, object_id=actor.user_id)
        _require_consents(session, actor.user_id, allow_fallback=allow_fallback)
    with stages.measure("decode"):
        pixels = decode_upload(data, max_bytes=app.settings.max_upload_bytes, max_pixels=app.settings.max_pixels).pixels
    with stages.measure("gate"):
        check_quality(pixels, asked)
    with stages.measure("encode"):
        picture = _encoded(pixels)
    with stages.measure("route"):
        way = route(app, asked, place=near, preferred=preferred, allow_fallback=allow_fallback)
    case_id = new_id()
    with stages.measure("seal"):
        context = image_context(study=asked.name, case_id=case_id)
        sealed = seal(picture, sender=app.identity, recipients=way.recipients, context=context)
    with stages.measure("store"):
        view = _store(app, actor, case_id, study=asked, decision=way.decision, sealed=sealed)
    with suppress(DatabaseUnavailable):  # the case is stored and waits; it must not be sent again
        view = _answer(app, view, model=way.model, sealed=sealed, stages=stages)
    return replace(view, stages_ms=stages.with_total())


def retry_waiting(app: App, actor: Actor) -> int:
    """Ask again for one's cases that wait (a doctor: those of the hospital); return how many were answered.

    Cases whose patient has withdrawn the consent, or that nobody can answer any more, stay as they are; a fallback is
    asked only while its consent is in force. Of more than `MAX_RETRIED` some are drawn, so that none blocks the others.

    Raises:
        NotAuthorised: neither a patient nor a doctor.
        DatabaseUnavailable: the database did not answer.
    """
    is_patient = actor.role is Role.PATIENT
    relation = Relation.OWN_CASE if is_patient else Relation.OWN_HOSPITAL
    with read_scope(app.engine) as session:
        authorise(app, session, actor, Action.RETRY_CASE, relation, object_id=actor.hospital_id or actor.user_id)
        mine = Case.patient_id == actor.user_id if is_patient else Case.hospital_id == actor.hospital_id
        agreed = exists().where(
            col(Consent.user_id) == col(Case.patient_id),
            col(Consent.purpose) == ConsentPurpose.DIAGNOSIS,
            col(Consent.withdrawn_at).is_(None),
        )
        waiting = select(Case).where(mine, Case.status == CaseStatus.WAITING, agreed).order_by(col(Case.created_at))
        cases = [case for case in session.exec(waiting).all() if is_genuine(app, case)]
        lost = out_of_reach(app, session, cases)
        models = _models(app, session, {case.study_code for case in cases})
        cases = [case for case in cases if case.id not in lost and case.study_code in models]
        chosen = cases if len(cases) <= MAX_RETRIED else random.sample(cases, MAX_RETRIED)
        views = case_views(app, session, chosen, to_patient=is_patient)
    answered = 0
    for case, view in zip(chosen, views, strict=True):
        again = _sent_again(app, actor, case, view)
        if again is not None:
            after = _answer(app, again[0], model=models[case.study_code], sealed=again[1], stages=Stages())
            answered += after.status is not CaseStatus.WAITING
    return answered


def _encoded(pixels: Pixels) -> bytes:
    """Return the picture as the PNG that is stored; refuse one that no enclave could take (noise packs badly)."""
    picture = encode_png(pixels)
    if len(picture) > MAX_IMAGE_BYTES:
        limit = MAX_IMAGE_BYTES // 2**20
        raise ImageTooLarge(f"unpacked it takes {len(picture) / 2**20:.0f} MiB, at most {limit} MiB")
    return picture


def _sent_again(app: App, actor: Actor, case: Case, view: CaseView) -> tuple[CaseView, bytes] | None:
    """Return the case with the hospitals that may be asked now, and its sealed image; write down who sends it again.

    None when the consent was withdrawn meanwhile, or when the image's rows were damaged: the other cases go on.
    """
    try:
        with session_scope(app.engine) as session:
            if not has_consent(session, case.patient_id, ConsentPurpose.DIAGNOSIS):
                return None
            asked, sealed = hospitals_asked(session, case), get_blob(session, case.image_blob_id)
            audit.append(app, session, actor, "case.retry", object_id=case.id)
    except (CheckpointRefused, NotFound):
        _note_silence(app, case.id, "", RecordDamaged())
        return None
    return (view if case.fallback_hospital_id in asked else replace(view, fallback=None)), sealed


def _require_consents(session: Session, user_id: str, *, allow_fallback: bool) -> None:
    given = purposes_in_force(session, user_id)
    if ConsentPurpose.DIAGNOSIS not in given:
        raise ConsentMissing
    if allow_fallback and ConsentPurpose.FALLBACK_HOSPITAL not in given:
        raise ConsentMissing("for another hospital to answer in its place")


def _models(app: App, session: Session, codes: Collection[str]) -> dict[str, ServedModel]:
    found = {}
    for code in codes:
        try:
            found[code] = served_model(app, session, STUDIES_BY_CODE[code])
        except NoModel:
            continue
    return found


def _store(app: App, actor: Actor, case_id: str, *, study: Study, decision: RoutingDecision, sealed: bytes) -> CaseView:
    """Write image, case and audit entry in one transaction."""
    with session_scope(app.engine) as session:
        _require_consents(session, actor.user_id, allow_fallback=decision.fallback_id is not None)
        image = put_blob(session, sealed, "image", app.clock)
        case = Case(
            id=case_id,
            patient_id=actor.user_id,
            study_code=study.code,
            hospital_id=decision.hospital_id,
            fallback_hospital_id=decision.fallback_id,
            routing=decision.to_json(),
            image_blob_id=image.id,
            created_at=app.clock.now(),
        )
        session.add(stamp(app, case))
        session.flush()
        view = case_views(app, session, [case], to_patient=True)[0]
        details = {"hospital": decision.hospital_id, "reason": decision.reason.value}
        audit.append(app, session, actor, "case.submit", object_id=case_id, details=details)
    return view


def _answer(app: App, view: CaseView, *, model: ServedModel, sealed: bytes, stages: Stages) -> CaseView:
    """Ask the chosen hospital, then the fallback; record what came. Without an answer the case waits."""
    for hospital in (view.hospital, view.fallback):
        if hospital is None:
            continue
        question = Question(case_id=view.id, study=view.study, slug=hospital.slug, model=model, sealed_image=sealed)
        try:
            with stages.measure("enclave"):
                answer = ask(app, question)
        except HemaSealError as error:
            _note_silence(app, view.id, hospital.slug, error)
            continue
        stages.add("enclave", answer.stages_ms)
        with stages.measure("record"):
            return _record(app, view, hospital, answer)
    return view


def _note_silence(app: App, case_id: str, slug: str, error: HemaSealError) -> None:
    details = {"hospital": slug, "code": error.code}
    with session_scope(app.engine) as session:
        failed = audit.Outcome.FAILED
        audit.append(app, session, APP_PARTY, "case.answer", object_id=case_id, outcome=failed, details=details)


def _record(app: App, view: CaseView, hospital: HospitalRef, answer: Answer) -> CaseView:
    """Store a verified answer; if another attempt answered in the meantime, that one stays."""
    result = answer.result
    with session_scope(app.engine) as session:
        case = session.get_one(Case, view.id, with_for_update=True)
        if case.status is not CaseStatus.WAITING:
            return case_views(app, session, [case], to_patient=True)[0]
        summary, decision = CaseSummary.of(result), RoutingDecision.from_json(case.routing)
        change(app, case, answered_by_hospital_id=hospital.id)
        case.status = CaseStatus.ANSWERED
        case.answered_at = app.clock.now()
        case.checkpoint_id = result.checkpoint_id
        case.summary = seal_summary(app, case.id, summary)
        case.result_blob_id = put_blob(session, answer.sealed, "result", app.clock).id
        if hospital.id != case.hospital_id:
            decision = decision.after_failover()
            case.routing = decision.to_json()
        session.flush()
        details = {"checkpoint": result.checkpoint_id, "measurement": result.measurement[:16]}
        audit.append(app, session, result.answered_by, "case.answer", object_id=case.id, details=details)
    known = (view.hospital, view.fallback)
    return replace(
        view,
        status=case.status,
        answered_at=case.answered_at,
        answered_by=hospital,
        summary=summary,
        routing_reason=explain(decision, {ref.id: ref.name for ref in known if ref is not None}),
    )
