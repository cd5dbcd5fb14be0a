"""The app's talk with a hospital's enclave about one case, and the checks on what comes back.

Whatever goes wrong with one enclave is a `HemaSealError`: the caller then asks the fallback or lets the case wait.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from core.diagnosis.approvals import Approvals
from core.diagnosis.client import EnclaveAnswer, EnclaveClient, SealedModel
from core.diagnosis.measurement import measure_with_model
from core.diagnosis.result import Box, DiagnosisResult
from core.diagnosis.wire import crops_context, image_context, result_context, view_context
from core.errors import CheckpointRefused, EnclaveUnavailable, MeasurementRefused, RecordDamaged
from core.learning.orders import serving_party, slug_of
from core.services import approvals, encrypted_keyholder
from core.services.app import App
from core.services.candidates import ServedModel
from core.services.models import model_in_service
from core.studies import Inference, Study
from db.engine import read_scope
from security.certificates import Certificate, Trust
from security.context import Context
from security.errors import SealBroken
from security.sealing import open_sealed, with_recipients

_PIXEL: Box = (0, 0, 1)


@dataclass(frozen=True, kw_only=True)
class ImageOfCase:
    """Which image (number from 0) of how many of which case."""

    case_id: str
    study: Study
    number: int
    images: int

    @property
    def names(self) -> dict[str, Any]:
        """What seals and requests call it."""
        return {"case_id": self.case_id, "study": self.study.name, "image": self.number, "images": self.images}


@dataclass(frozen=True, kw_only=True)
class Question:
    """A stored case that a hospital's enclave is asked about."""

    case_id: str
    study: Study
    slug: str
    model: ServedModel
    sealed_images: Sequence[bytes] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A verified result for one image, as it came (sealed) and opened, and milliseconds of the enclave's stages."""

    sealed: bytes = field(repr=False)
    result: DiagnosisResult
    stages_ms: dict[str, float]


def ask(app: App, question: Question) -> list[Answer]:
    """Let an enclave answer for each image; it is started if need be and given the model if it has not got it.

    An image without an answer is asked about once more: an enclave that died or hangs over it is started anew first.

    Raises:
        EnclaveUnavailable: no answer, twice.
        MemberRefused: the enclave's certificate does not hold.
        MeasurementRefused: it runs, or its result names, what the authority has not approved.
        NoModel, CheckpointRefused: the model cannot be used, or is not the one that answered.
        RecordDamaged: an image or a result does not open.
        ImageBroken: an image cannot be read.
        NotAuthorised, TooOften: only where the model's head is encrypted: the key holder refused.
    """
    study, images = question.study, len(question.sealed_images)
    hidden = study.inference is Inference.ENCRYPTED_HEAD
    client, trust, approved = _client(app, question.slug)
    answers = []
    for number, sealed_image in enumerate(question.sealed_images):
        diagnose = partial(
            partial(_through_keyholder, app) if hidden else EnclaveClient.diagnose,
            case_id=question.case_id,
            study=study.name,
            checkpoint_id=question.model.checkpoint_id,
            sealed_image=sealed_image,
            image=number,
            images=images,
            supply=lambda: _model(app, study),
        )
        try:
            answer = diagnose(client)
        except EnclaveUnavailable:
            client, trust, approved = _client(app, question.slug)
            answer = diagnose(client)
        which = ImageOfCase(case_id=question.case_id, study=study, number=number, images=images)
        result = open_result(app, trust, answer.sealed, which=which, slug=question.slug, at=app.clock.now())
        stated = (result.checkpoint_id, result.weights_sha256)
        if stated != (question.model.checkpoint_id, question.model.weights_sha256):
            raise CheckpointRefused("another model answered than the one in service")
        _check_measurement(result, approved, question.model)
        answers.append(Answer(sealed=answer.sealed, result=result, stages_ms=answer.stages_ms))
    return answers


def _check_measurement(result: DiagnosisResult, approved: Approvals, model: ServedModel) -> None:
    """Hold what a new result states against the approval that it names and the model that was promoted."""
    named = [one for one in approved.approved if one.number == result.approval]
    stated = {measure_with_model(one.measurement.sha256, model.litert_sha256) for one in named}
    if not named or (model.litert_sha256 and result.measurement not in stated):
        raise MeasurementRefused("the result does not name an approved measurement")


def _through_keyholder(
    app: App, client: EnclaveClient, *, study: str, checkpoint_id: str, **image: Any
) -> EnclaveAnswer:
    """Let an enclave ask the key holder of an encrypted head, as `EnclaveClient.diagnose` would have answered itself.

    The app carries query and answer; both are signed for each other, and the query tells nothing of the case.
    """
    which: dict[str, Any] = {"study": study, "checkpoint_id": checkpoint_id}
    question = client.encrypt(**which, **image)
    started = time.perf_counter()
    said = encrypted_keyholder.answer(
        app, query_id=question.query_id, party=client.party, query=question.query, **which
    )
    spent = (time.perf_counter() - started) * 1e3
    answer = client.conclude(question.query_id, said)
    return EnclaveAnswer(sealed=answer.sealed, stages_ms={**answer.stages_ms, "keyholder": spent})


