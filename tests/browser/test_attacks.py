"""Attacks on the running server by the ways that browsers use: sockets, uploads, addresses, forms, texts.

`Client` speaks Streamlit's protocol without a browser, so it can say what no browser would: pages of other roles by
their hashes, buttons that were never shown, sockets from elsewhere.
"""

import http.client
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import ConsoleMessage, Dialog, Page, Request, expect
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.Delta_pb2 import Delta
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from core.clock import SystemClock
from core.services.accounts import Profile, change_profile, check_password, redeem_code, session_actor, sign_out
from core.services.app import Actor, App
from core.services.messages import send
from core.settings import Settings
from tests.browser.conftest import NewPage
from tests.browser.harness import PASSWORD, SESSION_COOKIE, Server, by_key, runs, send_sign_in, settle, sign_in, visit
from tests.integration.clinic import stored_case, stored_request
from tests.integration.world import stored

DEMO_CONTENTS = False
ROLES = ("patient", "doctor", "hospital", "authority")
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>![p](http://127.0.0.1:9/p.png)[l](javascript:alert(3))"
SECRETS = (b"root:", b"PRIVATE KEY", b"gatherUsageStats", b"def main")


@dataclass
class Client:
    """One tab without a browser.

    Attributes:
        socket: the connection.
        hashes: pages by the hash under which the server knows them for this role; filled by `run`.
    """

    socket: ClientConnection
    hashes: dict[str, str] = field(default_factory=dict)

    def run(self, page: str = "", *, script: str = "", query: str = "", pressed: tuple[str, ...] = ()) -> list[Delta]:
        """Ask for a page by its address or its hash, with buttons pressed; returns all that was drawn."""
        asked = BackMsg()
        asked.rerun_script.page_name = page
        asked.rerun_script.page_script_hash = script
        asked.rerun_script.query_string = query
        for widget in pressed:
            state = asked.rerun_script.widget_states.widgets.add()
            state.id, state.trigger_value = widget, True
        self.socket.send(asked.SerializeToString())
        drawn: list[Delta] = []
        while True:
            got = ForwardMsg()
            got.ParseFromString(self.socket.recv(timeout=60))
            kind = got.WhichOneof("type")
            if kind == "delta":
                drawn.append(got.delta)
            if kind == "navigation":
                self.hashes = {one.url_pathname: one.page_script_hash for one in got.navigation.app_pages}
            if kind == "script_finished":
                return drawn


@contextmanager
def tab(server: Server, token: str = "", *, origin: str | None = None) -> Iterator[Client]:
    """Open a tab with a session's token as its cookie."""
    with connect(
        f"ws://127.0.0.1:{server.port}/_stcore/stream",
        additional_headers={"Cookie": f"{SESSION_COOKIE}={token}"} if token else {},
        origin=None if origin is None else Origin(origin),
        subprotocols=["streamlit"],  # type: ignore[list-item]
        max_size=None,
    ) as socket:
        yield Client(socket)


def text(drawn: list[Delta]) -> str:
    return "\n".join(str(delta) for delta in drawn)


def widgets(drawn: list[Delta]) -> tuple[str, ...]:
    """Return the ids of all widgets that were drawn."""
    return tuple(dict.fromkeys(re.findall(r'^\s*id: "(\$\$ID-[^"]+)"', text(drawn), flags=re.MULTILINE)))


def titles(drawn: list[Delta]) -> list[str]:
    """Return the first-order headings."""
    return [delta.new_element.heading.body for delta in drawn if delta.new_element.heading.tag == "h1"]


@pytest.fixture(scope="module")
def app(server: Server) -> Iterator[App]:
    """The installation of the running server, from a process beside it."""
    app = App.start(Settings(data_dir=server.data_dir, database_url="", master_key=None), clock=SystemClock())
    yield app
    app.engine.dispose()


def token_of(app: App, name: str) -> str:
    return redeem_code(app, check_password(app, name, PASSWORD))


def person(app: App, role: str) -> Actor:
    return session_actor(app, token_of(app, f"demo-{role}"))


def without_log(app: App) -> dict[str, list[tuple[object, ...]]]:
    """Return what an act would change: every table but counters and sessions."""
    held = stored(app)
    for name in ("user_session", "login_code", "patient_key"):
        held.pop(name)
    return held


def test_a_page_of_another_origin_opens_no_socket_with_somebodys_cookie(server: Server, app: App) -> None:
    token = token_of(app, "demo-patient")
    with tab(server, token, origin=server.url) as own:
        assert titles(own.run())
    elsewhere = (
        "http://evil.example",
        "null",
        f"http://127.0.0.1:{server.port + 1}",
        "http://127.0.0.1",
        f"http://localhost:{server.port}",
        "https://x.streamlit.app",
        f"http://127.0.0.1:{server.port}.evil.example",
    )
    for origin in elsewhere:
        with pytest.raises(InvalidStatus) as refused, tab(server, token, origin=origin):
            pass
        assert refused.value.response.status_code == 403, origin


def test_no_role_gets_another_roles_page_by_its_address_or_its_hash(server: Server, app: App) -> None:
    known: dict[str, dict[str, str]] = {}
    shown: dict[tuple[str, str], list[str]] = {}
    tokens = {role: token_of(app, f"demo-{role}") for role in ROLES} | {"nobody": ""}
    for role in ROLES:
        with tab(server, tokens[role]) as own:
            own.run()
            for page, script in dict(own.hashes).items():
                drawn = own.run(page, script=script)
                if "not part of your account" not in text(drawn):
                    known.setdefault(role, {})[page] = script
                    shown[role, page] = titles(drawn)
    tries = 0
    for role, token in tokens.items():
        with tab(server, token) as tried:
            tried.run()
            for other, pages in known.items():
                for page, script in pages.items():
                    if page in known.get(role, {}) or page == "":
                        continue
                    for drawn in (tried.run(page), tried.run("", script=script), tried.run(page, script=script)):
                        tries += 1
                        assert not set(titles(drawn)) & set(shown[other, page]) or role == other, f"{role}: {page}"
                        assert "Traceback" not in text(drawn)
    assert tries > 150


def test_buttons_that_were_never_shown_do_nothing(server: Server, app: App) -> None:
    patient, doctor = person(app, "patient"), person(app, "doctor")
    case = stored_case(app, patient)
    request = stored_request(app, doctor, case, "east")
    pages = (("doctor", "case"), ("doctor", "referred"), ("patient", "referrals"), ("authority", "members"))
    found: list[tuple[str, str, tuple[str, ...]]] = []
    for role, page in pages:
        with tab(server, token_of(app, f"demo-{role}")) as own:
            own.run()
            drawn = own.run(page, script=own.hashes[page], query=f"case={case}")
            found.append((page, own.hashes[page], widgets(drawn)))
    assert any(f"referral_accept_{request}" in one for one in found[2][2])
    before = without_log(app)
    presses = 0
    for name in ("demo-doctor-east", "demo-hospital", "demo-authority", ""):
        with tab(server, token_of(app, name) if name else "") as tried:
            tried.run()
            for page, script, ids in found:
                if page == "members" and name == "demo-authority":
                    continue  # the own page
                shown = tuple(one for one in ids if "sign_out" not in one)
                for pressed in (*((one,) for one in shown), shown):
                    presses += 1
                    tried.run(page, script=script, query=f"case={case}", pressed=pressed)
    assert presses > 60
    assert without_log(app) == before


def test_a_tab_that_was_left_open_does_nothing_once_its_session_has_ended(server: Server, app: App) -> None:
    patient, doctor = person(app, "patient"), person(app, "doctor")
    request = stored_request(app, doctor, stored_case(app, patient), "east")
    token = token_of(app, "demo-patient")
    with tab(server, token) as left_open:
        left_open.run()
        script = left_open.hashes["referrals"]
        ids = widgets(left_open.run("referrals", script=script))
        decline = next(one for one in ids if f"referral_decline_{request}" in one)
        sign_out(app, token)
        before = without_log(app)
        said = text(left_open.run("referrals", script=script, pressed=(decline,)))
        assert "They see more of these" not in said
        assert without_log(app) == before
    with tab(server, token_of(app, "demo-patient")) as control:
        control.run()
        control.run("referrals", script=control.hashes["referrals"])
        control.run("referrals", script=control.hashes["referrals"], pressed=(decline,))
        assert without_log(app) != before


def _raw(server: Server, method: str, path: str, **headers: str) -> tuple[int, bytes, str]:
    """Send a path exactly as it is written."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.putrequest(method, path)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body, answer.getheader("location") or ""


def test_no_path_leads_out_of_what_is_served(server: Server, app: App) -> None:
    cookie = f"{SESSION_COOKIE}={token_of(app, 'demo-authority')}"
    ups = ("../", "%2e%2e/", "..%2f", "%2e%2e%2f", "..%5c", "....//", "%252e%252e%252f", "..;/", "%c0%ae%c0%ae/")
    wanted = ("etc/passwd", "asgi.py", "Home.py", ".streamlit/config.toml", str(server.data_dir).lstrip("/"))
    starts = ("/", "/static/", "/media/", "/component/x/", "/app/static/", "/_stcore/", "/_stcore/bidi-components/x/")
    secret = (server.data_dir / "master.key").read_bytes().strip()
    tries = 0
    for start in starts:
        for up in ups:
            for file in (*wanted, f"{server.data_dir}/master.key".lstrip("/")):
                status, body, location = _raw(server, "GET", f"{start}{up * 12}{file}", Cookie=cookie)
                tries += 1
                assert status in {200, 400, 403, 404}, (start, up, file)
                assert status != 200 or body.lstrip().startswith(b"<!--"), (start, up, file)  # Streamlit's empty page
                assert not any(word in body for word in (*SECRETS, secret)), (start, up, file)
                assert location == ""
    assert tries > 350
    for path in ("//evil.example", "//evil.example/%2e%2e", "/\\evil.example", "/%5cevil.example", "/%09/evil.example"):
        assert "evil" not in _raw(server, "GET", path)[2]


def test_uploads_need_session_token_of_the_form_and_this_origin(server: Server, app: App) -> None:
    session = f"{SESSION_COOKIE}={token_of(app, 'demo-patient')}"
    path = "/_stcore/upload_file/0/0"
    tried = {
        "nobody": {},
        "a session alone": {"Cookie": session},
        "another token": {"Cookie": f"{session}; _streamlit_xsrf=a", "X_Xsrftoken": "b"},
        "no session": {"Cookie": "_streamlit_xsrf=a", "X_Xsrftoken": "a"},
        "elsewhere": {"Cookie": f"{session}; _streamlit_xsrf=a", "X_Xsrftoken": "a", "Origin": "http://evil.example"},
        "a neighbour": {"Cookie": f"{session}; _streamlit_xsrf=a", "X_Xsrftoken": "a", "Origin": "http://127.0.0.1:1"},
    }
    for name, headers in tried.items():
        for method in ("PUT", "DELETE"):
            assert _raw(server, method, path, Content_Length="0", **headers)[0] == 403, f"{method}: {name}"


def test_guessing_on_the_real_form_closes_the_name_and_tells_nothing(server: Server, new_page: NewPage) -> None:
    said: dict[str, tuple[str, str]] = {}
    for name in ("demo-hospital", "nobody-of-this-name"):
        page = new_page()
        visit(page, server)
        refusal = page.locator('[class*="st-key-error_"]').first
        first = ""
        for guess in range(6):
            before = runs(page)
            send_sign_in(page, name, f"guess-number-{guess}")
            settle(page, since=before)  # the error of the guess before is still there until then
            expect(refusal).to_be_visible()
            first = first or refusal.inner_text()
        expect(by_key(page, "error_acc_locked")).to_be_visible()
        said[name] = first, refusal.inner_text()
    assert said["demo-hospital"] == said["nobody-of-this-name"]
    assert "ACC-SIGNIN" in said["demo-hospital"][0]
    assert "ACC-LOCKED" in said["demo-hospital"][-1]
    page = new_page()
    visit(page, server)
    send_sign_in(page, "demo-hospital", PASSWORD)
    expect(by_key(page, "error_acc_locked")).to_be_visible()


def test_scripts_and_links_in_names_messages_and_reasons_do_nothing_in_a_browser(
    server: Server, app: App, new_page: NewPage
) -> None:
    patient, doctor = person(app, "patient"), person(app, "doctor")
    for who in (patient, doctor):
        change_profile(app, who, Profile(HOSTILE[:80]))
    case = stored_case(app, patient)
    for who in (patient, doctor):
        send(app, who, case, HOSTILE)
    stored_request(app, doctor, case, "east", HOSTILE)
    harm: list[str] = []
    visited = 0
    for role, places in {
        "patient": ("results", "messages", "referrals", "access", "appointments", "account"),
        "doctor": ("worklist", f"case?case={case}", f"inbox?case={case}", "referred", "account"),
        "authority": ("members", "audit"),
    }.items():
        page = new_page()
        _watch(page, server, harm)
        sign_in(page, server, f"demo-{role}")
        for place in places:
            visit(page, server, f"/{place}")
            visited += 1
            main: Any = page.get_by_test_id("stMain")
            assert main.locator('img[src="x"], img[src*=":9/"], a[href^="javascript"], main script').count() == 0, place
    assert harm == []
    assert visited == 13


def _watch(page: Page, server: Server, harm: list[str]) -> None:
    """Note dialogs, requests to elsewhere, and what the security policy had to stop."""
    own = (server.url, server.url.replace("http", "ws"), "data:", "blob:")

    def dialog(shown: Dialog) -> None:
        harm.append(f"dialog {shown.message}")
        shown.dismiss()

    def console(said: ConsoleMessage) -> None:
        if "Content Security Policy" in said.text:
            harm.append(said.text)

    def request(asked: Request) -> None:
        if not asked.url.startswith(own):
            harm.append(asked.url)

    page.on("dialog", dialog)
    page.on("console", console)
    page.on("request", request)


def test_what_the_server_wrote_while_it_was_attacked_names_no_secret(server: Server) -> None:
    """Comes last."""
    log = Path(server.log_file).read_text(encoding="utf-8")
    assert PASSWORD not in log
    assert "guess-number" not in log
    assert HOSTILE[:20] not in log
