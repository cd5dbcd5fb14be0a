"""Models: candidates with their figures and verified lineage, the one in service, promotion and roll-back."""

import re

import pandas as pd
import streamlit as st

from core.errors import HemaSealError
from core.services import models as service
from core.services import privacy_spend, run_views
from core.services.model_cards import FIGURES, figure_text, model_card
from core.services.models import CheckpointStatus, ModelView
from core.studies import STUDIES, Study
from pages._ui import guard, shell, state, studies, times, training
from pages._ui.model_words import MODEL_STATES

WARNED = ("auc", "images")

app = state.app()
person = guard.actor()


def overview(views: list[ModelView]) -> None:
    """Draw all models in a table."""
    table = [
        {
            "State": MODEL_STATES[view.status],
            "Made": times.show_time(view.created_at),
            "AUC": view.metrics.get("auc"),
            "Accuracy": view.metrics.get("accuracy"),
            "Lineage": f"✓ verified, {_links(view)}" if view.verified else "✕ does not hold",
            "Hospitals": len(view.members),
            "Mode": view.mode,
            "Last in service": times.show_time(view.promoted_at),
            "Weights": view.weights_sha256[:12],
        }
        for view in views
    ]
    st.dataframe(
        pd.DataFrame(table),
        hide_index=True,
        key="models_table",
        alt="Models with state, figures and lineage",
        column_config={
            "AUC": st.column_config.NumberColumn(format="%.3f"),
            "Accuracy": st.column_config.NumberColumn(format="%.3f"),
        },
    )
    times.zone_note()


def detail(view: ModelView, serving: ModelView | None) -> None:
    """Draw one model beside the one in service, and what can be done with it."""
    if not view.verified:
        st.error(
            f"The lineage of this model does not hold: {view.problem}. It can not be put into service.",
            icon=":material/gpp_bad:",
        )
        return
    origin = "brought here by the authority" if view.run_id is None else f"round {view.round_number} of a run"
    members = ", ".join(sorted({party.partition(".")[0] for party in view.members})) or training.MISSING
    shell.facts(
        [
            ("Origin", origin),
            ("Aggregation", view.mode),
            ("Updates of", members),
            ("Differential privacy", privacy_spend.describe(view.privacy)),
            ("Lineage", f"signed at every link back to the first weights ({_links(view)}); verified just now"),
            ("SHA-256 of the weights", f"`{view.weights_sha256}`"),
        ]
    )
    compare(view, serving, key="model_figures")
    card(view)
    if view.answers:
        st.caption("This model answers now.")
        return
    if view.status is CheckpointStatus.IN_SERVICE:
        st.warning(
            "It is in service, but what you signed of it holds no more: your certificate has ended since, or an older "
            "database was put back. Pictures wait until you put it into service again.",
            icon=":material/hourglass_empty:",
        )
    if st.button("Put into service …", type="primary", key="model_promote", icon=":material/rocket_launch:"):
        confirm_promotion(view, serving)


def card(view: ModelView) -> None:
    """Draw the model card, and the button that saves it, where somebody opens it."""
    part = st.expander("Model card", icon=":material/description:", key="model_card", on_change="rerun")
    if not part.open:
        return
    with part:
        text = model_card(app, guard.actor(), view.id)
        st.markdown(re.sub(r"^#", "###", text, flags=re.MULTILINE))  # below the headings of the page
        st.download_button(
            "Save the card",
            data=text,
            file_name=f"model-card-{view.weights_sha256[:12]}.md",
            mime="text/markdown",
            icon=":material/download:",
            on_click="ignore",
            key="model_card_save",
        )


def compare(view: ModelView, serving: ModelView | None, *, key: str) -> None:
    """Draw the figures of a model and, beside them, of the one in service."""
    rows = []
    for name, title in FIGURES.items():
        row = {"Figure": title, "This model": _number(view, name)}
        if serving is not None and serving.id != view.id:
            row["In service"] = _number(serving, name)
        rows.append(row)
    st.dataframe(pd.DataFrame(rows), hide_index=True, height="content", key=key, alt="Validation figures")
    st.caption(
        "Measured on the validation patients of the hospitals that trained it, added up over all of them and signed "
        "with the lineage. Two models of different runs were measured on different patients if their hospitals or "
        "data sets differ."
    )


def _links(view: ModelView) -> str:
    return "1 link" if view.steps == 1 else f"{view.steps} links"


