"""Keys: the root that everything hangs on, shares that bring it back, and how two parties agree on a secret."""

import streamlit as st

from core.services import key_ceremony as service
from pages._ui import guard, key_exchange, shell, small_curve, state, times

app = state.app()
person = guard.actor()
SHARES = "recovery_shares"


def root_key() -> None:
    """Draw the root, what expires soon, and the making of shares."""
    view = service.root(app, person)
    shell.facts(
        [
            ("Fingerprint of the root", f"`{_grouped(view.fingerprint)}`"),
            ("Valid until", times.show_date(view.not_after)),
            ("Recovery", "shares were made" if view.has_recovery else "no shares yet: a lost root key stays lost"),
        ]
    )
    st.caption(
        "Every certificate and every revocation list is signed with the root key. Whoever joins compares this "
        "fingerprint with the one that you read out; if they differ, somebody stands between you."
    )
    if view.expiring:
        st.warning(
            f"Certificates of {', '.join(view.expiring)} end within {service.SOON.days} days or have ended: renew them "
            "under “Renew and exchange”.",
            icon=":material/schedule:",
        )
    _shares(replaced=view.has_recovery)


def _shares(*, replaced: bool) -> None:
    with st.container(border=True, key="recovery"):
        st.header("Shares for recovery", anchor=False)
        st.markdown(
            "The root key is encrypted once more under a secret that nobody has whole: each of several people gets a "
            "share, and only as many as you say can open it together. Fewer learn nothing at all. The shares are shown "
            "once, here, and kept nowhere."
        )
        left, right = st.columns(2)
        people = left.number_input("People", service.LEAST, service.MOST, 5, key="recovery_people")
        needed = right.number_input(
            "Shares needed", service.LEAST, int(people), min(3, int(people)), key="recovery_needed"
        )
        label = "Make new shares; the old ones become void" if replaced else "Make the shares"
        if st.button(label, icon=":material/key_vertical:", key="recovery_make"):
            st.session_state[SHARES] = service.make_recovery_shares(app, person, needed=int(needed), people=int(people))
            st.rerun()
    if made := st.session_state.get(SHARES):
        st.success(f"{len(made)} shares were made. Give each to its person now.", icon=":material/check_circle:")
        for number, line in enumerate(made, 1):
            st.markdown(f"**Share {number}**")
            st.code(line, language=None, wrap_lines=True)
        if st.button("Done: hide the shares", key="recovery_done"):
            del st.session_state[SHARES]
            st.rerun()
        st.caption(
            "To use them: write the shares into a file, one on each line, and run `python -m core recover-root FILE` "
            "on the authority's machine. The file `issue.recovery.p8` of the authority's folder must be there; keep "
            "a copy."
        )


def _grouped(digits: str) -> str:
    return " ".join(digits[at : at + 4] for at in range(0, len(digits), 4))


shell.title("Keys", "What the federation's trust hangs on, and how keys work.")
shell.sections(
    {
        "The root key": root_key,
        "Renew and exchange": key_exchange.draw,
        "How two parties agree": small_curve.draw,
    },
    key="keys_section",
)
