"""Incoming images: do the pictures that patients send look like those that the hospital trained on?"""

import pandas as pd
import streamlit as st

from core.errors import HemaSealError
from core.services import datasets, incoming
from core.services.incoming import DAYS, FIGURE_TITLES, LEAST_DISTANCE, LEAST_PATIENTS, LEVEL, Incoming
from pages._ui import charts, choices, guard, shell, state, times

DRIFTED, CHANCE, ALIKE = "⚠ drifted", "may be chance", "✓ alike"

app = state.app()
person = guard.actor()


def draw() -> None:
    """Draw the choice of a data set and the comparison with it."""
    views = datasets.datasets(app, person)
    if not views:
        shell.empty_state("No data set yet", "Pictures are compared with a data set of yours; see “Data sets”.")
        return
    by_id = {view.id: view for view in views}
    titles = choices.distinct({view.id: f"{view.name} · {times.show_time(view.created_at)}" for view in views})
    chosen = st.selectbox(
        "Compare with the training images of",
        list(by_id),
        format_func=titles.__getitem__,
        key="incoming_dataset",
    )
    found = incoming.incoming(app, person, chosen)
    shell.facts(
        [
            ("Training images measured", f"{found.trained_images:,} of {found.trained_patients:,} patients"),
            (f"Pictures that came in the last {DAYS} days", f"{found.images:,} of {found.patients:,} patients"),
        ]
    )
    if not found.is_comparable:
        _not_comparable(found)
    elif not found.drift:
        shell.empty_state(
            "Too few pictures to judge",
            f"Pictures of {found.missing_patients} more patients are needed: with fewer than {LEAST_PATIENTS}, chance "
            "alone makes large differences.",
            icon=":material/hourglass_empty:",
        )
    else:
        _verdict(found)
        _chart(found)
    with st.expander("How this is measured", icon=":material/help:", key="incoming_help"):
        _definition()


def _not_comparable(found: Incoming) -> None:
    if found.trained_images:
        text = "Its training part holds too few patients to say how training images look."
    else:
        text = "It was imported before training images were measured. Import it again to compare with it."
    shell.empty_state("Nothing to compare with", text, icon=":material/straighten:")


def _verdict(found: Incoming) -> None:
    """Say in a sentence what was found, and what to do."""
    if not found.drifted:
        st.success(
            "**No drift.** In light, focus and colour the pictures that come are like the training images.",
            icon=":material/check_circle:",
        )
        return
    st.warning(
        f"**Drift:** {', '.join(name.lower() for name in found.drifted)}. The pictures that come differ from the "
        "training images by more than chance. Look at the microscope's lamp, camera and focus and at the stain first. "
        "If they changed for good, or other patients come now, train with newer images, and tell the doctors "
        "meanwhile: the model has not learned from pictures like these.",
        icon=":material/trending_up:",
    )


def _chart(found: Incoming) -> None:
    frame = pd.DataFrame(
        [
            {
                "Figure": FIGURE_TITLES[one.figure],
                "Distance": round(one.distance, 3),
                "Probability by chance": f"{one.p:.2g}",
                "Verdict": DRIFTED if one.drifted else CHANCE if one.distance >= LEAST_DISTANCE else ALIKE,
                "Training: middle half": _middle_half(one.trained),
                "Incoming: middle half": _middle_half(one.new),
            }
            for one in sorted(found.drift, key=lambda one: -one.distance)
        ]
    )
    figure = charts.rows_figure(
        list(frame["Figure"]),
        list(frame["Distance"]),
        marked=[one == DRIFTED for one in frame["Verdict"]],
        limit=LEAST_DISTANCE,
        x_title="Distance, 0 to 1",
        names=("alike, or may be chance", "drifted"),
    )
    charts.plot_with_table(
        figure, frame, key="incoming_chart", alt="Distance between incoming pictures and training images, by figure"
    )
    since = times.show_date(found.since)
    st.caption(
        f"The line is the least distance that counts, {LEAST_DISTANCE:g}. Beyond it chance may do, the more so the "
        f"fewer patients there are; the table says which is which. Pictures since {since}."
    )


def _middle_half(quartiles: tuple[float, float, float]) -> str:
    return f"{quartiles[0]:.3g} to {quartiles[2]:.3g}"


def _definition() -> None:
    st.markdown(
        "The enclave that answers for a picture measures eight figures of its light, focus and colour, on the square "
        "that the network is given. Only these numbers leave it, sealed; you see shares over many patients, never one "
        "patient's. Of a smear field its first cell is measured.\n\n"
        "For each figure the **two-sample Kolmogorov-Smirnov distance** is the largest difference between the shares "
        "of training images and of incoming pictures that lie below any one value. A patient counts as one, however "
        f"many pictures there are. A figure has drifted when its distance is at least {LEAST_DISTANCE:g} and its "
        f"probability by chance is below {LEVEL:g} divided by the number of figures.\n\n"
        "Drift does not say that answers are wrong, and no drift does not say that they are right: another mix of "
        "cells moves these figures too, and a rare disease may not."
    )


shell.title(
    "Incoming images", "Do the pictures that patients send you look like the images that the model was trained on?"
)
try:
    draw()
except HemaSealError as error:
    shell.show_error(error)
