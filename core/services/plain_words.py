"""What a patient reads: plain words first, never alarming, never promising. Numbers come after, elsewhere.

Every text says whose word it is (the program's or a doctor's) and what happens next.
"""

from dataclasses import dataclass

from core.diagnosis.conclusion import ENOUGH
from core.services.case_reading import ListedCase
from core.services.case_records import CaseSummary, CaseView, Outcome
from core.services.review_records import Decision, ReviewView
from core.studies import Subject

FEELING_UNWELL = (
    "Nobody watches this page around the clock. If you feel unwell, please contact a doctor directly "
    "and do not wait for an answer here."
)
LIMITS = (
    "The program looks at pictures and knows nothing else about you. It is research software, not a medical device, "
    "and it cannot say whether somebody is ill or healthy."
)

SHOWN = {Subject.CELL: "this cell", Subject.FIELD: "this blood smear", Subject.SCAN: "this picture"}
ONLY = {
    Subject.CELL: "one cell of one sample",
    Subject.FIELD: "one picture of one sample",
    Subject.SCAN: "one picture",
}
TOGETHER = {
    Subject.CELL: "your blood count and other tests",
    Subject.FIELD: "your blood count and other tests",
    Subject.SCAN: "how you feel and other tests",
}


@dataclass(frozen=True)
class PlainText:
    """A headline, what it means, and what to do next."""

    headline: str
    meaning: str
    next_step: str


def words_for(entry: ListedCase) -> PlainText:
    """Return what a patient reads about a case: the doctor's word if there is one, else the program's."""
    case = entry.case
    if entry.is_damaged:
        return _damaged()
    if entry.review is not None:
        return _reviewed(entry.review, case)
    if case.summary is None:
        return _out_of_reach(case) if entry.is_out_of_reach else _waiting(case)
    if case.summary.by_alarm:
        return _counted(case.summary, case.care.name)
    return _preliminary(case, case.summary)


def _waiting(case: CaseView) -> PlainText:
    who = f"the protected computer of {case.hospital.name}"
    if case.fallback is not None:
        who = f"the protected computers of {case.hospital.name} and {case.fallback.name}"
    return PlainText(
        "Your picture is safe and waiting for its answer.",
        f"It is stored sealed, so that only {who} can open it. No answer has come yet.",
        "You need not send it again. It is tried again whenever you open this page, or when you press the button.",
    )


def _out_of_reach(case: CaseView) -> PlainText:
    return PlainText(
        "This picture cannot be answered any more.",
        f"It was sealed for {case.hospital.name}, which can no longer open it, and nobody else can. It was not looked "
        "at. This says nothing about your picture.",
        "Please send the picture again, so that another hospital can look at it.",
    )


def _preliminary(case: CaseView, summary: CaseSummary) -> PlainText:
    study, hospital = case.study, case.care.name
    shown, outcome = SHOWN[study.subject], summary.outcome
    if outcome is Outcome.POSITIVE:
        return PlainText(
            f"The program would like a doctor to look at {shown}.",
            "It noticed features that it has learned to point out to specialists. This is not a diagnosis: a picture "
            "can look this way for many reasons, and only a doctor can say what it means for you.",
            f"A doctor at {hospital} will look at your picture, and it is near the top of their list. "
            "You can choose a time to talk about it now.",
        )
    if outcome is Outcome.NEGATIVE:
        return PlainText(
            f"The program noticed nothing unusual in {shown}.",
            f"It saw {study.classes[summary.label_index].plain}. But {ONLY[study.subject]} cannot rule anything out, "
            "so this is a first look and not an all-clear.",
            f"A doctor at {hospital} will look at your picture too. You can choose a time if you would like to talk.",
        )
    return PlainText(
        "The program cannot tell from this picture.",
        "It saw signs for both sides and would rather say so than guess. That is neither a good nor a bad sign.",
        f"A doctor at {hospital} will look at your picture and decide. "
        "You may also send another, sharper picture, or choose a time to talk about it.",
    )


def _counted(summary: CaseSummary, hospital: str) -> PlainText:
    """Say what several cells of one person answer together."""
    pictures = "your picture" if summary.images == 1 else f"your {summary.images} pictures"
    looked = f"It looked at {summary.cells} white blood cells in {pictures}."
    if summary.outcome is Outcome.POSITIVE:
        return PlainText(
            "The program would like a doctor to look at these cells.",
            f"{looked} Some have features that it has learned to point out to specialists. This is not a diagnosis: "
            "cells can look this way for many reasons, and only a doctor can say what it means for you.",
            f"A doctor at {hospital} will look at them, and they are near the top of their list. "
            "You can choose a time to talk about it now.",
        )
    if summary.outcome is Outcome.NEGATIVE:
        return PlainText(
            "The program noticed nothing unusual in these cells.",
            f"{looked} No more of them looked unusual than it expects to see among normal cells. But pictures of one "
            "sample cannot rule anything out, so this is a first look and not an all-clear.",
            f"A doctor at {hospital} will look at them too. You can choose a time if you would like to talk.",
        )
    return PlainText(
        "These are too few cells for the program to answer.",
        f"{looked} To say that nothing looks unusual it needs {ENOUGH} cells or more. That is neither a good nor a "
        "bad sign.",
        f"A doctor at {hospital} will look at them and decide. "
        "You may also send more pictures of the same smear together, or choose a time to talk about it.",
    )


def _reviewed(review: ReviewView, case: CaseView) -> PlainText:
    again = "again " if review.amends else ""
    if review.decision is Decision.DEFER or review.conclusion is None:
        return PlainText(
            f"A doctor has looked {again}and would like to know more before deciding.",
            "That happens often: a clearer picture or another test makes the answer better.",
            "Please choose a time to talk, or write to the doctor.",
        )
    label = case.study.classes[review.conclusion]
    if case.summary is not None and case.summary.outcome is Outcome.UNCERTAIN:
        view = "The program could not tell. The doctor"
    elif review.decision is Decision.AGREE:
        view = "The doctor agrees with the program and"
    else:
        view = "The doctor sees it differently from the program and"
    if label.positive:
        return PlainText(
            f"A doctor has looked {again}at your {_pictures(case)} and would like to talk with you.",
            f"{view} sees {label.plain}. What that means can only be said together with "
            f"{TOGETHER[case.study.subject]}.",
            "Please choose a time with the doctor, who will explain the next steps.",
        )
    return PlainText(
        f"A doctor has looked {again}at your {_pictures(case)} and sees nothing unusual in {_shown(case)}.",
        f"{view} sees {label.plain}. {_still(case)}",
        "You need not do anything here. If you have questions, write to the doctor or choose a time to talk.",
    )


def _pictures(case: CaseView) -> str:
    return "pictures" if case.summary is not None and case.summary.images > 1 else "picture"


def _shown(case: CaseView) -> str:
    counted = case.summary is not None and case.summary.by_alarm
    return "these cells" if counted else SHOWN[case.study.subject]


def _still(case: CaseView) -> str:
    counted = case.summary is not None and case.summary.by_alarm
    return "They are still cells of one sample." if counted else f"It is still {ONLY[case.study.subject]}."


def _damaged() -> PlainText:
    return PlainText(
        "This result cannot be shown.",
        "What was stored about it no longer matches its seal, so it is not shown rather than shown wrongly. "
        "This says nothing about your picture.",
        "Please write to the hospital or choose a time to talk. You may also send the picture again.",
    )
