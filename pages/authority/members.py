"""Members: the hospitals that take part, how far each has come, and their certificates."""

import pandas as pd
import streamlit as st

from core.errors import HemaSealError
from core.services import members as service
from core.services.places import find_place, place_titles
from pages._ui import guard, shell, state, studies, times
from pages._ui.words import KEY_USES, REVOCATION_REASONS, party_title

_STATES = {"valid": "✓ valid", "expired": "⚠ expired", "revoked": "✕ revoked"}
STATES = {
    service.MemberState.REGISTERED: "○ registered",
    service.MemberState.APPROVED: "◇ approved, not keyed",
    service.MemberState.KEYED: "✓ keyed",
    service.MemberState.REVOKED: "✕ revoked",
}
_SOON_DAYS = 30
READY = "✓ ready"
LATER = "◇ ready after the next promotion"

app = state.app()
person = guard.actor()


def hospitals() -> None:
    """Draw the hospitals with the state of their certificates, and the form that admits one."""
    members, certificates = service.hospitals(app, person), service.certificates(app, person)
    with_model = service.parties_with_model(app, person)
    valid = {(view.party, view.key_use) for view in certificates if view.state == "valid"}
    table = [
        {
            "Hospital": view.name,
            "City": view.city,
            "Short name": view.slug,
            "State": STATES[service.member_state(view.slug, certificates)],
            "Training node": _standing(valid, f"{view.slug}.training"),
            "Serving enclave": _serving(valid, with_model, f"{view.slug}.serving"),
        }
        for view in members
    ]
    st.dataframe(
        pd.DataFrame(table), hide_index=True, key="hospitals_table", alt="Member hospitals and their certificates"
    )
    st.caption(
        "Registered: on this list. Approved: certified by you. Keyed: all four certificates are valid, so it takes "
        "part. Revoked: you took a certificate back and nothing has replaced it."
    )
    st.caption(
        "A node needs a valid signing and a valid sealing certificate: without them its messages are refused in every "
        "round and at every diagnosis. Patients' images go to hospitals that can open the model in service and have a "
        "doctor with an open account."
    )
    with (
        st.expander("Admit a hospital", icon=":material/add:", key="admit_hospital"),
        st.form("admit_form", border=False),
    ):
        name = st.text_input("Name of the hospital", key="admit_name")
        slug = st.text_input("Short name", key="admit_slug", placeholder="for example: central")
        city = st.selectbox("City", place_titles(), index=None, placeholder="Choose a city", key="admit_city")
        if st.form_submit_button("Admit and issue certificates", key="admit_submit"):
            place = find_place(city or "")
            made = service.enrol_hospital(
                app,
                person,
                slug=slug,
                name=name,
                city=place.name,
                latitude=place.latitude,
                longitude=place.longitude,
            )
            st.session_state["members_note"] = f"{made.name} is a member now. Four certificates were issued to it."
            st.rerun()


def _standing(valid: set[tuple[str, str]], party: str) -> str:
    """Return whether a party has both certificates that it needs."""
    missing = [title for use, title in KEY_USES.items() if (party, use) not in valid]
    return READY if not missing else f"✕ no valid {' and '.join(missing)} certificate"


def _serving(valid: set[tuple[str, str]], with_model: dict[str, frozenset[str]], party: str) -> str:
    """Return whether an enclave can answer: it needs its certificates, and the models in service sealed for it."""
    standing = _standing(valid, party)
    lacking = [studies.title_of(study) for study, parties in with_model.items() if party not in parties]
    if standing != READY or (with_model and not lacking):
        return standing
    return LATER if len(lacking) == len(with_model) else f"{LATER}: {', '.join(lacking)}"


