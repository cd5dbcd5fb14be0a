"""From an upload to a preliminary answer: checked, routed, sealed and stored first; only then is an enclave asked.

Nothing that was stored is lost: while no enclave answers, the case waits and `retry_waiting` takes it up again. The
app holds the picture only during `submit`; afterwards only the enclaves that it was sealed for can open it.
"""

import logging
import random
from collections.abc import Collection, Sequence
from dataclasses import replace

from sqlalchemy import exists
from sqlmodel import Session, col, select

from core.diagnosis.conclusion import conclude
from core.diagnosis.wire import image_context
from core.errors import (
    CheckpointRefused,
    ConsentMissing,
    DataErased,
    HemaSealError,
    NoHospital,
    NoModel,
    NotFound,
    RecordDamaged,
    TooBusy,
)
from core.services import audit
from core.services.answering import Answer, Question, ask
from core.services.app import APP_PARTY, Actor, App
from core.services.authorise import Action, Relation, authorise
from core.services.candidates import ServedModel, served_model
from core.services.case_images import prepared, study_named
from core.services.case_objects import ObjectKind, image_rows, put_object, sealed_objects
from core.services.case_records import CaseSummary, CaseView, HospitalRef, case_views, seal_summary
from core.services.consents import ConsentPurpose, has_consent, purposes_in_force
from core.services.dispatch import Route, none_revoked, route
from core.services.genuine import change, is_genuine, stamp
from core.services.mail_outbox import MailKind, note_mail, tell_doctors
from core.services.places import find_place
from core.services.rate_limits import spend, uploads
from core.services.reach import hospitals_asked, out_of_reach
from core.services.routing import RoutingDecision, explain
from core.services.stages import Stages
from core.services.vault import key_for_new_case, key_of, note_key
from core.studies import STUDIES_BY_CODE, Study
from db.engine import read_scope, session_scope
from db.models import Case, CaseImage, CaseStatus, Consent, Role
from db.types import new_id
from security.sealed_format import signers_of
from security.sealing import seal

_LOG = logging.getLogger(__name__)

MAX_RETRIED = 20


def submit(
    app: App,
    actor: Actor,
    *,
    files: Sequence[bytes],
    study: str,
    place: str | None = None,
    preferred: str | None = None,
    allow_fallback: bool = False,
) -> CaseView:
    """Take a patient's images, store each sealed, and return the case with its preliminary answer if one came.

    Args:
        app: the application.
        actor: the patient.
        files: the uploaded files, whatever they are; 1 to `core.services.case_images.MAX_IMAGES`.
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
        CaseTooLarge: too many files, or too many bytes; nothing was stored.
        ImageTypeRefused, ImageBroken, ImageTooLarge, ImageRefused: a file cannot be used (of several it is named by
            its place); nothing was stored.
        NoModel, NoHospital: nobody can answer; nothing was stored.
        TooOften: more cases than a patient may send in an hour.
        TooBusy: this process answers as many cases as it can at once; nothing was stored or counted.
        DatabaseUnavailable: nothing was stored.
        DataErased: the patient asked for erasure, before this or while the enclave was at work.
    """
    stages = Stages()
    asked = study_named(study)
    near = find_place(place) if place else None
    with read_scope(app.engine) as session:
        authorise(app, session, actor, Action.SUBMIT_CASE, Relation.SELF, object_id=actor.user_id)
        _require_consents(session, actor.user_id, allow_fallback=allow_fallback)
    with app.place():
        spend(app, uploads(app), actor.user_id)
        pictures = prepared(files, asked, app.settings, stages)
        with stages.measure("route"):
            way = route(app, asked, place=near, preferred=preferred, allow_fallback=allow_fallback)
        case_id = new_id()
        with stages.measure("seal"):
            sealed = [
                seal(
                    picture,
                    sender=app.identity,
                    recipients=way.recipients,
                    context=image_context(study=asked.name, case_id=case_id, image=number, images=len(pictures)),
                )
                for number, picture in enumerate(pictures)
            ]
        with stages.measure("store"):
            view = _store(app, actor, case_id, study=asked, way=way, sealed=sealed)
        try:
            view = _answer(app, view, model=way.model, sealed=sealed, stages=stages)
        except DataErased:
            raise
        except HemaSealError as error:  # the case is stored and waits; whoever read a refusal would send it again
            _LOG.warning("case %s waits: %s", case_id, error.code)
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
        try:
            with app.place():
                again = _sent_again(app, actor, case, view)
                if again is not None:
                    after = _answer(app, again[0], model=models[case.study_code], sealed=again[1], stages=Stages())
                    answered += after.status is not CaseStatus.WAITING
        except TooBusy:  # the others wait on
            break
    return answered


