"""The report on a folder of tables as files: ``report.html`` with its plots, ``report.pdf`` for printing."""

from datetime import datetime
from pathlib import Path

from core.evaluation.tables.contents import contents
from core.evaluation.tables.page import to_html
from core.evaluation.tables.pdf import to_pdf
from core.evaluation.tables.workbook import Workbook, whole_file

FILE, PRINTED = "report.html", "report.pdf"


def write_report(workbook: Workbook) -> Path:
    """Write both files from finished steps and ``tables``; return the path of the first."""
    blocks, title = contents(workbook), f"Tables of the papers: {workbook.question['study']}"
    made_at = datetime.fromisoformat(workbook.read("tables")["environment"]["at"])
    whole_file(workbook.folder / PRINTED, to_pdf(title, blocks, made_at=made_at))
    return whole_file(workbook.folder / FILE, to_html(title, blocks).encode())
