"""The report on a case as a PDF: plain words first, then numbers, pictures, what the doctor signed, and the model.

Drawn in memory from one value; nothing is read but the fonts and nothing is written. DejaVu Sans carries Latin, Greek,
Cyrillic, Armenian and Georgian (its licence, beside the files, lets it be embedded and passed on).
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from functools import partial
from pathlib import Path

from fpdf import FPDF
from fpdf.enums import XPos, YPos
from fpdf.fonts import FontFace

from core.services.plain_words import PlainText

FONTS = Path(__file__).parent / "data" / "fonts"
RESEARCH_USE = "Research use. Not a medical device. Nothing in this report is a diagnosis by a program."
_FAMILY = "dejavu"
_TEXT, _SMALL, _TITLE, _HEADING = 10.0, 8.0, 18.0, 12.5
_LINE = 1.35
_INK, _QUIET, _RULE, _TINT = (26, 38, 43), (84, 99, 106), (125, 145, 153), (234, 241, 243)
_PICTURE_MM = 78.0
_GAP_MM = 8.0


@dataclass(frozen=True)
class ReportPicture:
    """A picture with what it is: PNG bytes, a caption, and a description for those who cannot see it."""

    png: bytes = field(repr=False)
    caption: str
    description: str


@dataclass(frozen=True, kw_only=True)
class SignedWord:
    """What a doctor signed.

    Attributes:
        conclusion: title of what is concluded, or that nothing is concluded yet.
        decision: how it stands to the program's answer, as a sentence.
        note: words to the patient, or "".
        reason: for the record, or "" where the reader is the patient.
        doctor: how the doctor is addressed.
        signed_at: UTC.
        replaced: how many earlier signed reviews it replaces.
    """

    conclusion: str
    decision: str
    note: str
    reason: str
    doctor: str
    signed_at: datetime
    replaced: int


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that stands in a report.

    Attributes:
        number: short number of the case.
        patient: how the patient is addressed.
        hospital: name and city of the hospital that cares.
        study: what the pictures show.
        images: how many pictures were sent.
        sent_at, made_at: UTC.
        words: for the patient.
        signed: the review in force.
        numbers: (what, value) of the program's answer.
        classes: (class, calibrated probability, whether it can be excluded); empty where cells were counted.
        explained: sentences on how to read the numbers.
        pictures: original and, where there is one, with heat map or frames.
        about_pictures: a sentence on them, or why there are none.
        model: (what, value) about the model.
    """

    number: str
    patient: str
    hospital: str
    study: str
    images: int
    sent_at: datetime
    made_at: datetime
    words: PlainText
    signed: SignedWord
    numbers: Sequence[tuple[str, str]]
    classes: Sequence[tuple[str, str, str]]
    explained: Sequence[str]
    pictures: Sequence[ReportPicture]
    about_pictures: str
    model: Sequence[tuple[str, str]]


def draw_report(report: Report, zone: tzinfo) -> bytes:
    """Return the PDF of a report, with times in `zone`, which is named beside each."""
    page = _Page(report.number, report.made_at)
    when = partial(_when, zone=zone)
    page.draw_title(f"Report on case {report.number}")
    page.draw_pairs(
        [
            ("Patient", report.patient),
            ("Hospital", report.hospital),
            ("Picture" if report.images == 1 else "Pictures", f"{report.study} ({report.images})"),
            ("Sent", when(report.sent_at)),
            ("Report made", when(report.made_at)),
        ]
    )
    page.draw_notice(RESEARCH_USE)
    page.draw_heading("In plain words")
    page.paragraph(report.words.headline, bold=True)
    page.paragraph(report.words.meaning)
    if report.signed.note:
        page.paragraph(f"A word from {report.signed.doctor}:", bold=True)
        page.paragraph(report.signed.note)
    page.paragraph(f"What happens next. {report.words.next_step}")
    page.draw_heading("What the doctor signed")
    page.draw_pairs(
        [
            ("Conclusion", report.signed.conclusion),
            ("Decision", report.signed.decision),
            *([("Reason", report.signed.reason)] if report.signed.reason else []),
            ("Signed by", f"{report.signed.doctor}, {report.hospital}"),
            ("Signed", when(report.signed.signed_at)),
            ("Signature", "verified when this report was made"),
            *([("Amended", f"it replaces {report.signed.replaced} earlier")] if report.signed.replaced else []),
        ]
    )
    page.draw_heading("What the program answered, in numbers")
    page.draw_pairs(report.numbers)
    if report.classes:
        page.draw_table(("Class", "Calibrated probability", "Can be excluded"), report.classes)
    for sentence in report.explained:
        page.paragraph(sentence, quiet=True)
    page.draw_heading("The picture", needs_mm=_PICTURE_MM + 14 if report.pictures else 0)
    page.draw_pictures(report.pictures)
    page.paragraph(report.about_pictures, quiet=True)
    page.draw_heading("The model")
    page.draw_pairs(report.model)
    return bytes(page.output())


