"""The form that orders a run: how updates travel, which hospitals, how many rounds; then the authority signs."""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from core.services import models, run_plans, runs
from core.services.app import Actor, App
from core.services.runs import AggregationMode, Provenance
from core.studies import STUDIES, Study
from pages._ui import order_choices, privacy, shell, studies, times, training
from pages._ui.choices import distinct

PROVENANCES = {Provenance.SYNTHETIC: "synthetic", Provenance.PUBLIC: "public", Provenance.CLINICAL: "clinical"}
NOT_TAKING_PART = "Does not take part"
NEW_WEIGHTS = ""
MODES = (AggregationMode.BLIND, AggregationMode.SEALED, AggregationMode.PLAIN)


def order(app: App, person: Actor) -> str | None:
    """Draw the form; return the id of the run that was ordered just now, or None."""
    choices = runs.dataset_choices(app, person)
    study = studies.choose({choice.study for choice in choices} or STUDIES, key="order_study")
    by_hospital: dict[str, dict[str, runs.DatasetChoice]] = {}
    for choice in choices:
        if choice.study == study.name:
            by_hospital.setdefault(choice.hospital, {})[choice.id] = choice
    if len(by_hospital) < runs.MIN_MEMBERS:
        shell.empty_state(
            "Too few data sets",
            f"A run needs data sets of at least {runs.MIN_MEMBERS} hospitals for “{study.title}”; each imports its own "
            "under “Data sets”.",
        )
        return None
    mode = (
        st.radio(
            "How updates travel, and what the cloud sees",
            MODES,
            format_func=training.MODE.__getitem__,
            captions=[mode.visible_to_cloud for mode in MODES],
            key="order_mode",
        )
        or AggregationMode.BLIND
    )
    st.markdown("**Hospitals**")
    places: list[DeltaGenerator] = []
    while len(places) < len(by_hospital):
        places += st.columns(2)
    picks = [
        _pick(study, hospital, own, place) for place, (hospital, own) in zip(places, by_hospital.items(), strict=False)
    ]
    chosen = [pick for pick in picks if pick is not None]
    plan = st.container()
    left, middle, right = st.columns(3)
    rounds = left.number_input("Rounds", 1, 50, 3, key="order_rounds")
    epochs = middle.number_input("Local epochs in each round", 1, 20, 1, key="order_epochs")
    finished = {view.id: view for view in models.list_models(app, person) if view.verified and view.study == study.name}
    start = right.selectbox(
        "Start from",
        [NEW_WEIGHTS, *finished],
        format_func=lambda key: "New weights" if key == NEW_WEIGHTS else _model_title(finished[key]),
        key=f"order_start_{study.code}",
    )
    more = order_choices.more(mode, members=len(chosen))
    with plan:
        _draw_plan(mode, more, members=len(chosen))
    chosen_privacy = privacy.ordered(epochs=int(epochs), rounds=int(rounds))
    run = None
    if st.button("Sign and start", type="primary", key="order_submit", icon=":material/draw:"):
        run = runs.start_run(
            app,
            person,
            study=study.name,
            mode=mode,
            rounds=int(rounds),
            dataset_ids=[choice.id for choice in chosen],
            minimum_members=more.minimum,
            local_epochs=int(epochs),
            combining=more.combining,
            server=more.server,
            proximal=more.proximal,
            round_rules=more.rules,
            privacy=chosen_privacy,
            start_from=start or None,
        )
    st.caption(
        "The order is signed with the authority's key. Every node checks that signature, so nobody in between can "
        "change the mode, the hospitals, or who gets the model."
    )
    return run


def _draw_plan(mode: AggregationMode, more: order_choices.Choices, *, members: int) -> None:
    """Say how many hospitals each round needs, and how many may drop out."""
    if members < runs.MIN_MEMBERS:
        st.warning(f"Choose at least {runs.MIN_MEMBERS} hospitals.", icon=":material/warning:")
        return
    plan = run_plans.round_plan(mode, members=members, minimum=more.minimum, participation=more.rules.participation)
    hint = " A fourth one would allow one to." if mode is AggregationMode.BLIND and not plan.may_drop_out else ""
    st.markdown(f":material/group: {plan.text}{hint}")


def _pick(
    study: Study, hospital: str, own: dict[str, runs.DatasetChoice], place: DeltaGenerator
) -> runs.DatasetChoice | None:
    """Draw one hospital's choice of a data set; None if it does not take part."""
    titles = {
        key: f"{choice.name} · {PROVENANCES[choice.provenance]} · {choice.training_images:,} training images"
        for key, choice in own.items()
    }
    told = distinct({**titles, "": NOT_TAKING_PART})
    hospital_id = next(iter(own.values())).hospital_id
    chosen = place.selectbox(
        hospital, list(told), format_func=told.__getitem__, key=f"order_dataset_{study.code}_{hospital_id}"
    )
    return own.get(chosen)


def _model_title(view: models.ModelView) -> str:
    """Return a model in one line."""
    auc = f" · AUC {view.metrics['auc']:.3f}" if "auc" in view.metrics else ""
    place = "in service" if view.status is models.CheckpointStatus.IN_SERVICE else view.status.value
    return f"Model of {times.show_time(view.created_at)} · {place}{auc}"