def certificates() -> None:
    """Draw all certificates with their expiry, the list in force, and the way to revoke one."""
    names = {view.slug: view.name for view in service.hospitals(app, person)}
    views = service.certificates(app, person)
    views.sort(key=lambda view: (view.state == "valid", "." not in view.party))  # what needs attention, then hospitals
    lists = service.revocation_lists(app, person)
    now = app.clock.now()
    soon = [view for view in service.in_use(views) if (view.not_after - now).days < _SOON_DAYS]
    left, middle, right = st.columns(3)
    left.metric("Valid", sum(view.state == "valid" for view in views))
    middle.metric("Revoked", sum(view.state == "revoked" for view in views))
    right.metric(f"End within {_SOON_DAYS} days", len(soon))
    if soon:
        st.warning(
            f"Certificates of {', '.join(sorted({party_title(view.party, names) for view in soon}))} end within "
            f"{_SOON_DAYS} days or have ended. The page “Keys” renews those of parties on this machine.",
            icon=":material/schedule:",
        )
    table = [
        {
            "Party": party_title(view.party, names),
            "Key": KEY_USES.get(view.key_use, view.key_use),
            "State": _STATES[view.state],
            "Expires": times.show_date(view.not_after),
            "Days left": (view.not_after - now).days if view.state == "valid" else None,
            "Revoked because": REVOCATION_REASONS.get(view.reason, view.reason),
            "Serial": view.serial,
        }
        for view in views
    ]
    st.dataframe(pd.DataFrame(table), hide_index=True, key="certificates_table", alt="Certificates with their expiry")
    if lists:
        st.caption(
            f"Revocation list number {lists[0].number} is in force since {times.show_time(lists[0].issued_at)}. "
            f"It is signed by the authority and checked at every message. Times: {times.zone_name()}."
        )
    _revocation(views, names)


def _revocation(views: list[service.CertificateView], names: dict[str, str]) -> None:
    """Draw the choice of a certificate and of a reason; the dialog asks again and says what will happen."""
    open_ones = {view.serial: view for view in views if view.state != "revoked" and "." in view.party}
    with st.container(border=True, key="revocation"):
        st.header("Revoke a certificate", anchor=False)
        serial = st.selectbox(
            "Certificate",
            list(open_ones),
            index=None,
            placeholder="Choose a certificate",
            format_func=lambda s: (
                f"{party_title(open_ones[s].party, names)} · {KEY_USES[open_ones[s].key_use]} · …{s[-8:]}"
            ),
            key="revoke_serial",
        )
        reason = st.selectbox(
            "Reason",
            list(REVOCATION_REASONS),
            index=None,
            placeholder="Choose a reason",
            format_func=REVOCATION_REASONS.__getitem__,
            key="revoke_reason",
        )
        asked = st.button("Revoke …", key="revoke_open", icon=":material/block:", disabled=not (serial and reason))
        if asked and serial and reason:
            _confirm_revocation(open_ones[serial], reason, names)


@st.dialog("Revoke this certificate?")
def _confirm_revocation(view: service.CertificateView, reason: str, names: dict[str, str]) -> None:
    """Say what will happen, and do it when it is confirmed."""
    party = party_title(view.party, names)
    shell.facts(
        [("Party", party), ("Key", KEY_USES.get(view.key_use, view.key_use)), ("Reason", REVOCATION_REASONS[reason])]
    )
    effect = (
        f"From the next message on, nothing that **{party}** signs is accepted, and running rounds go on without it."
        if view.key_use == "sign"
        else f"From now on nothing is sealed for **{party}**: it gets no model and no image any more."
    )
    st.warning(
        f"{effect} What it signed before no longer counts either. This cannot be undone; to take part again, it gets "
        "new keys on the page “Keys”.",
        icon=":material/warning:",
    )
    if st.button("Revoke now", type="primary", key="revoke_confirm"):
        try:
            number = service.revoke_certificate(app, person, view.serial, reason)
        except HemaSealError as error:
            shell.show_error(error)
            return
        st.session_state["members_note"] = (
            f"The {KEY_USES.get(view.key_use, view.key_use)} certificate of {party} is revoked. "
            f"Revocation list number {number} is in force, and every party checks it from now on."
        )
        st.rerun()


shell.title("Members", "Who takes part, and by which certificates. Revoking one holds from the next message on.")
if note := st.session_state.pop("members_note", ""):
    st.success(note, icon=":material/check_circle:")
shell.sections(
    {"Hospitals": hospitals, "Certificates": certificates},
    key="members_section",
)
