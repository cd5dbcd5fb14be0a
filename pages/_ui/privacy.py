"""Differential privacy as pages show it: its options in an order, epsilon by round of a run, a hospital's spend."""

import pandas as pd
import streamlit as st

from core.errors import RunRefused
from core.services import privacy_spend
from core.services.privacy_spend import DatasetSpend, PrivacyOptions, PrivateWeights
from core.services.run_views import RunDetail
from pages._ui import charts, live_charts, times

EPSILON = "Epsilon"
WEIGHTS = {PrivateWeights.ALL: "all weights", PrivateWeights.NORMS_AND_HEAD: "normalisation and head only"}
CACHED_PLANS = 200


@st.cache_data(max_entries=CACHED_PLANS, show_spinner="Counting what it costs ...")
def _cost(privacy: PrivacyOptions, epochs: int, rounds: int) -> privacy_spend.PlanCost:
    return privacy_spend.plan_cost(privacy, epochs=epochs, rounds=rounds)


def ordered(*, epochs: int, rounds: int) -> PrivacyOptions | None:
    """Draw the options of an order and what they cost each hospital; None for a run without."""
    with st.expander("Differential privacy", icon=":material/blur_on:", key="order_privacy"):
        if not st.toggle("Train with differential privacy", key="order_privacy_on"):
            st.caption(
                "Without it, the models can hold traces of single patients, and no epsilon is stated for them. With "
                "it, every hospital clips each patient's gradient and adds noise before anything leaves it."
            )
            return None
        noise, rate, clip = st.columns(3)
        weights = st.radio(
            "What private training changes",
            list(PrivateWeights),
            format_func=WEIGHTS.__getitem__,
            horizontal=True,
            key="order_private_weights",
            help="The noise grows with the root of the number of weights, so fewer learn better from few patients.",
        )
        privacy = PrivacyOptions(
            weights=weights or PrivateWeights.ALL,
            noise_multiplier=noise.number_input(
                "Noise multiplier", 0.1, 50.0, 1.5, 0.1, key="order_noise", help="Noise in units of the clipping norm."
            ),
            sampling_rate=rate.number_input(
                "Share of patients in a step", 0.01, 1.0, 0.25, 0.05, key="order_sampling", help="Drawn by chance."
            ),
            clip_norm=clip.number_input(
                "Clipping norm", 0.01, 100.0, 1.0, 0.1, key="order_clip_norm", help="Of one patient's gradient."
            ),
            budget_epsilon=noise.number_input(
                "Budget: largest epsilon", 0.1, 1000.0, 8.0, 0.5, key="order_budget", help="A hospital stops before it."
            ),
            delta=rate.select_slider(
                "Delta", [1e-7, 1e-6, 1e-5, 1e-4, 1e-3], 1e-5, format_func=lambda value: f"{value:g}", key="order_delta"
            ),
        )
        try:
            cost = _cost(privacy, epochs, rounds)
        except RunRefused as error:
            st.error(error.text)
            return privacy
        st.markdown(
            f"This plan costs each hospital **epsilon {cost.epsilon:.2f}** at delta {privacy.delta:g}, if its data set "
            "has spent nothing before; what it spent earlier counts on top."
        )
        if cost.rounds < rounds:
            st.warning(
                f"The budget allows {cost.rounds} of {rounds} rounds: then hospitals stop by themselves, and with too "
                "few left the run fails.",
                icon=":material/warning:",
            )
        st.caption(
            "The unit is the patient where a data set has several images of one, else the image. "
            + privacy_spend.NOT_COVERED
        )
        return privacy


def of_run(detail: RunDetail) -> None:
    """Draw a run's differential privacy: what was ordered, and epsilon by round."""
    st.header("Differential privacy", anchor=False)
    privacy = detail.privacy
    if privacy is None:
        st.caption("This run trains without differential privacy.")
        return
    st.markdown(
        f"Noise multiplier {privacy.noise_multiplier:g}, clipping norm {privacy.clip_norm:g}, share of patients in a "
        f"step {privacy.sampling_rate:g}, budget epsilon {privacy.budget_epsilon:g} at delta {privacy.delta:g}; "
        f"{WEIGHTS[privacy.weights]} trained."
    )
    rows = [
        {"Round": number, "Hospital": slug.capitalize(), EPSILON: epsilon}
        for number, by_slug in sorted(detail.epsilon.items())
        for slug, epsilon in sorted(by_slug.items())
    ]
    if not rows:
        st.caption("Epsilon appears when the first hospital has trained.")
        return
    live_charts.lines_with_table(
        pd.DataFrame(rows),
        x="Round",
        y=EPSILON,
        series="Hospital",
        names=[member.slug.capitalize() for member in detail.members],
        y_title=f"Epsilon at delta {privacy.delta:g}",
        key="run_epsilon",
        alt="Epsilon that each hospital's data set has spent, by round",
    )
    st.caption(
        "As each hospital's node stated it, over all private trainings of its data set. " + privacy_spend.NOT_COVERED
    )


def of_hospital(data_sets: list[DatasetSpend]) -> None:
    """Draw what a hospital's data sets have spent: in words, as a chart and as a table."""
    rows = [
        {
            "Training": number,
            "When": times.show_time(spend.at),
            "Data set": one.name,
            "Round": spend.round,
            EPSILON: spend.epsilon,
            "Delta": spend.delta,
            "Unit": spend.unit.value,
            "Stops above": spend.limit,
        }
        for one in data_sets
        for number, spend in enumerate(one.spent, 1)
    ]
    for one in data_sets:
        _in_words(one)
    if rows:
        frame = pd.DataFrame(rows)
        figure = charts.line_figure(
            frame,
            x="Training",
            y=EPSILON,
            series="Data set",
            x_title="Private trainings of the data set, in order",
            y_title="Epsilon spent",
        )
        alt = "Epsilon spent by each data set after each private training"
        charts.plot_with_table(figure, frame, key="node_epsilon", alt=alt)
    st.caption(
        "The smaller epsilon, the less the updates can tell of any one patient. It only grows, over all runs, and "
        "abandoned attempts count. This node refuses a round that would take it above the order's budget, or above a "
        "stricter limit of the hospital's own (a number in the file `privacy-limit` of the node's folder). "
        + privacy_spend.NOT_COVERED
    )


def _in_words(one: DatasetSpend) -> None:
    if one.spent:
        last = one.spent[-1]
        left = max(0.0, last.limit - last.epsilon)
        st.markdown(
            f"**{one.name}** has spent **epsilon {last.epsilon:.2f}** per {last.unit.value} at delta {last.delta:g}; "
            f"{left:.2f} is left of the budget {last.limit:g} of its last private run. "
            + privacy_spend.in_words(last.epsilon, last.unit)
        )
    if one.unprotected:
        times_word = "once" if one.unprotected == 1 else f"{one.unprotected} times"
        st.markdown(f"**{one.name}** was trained on {times_word} without differential privacy; nothing bounds that.")
