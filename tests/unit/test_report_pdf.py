"""The report as a PDF: what stands in it, in which order, and in which scripts."""

import logging
from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from core.imaging.decode import encode_png
from core.services.plain_words import PlainText
from core.services.report_pdf import RESEARCH_USE, Report, ReportPicture, SignedWord, draw_report
from tests.pdf_text import text_of

AT = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
PICTURE = ReportPicture(encode_png(np.full((80, 80, 3), 200, np.uint8)), "As it was sent", "The original picture")
REPORT = Report(
    number="ABCD-1234",
    patient="Demo patient",
    hospital="North Hospital, Hamburg",
    study="White blood cell",
    images=1,
    sent_at=AT,
    made_at=AT,
    words=PlainText("The headline.", "The meaning.", "The next step."),
    signed=SignedWord(
        conclusion="Leukemic cell",
        decision="The doctor agrees with the program.",
        note="<b>Please</b> **come**.",
        reason="",
        doctor="Dr North",
        signed_at=AT,
        replaced=0,
    ),
    numbers=[("Calibrated probability", "91.3%")],
    classes=[("Leukemic cell", "91.3%", "no")],
    explained=["How to read them."],
    pictures=[PICTURE, replace(PICTURE, caption="With its heat map")],
    about_pictures="It does not show disease.",
    model=[("Weights, SHA-256", "ab" * 32)],
)


def test_plain_words_come_before_what_was_signed_and_that_before_numbers_and_model() -> None:
    text = text_of(draw_report(REPORT, UTC))
    parts = [RESEARCH_USE[:20], "The headline.", "Leukemic cell", "91.3%", "As it was sent", "ab" * 16]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert "With its heat map" in text


def test_what_a_person_wrote_stands_there_letter_by_letter() -> None:
    assert "<b>Please</b> **come**." in text_of(draw_report(REPORT, UTC))


@pytest.mark.parametrize(
    "name",
    [
        "Zoë Łukasiewicz-Šķēle",
        "Þórdís Ægisdóttir",
        "Ştefan Ţepeş, Ștefan Țepeș",
        "Őrs Űrmössy",
        "Ħal Għaxaq, İğd\u0131r, ẞ",
        "Χρυσάνθη Ἀλεξίου Ϊ",
        "Ђорђе Љубић, Ќосе Ѓорѓи",
        "Ґанна Їжакевич Єва, Ўладзімір",
        "გიორგი",
        "Արմեն Եւ",
    ],
)
def test_a_name_in_any_european_script_is_carried(name: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="fpdf"):
        text = text_of(draw_report(replace(REPORT, patient=name), UTC))
    assert name in text
    assert caplog.records == []


def test_accents_typed_as_letters_of_their_own_are_joined() -> None:
    assert "Škvorecký" in text_of(draw_report(replace(REPORT, patient="S\u030ckvorecky\u0301"), UTC))


def test_times_are_in_the_zone_that_is_asked_for_and_it_is_named() -> None:
    text = text_of(draw_report(REPORT, ZoneInfo("Europe/Berlin")))
    assert "5 January 2026, 10:00 (Europe/Berlin)" in text


def test_every_page_says_research_use() -> None:
    long = replace(REPORT, signed=replace(REPORT.signed, note="A long word. " * 400))
    text = text_of(draw_report(long, UTC))
    assert text.count("research use, not a medical device") >= 3
