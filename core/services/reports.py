"""The report on a signed case, for its patient and its doctors; made anew each time, in memory, and audited."""

from datetime import UTC, tzinfo

from core.diagnosis.conclusion import Conclusion
from core.diagnosis.result import DiagnosisResult
from core.errors import EnclaveUnavailable, HemaSealError, ImageBroken, RecordDamaged, ReportRefused
from core.learning.lineage import Lineage
from core.services import audit
from core.services.answering_model import figure, lineage_of
from core.services.app import Actor, App
from core.services.authorise import Action
from core.services.case_access import case_for
from core.services.case_reading import HEAT_MAP_SCALE, CaseDetail, ListedCase, read_case, view_pictures
from core.services.plain_words import words_for
from core.services.report_pdf import Report, ReportPicture, SignedWord, draw_report
from core.services.reviews import Decision, ReviewView, reviews_of
from core.studies import Study
from db.engine import read_scope, session_scope

DECIDED = {
    Decision.AGREE: "The doctor agrees with the program.",
    Decision.OVERRIDE: "The doctor concludes otherwise than the program, or where it was uncertain.",
    Decision.DEFER: "The doctor needs more before deciding.",
}
NOT_DISEASE = (
    "Colour shows which places influenced the program's answer. It does not show disease, and a place without colour "
    "is not proven healthy."
)
_UNVERIFIED = "cannot be verified any more"


def case_report(app: App, actor: Actor, case_id: str, *, zone: tzinfo = UTC) -> bytes:
    """Return the report on a case as a PDF.

    Where the picture cannot be opened now, the report says so in its place.

    Args:
        app: the application.
        actor: the patient, or a doctor of the case's hospital.
        case_id: the case.
        zone: in which times are written.

    Raises:
        ReportRefused: no doctor has signed yet.
        NotFound: there is no such case.
        NotAuthorised: it is not this person's.
        RecordDamaged: the case or a review was changed.
        TooOften: more images than a person may open in an hour.
    """
    with session_scope(app.engine) as session:
        case = case_for(app, session, actor, case_id, Action.READ_REPORT)
        audit.append(app, session, actor, "report.read", object_id=case.id)
    detail = read_case(app, actor, case_id)
    if detail.review is None:
        raise ReportRefused
    signed = reviews_of(app, actor, case_id)
    lead = max(detail.results, key=lambda one: one.positive_probability, default=None)
    with read_scope(app.engine) as session:
        lineage = None if lead is None else lineage_of(app, session, lead)
    pictures, about = _pictures(app, actor, detail, lead)
    case_view, study = detail.case, detail.case.study
    return draw_report(
        Report(
            number=case_view.number,
            patient=case_view.patient_name,
            hospital=f"{case_view.care.name}, {case_view.care.city}",
            study=study.title,
            images=max(1, len(detail.results)),
            sent_at=case_view.created_at,
            made_at=app.clock.now(),
            words=words_for(ListedCase(case_view, detail.review, is_damaged=False)),
            signed=_signed(study, signed),
            numbers=_numbers(detail, lead, lineage),
            classes=_classes(study, lead) if lead and not _counted(detail) else (),
            explained=_explained(detail, lead, lineage),
            pictures=pictures,
            about_pictures=about,
            model=_model(lead, lineage),
        ),
        zone,
    )


def _signed(study: Study, reviews: list[ReviewView]) -> SignedWord:
    current = reviews[0]
    concluded = "None yet" if current.conclusion is None else study.classes[current.conclusion].title
    return SignedWord(
        conclusion=concluded,
        decision=DECIDED[current.decision],
        note=current.note,
        reason=current.reason,
        doctor=current.doctor,
        signed_at=current.signed_at,
        replaced=len(reviews) - 1,
    )


def _counted(detail: CaseDetail) -> bool:
    return detail.conclusion is not None and detail.conclusion.by_alarm


