"""A case of one picture for its doctor: the original first, then the answer, then the heat map as a layer on it."""

import pandas as pd
import streamlit as st

from core.errors import HemaSealError
from core.services.app import Actor, App
from core.services.case_reading import (
    HEAT_MAP_OPACITY,
    HEAT_MAP_SCALE,
    CaseDetail,
    DiagnosisResult,
    Pictures,
    at_opacity,
    colour_stops,
    view_pictures,
)
from core.services.case_records import Outcome
from core.services.models import ModelView, model
from pages._ui import answer, clinic, shell, times

ANSWERS = {
    Outcome.POSITIVE: ":material/priority_high: Positive",
    Outcome.NEGATIVE: ":material/check: Negative",
    Outcome.UNCERTAIN: ":material/question_mark: Uncertain",
}
WIDTH = 420


def draw(app: App, person: Actor, detail: CaseDetail) -> None:
    """Draw the original picture, what the program says of it with the rule that it follows, and the heat map."""
    case, result = detail.case, detail.result
    pictures = view_pictures(app, person, case.id)
    left, right = st.columns(2, gap="large")
    with left:
        st.header("Original image", anchor=False)
        st.image(pictures.original, width=WIDTH, alt=f"Original image of case {case.number}")
    with right:
        st.header("What the program says", anchor=False)
        if result is None:
            st.markdown(detail.problem or "The program has not answered yet.")
            return
        _answer(detail, result)
    rule(app, person, result)
    if pictures.is_blank:
        st.markdown("The heat map is empty: no place spoke for an abnormal cell, which does not prove it healthy.")
    if pictures.is_undrawn:
        st.markdown(
            "There is no heat map: the hospital's enclave works with an encrypted head of the network, whose weights a "
            "heat map would need. Probabilities are rounded to whole hundredths for the same reason."
        )
    if pictures.overlay is not None:
        _heat_map(app, pictures)


def _answer(detail: CaseDetail, result: DiagnosisResult) -> None:
    study = detail.case.study
    positive = " or ".join(label.title for label in study.classes if label.positive)
    st.markdown(f"**{ANSWERS[result.outcome]}** · calibrated probability of “{positive}”:")
    st.metric("Probability", f"{result.positive_probability:.1%}", label_visibility="collapsed")
    if result.outcome is Outcome.UNCERTAIN:
        st.markdown(answer.why_uncertain(study, result.prediction_set))
    answer.classes(study, result.probabilities, result.prediction_set, result.coverage)
    st.caption(
        f"Answered by the enclave of {clinic.literal(detail.case.care.name)} {times.show_time(result.at)} · "
        f"model {result.weights_sha256[:12]} · measurement {result.measurement[:12]}. "
        f"{clinic.literal(detail.case.routing_reason)}"
    )


def rule(app: App, person: Actor, result: DiagnosisResult) -> None:
    """Draw where the probability lies against the threshold and the band of uncertainty, with the numbers beside it.

    The band and the figures are those of the model's lineage, whose signatures are checked now.
    """
    try:
        made: ModelView | None = model(app, person, result.checkpoint_id)
    except HemaSealError:
        made = None
    figures = made.metrics if made is not None and made.verified else {}
    low, high = figures.get("uncertain_low", result.threshold), figures.get("uncertain_high", result.threshold)
    st.subheader("How near it is to the threshold", anchor=False)
    left, right = st.columns([3, 2], gap="large")
    with left:
        clinic.probability_bar(result.positive_probability, result.threshold, band=(low, high))
        st.caption(
            "The bar is the calibrated probability, the line the threshold from which the program says “positive”. In "
            "the striped interval around it the program says “uncertain”."
        )
    with right:
        st.table(_numbers(result, figures))
    if not figures:
        st.caption(
            "The model's signed figures cannot be verified now, so its interval, sensitivity and specificity "
            "are not shown."
        )
        return
    st.caption(
        f"Sensitivity and specificity at this threshold, on {figures.get('images', 0):,.0f} validation images of the "
        "hospitals that trained the model: shares of images, not of patients, and other laboratories can do worse."
    )


def _numbers(result: DiagnosisResult, figures: dict[str, float]) -> pd.DataFrame:
    rows = {"Probability": result.positive_probability, "Threshold": result.threshold}
    texts = {name: f"{value:.1%}" for name, value in rows.items()}
    if figures:
        texts["Uncertain interval"] = f"{figures['uncertain_low']:.1%} to {figures['uncertain_high']:.1%}"
        for name in ("sensitivity", "specificity"):
            if name in figures:
                texts[f"{name.capitalize()} there"] = f"{figures[name]:.1%}"
    return pd.DataFrame({"Value": texts.values()}, index=pd.Index(texts.keys(), name="What"))


@st.fragment
def _heat_map(app: App, pictures: Pictures) -> None:
    """Draw the heat map on the picture, as strongly as the doctor chooses; nothing is opened again for that."""
    left, right = st.columns(2, gap="large")
    with right:
        st.header("How to read it", anchor=False)
        opacity = st.slider(
            "Opacity of the heat map in percent", 0, 100, round(100 * HEAT_MAP_OPACITY), 5, key="case_opacity"
        )
        clinic.colour_bar(colour_stops(), HEAT_MAP_SCALE)
        st.markdown(
            "**The heat map shows which places influenced the program's answer. It does not show disease**, and a "
            "place without colour is not proven healthy: it only said little to the program."
        )
    with left:
        st.header("Heat map", anchor=False)
        try:
            drawn = at_opacity(app, pictures, opacity / 100)
        except HemaSealError as error:
            shell.show_error(error)
            return
        st.image(drawn, width=WIDTH, alt=f"Original image with heat map at {opacity} %: {HEAT_MAP_SCALE}")
