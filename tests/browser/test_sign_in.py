"""Signing in and out in a real browser: cookie, navigation by role, lockout, registration, logout that holds."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import NewPage
from tests.browser.harness import (
    PASSWORD,
    SESSION_COOKIE,
    Server,
    by_key,
    click,
    fill,
    menu,
    section,
    send_sign_in,
    session_token,
    settle,
    shot,
    sign_in,
    sign_out,
    tick,
    visit,
)

DEMO_CONTENTS = False
MENUS = {
    "demo-patient": ["New image", "My results", "Appointments", "Messages", "Referrals", "Who looked", "My account"],
    "demo-doctor": ["Worklist", "Schedule", "Messages", "Referrals", "My account"],
    "demo-hospital": ["Data sets", "Training runs", "Incoming images", "Our node", "My account"],
    "demo-authority": [
        "Members",
        "Users",
        "Keys",
        "Training runs",
        "Models",
        "Evaluation",
        "Enclaves",
        "Audit log",
        "Present",
        "My account",
    ],
}


@pytest.mark.parametrize("username", MENUS)
def test_each_role_sees_its_own_pages_in_the_menu_and_no_others(server: Server, page: Page, username: str) -> None:
    sign_in(page, server, username)

    assert menu(page) == MENUS[username]
    shot(page, f"signed-in-{username}")


def test_the_session_cookie_is_out_of_reach_of_scripts_and_of_other_sites(server: Server, page: Page) -> None:
    sign_in(page, server, "demo-patient")

    cookie = next(c for c in page.context.cookies() if c["name"] == SESSION_COOKIE)
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Lax"
    assert SESSION_COOKIE not in page.evaluate("document.cookie")
    assert cookie["value"] not in page.url


def test_a_reload_keeps_the_person_signed_in(server: Server, page: Page) -> None:
    sign_in(page, server, "demo-patient")

    visit(page, server)

    expect(by_key(page, "who")).to_contain_text("demo-patient")


def test_signing_in_leads_to_the_page_that_was_asked_for(server: Server, page: Page) -> None:
    sign_in(page, server, "demo-authority", path="/audit")

    expect(page).to_have_url(f"{server.url}/audit")
    expect(page.get_by_role("heading", name="Audit log")).to_be_visible()
    expect(page).to_have_title("Audit log · HemaSeal")


def test_signing_in_keeps_the_case_that_the_address_names(server: Server, page: Page) -> None:
    case = "0" * 32
    sign_in(page, server, "demo-patient", path=f"/results?case={case}")

    expect(page).to_have_url(f"{server.url}/results?case={case}")
    expect(page).to_have_title("My results · HemaSeal")


def test_signing_out_holds_for_a_stolen_copy_of_the_cookie(server: Server, page: Page, new_page: NewPage) -> None:
    sign_in(page, server, "demo-doctor")
    token = session_token(page)

    sign_out(page)

    assert session_token(page) == ""
    thief = new_page()
    thief.context.add_cookies([{"name": SESSION_COOKIE, "value": token, "url": server.url}])
    visit(thief, server, "/worklist")
    expect(thief.get_by_role("textbox", name="User name", exact=True)).to_be_visible()
    assert menu(thief) == ["Sign in", "Create an account"]


def test_another_tab_of_a_session_that_was_ended_shows_nothing_more(server: Server, page: Page) -> None:
    sign_in(page, server, "demo-patient")
    other = page.context.new_page()
    visit(other, server, "/account")

    sign_out(page)
    by_key(other, "account_section").get_by_role("radio", name="Password").click()

    expect(other.get_by_role("textbox", name="User name", exact=True)).to_be_visible()
    expect(other.get_by_role("textbox", name="Current password")).to_have_count(0)


def test_a_link_to_sign_out_made_by_somebody_else_ends_no_session(server: Server, page: Page) -> None:
    sign_in(page, server, "demo-patient")

    page.goto(f"{server.url}/auth/sign-out")
    settle(page)

    expect(by_key(page, "who")).to_contain_text("demo-patient")


def test_a_sign_in_link_from_another_browser_signs_nobody_in(server: Server, page: Page, new_page: NewPage) -> None:
    visit(page, server)
    page.route("**/auth/finish*", lambda route: route.abort())
    with page.expect_request(re.compile("/auth/finish")) as request:
        send_sign_in(page, "demo-patient")
    link = request.value.url

    victim = new_page()
    visit(victim, server)
    victim.goto(link)
    settle(victim)

    assert session_token(victim) == ""
    expect(victim.get_by_role("textbox", name="User name", exact=True)).to_be_visible()


def test_wrong_and_unknown_are_told_apart_by_nothing(server: Server, page: Page) -> None:
    visit(page, server)
    seen = []
    for username, password in (("demo-patient", "wrong password"), ("nobody-of-that-name", PASSWORD)):
        send_sign_in(page, username, password)
        box = by_key(page, "error_acc_signin")
        expect(box).to_be_visible()
        seen.append(box.inner_text())
        visit(page, server)

    assert seen[0] == seen[1]
    assert session_token(page) == ""


def test_five_failures_close_the_account_even_for_the_right_password(server: Server, page: Page) -> None:
    visit(page, server)
    for _ in range(4):
        send_sign_in(page, "demo-doctor-south", "wrong password")
        expect(by_key(page, "error_acc_signin")).to_be_visible()
        visit(page, server)
    send_sign_in(page, "demo-doctor-south", "wrong password")
    expect(by_key(page, "error_acc_locked")).to_be_visible()
    visit(page, server)

    send_sign_in(page, "demo-doctor-south", PASSWORD)

    expect(by_key(page, "error_acc_locked")).to_contain_text("min")
    shot(page, "sign-in-locked")
    assert session_token(page) == ""


def test_a_patient_registers_with_consent_and_is_signed_in(server: Server, page: Page) -> None:
    visit(page, server, "/register")
    fill(page, "First name", "Test")
    tick(page, "consent_diagnosis")
    for label, value in (
        ("Last name", "Patient"),
        ("E-mail address (optional)", "test@example.org"),
        ("User name", "test-patient-1"),
        ("Password", "a calm long sentence"),
        ("Password again", "a calm long sentence"),
    ):
        fill(page, label, value)
    expect(page.get_by_role("textbox", name="First name", exact=True)).to_have_value("Test")
    shot(page, "register")
    page.get_by_role("button", name="Create my account").click()

    expect(by_key(page, "who")).to_contain_text("test-patient-1")
    visit(page, server, "/account")
    section(page, "Consents")
    expect(by_key(page, "consent_card_diagnosis")).to_contain_text("Given on")
    expect(by_key(page, "consent_card_fallback_hospital")).to_contain_text("Not given")
    click(page, "withdraw_diagnosis")
    expect(by_key(page, "consent_card_diagnosis")).to_contain_text("Not given")


def test_a_refused_registration_loses_nothing_that_was_typed(server: Server, page: Page) -> None:
    visit(page, server, "/register")
    for label, value in (
        ("First name", "Test"),
        ("Last name", "Patient"),
        ("User name", "demo-somebody"),
        ("Password", "a calm long sentence"),
        ("Password again", "a calm long sentence"),
    ):
        fill(page, label, value)
    page.get_by_role("button", name="Create my account").click()

    expect(by_key(page, "error_acc_register")).to_be_visible()
    expect(page.get_by_role("textbox", name="First name", exact=True)).to_have_value("Test")


def test_changing_the_password_signs_out_other_browsers(server: Server, page: Page, new_page: NewPage) -> None:
    other = sign_in(new_page(), server, "demo-doctor-west")
    sign_in(page, server, "demo-doctor-west", path="/account")
    section(page, "Password")
    fill(page, "Current password", PASSWORD)
    fill(page, "New password", "another calm sentence")
    fill(page, "New password again", "another calm sentence")
    page.get_by_test_id("stFormSubmitButton").get_by_role("button", name="Change password").click()
    expect(page.get_by_text("Your password is changed.")).to_be_visible()

    visit(other, server)

    expect(other.get_by_role("textbox", name="User name", exact=True)).to_be_visible()
    visit(page, server)
    expect(by_key(page, "who")).to_contain_text("demo-doctor-west")
