"""A patient's messages with the doctors of each picture's hospital."""

import streamlit as st

from core.errors import HemaSealError
from core.services.accounts import Role
from core.services.messages import conversations
from core.services.plain_words import FEELING_UNWELL
from pages._ui import clinic, guard, shell, state

app = state.app()
person = guard.actor(Role.PATIENT)

shell.title("Messages", "Write to the doctors who look at your picture. What you write is stored sealed.")
try:
    talks = conversations(app, person)
except HemaSealError as error:
    shell.show_error(error)
    st.stop()
if not talks:
    shell.empty_state(
        "Nobody to write to yet",
        "When you have sent a picture, you can write here to the doctors of the hospital that looks at it.",
        icon=":material/chat:",
    )
    if st.button("Send an image", type="primary", key="messages_to_upload"):
        st.switch_page("pages/patient/upload.py")
    st.stop()
chosen = clinic.choose_conversation(talks, for_doctor=False)
clinic.thread(app, person, chosen, hint="No messages yet. Ask whatever you would like to know about your picture.")
st.caption(f"An answer can take a working day. {FEELING_UNWELL}")
shell.research_notice()
