"""Send pictures: choose the files, see what can be used of them, where they may go, and send.

The answer is shown on the results page. Files that cannot be used are named with their reason and left out.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from core.errors import HemaSealError
from core.services.accounts import ConsentPurpose, Role, consents, profile
from core.services.case_images import MAX_IMAGES, Advice, look_at, studies_served
from core.services.case_reading import own_cases
from core.services.cases import submit
from core.services.members import hospitals
from core.services.places import place_titles
from core.services.plain_words import LIMITS
from core.studies import STUDIES, Study, Subject
from pages._ui import clinic, guard, shell, state, times

JUST_SENT = timedelta(minutes=2)
SCROLL_FROM = 5
SUBJECTS = {
    Subject.CELL: "a single cell, or a field with several cells, of a stained blood smear",
    Subject.FIELD: "a field of a stained blood smear",
    Subject.SCAN: "a grey picture of a CT, MRI, X-ray or ultrasound",
}

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
    chosen = "".join(sorted(file.file_id for file in st.session_state.get("upload_file") or []))
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


def looked_at(files: Sequence[UploadedFile], study: Study) -> list[Advice]:
    """Return what is known of each file; each is looked at once for a study."""
    known: dict[tuple[str, str], Advice] = st.session_state.get("upload_advice", {})
    fresh = [file for file in files if (file.file_id, study.name) not in known]
    if fresh:
        with st.spinner("Looking at your pictures …"):
            for file in fresh:
                known[file.file_id, study.name] = look_at(app, person, file.getvalue(), study=study.name)
    kept = {key: advice for key, advice in known.items() if key[0] in {file.file_id for file in files}}
    st.session_state["upload_advice"] = kept
    return [kept[file.file_id, study.name] for file in files]


def show_files(files: Sequence[UploadedFile], advice: Sequence[Advice]) -> None:
    """Draw a line for each file: the picture small, its name, and whether it can be used."""
    with st.container(height=420 if len(files) > SCROLL_FROM else "content", border=False, key="upload_looked_at"):
        for number, (file, seen) in enumerate(zip(files, advice, strict=True), 1):
            with st.container(border=True, horizontal=True, vertical_alignment="center", key=f"upload_line_{number}"):
                if seen.thumbnail:
                    st.image(seen.thumbnail, width=72, alt=f"Picture {number}, {file.name}, small")
                st.markdown(f"**{number}. {clinic.literal(file.name)}**  \n{said_of(seen)}")


def said_of(seen: Advice) -> str:
    """Return one line about a file: what was found in it, or why it cannot be used."""
    if seen.problem is None:
        cells = ""
        if seen.cells is not None:
            cells = f" · {seen.cells} white blood cell{'' if seen.cells == 1 else 's'} found"
        return f":material/check_circle: Can be sent · {seen.width} x {seen.height} pixels{cells}"
    why = f" ({clinic.literal(seen.problem.detail)})" if seen.problem.detail else ""
    return (
        f":material/block: **Will be left out.** {clinic.literal(seen.problem.text)}{why} "
        f"{clinic.literal(seen.problem.remedy)}"
    )


def send(files: Sequence[bytes], study: str, place: str | None, preferred: str | None, *, allow_fallback: bool) -> None:
    """Send the pictures; afterwards the results page shows the answer. An error leaves the form as it was."""
    what = "your picture" if len(files) == 1 else f"your {len(files)} pictures"
    try:
        with st.spinner(f"Sealing {what} and asking the hospital …"):
            case = submit(
                app,
                person,
                files=files,
                study=study,
                place=place,
                preferred=preferred,
                allow_fallback=allow_fallback,
            )
    except HemaSealError as error:
        shell.show_error(error)
        st.caption("Your files and your choices are still here.")
        return
    for name in ("upload_newest", "upload_advice"):
        st.session_state.pop(name, None)
    st.session_state["stages"] = {case.id: dict(case.stages_ms)}
    st.switch_page("pages/patient/results.py", query_params={"case": case.id})


shell.title(
    "Send an image",
    "A protected computer of a hospital takes a first look at your pictures, and a doctor of that hospital looks at "
    "them after that.",
)
try:
    given = may_send()
    names = {view.id: f"{view.name}, {view.city}" for view in hospitals(app, person) if view.is_active}
    city = own_city()
    offered = studies_served(app, person) or [STUDIES["leukemia"]]
    just_sent()
except HemaSealError as error:
    shell.show_error(error)
    st.stop()

st.header("1. Your pictures", anchor=False)
study = offered[0]
if len(offered) > 1:
    study = st.selectbox(
        "What do they show?",
        offered,
        format_func=lambda one: f"{one.title}: {SUBJECTS[one.subject]}",
        key="upload_study",
    )
files = st.file_uploader(
    f"{study.title}: {SUBJECTS[study.subject]}, as PNG, JPEG, TIFF, BMP or DICOM; up to {MAX_IMAGES} of one person",
    type=["png", "jpg", "jpeg", "tif", "tiff", "bmp", "dcm"],
    accept_multiple_files=True,
    key="upload_file",
    max_upload_size=app.settings.max_upload_bytes // 2**20,
)
st.caption(
    "Only the pictures themselves are used: names, places and dates that a camera writes into a file are thrown away "
    "first."
)
advice: list[Advice] = []
if files:
    try:
        advice = looked_at(files, study)
        show_files(files, advice)
    except HemaSealError as error:
        shell.show_error(error)
usable = [file for file, seen in zip(files, advice, strict=False) if seen.problem is None]
left_out = len(advice) - len(usable)
if usable and left_out:
    st.markdown(f":material/info: {left_out} of {len(advice)} will be left out; the others can be sent.")

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

st.header("3. Send", anchor=False)
several = f"Send {len(usable)} pictures" if len(usable) > 1 else "Send the picture"
if st.button(several, type="primary", icon=":material/send:", key="upload_send"):
    if not files:
        st.warning(
            "Choose a PNG, JPEG, TIFF or BMP picture first; other kinds are not taken.",
            icon=":material/attach_file:",
        )
    elif usable:
        send([file.getvalue() for file in usable], study.name, place, preferred, allow_fallback=fallback)
    elif advice and advice[0].problem is not None:
        shell.show_error(advice[0].problem)
st.caption(LIMITS)
shell.research_notice()
