"""Pages and files by address on a fresh process: without a session, or with another role's, nothing is shown."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from pages._ui.registry import PAGES
from tests.browser.conftest import NewPage
from tests.browser.harness import Server, by_key, free_port, settle, sign_in, visit

DEMO_CONTENTS = False
GUARDED = [page for page in PAGES if page.roles]
ROLE_ACCOUNTS = {
    "patient": "demo-patient",
    "doctor": "demo-doctor",
    "hospital": "demo-hospital",
    "authority": "demo-authority",
}


@pytest.fixture
def fresh(data_dir: Path) -> Iterator[Server]:
    """A process that has served nobody yet."""
    running = Server(data_dir, port=free_port())
    try:
        yield running.start()
    finally:
        running.stop()


def test_a_fresh_process_shows_no_page_to_somebody_without_a_session(fresh: Server, page: Page) -> None:
    for spec in GUARDED:
        page.goto(fresh.url + "/" + spec.url_path)
        expect(page.get_by_role("textbox", name="User name", exact=True)).to_be_visible()
        settle(page)
        assert page.get_by_role("heading", level=1).all_inner_texts() == ["Welcome to HemaSeal"], spec.path
        assert page.get_by_test_id("stTopNavLink").count() == 2


@pytest.mark.parametrize("role", ROLE_ACCOUNTS)
def test_no_role_reaches_a_page_of_another_by_the_first_address_that_a_process_serves(
    fresh: Server, page: Page, role: str
) -> None:
    """All addresses of a process that has served others are tried in `test_attacks`."""
    spec = next(spec for spec in GUARDED if role not in spec.roles)
    sign_in(page, fresh, ROLE_ACCOUNTS[role], path=f"/{spec.url_path}")
    page.goto(f"{fresh.url}/{spec.url_path}")
    expect(page.get_by_text("This page is not part of your account")).to_be_visible()
    assert page.get_by_role("heading", level=1).count() == 0, spec.path


def test_files_are_neither_served_nor_taken_without_a_session(server: Server, page: Page, new_page: NewPage) -> None:
    status, headers, _ = server.get("/media/" + "0" * 56 + ".png")
    assert status == 403
    assert headers["cache-control"] == "private, no-store"

    visit(page, server)
    upload = f"{server.url}/_stcore/upload_file/some-session/some-file"
    assert page.request.put(upload, data=b"x").status == 403

    signed_in = new_page()
    sign_in(signed_in, server, "demo-patient")
    assert signed_in.request.get(f"{server.url}/media/{'0' * 56}.png").status == 404


def test_a_picture_that_a_page_shows_is_refused_to_everybody_without_a_session(
    server: Server, page: Page, new_page: NewPage
) -> None:
    sign_in(page, server, "demo-authority", path="/audit")
    with page.expect_download() as download:
        by_key(page, "audit_export").get_by_role("button").click()
    address = download.value.url

    assert page.request.get(address).status == 200
    path = address.removeprefix(server.url)
    encoded = "/" + path[1:].replace("/", "%2f")
    for disguise in (path, "/" + path, "/static/.." + path, "/." + path, "/x/.." + path, encoded):
        status, _, body = server.get(disguise)
        assert status in {400, 403, 404} or body.lstrip().startswith(b"<!--"), disguise  # or Streamlit's empty page
    assert new_page().request.get(address).status == 403


def test_metrics_and_the_agent_interface_are_closed(server: Server) -> None:
    for path in ("/_stcore/metrics", "/_stcore/agent/openapi.json", "/_stcore/agent/mcp"):
        assert server.get(path)[0] == 404


def test_every_answer_carries_the_security_headers(server: Server) -> None:
    for path in ("/", "/healthz", "/_stcore/health", "/auth/finish", "/media/x"):
        headers = server.get(path)[1]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "unsafe-eval" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


def test_the_page_breaks_no_rule_of_its_own_security_policy(server: Server, page: Page) -> None:
    broken: list[str] = []
    page.on("console", lambda m: broken.append(m.text) if "Content Security Policy" in m.text else None)

    sign_in(page, server, "demo-authority")

    assert broken == []


def test_an_invented_one_time_code_sets_no_cookie(server: Server) -> None:
    status, headers, _ = server.get("/auth/finish?code=invented&proof=invented", cookie="hemaseal_browser=mark")

    assert status == 200  # the sign-in page that it leads to
    assert "hemaseal_session" not in headers.get("set-cookie", "")


def test_the_plain_start_says_what_it_lacks(installation: Callable[..., Path], tmp_path: Path, page: Page) -> None:
    data_dir = shutil.copytree(
        installation(demo_contents=True), tmp_path / "var"
    )  # else it would draw the demo's contents first
    plain = Server(data_dir, entry="Home.py", port=free_port())
    try:
        plain.start()
        sign_in(page, plain, "demo-patient")
        expect(page.get_by_text("There is no session cookie")).to_be_visible()
        visit(page, plain)
        expect(page.get_by_role("textbox", name="User name", exact=True)).to_be_visible()
    finally:
        plain.stop()


def test_the_plain_start_is_refused_outside_demo_mode(data_dir: Path, page: Page) -> None:
    plain = Server(data_dir, entry="Home.py", settings={"mode": "production"}, port=free_port())
    try:
        plain.start()
        page.goto(plain.url)
        expect(by_key(page, "error_app_settings")).to_contain_text("python -m core serve")
        expect(page.get_by_role("textbox", name="User name", exact=True)).to_have_count(0)
    finally:
        plain.stop()
