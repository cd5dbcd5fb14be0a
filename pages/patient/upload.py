"""Send an image: choose the file, where it may go, and send. The answer is shown on the results page."""

from datetime import datetime, timedelta

import streamlit as st

from core.errors import HemaSealError
from core.services.accounts import ConsentPurpose, Role, consents, profile
from core.services.case_reading import own_cases
from core.services.cases import submit
from core.services.members import hospitals
from core.services.places import place_titles
from core.services.plain_words import LIMITS
from core.studies import STUDIES
from pages._ui import guard, shell, state, times

JUST_SENT = timedelta(minutes=2)

app = state.app()
person = guard.actor(Role.PATIENT)


def may_send() -> set[ConsentPurpose]:
    """Return the consents in force; without the one for diagnosis say so and end the run."""
    given = {view.purpose for view in consents(app, person) if view.given_at is not None}
    if ConsentPurpose.DIAGNOSIS not in given:
        shell.empty_state(
            "Your consent comes first",
            "Before an image can be analysed you need to agree to it. Read the text in your account and decide there.",
            icon=":material/contract:",
        )
        if st.button("Go to my account", key="upload_to_account", type="primary"):
            st.session_state["account_next_section"] = "Consents"
            st.switch_page("pages/account/profile.py")
        st.stop()
    return given


def own_city() -> str:
    """Return the city of the person's profile; read once for each tab, since every read is in the audit log."""
    if "upload_city" not in st.session_state:
        st.session_state["upload_city"] = profile(app, person).city
    return str(st.session_state["upload_city"])


def just_sent() -> None:
    """Say that a picture has arrived when the newest is very young: a reload while sending looks as if it were lost.

    The cases are read on arrival and for each file that is chosen, no more: every reading is in the audit log.
    """
    chosen = getattr(st.session_state.get("upload_file"), "file_id", "")
    known: tuple[str, str, datetime | None] = st.session_state.get("upload_newest", ("?", "", None))
    if known[0] != chosen:
        newest = next((entry.case for entry in own_cases(app, person)), None)
        known = (chosen, newest.id, newest.created_at) if newest else (chosen, "", None)
        st.session_state["upload_newest"] = known
    _, case_id, sent_at = known
    if sent_at is None or app.clock.now() - sent_at > JUST_SENT:
        return
    with st.container(border=True, horizontal=True, vertical_alignment="center", key="upload_arrived"):
        st.markdown(
            f":material/check_circle: Your picture sent at {times.local(sent_at):%H:%M} has arrived.", width="content"
        )
        if st.button("Open", key="upload_open"):
            st.switch_page("pages/patient/results.py", query_params={"case": case_id})


def send(data: bytes, study: str, place: str | None, preferred: str | None, *, allow_fallback: bool) -> None:
    """Send the image; afterwards the results page shows the answer. An error leaves the form as it was."""
    try:
        with st.spinner("Sealing your picture and asking the hospital …"):
            case = submit(
                app,
                person,
                files=[data],
                study=study,
                place=place,
                preferred=preferred,
                allow_fallback=allow_fallback,
            )
    except HemaSealError as error:
        shell.show_error(error)
        st.caption("Your file and your choices are still here.")
        return
    st.session_state.pop("upload_newest", None)
    st.session_state["stages"] = {case.id: dict(case.stages_ms)}
    st.switch_page("pages/patient/results.py", query_params={"case": case.id})


shell.title(
    "Send an image",
    "A protected computer of a hospital takes a first look at your picture, and a doctor of that hospital looks at it "
    "after that.",
)
try:
    given = may_send()
    names = {view.id: f"{view.name}, {view.city}" for view in hospitals(app, person) if view.is_active}
    city = own_city()
    just_sent()
except HemaSealError as error:
    shell.show_error(error)
    st.stop()

st.header("1. Your picture", anchor=False)
study = next(iter(STUDIES.values()))
if len(STUDIES) > 1:
    study = STUDIES[
        st.selectbox("What does it show?", list(STUDIES), format_func=lambda n: STUDIES[n].title, key="upload_study")
    ]
file = st.file_uploader(
    f"{study.title}: one cell of a stained smear, as PNG, JPEG, TIFF or BMP",
    type=["png", "jpg", "jpeg", "tif", "tiff", "bmp"],
    key="upload_file",
    max_upload_size=app.settings.max_upload_bytes // 2**20,
)
st.caption(
    "Only the picture itself is used: names, places and dates that a camera writes into the file are thrown away first."
)

st.header("2. Where it may go", anchor=False)
left, right = st.columns(2)
titles = place_titles()
place = left.selectbox(
    "Your place",
    titles,
    index=titles.index(city) if city in titles else None,
    placeholder="Choose a city, or leave it empty",
    key="upload_place",
)
anywhere = "Any: the nearest one that can answer" if place else "Any that can answer"
preferred = right.selectbox(
    "Hospital",
    [None, *names],
    format_func=lambda i: names[i] if i else anywhere,
    key="upload_hospital",
)
st.caption("The place is only used to find a near hospital. Your device's location is never asked for.")
fallback = False
if ConsentPurpose.FALLBACK_HOSPITAL in given:
    fallback = st.checkbox(
        "If that hospital does not answer, one other hospital may do so", value=True, key="upload_fallback"
    )

st.header("3. Send it", anchor=False)
if st.button("Send the picture", type="primary", icon=":material/send:", key="upload_send"):
    if file is None:
        st.warning(
            "Choose a PNG, JPEG, TIFF or BMP picture first; other kinds are not taken.",
            icon=":material/attach_file:",
        )
    else:
        send(file.getvalue(), study.name, place, preferred, allow_fallback=fallback)
st.caption(LIMITS)
shell.research_notice()
