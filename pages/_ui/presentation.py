"""How a step of presenter mode is drawn: speaker notes, its outcome in pictures, charts and tables, what is real."""

from itertools import groupby

import pandas as pd
import streamlit as st

from core.services.presentation import Curves, Outcome, Picture, Scene, StepState, Table
from pages._ui import charts, shell

STATES: dict[StepState, str] = {
    StepState.TO_COME: ":material/radio_button_unchecked: to come",
    StepState.WAITING: ":material/schedule: waits for its turn",
    StepState.PLAYING: ":material/sync: being played",
    StepState.DONE: ":material/check_circle: done",
    StepState.FAILED: ":material/error: failed",
    StepState.LOST: ":material/error: its process ended before it was done; play it again",
}
_PICTURE_WIDTH = 148


def draw_notes(scene: Scene) -> None:
    """Draw what the speaker says at a step."""
    with st.expander(
        f"What to say ({scene.minutes:g} min)", icon=":material/record_voice_over:", key=f"say_{scene.step}"
    ):
        st.markdown("\n".join(f"- {note}" for note in scene.notes))


def draw_honesty(scene: Scene) -> None:
    """Draw what of a step is real, and what was made small."""
    with st.expander("What is real, and what is small", icon=":material/balance:", key=f"real_{scene.step}"):
        shell.facts([("Real", scene.real), ("Small", scene.small)])


def draw_outcome(scene: Scene, outcome: Outcome) -> None:
    """Draw what came out of a step."""
    if outcome.as_told:
        st.success(outcome.headline, icon=":material/task_alt:")
    else:
        st.warning(f"It did not come out as the notes say. {outcome.headline}", icon=":material/warning:")
    if outcome.facts:
        shell.facts(list(outcome.facts))
    for _, row in groupby(outcome.pictures, key=lambda picture: picture.group):
        _pictures(list(row))
    for number, table in enumerate(outcome.tables):
        _table(table, key=f"table_{scene.step}_{number}")
    for number, curves in enumerate(outcome.curves):
        _curves(curves, key=f"curves_{scene.step}_{number}")


def _pictures(row: list[Picture]) -> None:
    with st.container(horizontal=True):
        for picture in row:
            st.image(picture.png, caption=picture.caption, width=_PICTURE_WIDTH, alt=picture.alt)


def _table(table: Table, *, key: str) -> None:
    st.markdown(f"**{table.title}**")
    frame = pd.DataFrame(list(table.rows), columns=list(table.columns))
    st.dataframe(frame, hide_index=True, height="content", key=key, alt=table.title)


def _curves(curves: Curves, *, key: str) -> None:
    st.markdown(f"**{curves.title}**")
    frame = pd.DataFrame(
        [
            {curves.x_title: round(x, 3), curves.y_title: round(values[place], 3), "What": name}
            for name, values in curves.series.items()
            for place, x in enumerate(curves.x)
        ]
    )
    figure = charts.line_figure(
        frame,
        x=curves.x_title,
        y=curves.y_title,
        series="What",
        x_title=curves.x_title,
        y_title=curves.y_title,
        y_range=(0.0, 1.1 * max(max(values) for values in curves.series.values())),
        height=260,
    )
    charts.plot_with_table(figure, frame, key=key, alt=curves.title)
