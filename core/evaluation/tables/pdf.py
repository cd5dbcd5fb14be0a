"""A report as a PDF for printing: its sentences and tables; plots and their numbers are in the HTML file."""

from collections.abc import Sequence
from datetime import datetime

from fpdf import FPDF
from fpdf.fonts import FontFace

from core.evaluation.tables.blocks import Block, Heading, Plot, Sentence, Table
from core.services.report_pdf import FONTS

_FAMILY = "dejavu"
_TEXT, _SMALL, _HEADING, _TITLE = 9.0, 7.5, 12.0, 16.0
_TINT = (234, 241, 243)
_LINE_MM = 4.5
_LEFT_OUT = "Plots with their numbers: report.html."


def to_pdf(title: str, blocks: Sequence[Block], *, made_at: datetime) -> bytes:
    """Return the file."""
    sheet = _Sheet(title, made_at)
    for block in blocks:
        sheet.draw(block)
    sheet.write_text(_LEFT_OUT, size=_SMALL)
    return bytes(sheet.output())


class _Sheet(FPDF):
    """A4 pages on their side."""

    def __init__(self, title: str, made_at: datetime) -> None:
        super().__init__(orientation="landscape")
        for style, file in (("", "DejaVuSans.ttf"), ("B", "DejaVuSans-Bold.ttf")):
            self.add_font(_FAMILY, style, FONTS / file)
        self.set_title(title)
        self.set_lang("en")
        self.set_creation_date(made_at)
        self.set_auto_page_break(auto=True, margin=16)
        self._title = title
        self.add_page()
        self.write_text(title, size=_TITLE, bold=True)

    def footer(self) -> None:
        """Draw what stands below each page."""
        self.set_y(-12)
        self.set_font(_FAMILY, "", _SMALL)
        self.cell(0, 5, f"{self._title} · research use, not a medical device · page {self.page_no()} of {{nb}}")

    def draw(self, block: Block) -> None:
        """Draw a block; plots are left out."""
        match block:
            case Heading(text):
                self.ln(3)
                self.set_font(_FAMILY, "B", _HEADING)
                self.start_section(text)
                self.write_text(text, size=_HEADING, bold=True)
            case Sentence(text, is_notice):
                self.write_text(text, bold=is_notice)
            case Table():
                self._draw_table(block)
            case Plot():
                pass

    def write_text(self, text: str, *, size: float = _TEXT, bold: bool = False) -> None:
        """Write a paragraph over the width of the page."""
        self.set_font(_FAMILY, "B" if bold else "", size)
        self.multi_cell(0, size / 2, text, align="L", new_x="LMARGIN", new_y="NEXT")
        self.ln(1)

    def _draw_table(self, block: Table) -> None:
        self.write_text(block.caption, size=_SMALL)
        self.set_font(_FAMILY, "", _SMALL)
        heads = FontFace(emphasis="BOLD", fill_color=_TINT)
        with self.table(
            line_height=_LINE_MM, headings_style=heads, borders_layout="HORIZONTAL_LINES", text_align="LEFT"
        ) as table:
            for cells in (block.heads, *block.rows):
                row = table.row()
                for cell in cells:
                    row.cell(str(cell))
        self.ln(2)