def _numbers(detail: CaseDetail, lead: DiagnosisResult | None, lineage: Lineage | None) -> list[tuple[str, str]]:
    conclusion = detail.conclusion
    if lead is None or conclusion is None:
        return [("Numbers", detail.problem or "none are stored")]
    rows = [("Answer", conclusion.outcome.value)]
    if conclusion.by_alarm:
        rows += _shares(conclusion)
    else:
        if len(detail.results) > 1:
            rows.append(("Of picture", f"{lead.image + 1} of {lead.images}, which stands out most"))
        rows.append(("Calibrated probability", f"{lead.positive_probability:.1%} for {_positive(detail.case.study)}"))
        low, high = figure(lineage, "uncertain_low"), figure(lineage, "uncertain_high")
        if low is not None and high is not None:
            rows.append(("Interval of doubt", f"{low:.1%} to {high:.1%}: in it the program says that it cannot tell"))
    rows.append(("Threshold", f"{lead.threshold:.1%}"))
    sensitivity, specificity = figure(lineage, "sensitivity"), figure(lineage, "specificity")
    rows.append(("Sensitivity there", _UNVERIFIED if sensitivity is None else f"{sensitivity:.1%}"))
    rows.append(("Specificity there", _UNVERIFIED if specificity is None else f"{specificity:.1%}"))
    return rows


def _shares(conclusion: Conclusion) -> list[tuple[str, str]]:
    interval = f"{conclusion.share_low:.1%} to {conclusion.share_high:.1%} (95 %, Wilson)"
    return [
        ("Cells looked at", f"{conclusion.cells}"),
        ("At or above threshold", f"{conclusion.positive}: {conclusion.share:.1%}"),
        ("Interval of that share", interval),
        ("Alarm", f"{conclusion.alarming} cells count for it; raised above {conclusion.alarm_rate:.1%} of the cells"),
    ]


def _positive(study: Study) -> str:
    return " or ".join(f"“{label.title}”" for label in study.classes if label.positive)


def _classes(study: Study, lead: DiagnosisResult) -> list[tuple[str, str, str]]:
    return [
        (label.title, f"{probability:.1%}", "no" if number in lead.prediction_set else "yes")
        for number, (label, probability) in enumerate(zip(study.classes, lead.probabilities, strict=True))
    ]


def _explained(detail: CaseDetail, lead: DiagnosisResult | None, lineage: Lineage | None) -> list[str]:
    if lead is None:
        return []
    said = ["These are the program's own estimates about pictures of one sample, not the chance of being ill."]
    if not _counted(detail):
        said.append(
            f"For every class, at least {lead.coverage:.0%} of its images in the validation keep it among those that "
            "cannot be excluded."
        )
    if lineage is not None:
        said.append(
            f"Sensitivity and specificity are those at the threshold on {figure(lineage, 'images') or 0:.0f} "
            "validation pictures of the hospitals that trained the model; other patients, cameras or laboratories can "
            "do worse."
        )
    return said


def _pictures(
    app: App, actor: Actor, detail: CaseDetail, lead: DiagnosisResult | None
) -> tuple[list[ReportPicture], str]:
    number = 0 if lead is None else lead.image
    try:
        seen = view_pictures(app, actor, detail.case.id, image=number)
    except (EnclaveUnavailable, RecordDamaged, ImageBroken) as error:
        return [], f"The picture could not be opened when this report was made. {_said(error)}"
    which = f"Picture {number + 1} of {lead.images}" if lead and lead.images > 1 else "The picture"
    drawn = [ReportPicture(seen.original, f"{which} as it was sent", "The original picture")]
    if seen.with_frames is not None:
        drawn.append(ReportPicture(seen.with_frames, "Each cell that was looked at has a frame", "The cells found"))
        return drawn, "The numbers in the frames name the cells that stand out most."
    if seen.with_heat_map is not None:
        drawn.append(ReportPicture(seen.with_heat_map, "The same with its heat map", HEAT_MAP_SCALE))
        return drawn, f"{HEAT_MAP_SCALE}. {NOT_DISEASE}"
    if seen.is_blank:
        return drawn, "The heat map is empty: no place spoke for an abnormal cell, which does not prove it healthy."
    return drawn, "There is no heat map." + (" Part of the network stayed encrypted." if seen.is_undrawn else "")


def _said(error: HemaSealError) -> str:
    return f"{error.text} ({error.code})"


def _model(lead: DiagnosisResult | None, lineage: Lineage | None) -> list[tuple[str, str]]:
    if lead is None:
        return [("Model", "not known: the stored result cannot be verified")]
    rows = [("Version", f"checkpoint {lead.checkpoint_id}"), ("Weights, SHA-256", lead.weights_sha256)]
    if lineage is not None:
        rows.append(("Trained in", f"run {lineage.run}, round {lineage.round}, by {len(lineage.members)} members"))
    return [*rows, ("Answered by", lead.answered_by), ("Measurement", lead.measurement)]