def _sent_again(app: App, actor: Actor, case: Case, view: CaseView) -> tuple[CaseView, list[bytes]] | None:
    """Return the case with the hospitals that may be asked now, and its sealed images; write down who sends it again.

    None when the consent was withdrawn meanwhile, or when the images' rows were damaged: the other cases go on.
    """
    try:
        with session_scope(app.engine) as session:
            if not has_consent(session, case.patient_id, ConsentPurpose.DIAGNOSIS):
                return None
            asked, key = hospitals_asked(session, case), key_of(app, session, case.patient_id)
            sealed = sealed_objects(session, case.id, ObjectKind.IMAGE, key=key)
            audit.append(app, session, actor, "case.retry", object_id=case.id)
    except (CheckpointRefused, NotFound, RecordDamaged):
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


def _store(app: App, actor: Actor, case_id: str, *, study: Study, way: Route, sealed: Sequence[bytes]) -> CaseView:
    """Write images, case and audit entry in one transaction."""
    decision = way.decision
    with session_scope(app.engine) as session:
        if not none_revoked(session, way.recipients):  # since the images were sealed for them
            raise NoHospital
        _require_consents(session, actor.user_id, allow_fallback=decision.fallback_id is not None)
        key, made = key_for_new_case(app, session, actor.user_id)
        case = Case(
            id=case_id,
            patient_id=actor.user_id,
            study_code=study.code,
            hospital_id=decision.hospital_id,
            fallback_hospital_id=decision.fallback_id,
            routing=decision.to_json(),
            created_at=app.clock.now(),
        )
        session.add(stamp(app, case))
        session.flush()
        for number, image in enumerate(sealed):
            stored = put_object(session, image, case_id, number, ObjectKind.IMAGE, key=key, clock=app.clock)
            session.add(CaseImage(case_id=case_id, number=number, image_blob_id=stored))
        session.flush()
        view = case_views(app, session, [case], to_patient=True)[0]
        if made is not None:
            note_key(app, session, actor.user_id, made)
        details = {"hospital": decision.hospital_id, "reason": decision.reason.value, "images": len(sealed)}
        audit.append(app, session, actor, "case.submit", object_id=case_id, details=details)
    return view


def _answer(app: App, view: CaseView, *, model: ServedModel, sealed: Sequence[bytes], stages: Stages) -> CaseView:
    """Ask the chosen hospital for each image, then the fallback; record what came. Without an answer the case waits.

    One hospital answers for all images of a case, so that one model has seen them all.
    """
    for hospital in (view.hospital, view.fallback):
        if hospital is None:
            continue
        question = Question(case_id=view.id, study=view.study, slug=hospital.slug, model=model, sealed_images=sealed)
        try:
            with stages.measure("enclave"):
                answers = ask(app, question)
        except HemaSealError as error:
            _note_silence(app, view.id, hospital.slug, error)
            continue
        for answer in answers:
            stages.add("enclave", answer.stages_ms)
        with stages.measure("record"):
            return _record(app, view, hospital, answers)
    return view


def _note_silence(app: App, case_id: str, slug: str, error: HemaSealError) -> None:
    details = {"hospital": slug, "code": error.code}
    with session_scope(app.engine) as session:
        failed = audit.Outcome.FAILED
        audit.append(app, session, APP_PARTY, "case.answer", object_id=case_id, outcome=failed, details=details)


def _record(app: App, view: CaseView, hospital: HospitalRef, answers: Sequence[Answer]) -> CaseView:
    """Store verified answers, unless another attempt has answered in the meantime, or the case was referred away.

    What was signed with a key that is revoked by now could not be verified later: then the case waits, too.
    """
    result, signers = answers[0].result, [signers_of(answer.sealed)[0] for answer in answers]
    conclusion = conclude([answer.result for answer in answers], view.study)
    with session_scope(app.engine) as session:
        case = session.get(Case, view.id, with_for_update=True)
        if case is None:
            raise DataErased
        is_asked = hospital.id in {case.hospital_id, case.fallback_hospital_id}
        if case.status is not CaseStatus.WAITING or not is_asked or not none_revoked(session, signers):
            return case_views(app, session, [case], to_patient=True)[0]
        key = key_of(app, session, case.patient_id)
        figures = tuple(answer.result.figures for answer in answers)
        summary = CaseSummary.of(conclusion, result.threshold, figures)
        decision = RoutingDecision.from_json(case.routing)
        change(app, case, answered_by_hospital_id=hospital.id)
        case.status = CaseStatus.ANSWERED
        case.answered_at = app.clock.now()
        case.checkpoint_id = result.checkpoint_id
        case.summary = seal_summary(key, case.id, summary)
        for row, answer in zip(image_rows(session, case.id), answers, strict=True):
            row.result_blob_id = put_object(
                session, answer.sealed, case.id, row.number, ObjectKind.RESULT, key=key, clock=app.clock
            )
        if hospital.id != case.hospital_id:
            decision = decision.after_failover()
            case.routing = decision.to_json()
        session.flush()
        note_mail(app, session, case.patient_id, MailKind.RESULT_READY)
        tell_doctors(app, session, hospital.id, MailKind.NEW_CASE)
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
