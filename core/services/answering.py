"""The app's talk with a hospital's enclave about one case, and the checks on what comes back.

Whatever goes wrong with one enclave is a `HemaSealError`: the caller then asks the fallback or lets the case wait.
"""

from dataclasses import dataclass, field
from datetime import datetime

from core.diagnosis.client import SealedModel
from core.diagnosis.result import DiagnosisResult
from core.diagnosis.wire import result_context, view_context
from core.errors import CheckpointRefused, RecordDamaged
from core.learning.orders import serving_party
from core.services.app import App
from core.services.candidates import ServedModel
from core.services.models import model_in_service
from core.studies import Study
from db.engine import read_scope
from security.certificates import Trust
from security.errors import SealBroken
from security.sealing import open_sealed


@dataclass(frozen=True, kw_only=True)
class Question:
    """A stored case that a hospital's enclave is asked about."""

    case_id: str
    study: Study
    slug: str
    model: ServedModel
    sealed_image: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A verified result, as it came (sealed) and opened, and milliseconds of the stages inside the enclave."""

    sealed: bytes = field(repr=False)
    result: DiagnosisResult
    stages_ms: dict[str, float]


def ask(app: App, question: Question) -> Answer:
    """Let an enclave answer; it is started if need be and given the model if it has not got it.

    Raises:
        EnclaveUnavailable: no answer.
        MemberRefused: the enclave's certificate does not hold.
        NoModel, CheckpointRefused: the model cannot be used, or is not the one that answered.
        RecordDamaged: the image or the result does not open.
        ImageBroken: the image cannot be read.
    """
    party, study = serving_party(question.slug), question.study
    trust = app.trust()
    client = app.supervisor.ensure(party, identity=app.identity, trust=trust)
    answer = client.diagnose(
        case_id=question.case_id,
        study=study.name,
        checkpoint_id=question.model.checkpoint_id,
        sealed_image=question.sealed_image,
        supply=lambda: _model(app, study),
    )
    result = open_result(
        app, trust, answer.sealed, case_id=question.case_id, study=study, slug=question.slug, at=app.clock.now()
    )
    stated = (result.checkpoint_id, result.weights_sha256)
    if stated != (question.model.checkpoint_id, question.model.weights_sha256):
        raise CheckpointRefused("another model answered than the one in service")
    return Answer(sealed=answer.sealed, result=result, stages_ms=answer.stages_ms)


def open_result(
    app: App, trust: Trust, sealed: bytes, *, case_id: str, study: Study, slug: str, at: datetime
) -> DiagnosisResult:
    """Open a result and check that it is this hospital's about this case.

    Raises:
        RecordDamaged: its seal or signature does not hold, or it says something else.
    """
    party = serving_party(slug)
    context = result_context(study=study.name, case_id=case_id, party=party)
    try:
        data = open_sealed(sealed, recipient=app.identity, trust=trust, context=context, sender=party, at=at)
        result = DiagnosisResult.decode(data)
    except (SealBroken, ValueError) as error:
        raise RecordDamaged from error
    if (result.case_id, result.study, result.answered_by) != (case_id, study.name, party):
        raise RecordDamaged
    if len(result.probabilities) != len(study.classes) or not 0 <= result.label_index < len(study.classes):
        raise RecordDamaged
    return result


def view(app: App, *, case_id: str, study: Study, slug: str, sealed_image: bytes) -> bytes:
    """Return the original picture (PNG) of a case, opened by a hospital's enclave for this one viewing.

    Raises:
        EnclaveUnavailable: no answer.
        MemberRefused: the enclave's certificate does not hold.
        RecordDamaged: the image does not open, or was not for this hospital.
        ImageBroken: the image cannot be read.
    """
    party = serving_party(slug)
    trust = app.trust()
    client = app.supervisor.ensure(party, identity=app.identity, trust=trust)
    sealed = client.view(case_id=case_id, study=study.name, sealed_image=sealed_image)
    context = view_context(study=study.name, case_id=case_id, party=party)
    try:
        return open_sealed(
            sealed, recipient=app.identity, trust=trust, context=context, sender=party, at=app.clock.now()
        )
    except SealBroken as error:
        raise RecordDamaged from error


def _model(app: App, study: Study) -> SealedModel:
    with read_scope(app.engine) as session:
        return model_in_service(app, session, study)
