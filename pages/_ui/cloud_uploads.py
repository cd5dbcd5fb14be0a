"""What the cloud holds of a blind run, drawn: a masked upload's numbers beside the change that came of all of them."""

import pandas as pd
import streamlit as st

from core.errors import HemaSealError
from core.services import cloud_uploads
from core.services.accounts import Role
from core.services.cloud_uploads import EDGES, CloudUploads, TrueChange
from core.services.run_views import RunDetail
from core.services.runs import AggregationMode
from pages._ui import charts, guard, shell, state, training

_TRUE = "True change of the model"


def draw(detail: RunDetail) -> None:
    """Draw what is published of a run when it is asked for, and keep it for the length of the session."""
    if detail.run.mode is not AggregationMode.BLIND or not detail.run.rounds_done:
        return
    st.header("The numbers that the cloud holds", anchor=False)
    st.markdown(
        "The masked uploads of the last finished round are published. Read them, and compare them with what the "
        "hospitals really changed: the difference of the global model before and after the round, which members "
        "and you can open. **A single hospital's true update is known to that hospital alone**, so it is not here."
    )
    kept = f"uploads_{detail.run.id}"
    with st.container(horizontal=True, key="uploads_acts"):
        read = st.button("Read the uploads", icon=":material/cloud:", key="uploads_read")
        both = st.button("Open the models and compare", icon=":material/key:", key="uploads_open")
    if read or both:
        service = cloud_uploads.change_beside_uploads if both else cloud_uploads.uploads_in_cloud
        try:
            with st.spinner("Adding the uploads again and checking every signature …"):
                st.session_state[kept] = service(state.app(), guard.actor(Role.AUTHORITY), detail.run.id)
        except HemaSealError as error:
            shell.show_error(error)
            return
        if st.session_state[kept] is None:
            st.info("Nothing of this run is published on this machine.", icon=":material/cloud_off:")
    if (found := st.session_state.get(kept)) is not None:
        _uploads(found)


def _uploads(found: CloudUploads) -> None:
    by_slug = {one.slug: one for one in found.uploads}
    slug = st.selectbox("Upload of", list(by_slug), format_func=str.capitalize, key="uploads_of")
    series = {f"{slug.capitalize()}'s upload, in the cloud": by_slug[slug].shares}
    if found.change is not None:
        series[_TRUE] = found.change.shares
    frame = pd.DataFrame(
        [
            {"Number": (low + high) / 2, "Whose": name, "Share": share}
            for name, shares in series.items()
            for low, high, share in zip(EDGES, EDGES[1:], shares, strict=False)
        ]
    )
    figure = charts.line_figure(
        frame,
        x="Number",
        y="Share",
        series="Whose",
        x_title="Number (1: the largest that a word holds)",
        y_title="Share of the numbers in %",
        height=300,
    )
    figure.update_traces(line_shape="hvh")
    wide = frame.pivot_table(index="Number", columns="Whose", values="Share", sort=False).reset_index()
    alt = "How often each size of number occurs: masked ones equally often everywhere"
    if found.change is not None:
        alt += ", true ones close to zero"
    charts.plot_with_table(figure, wide, key="uploads_chart", alt=alt)
    st.caption(
        f"Round {found.round}: {len(found.uploads)} uploads of {found.words:,} words. Added again just now, they are "
        f"the sum that the coordinator signed (SHA-256 {found.sha256[:12]}…). Who can see them: the cloud, and "
        "anybody else. The group mask is still on them and on their sum."
    )
    if found.change is not None:
        _beside(found, found.change)


def _beside(found: CloudUploads, change: TrueChange) -> None:
    rows = [
        {
            "Hospital": one.slug.capitalize(),
            "Correlation with the true change": training.MISSING if one.alike is None else f"{one.alike:+.4f}",
            "By chance": f"within ±{change.by_chance:.4f} in 95 of 100",
        }
        for one in found.uploads
    ]
    st.dataframe(
        pd.DataFrame(rows), hide_index=True, key="uploads_alike", alt="How much each upload is like the true change"
    )
    st.caption(
        f"The true change: {change.typical:.2g} for a typical weight, {change.largest:.2g} for the one that changed "
        "most. Who can see it: the members and you, never the cloud. That you opened two models is in the audit log."
    )
