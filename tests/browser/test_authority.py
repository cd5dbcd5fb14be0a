"""The authority's own pages in a real browser: admit, revoke and see the effect, accounts, verify, export."""

import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.conftest import NewPage
from tests.browser.harness import ROOT, Server, by_key, choose, click, fill, section, settle, shot, sign_in, visit

DEMO_CONTENTS = False


def test_revoking_asks_for_a_reason_says_what_happens_and_shows_the_effect(server: Server, page: Page) -> None:
    sign_in(page, server, "demo-authority")
    section(page, "Certificates")
    expect(by_key(page, "revoke_open").get_by_role("button")).to_be_disabled()
    choose(page, "revoke_serial", "South Hospital (demo) · training node · signing")
    choose(page, "revoke_reason", "The key may have been stolen")
    click(page, "revoke_open")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("nothing that South Hospital (demo) · training node signs is accepted")
    shot(page, "revoke-confirm")

    by_key(page, "revoke_confirm").get_by_role("button").click()

    expect(page.get_by_text("Revocation list number 1 is in force")).to_have_count(2)
    expect(dialog).to_have_count(0)
    settle(page)
    shot(page, "revoked")
    section(page, "Hospitals")
    settle(page)
    shot(page, "members-after-revocation")


def test_a_dialog_that_is_closed_revokes_nothing(server: Server, page: Page) -> None:
    sign_in(page, server, "demo-authority")
    section(page, "Certificates")
    choose(page, "revoke_serial", "West Hospital (demo) · training node · sealing")
    choose(page, "revoke_reason", "Another reason")
    click(page, "revoke_open")

    page.keyboard.press("Escape")

    expect(page.get_by_role("dialog")).to_have_count(0)
    visit(page, server, "/audit")
    choose(page, "audit_action", "Certificates")
    expect(page.get_by_test_id("stMain")).not_to_contain_text("superseded")


def test_a_new_hospital_and_its_first_account_work_at_once(server: Server, page: Page, new_page: NewPage) -> None:
    sign_in(page, server, "demo-authority")
    by_key(page, "admit_hospital").locator("summary").click()
    fill(page, "Name of the hospital", "Central Hospital (test)")
    fill(page, "Short name", "central")
    choose(page, "admit_city", "Vienna")
    by_key(page, "admit_submit").get_by_role("button").click()
    expect(page.get_by_text("Central Hospital (test) is a member now.")).to_be_visible()
    settle(page)

    visit(page, server, "/users")
    section(page, "Make an account")
    choose(page, "account_role", "Hospital")
    choose(page, "account_hospital", "Central Hospital (test)")
    fill(page, "Name", "Test administrator")
    fill(page, "User name", "test-central")
    fill(page, "First password", "a calm long sentence")
    by_key(page, "account_submit").get_by_role("button").click()
    expect(page.get_by_text("The account test-central is open.")).to_be_visible()

    admin = sign_in(new_page(), server, "test-central", "a calm long sentence", path="/account")
    expect(by_key(admin, "who")).to_contain_text("Hospital")
    section(page, "Accounts")
    choose(page, "user_chosen", "test-central")
    click(page, "user_toggle")
    visit(admin, server, "/account")
    expect(admin.get_by_role("textbox", name="User name", exact=True)).to_be_visible()


def test_the_log_is_verified_on_the_page_and_its_export_without_the_database(
    server: Server, page: Page, tmp_path: Path
) -> None:
    sign_in(page, server, "demo-authority", path="/audit")

    click(page, "audit_verify")
    expect(page.get_by_text("The log is whole.")).to_be_visible()
    shot(page, "audit-verified")

    with page.expect_download() as download:
        by_key(page, "audit_export").get_by_role("button").click()
    file = tmp_path / "log.jsonl"
    download.value.save_as(file)
    with page.expect_download() as download:
        by_key(page, "audit_root").get_by_role("button").click()
    root = tmp_path / "root.pem"
    download.value.save_as(root)
    done = subprocess.run(
        [sys.executable, "-m", "security", "audit-verify", str(file), "--root", str(root)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "demo-authority" not in file.read_text()


def test_a_party_gets_new_keys_and_certificates_are_renewed_on_the_page(server: Server, page: Page) -> None:
    sign_in(page, server, "demo-authority")
    visit(page, server, "/keys")
    section(page, "Renew and exchange")
    choose(page, "exchange_party", "East Hospital (demo) · training node")
    choose(page, "exchange_reason", "A newer certificate replaces it")
    expect(by_key(page, "exchange")).to_contain_text("wrapped for them without being encrypted again")
    click(page, "exchange_open")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("The former keys are destroyed at the end")
    shot(page, "exchange-confirm")

    by_key(page, "exchange_confirm").get_by_role("button").click()

    expect(page.get_by_text("East Hospital (demo) · training node: new keys.")).to_be_visible()
    settle(page)
    choose(page, "renew_parties", "Coordinator")
    page.keyboard.press("Escape")
    click(page, "renew_now")
    expect(page.get_by_text("Renewed: the certificates of Coordinator.")).to_be_visible()
    settle(page)
    shot(page, "renewed")
    page.set_viewport_size({"width": 390, "height": 844})
    settle(page)
    shot(page, "renewed-narrow")