def _when(at: datetime, zone: tzinfo) -> str:
    here = at.astimezone(zone)
    return f"{here.day} {here:%B %Y, %H:%M} ({zone})"


class _Page(FPDF):
    """A4 pages with the report's type, colours and footer."""

    def __init__(self, number: str, made_at: datetime) -> None:
        super().__init__()
        self._number = number
        for style, file in (("", "DejaVuSans.ttf"), ("B", "DejaVuSans-Bold.ttf")):
            self.add_font(_FAMILY, style, FONTS / file)
        self.set_title(f"Report {number}")
        self.set_lang("en")
        self.set_creation_date(made_at)
        self.set_margins(20, 18, 20)
        self.set_auto_page_break(auto=True, margin=20)
        self.add_page()

    def footer(self) -> None:
        """Draw what stands below each page."""
        self.set_y(-14)
        self._type(_SMALL, colour=_QUIET)
        self.cell(0, 5, f"Case {self._number} · research use, not a medical device · page {self.page_no()} of {{nb}}")

    def draw_title(self, text: str) -> None:
        """Draw the title of the report."""
        self._type(_TITLE, bold=True)
        self._write(text)
        self.ln(2)

    def draw_heading(self, text: str, *, needs_mm: float = 0) -> None:
        """Draw a heading that is not left alone at the foot of a page; below it `needs_mm` stay together with it."""
        if self.will_page_break(max(26, needs_mm + 14)):
            self.add_page()
        self.ln(3)
        self._type(_HEADING, bold=True)
        self.start_section(text)
        self._write(text)
        self.set_draw_color(*_RULE)
        self.line(self.l_margin, self.get_y() + 0.5, self.w - self.r_margin, self.get_y() + 0.5)
        self.ln(2)

    def paragraph(self, text: str, *, bold: bool = False, quiet: bool = False) -> None:
        """Draw a paragraph."""
        self._type(_SMALL if quiet else _TEXT, bold=bold, colour=_QUIET if quiet else _INK)
        self._write(text)
        self.ln(1)

    def draw_notice(self, text: str) -> None:
        """Draw a line that must not be overlooked."""
        self.ln(2)
        self._type(_TEXT, bold=True)
        self.set_fill_color(*_TINT)
        self._write(text, fill=True, padding=2)
        self.set_fill_color(255, 255, 255)
        self.ln(1)

    def draw_pairs(self, rows: Sequence[tuple[str, str]]) -> None:
        """Draw names and values in two columns."""
        self._table(rows, widths=(30, 70), headings=False)

    def draw_table(self, titles: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
        """Draw a table with a heading above each column."""
        self._table([titles, *rows], widths=(50, 28, 22), headings=True)

    def draw_pictures(self, pictures: Sequence[ReportPicture]) -> None:
        """Draw pictures beside each other, a caption below each."""
        if not pictures:
            return
        top = self.get_y()
        below = top
        for place, picture in enumerate(pictures):
            left = self.l_margin + place * (_PICTURE_MM + _GAP_MM)
            self.image(
                picture.png,
                x=left,
                y=top,
                w=_PICTURE_MM,
                h=_PICTURE_MM,
                keep_aspect_ratio=True,
                alt_text=picture.description,
                title=picture.caption,
            )
            self.set_xy(left, top + _PICTURE_MM + 1)
            self._type(_SMALL, colour=_QUIET)
            self.multi_cell(_PICTURE_MM, _SMALL * 0.42, _shown(picture.caption), align="L")
            below = max(below, self.get_y())
        self.set_xy(self.l_margin, below + 2)

    def _table(self, rows: Sequence[tuple[str, ...]], *, widths: tuple[int, ...], headings: bool) -> None:
        self._type(_TEXT)
        self.set_draw_color(*_RULE)
        with self.table(
            col_widths=widths,
            borders_layout="HORIZONTAL_LINES" if headings else "NONE",
            first_row_as_headings=headings,
            headings_style=FontFace(emphasis="BOLD"),
            line_height=_TEXT * 0.48,
            text_align="LEFT",
            padding=0.6,
            v_align="TOP",
        ) as table:
            for values in rows:
                row = table.row()
                for place, value in enumerate(values):
                    name = place == 0 and not headings
                    row.cell(_shown(value), style=FontFace(color=_QUIET if name else _INK))
        self.ln(1)

    def _write(self, text: str, *, fill: bool = False, padding: int = 0) -> None:
        self.multi_cell(
            0,
            self.font_size * _LINE,
            _shown(text),
            align="L",
            fill=fill,
            padding=padding,
            new_x=XPos.LMARGIN,
            new_y=YPos.NEXT,
        )

    def _type(self, size: float, *, bold: bool = False, colour: tuple[int, int, int] = _INK) -> None:
        self.set_font(_FAMILY, "B" if bold else "", size)
        self.set_text_color(*colour)


def _shown(text: str) -> str:
    """Return the text with accents joined to their letters, as the font has them, and without control characters."""
    joined = unicodedata.normalize("NFC", text)
    return "".join(letter for letter in joined if letter == "\n" or unicodedata.category(letter) not in {"Cc", "Cs"})
