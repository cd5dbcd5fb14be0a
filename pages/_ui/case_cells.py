"""A case of many cells or pictures for its doctor: counts and share first, then the most suspicious cells, then all."""

import pandas as pd
import streamlit as st

from core.services.app import Actor, App
from core.services.case_cells import CellPicture, view_cells
from core.services.case_reading import HEAT_MAP_SCALE, CaseDetail, colour_stops, view_pictures
from core.services.case_records import Outcome
from pages._ui import answer, clinic, times

ACROSS = 6
PICTURE_WIDTH = 760


def has_many(detail: CaseDetail) -> bool:
    """Tell whether a case is more than one picture that was judged as a whole."""
    return len(detail.results) > 1 or any(result.cells for result in detail.results)


def draw(app: App, person: Actor, detail: CaseDetail, outcome: str) -> None:
    """Draw the answer of the case, its most suspicious cells, one of them large, and its pictures.

    Args:
        app: the application.
        person: the doctor.
        detail: a case for which `has_many` is true.
        outcome: the case's outcome in words.
    """
    _answer(detail, outcome)
    cells = view_cells(app, person, detail.case.id)
    _gallery(detail, cells)
    _pictures(app, person, detail)


def _answer(detail: CaseDetail, outcome: str) -> None:
    conclusion, result = detail.conclusion, detail.result
    if conclusion is None or result is None:
        return
    st.header("What the program says", anchor=False)
    st.markdown(f"**{outcome}** · {_why(detail)}")
    with st.container(horizontal=True, key="case_counts"):
        st.metric("Pictures", conclusion.images, width="content")
        st.metric(_things(detail).capitalize(), conclusion.cells, width="content")
        st.metric(
            f"{_positive_title(detail)}: {conclusion.positive} of {conclusion.cells}",
            f"{conclusion.share:.1%}",
            f"95 % interval {conclusion.share_low:.1%} to {conclusion.share_high:.1%}",
            delta_color="off",
            delta_arrow="off",
            width="content",
        )
    beyond = sum(max(0, one.cells_seen - len(one.cells)) for one in detail.results)
    more = f" {beyond} further cells of very full pictures were not judged." if beyond else ""
    st.caption(
        f"Counted is what reaches the threshold of {result.threshold:.0%}. The interval (Wilson) takes these cells for "
        f"a fair draw from one patient's smear and does not count the program's own errors.{more}  \n"
        f"Answered by the enclave of {clinic.literal(detail.case.care.name)} {times.show_time(result.at)} · "
        f"model {result.weights_sha256[:12]} · {answer.measured(result.measurement, result.approval)}. "
        f"{clinic.literal(detail.case.routing_reason)}"
    )


def _why(detail: CaseDetail) -> str:
    """Return the rule that decided, with its numbers."""
    conclusion, result = detail.conclusion, detail.result
    if conclusion is None or result is None:
        return ""
    if not conclusion.by_alarm:
        return "the most serious answer of its pictures." if conclusion.images > 1 else "the answer for its only cell."
    counts = (
        f"{conclusion.alarming} of {conclusion.cells} cells reach {result.alarm_threshold:.0%}, the mark of the alarm; "
        f"its rate is {conclusion.alarm_rate:.0%} of the cells"
    )
    if conclusion.outcome is Outcome.UNCERTAIN:
        return f"{counts}, and these are too few cells to say that nothing is there."
    return f"{counts}."


