"""Leaving the page for a route of the server, in the same tab, without any script of ours.

Streamlit has no public call for this. Its own `st.login` sends the browser a message named ``auth_redirect``, and the
browser follows it; the same message is sent here. Should a later Streamlit not have it, a plain link remains.
"""

import streamlit as st
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime.scriptrunner import get_script_run_ctx


def leave_to(url: str) -> None:
    """Send this tab to `url` (a path of this server) and end the script run; a link is drawn in case it stays.

    Args:
        url: address from the root, for example ``/auth/finish?code=…``; never one that a person typed.
    """
    st.link_button("Continue", url, type="primary", key="continue")
    context = get_script_run_ctx()
    if context is not None:
        message = ForwardMsg()
        message.auth_redirect.url = url
        context.enqueue(message)
    st.stop()