def open_result(
    app: App, trust: Trust, sealed: bytes, *, which: ImageOfCase, slug: str, at: datetime
) -> DiagnosisResult:
    """Open a result and check that it is this hospital's about this image of this case.

    Raises:
        RecordDamaged: its seal or signature does not hold, or it says something else.
    """
    party, study = serving_party(slug), which.study
    context = result_context(party=party, **which.names)
    try:
        data = open_sealed(sealed, recipient=app.identity, trust=trust, context=context, sender=party, at=at)
        result = DiagnosisResult.decode(data)
    except (SealBroken, ValueError) as error:
        raise RecordDamaged from error
    named = (result.case_id, result.image, result.images, result.study, result.answered_by)
    if named != (which.case_id, which.number, which.images, study.name, party):
        raise RecordDamaged
    for finding in result.findings:
        if len(finding.probabilities) != len(study.classes) or not 0 <= finding.label_index < len(study.classes):
            raise RecordDamaged
    return result


def view(app: App, *, which: ImageOfCase, slug: str, sealed_image: bytes) -> bytes:
    """Return the original picture (PNG) of a case, opened by a hospital's enclave for this one viewing.

    Raises:
        EnclaveUnavailable: no answer.
        MemberRefused: the enclave's certificate does not hold.
        MeasurementRefused: the enclave runs what the authority has not approved.
        RecordDamaged: the image does not open, or was not for this hospital.
        ImageBroken: the image cannot be read.
    """
    sealed, trust = _asked(app, slug, lambda client: client.view(sealed_image=sealed_image, **which.names))
    return _opened(app, trust, sealed, view_context(party=serving_party(slug), **which.names))


def view_squares(app: App, *, which: ImageOfCase, slug: str, sealed_image: bytes, boxes: Sequence[Box]) -> bytes:
    """Return squares of a picture beside each other (PNG), cut out by a hospital's enclave for this one viewing.

    Raises:
        EnclaveUnavailable, MemberRefused, MeasurementRefused, RecordDamaged, ImageBroken: as `view`.
    """
    cut = {"sealed_image": sealed_image, "boxes": tuple(boxes), **which.names}
    sealed, trust = _asked(app, slug, lambda client: client.crops(**cut))
    return _opened(app, trust, sealed, crops_context(party=serving_party(slug), **which.names))


def hand_over(app: App, *, which: ImageOfCase, slug: str, to: Certificate, sealed_image: bytes) -> bytes:
    """Let a hospital's enclave hand an image over to another one, and return it sealed for that one alone.

    The new enclave has opened it when this returns, and one pixel of it has been sent back to prove it.

    Raises:
        EnclaveUnavailable: one of them did not answer.
        MemberRefused: an enclave's certificate does not hold.
        MeasurementRefused: the enclaves run what the authority has not approved.
        RecordDamaged: the image does not open, or the new enclave cannot open what it was handed.
        ImageBroken: the image cannot be read.
    """
    block, _ = _asked(app, slug, lambda client: client.hand_over(sealed_image=sealed_image, to=to, **which.names))
    context = image_context(**which.names)
    try:
        handed = with_recipients(
            sealed_image, block, wrapper=app.identity, recipients=[to], context=context, sender=app.identity.party
        )
    except SealBroken as error:
        raise RecordDamaged from error
    view_squares(app, which=which, slug=slug_of(to.party), sealed_image=handed, boxes=[_PIXEL])
    return handed


def _asked(app: App, slug: str, act: Callable[[EnclaveClient], bytes]) -> tuple[bytes, Trust]:
    """Return what an enclave answers, and the trust it was asked under; one that just died is asked once more."""
    client, trust, _ = _client(app, slug)
    try:
        return act(client), trust
    except EnclaveUnavailable:
        client, trust, _ = _client(app, slug)
        return act(client), trust


def _client(app: App, slug: str) -> tuple[EnclaveClient, Trust, Approvals]:
    with read_scope(app.engine) as session:
        trust, approved = app.trust(session), approvals.in_force(app, session)
    client = app.supervisor.ensure(serving_party(slug), identity=app.identity, trust=trust, approvals=approved)
    return client, trust, approved


def _opened(app: App, trust: Trust, sealed: bytes, context: Context) -> bytes:
    try:
        return open_sealed(
            sealed, recipient=app.identity, trust=trust, context=context, sender=context.sender, at=app.clock.now()
        )
    except SealBroken as error:
        raise RecordDamaged from error


def _model(app: App, study: Study) -> SealedModel:
    with read_scope(app.engine) as session:
        return model_in_service(app, session, study)
