"""Members: the hospitals that take part, their certificates, and the accounts of doctors and administrators."""

import pandas as pd
import streamlit as st

from core.errors import HemaSealError
from core.services import accounts as account_service
from core.services import members as service
from core.services import step_up
from core.services.accounts import Role
from core.services.places import find_place, place_titles
from pages._ui import guard, shell, state, studies, times
from pages._ui.words import KEY_USES, PARTY_PARTS, REVOCATION_REASONS, ROLE_TITLES

_STATES = {"valid": "✓ valid", "expired": "⚠ expired", "revoked": "✕ revoked"}
_SOON_DAYS = 30
READY = "✓ ready"
LATER = "◇ ready after the next promotion"

app = state.app()
person = guard.actor()


def _party(name: str, names: dict[str, str]) -> str:
    """Return a party's name for people: “North hospital · training node”."""
    slug, _, part = name.partition(".")
    return f"{names.get(slug, slug)} · {PARTY_PARTS.get(part, part)}" if part else PARTY_PARTS.get(name, name)


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
            "Takes part": "yes" if view.is_active else "no",
            "Training node": _standing(valid, f"{view.slug}.training"),
            "Serving enclave": _serving(valid, with_model, f"{view.slug}.serving"),
        }
        for view in members
    ]
    st.dataframe(
        pd.DataFrame(table), hide_index=True, key="hospitals_table", alt="Member hospitals and their certificates"
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
    soon = [view for view in views if view.state == "valid" and (view.not_after - now).days < _SOON_DAYS]
    left, middle, right = st.columns(3)
    left.metric("Valid", sum(view.state == "valid" for view in views))
    middle.metric("Revoked", sum(view.state == "revoked" for view in views))
    right.metric(f"Expire within {_SOON_DAYS} days", len(soon))
    table = [
        {
            "Party": _party(view.party, names),
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
            format_func=lambda s: f"{_party(open_ones[s].party, names)} · {KEY_USES[open_ones[s].key_use]} · …{s[-8:]}",
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
    party = _party(view.party, names)
    shell.facts(
        [("Party", party), ("Key", KEY_USES.get(view.key_use, view.key_use)), ("Reason", REVOCATION_REASONS[reason])]
    )
    effect = (
        f"From the next message on, nothing that **{party}** signs is accepted, and running rounds go on without it."
        if view.key_use == "sign"
        else f"From now on nothing is sealed for **{party}**: it gets no model and no image any more."
    )
    st.warning(
        f"{effect} This cannot be undone: to take part again, the hospital is admitted anew under another short name.",
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


def staff() -> None:
    """Draw the accounts of all who are not patients; make, close and open them."""
    views = account_service.accounts(app, person)
    table = [
        {
            "User name": view.username,
            "Role": ROLE_TITLES[view.role],
            "Hospital": view.hospital or times.NOTHING,
            "State": "✓ open" if view.is_active else "✕ closed",
            "Second factor": "yes" if view.second_factor else "no",
            "Demo": "yes" if view.is_demo else "no",
        }
        for view in views
    ]
    st.dataframe(pd.DataFrame(table), hide_index=True, key="accounts_table", alt="Accounts of staff")
    left, right = st.columns(2)
    with left.container(border=True, key="account_state"):
        st.header("Close or open an account", anchor=False)
        others = {view.user_id: view for view in views if view.user_id != person.user_id}
        chosen = st.selectbox(
            "Account", list(others), index=None, format_func=lambda i: others[i].username, key="account_chosen"
        )
        closing = chosen is None or others[chosen].is_active
        if st.button("Close account" if closing else "Open account", key="account_toggle", disabled=chosen is None):
            account_service.set_active(app, person, str(chosen), active=not closing)
            st.rerun()
        st.caption("Closing an account signs its browsers out at once.")
        has_factor = chosen is not None and others[chosen].second_factor
        if st.button("Take off the second factor", key="account_factor_off", disabled=not has_factor):
            step_up.reset_second_factor(app, person, str(chosen))
            st.session_state["members_note"] = f"The second factor of {others[str(chosen)].username} is off."
            st.rerun()
        st.caption("For who has lost the authenticator and the recovery codes; make sure that it is them who ask.")
    with right, st.form("account_form"):
        st.header("Make an account", anchor=False)
        hospitals_by_id = {view.id: view.name for view in service.hospitals(app, person)}
        role = st.selectbox(
            "Role",
            [Role.DOCTOR, Role.HOSPITAL, Role.AUTHORITY],
            format_func=ROLE_TITLES.__getitem__,
            key="account_role",
        )
        hospital = st.selectbox(
            "Hospital (doctors and hospitals)",
            list(hospitals_by_id),
            index=None,
            format_func=hospitals_by_id.__getitem__,
            key="account_hospital",
        )
        name = st.text_input("Name", key="account_name")
        username = st.text_input("User name", key="account_username")
        password = st.text_input("First password", type="password", key="account_password")
        if st.form_submit_button("Make account", key="account_submit"):
            account_service.create_account(
                app,
                person,
                username=username,
                password=password,
                display_name=name,
                role=role,
                hospital_id=None if role is Role.AUTHORITY else hospital,
            )
            st.session_state["members_note"] = f"The account {username.strip().lower()} is open."
            st.rerun()


shell.title("Members", "Who takes part, and by which certificates. Revoking one holds from the next message on.")
if note := st.session_state.pop("members_note", ""):
    st.success(note, icon=":material/check_circle:")
sections = {"Hospitals": hospitals, "Certificates": certificates, "Accounts": staff}
section = st.segmented_control(
    "Section", list(sections), default="Hospitals", required=True, key="members_section", label_visibility="collapsed"
)
try:
    sections[section]()
except HemaSealError as error:
    shell.show_error(error)
