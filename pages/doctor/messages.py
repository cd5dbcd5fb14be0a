"""A doctor's messages with the patients of the hospital's cases."""

import streamlit as st

from core.errors import HemaSealError
from core.services.accounts import Role
from core.services.messages import conversations
from pages._ui import clinic, guard, shell, state

app = state.app()
person = guard.actor(Role.DOCTOR)

shell.title("Messages", "Conversations with patients, one for each case. All doctors of your hospital see them.")
wanted = clinic.case_in_address()
try:
    talks = conversations(app, person, about=wanted)
except HemaSealError as error:
    shell.show_error(error)
    st.stop()
begun = [talk for talk in talks if talk.messages or talk.case.id == wanted]
if not begun:
    shell.empty_state(
        "No messages",
        "When a patient writes about a case, it stands here. You can begin a conversation from the case itself.",
        icon=":material/chat:",
    )
    st.stop()
chosen = clinic.choose_conversation(begun, for_doctor=True)
if st.button("Open the case", icon=":material/biotech:", key="inbox_to_case"):
    st.switch_page("pages/doctor/case.py", query_params={"case": chosen})
clinic.thread(app, person, chosen, hint="No messages yet.")
shell.research_notice()
