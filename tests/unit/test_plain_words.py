"""What a patient reads about a case."""

import re
from datetime import UTC, datetime

import pytest

from core.services.case_reading import ListedCase
from core.services.case_records import CaseStatus, CaseSummary, CaseView, HospitalRef, Outcome
from core.services.plain_words import FEELING_UNWELL, LIMITS, PlainText, words_for
from core.services.review_records import Decision, ReviewView
from core.studies import LEUKEMIA, STUDIES, Study

AT = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
NORTH = HospitalRef("1", "north", "North Hospital", "Oslo")
ALARMING = re.compile(
    r"cancer|leuk|tumou?r|malignan|danger|urgent|immediately|abnormal|positive|negative|%", re.IGNORECASE
)
PROMISING = re.compile(r"\bhealthy\b|nothing to worry|you are fine|guarantee|certainly|definitely", re.IGNORECASE)


def entry(
    outcome: Outcome | None,
    review: tuple[Decision, int | None] | None = None,
    *,
    amends: str | None = None,
    study: Study = LEUKEMIA,
) -> ListedCase:
    summary = None if outcome is None else CaseSummary(outcome, int(outcome is not Outcome.NEGATIVE), 0.7, 0.7, 0.5)
    case = CaseView(
        id="0" * 32,
        study=study,
        status=CaseStatus.WAITING if outcome is None else CaseStatus.ANSWERED,
        created_at=AT,
        answered_at=None,
        patient_id="p",
        patient_name="Demo patient",
        hospital=NORTH,
        fallback=None,
        answered_by=NORTH,
        routing_reason="",
        summary=summary,
    )
    view = review and ReviewView(
        id="r",
        decision=review[0],
        conclusion=review[1],
        reason="",
        note="",
        doctor="Demo doctor",
        signed_at=AT,
        amends=amends,
        is_current=True,
    )
    return ListedCase(case, view or None, is_damaged=False)


SITUATIONS: dict[str, ListedCase] = {
    "waiting": entry(None),
    "positive": entry(Outcome.POSITIVE),
    "uncertain": entry(Outcome.UNCERTAIN),
    "negative": entry(Outcome.NEGATIVE),
    "agreed": entry(Outcome.POSITIVE, (Decision.AGREE, 1)),
    "overridden": entry(Outcome.POSITIVE, (Decision.OVERRIDE, 0)),
    "decided": entry(Outcome.UNCERTAIN, (Decision.OVERRIDE, 1)),
    "deferred": entry(Outcome.NEGATIVE, (Decision.DEFER, None)),
    "amended": entry(Outcome.NEGATIVE, (Decision.OVERRIDE, 1), amends="q"),
    "out of reach": ListedCase(entry(None).case, None, is_damaged=False, is_out_of_reach=True),
    "damaged": ListedCase(entry(Outcome.NEGATIVE).case, None, is_damaged=True),
}


OTHERS = {
    f"{study.name}: {label.name}, {outcome}": entry(outcome, (decision, index), study=study)
    for study in STUDIES.values()
    for index, label in enumerate(study.classes)
    for outcome, decision in ((Outcome.UNCERTAIN, Decision.OVERRIDE), (Outcome.POSITIVE, Decision.AGREE))
} | {
    f"{study.name}: {outcome}": entry(outcome, study=study)
    for study in STUDIES.values()
    for outcome in (Outcome.POSITIVE, Outcome.NEGATIVE)
}


@pytest.mark.parametrize("listed", [*SITUATIONS.values(), *OTHERS.values()], ids=[*SITUATIONS, *OTHERS])
def test_every_text_is_whole_calm_and_promises_nothing(listed: ListedCase) -> None:
    words = words_for(listed)
    for text in (words.headline, words.meaning, words.next_step):
        assert text[0].isupper()
        assert text.endswith(".")
        assert not ALARMING.search(text), text
        assert not PROMISING.search(text), text


def test_every_situation_has_its_own_headline_and_uncertain_is_an_answer_of_its_own() -> None:
    headlines = {name: words_for(listed).headline for name, listed in SITUATIONS.items()}
    assert headlines["uncertain"] == "The program cannot tell from this picture."
    different = (
        "waiting",
        "out of reach",
        "positive",
        "uncertain",
        "negative",
        "agreed",
        "overridden",
        "deferred",
        "amended",
        "damaged",
    )
    assert len({headlines[name] for name in different}) == len(different)


def test_it_says_whose_word_it_is() -> None:
    def meaning(name: str) -> PlainText:
        return words_for(SITUATIONS[name])

    assert "agrees with the program" in meaning("agreed").meaning
    assert "sees it differently" in meaning("overridden").meaning
    assert "could not tell" in meaning("decided").meaning
    assert "again" in meaning("amended").headline
    assert "not a diagnosis" in meaning("positive").meaning
    assert "not an all-clear" in meaning("negative").meaning


def test_what_is_looked_at_is_named_as_the_study_has_it() -> None:
    headlines = {study.name: words_for(entry(Outcome.POSITIVE, study=study)).headline for study in STUDIES.values()}
    for study, noun in (("leukemia", "cell"), ("leukemia_subtypes", "blood smear"), ("multimodal", "picture")):
        assert headlines[study].endswith(f"look at this {noun}.")
    scan = words_for(entry(Outcome.NEGATIVE, study=STUDIES["multimodal"])).meaning
    assert "nothing that stands out" in scan
    assert "cell" not in scan


def test_the_standing_texts_say_where_help_is_and_what_this_is_not() -> None:
    assert "contact a doctor directly" in FEELING_UNWELL
    assert "not a medical device" in LIMITS
