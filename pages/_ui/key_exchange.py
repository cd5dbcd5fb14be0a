"""“Renew and exchange”: how the parties' certificates stand, renewing them, and giving a party new keys."""

from collections.abc import Callable
from typing import TypeVar

import pandas as pd
import streamlit as st

from core.errors import HemaSealError
from core.services import key_exchange as service
from core.services import members
from core.services.app import Actor, App
from pages._ui import guard, shell, state, times
from pages._ui.words import REVOCATION_REASONS, party_title

NOTE = "key_exchange_note"
Done = TypeVar("Done")
Tell = Callable[[service.Progress], None]


def draw() -> None:
    """Draw the section."""
    app, person = state.app(), guard.actor()
    names = {view.slug: view.name for view in members.hospitals(app, person)}
    views = service.parties(app, person)
    if note := st.session_state.pop(NOTE, ""):
        st.success(note, icon=":material/check_circle:")
    _unfinished(app, person, names)
    _table(app, views, names)
    _renewal(app, person, [view for view in views if view.is_here], names)
    _exchange([view for view in views if view.can_exchange], names)
    with st.container(border=True, key="rekey"):
        st.header("The whole federation", anchor=False)
        st.markdown(
            "After a break-in, stop the app and run `python -m core rekey` on this machine, with `--new-root` if the "
            "root key may have been taken too. Every party here gets new keys, what is stored is wrapped for them, the "
            "former certificates are revoked, runs under way end, and everybody signs in again. It can be stopped at "
            "any point and run again. The keys of this application and of the authority are exchanged only so."
        )
        st.caption(
            "New keys do not cure a leak: whoever copied a key together with what it opens keeps what they can read."
        )


def _table(app: App, views: list[service.PartyKeys], names: dict[str, str]) -> None:
    now = app.clock.now()
    table = [
        {
            "Party": party_title(view.party, names),
            "Certificates end": times.show_date(view.not_after) if view.not_after else times.NOTHING,
            "Days left": (view.not_after - now).days if view.not_after else None,
            "State": "✕ none" if view.not_after is None else "⚠ ends soon" if view.is_soon else "✓ in use",
            "Keys": "here" if view.is_here else "on another machine",
        }
        for view in views
    ]
    st.dataframe(pd.DataFrame(table), hide_index=True, key="party_keys", alt="Parties and when their certificates end")


def _unfinished(app: App, person: Actor, names: dict[str, str]) -> None:
    waiting = service.unfinished(app, person)
    if not waiting:
        return
    who = ", ".join(party_title(party, names) for party in waiting)
    st.warning(
        f"An exchange of keys was stopped before its end: {who}. Nothing is lost; finish it.",
        icon=":material/warning:",
    )
    if st.button("Finish the exchange", key="exchange_finish", icon=":material/play_arrow:"):
        outcome = _with_bar(lambda tell: service.finish(app, person, tell=tell))
        if outcome is not None:
            _noted(outcome, names)


def _renewal(app: App, person: Actor, views: list[service.PartyKeys], names: dict[str, str]) -> None:
    with st.container(border=True, key="renewal"):
        st.header("Renew certificates", anchor=False)
        st.markdown(
            "A renewed certificate is of the same key and holds for a year. Everything opens as before. Running "
            "enclaves start again at the next picture; this application and the training worker use theirs from "
            "their next start."
        )
        chosen = st.multiselect(
            "Parties",
            [view.party for view in views],
            default=[view.party for view in views if view.is_soon],
            format_func=lambda party: party_title(party, names),
            key="renew_parties",
            placeholder="Choose parties",
        )
        asked = st.button("Renew", key="renew_now", icon=":material/autorenew:", disabled=not chosen)
        if asked and _with_bar(lambda tell: service.renew(app, person, chosen, tell=tell)) is not None:
            who = ", ".join(party_title(party, names) for party in chosen)
            st.session_state[NOTE] = f"Renewed: the certificates of {who}."
            st.rerun()


def _exchange(views: list[service.PartyKeys], names: dict[str, str]) -> None:
    with st.container(border=True, key="exchange"):
        st.header("Give a party new keys", anchor=False)
        left, right = st.columns(2)
        party = left.selectbox(
            "Party",
            [view.party for view in views],
            index=None,
            placeholder="Choose a party",
            format_func=lambda name: party_title(name, names),
            key="exchange_party",
        )
        reason = right.selectbox(
            "Reason",
            list(REVOCATION_REASONS),
            index=None,
            placeholder="Choose a reason",
            format_func=REVOCATION_REASONS.__getitem__,
            key="exchange_reason",
        )
        if party:
            st.markdown(
                f"**{party_title(party, names)}** gets new keys. Stored pictures, results, data sets and models are "
                "wrapped for them without being encrypted again, then the former certificates are revoked and the "
                "former keys destroyed. A training round under way with this party ends without it; a blind run "
                "under way with it has to be ordered anew."
            )
        if st.button(
            "Exchange the keys …", key="exchange_open", icon=":material/key:", disabled=not (party and reason)
        ):
            _confirm(party or "", reason or "", names)


@st.dialog("Exchange these keys?")
def _confirm(party: str, reason: str, names: dict[str, str]) -> None:
    """Ask again, and do it."""
    shell.facts([("Party", party_title(party, names)), ("Reason", REVOCATION_REASONS[reason])])
    st.warning("The former keys are destroyed at the end. This cannot be undone.", icon=":material/warning:")
    if st.button("Exchange now", type="primary", key="exchange_confirm"):
        app, person = state.app(), guard.actor()
        outcome = _with_bar(lambda tell: service.exchange(app, person, party, reason, tell=tell))
        if outcome is not None:
            _noted(outcome, names)


def _noted(outcome: service.Outcome, names: dict[str, str]) -> None:
    who = ", ".join(party_title(party, names) for party in outcome.parties)
    left = sum(outcome.damaged.values())
    st.session_state[NOTE] = f"{who}: new keys. {sum(outcome.looked_at.values())} stored objects were looked at" + (
        f"; {left} of them did not open and were left as they are." if left else "."
    )
    st.rerun()


def _with_bar(work: Callable[[Tell], Done]) -> Done | None:
    """Do something that tells of its progress, with a bar; a refusal is shown and None returned."""
    bar = st.progress(0.0, text="Beginning")

    def tell(progress: service.Progress) -> None:
        share = progress.done / progress.total if progress.total else 0.0
        bar.progress(share, text=progress.step[:1].upper() + progress.step[1:])

    try:
        return work(tell)
    except HemaSealError as error:
        shell.show_error(error)
        return None
    finally:
        bar.empty()