def _title(view: ModelView) -> str:
    """Return a model in one line; nothing in it changes when the model is promoted, so a list shows it as it is."""
    return f"Model of {times.show_time(view.created_at, seconds=True)} · {view.weights_sha256[:12]}"


def _is_lower(view: ModelView, serving: ModelView, name: str) -> bool:
    """Tell whether a figure is lower than that of the model in service, or is missing beside one that is there."""
    return view.metrics.get(name, float("-inf")) < serving.metrics.get(name, float("-inf"))


def _number(view: ModelView, name: str) -> str:
    """Return a figure as text; a dash where there is none."""
    return figure_text(view.metrics, name) or training.MISSING


@st.dialog("Put this model into service?", width="medium")
def confirm_promotion(view: ModelView, serving: ModelView | None) -> None:
    """Show both models' figures, say what will happen, and do it when it is confirmed."""
    st.markdown(
        "Its lineage and contents are verified once more, it is sealed for the enclaves of today's hospitals, and from "
        "the next image on it answers. The model before it retires and can be brought back."
    )
    worse = [FIGURES[name] for name in WARNED if serving is not None and _is_lower(view, serving, name)]
    if worse:
        st.warning(
            f"Lower than in the model in service: {', '.join(worse)}. "
            "Its answers may be worse, or these figures less certain.",
            icon=":material/warning:",
        )
    if view.status is CheckpointStatus.ROLLED_BACK:
        st.warning(
            "This model served before and was rolled back: make sure that the reason is gone.", icon=":material/undo:"
        )
    if view.run_id is not None:
        found = run_views.origins(app, guard.actor(), view.run_id, parties=view.members)
        st.caption(
            "Its last round trained on: "
            + "; ".join(f"{name}, {origin.value} images" for name, origin in found.items())
            + "."
        )
    compare(view, serving, key="model_promote_figures")
    if st.button("Put into service", type="primary", key="model_promote_confirm"):
        try:
            service.promote(app, guard.actor(), view.id)
        except HemaSealError as error:
            shell.show_error(error)
            return
        st.session_state["models_note"] = "The model is in service."
        st.rerun()


@st.dialog("Bring the earlier model back?")
def confirm_roll_back(study: Study) -> None:
    """Say what will happen, and do it when it is confirmed."""
    st.markdown(
        "The model that served before answers from the next image on; the present one is marked "
        "as rolled back: it can be put into service again, and whoever does so is warned."
    )
    if st.button("Bring it back", type="primary", key="model_roll_back_confirm"):
        try:
            service.roll_back(app, guard.actor(), study.name)
        except HemaSealError as error:
            shell.show_error(error)
            return
        st.session_state["models_note"] = "The earlier model is in service again."
        st.rerun()


def page() -> None:
    """Draw the models of one study; the choice of the study comes first."""
    views = service.list_models(app, person)
    if not views:
        shell.empty_state("No model yet", "A finished training run leaves a candidate here.")
        return
    present = {view.study for view in views} & STUDIES.keys()
    if present:
        study = studies.choose(present, key="model_study")
        of_study([view for view in views if view.study == study.name], study)
    unknown = sum(view.study not in STUDIES for view in views)
    if unknown:
        st.caption(f"{unknown} more are for a study that is not known to this installation.")


def of_study(views: list[ModelView], study: Study) -> None:
    """Draw the models of one study, the chosen one, and the way back."""
    overview(views)
    by_id = {view.id: view for view in views}
    serving = next((view for view in views if view.status is CheckpointStatus.IN_SERVICE), None)
    chosen = st.selectbox(
        "Look at",
        list(by_id),
        format_func=lambda key: _title(by_id[key]),
        key=f"model_chosen_{study.code}",
    )
    detail(by_id[chosen], serving)
    if any(view.status is CheckpointStatus.RETIRED for view in views):
        st.header("Roll back", anchor=False)
        st.caption("If the model in service turns out badly, the one that served before it can take over at once.")
        if st.button("Bring the earlier model back …", key="model_roll_back", icon=":material/undo:"):
            confirm_roll_back(study)


shell.title("Models", "What training runs made. A model answers patients' images only after it was put into service.")
if note := st.session_state.pop("models_note", ""):
    st.success(note, icon=":material/check_circle:")
try:
    page()
except HemaSealError as error:
    shell.show_error(error)