@st.fragment
def _gallery(detail: CaseDetail, cells: list[CellPicture]) -> None:
    """Draw the most suspicious cells small, and the chosen one large beside its heat map."""
    things = _things(detail)
    st.header(f"The most suspicious {things}", anchor=False)
    for start in range(0, len(cells), ACROSS):
        columns = st.columns(ACROSS)
        for rank, (column, cell) in enumerate(zip(columns, cells[start : start + ACROSS], strict=False), start + 1):
            column.image(
                cell.original,
                width="stretch",
                caption=f"{rank}: {cell.finding.positive_probability:.0%}",
                alt=f"Rank {rank}, probability {cell.finding.positive_probability:.0%}, picture {cell.image + 1}",
            )
    ranks = list(range(1, len(cells) + 1))
    chosen = st.pills("Look closer at", ranks, default=1, required=True, key="case_cell", wrap=True)
    cell = cells[(chosen or 1) - 1]
    left, middle, right = st.columns([1, 1, 1.2], gap="medium")
    left.image(cell.original, width="stretch", caption="As it is", alt=f"Rank {chosen}, as it is")
    if cell.with_heat_map is not None:
        middle.image(
            cell.with_heat_map, width="stretch", caption="With its heat map", alt=f"Rank {chosen}: {HEAT_MAP_SCALE}"
        )
    else:
        middle.markdown("Its heat map is empty: no place spoke for an abnormal cell.")
    with right:
        finding, classes = cell.finding, detail.case.study.classes
        st.markdown(
            f"**Rank {chosen}**, picture {cell.image + 1} · {classes[finding.label_index].title} · "
            f"{finding.outcome.value}, {finding.positive_probability:.1%}"
        )
        clinic.colour_bar(colour_stops(), HEAT_MAP_SCALE)
        st.caption(
            "The heat map shows which places influenced the program's answer. It does not show disease, and a place "
            "without colour is not proven healthy."
        )
    with st.expander("All as a table", icon=":material/table:", key="case_cells_table"):
        _table(detail)


def _table(detail: CaseDetail) -> None:
    """Draw every finding as a line, the most suspicious first."""
    classes = detail.case.study.classes
    rows = sorted(
        ((result.image + 1, finding) for result in detail.results for finding in result.findings),
        key=lambda row: -row[1].positive_probability,
    )
    frame = pd.DataFrame(
        {
            "Rank": range(1, len(rows) + 1),
            "Picture": [picture for picture, _ in rows],
            "Called": [classes[finding.label_index].title for _, finding in rows],
            "Outcome": [finding.outcome.value for _, finding in rows],
            "Positive probability": [f"{finding.positive_probability:.1%}" for _, finding in rows],
            "Left, top, side in pixels": [", ".join(map(str, finding.box)) for _, finding in rows],
        }
    )
    st.dataframe(frame, hide_index=True, width="stretch", key="case_all_cells", alt="All findings, by probability")


def _pictures(app: App, person: Actor, detail: CaseDetail) -> None:
    """Draw one picture of the case, the choice among several, and the cells found in it."""
    case, numbers = detail.case, list(range(len(detail.results)))
    st.header("Pictures", anchor=False)
    chosen = 0
    if len(numbers) > 1:
        chosen = st.selectbox(
            "Picture",
            numbers,
            format_func=lambda n: f"{n + 1} of {len(numbers)}: {_told(detail, n)}",
            key="case_picture",
        )
    pictures = view_pictures(app, person, case.id, image=chosen)
    drawn = pictures.with_frames or pictures.with_heat_map
    told = _told(detail, chosen)
    if drawn is None:
        st.image(pictures.original, width=PICTURE_WIDTH, alt=f"Picture {chosen + 1} of case {case.number}: {told}")
        return
    plain = st.toggle("Show it without marks", key="case_plain")
    st.image(
        pictures.original if plain else drawn,
        width=PICTURE_WIDTH,
        caption=told,
        alt=f"Picture {chosen + 1} of case {case.number}: {told}",
    )
    if pictures.with_frames is not None:
        st.caption("Each cell that was found has a frame; the numbers are those of the most suspicious cells above.")


def _told(detail: CaseDetail, number: int) -> str:
    """Return one picture's answer in a few words."""
    result = detail.results[number]
    if result.cells:
        positive = sum(cell.positive_probability >= result.threshold for cell in result.cells)
        return f"{result.cells_seen} cell{'' if result.cells_seen == 1 else 's'}, {positive} positive"
    return f"{result.outcome.value}, {result.positive_probability:.0%}"


def _things(detail: CaseDetail) -> str:
    return "cells" if detail.conclusion is not None and detail.conclusion.by_alarm else "findings"


def _positive_title(detail: CaseDetail) -> str:
    return " or ".join(label.title for label in detail.case.study.classes if label.positive)
