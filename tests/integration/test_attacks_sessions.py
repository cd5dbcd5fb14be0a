"""Cookies, codes and addresses as an attacker sends them, against routes and guards as `asgi.py` puts them together.

Lockout, single-use codes, revocation and rows changed from outside are tried at the services in `test_sessions`, the
closed paths in `test_web_guard`, and the whole server with a browser in `tests/browser/test_refusals.py`.
"""

import asyncio
import hashlib
from dataclasses import dataclass
from datetime import timedelta
from http.cookies import SimpleCookie
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from sqlmodel import select
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Message

from core.clock import FixedClock
from core.services.accounts import check_password, session_actor, sign_out
from core.services.app import App
from core.services.demo import DEMO_PASSWORD
from db.engine import read_scope
from db.models import UserSession
from pages._ui import state
from pages._ui.cookies import BROWSER_COOKIE, SESSION_COOKIE, bind, new_browser_mark
from pages._ui.guard import SIGN_OUT
from pages._ui.routes import FINISH, finish_url, routes
from pages._ui.web_guard import MediaGuard, SecureHeaders

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
MEDIA, UPLOAD = "/media/0.png", "/_stcore/upload_file/session/file"
HEADERS = (
    "content-security-policy",
    "x-content-type-options",
    "x-frame-options",
    "referrer-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "permissions-policy",
)


@dataclass(frozen=True)
class Answer:
    """What the server said."""

    status: int
    headers: list[tuple[str, str]]

    def header(self, name: str) -> str:
        """Return a header, or "" where it is missing."""
        return next((value for key, value in self.headers if key == name), "")

    @property
    def cookies(self) -> dict[str, str]:
        """Cookies that were set, by name; "" for one that was taken away."""
        jar: SimpleCookie = SimpleCookie()
        for key, value in self.headers:
            if key == "set-cookie":
                jar.load(value)
        return {name: morsel.value for name, morsel in jar.items()}


class Browser:
    """Sends what it is told to; keeps the cookies that it gets, as browsers do."""

    def __init__(self, server: Starlette) -> None:
        self.server = server
        self.cookies: dict[str, str] = {}

    def ask(self, address: str, *, method: str = "GET", **cookies: str) -> Answer:
        """Send one request; `cookies` stand in for those that it keeps."""
        sent: list[Message] = []
        path, _, query = address.partition("?")
        jar = "; ".join(f"{name}={value}" for name, value in (self.cookies | cookies).items())

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": [(b"cookie", jar.encode("latin-1", "replace"))] if jar else [],
        }
        asyncio.run(self.server(scope, receive, send))
        head = next(message for message in sent if message["type"] == "http.response.start")
        answer = Answer(head["status"], [(key.decode(), value.decode()) for key, value in head["headers"]])
        self.cookies |= answer.cookies
        return answer


def content(_request: Request) -> Response:
    return PlainTextResponse("content")


@pytest.fixture
def server(app: App, monkeypatch: pytest.MonkeyPatch) -> Starlette:
    """Our routes and guards around something that serves every other address, as Streamlit would."""
    monkeypatch.setattr(state, "app", lambda: app)
    anything = Route("/{path:path}", content, methods=["GET", "PUT", "POST", "DELETE"])
    guards = [Middleware(SecureHeaders, over_tls=app.settings.over_tls), Middleware(MediaGuard)]
    return Starlette(routes=[*routes(), anything], middleware=guards)


def new_code(app: App, username: str = "demo-patient") -> str:
    return check_password(app, username, DEMO_PASSWORD)


def signed_in(app: App, server: Starlette, username: str = "demo-patient") -> Browser:
    """A browser that has gone the whole way."""
    browser = Browser(server)
    browser.ask("/")
    answer = browser.ask(finish_url(new_code(app, username), browser.cookies[BROWSER_COOKIE]))
    assert answer.status == 303
    return browser


def opens(browser: Browser, **cookies: str) -> bool:
    """Whether a file is served and another one taken."""
    answers = {browser.ask(MEDIA, **cookies).status, browser.ask(UPLOAD, method="PUT", **cookies).status}
    assert answers in ({200}, {403})
    return answers == {200}


def test_a_session_opens_files_and_its_cookie_is_out_of_reach_of_scripts(app: App, server: Starlette) -> None:
    browser = Browser(server)
    browser.ask("/")
    assert not opens(browser)
    answer = browser.ask(finish_url(new_code(app), browser.cookies[BROWSER_COOKIE]))
    said = next(value for key, value in answer.headers if key == "set-cookie" and SESSION_COOKIE in value).lower()
    assert "httponly" in said
    assert "samesite=lax" in said
    assert "path=/" in said
    assert "domain" not in said
    assert answer.header("cache-control") == "no-store"
    assert opens(browser)


def test_no_forged_or_altered_token_is_a_session(app: App, server: Starlette) -> None:
    browser = signed_in(app, server)
    token = browser.cookies[SESSION_COOKIE]
    with read_scope(app.engine) as session:
        stored = session.exec(select(UserSession.token_hash)).all()
    altered = [token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :] for at in range(len(token))]
    made_up = ["", "x", "0" * 43, "null", "true", "' OR '1'='1", "../../etc/passwd", "\u00fc" * 20, "a" * 100_000]
    guesses = [hashlib.sha256(token.encode()).hexdigest(), token + "=", token[:-1], token.swapcase(), token.upper()]
    # The last character of base64 holds spare bits: `altered` is compared as text all the same.
    for forged in (*stored, *altered, *made_up, *guesses):
        assert not opens(browser, **{SESSION_COOKIE: forged}), forged[:60]
    assert opens(browser)


def test_ended_and_expired_sessions_are_not_replayed(app: App, server: Starlette, clock: FixedClock) -> None:
    ended, expired = signed_in(app, server), signed_in(app, server)
    sign_out(app, ended.cookies[SESSION_COOKIE])
    assert (opens(ended), opens(expired)) == (False, True)
    clock.advance(timedelta(hours=app.settings.session_hours))
    assert not opens(expired)


def test_a_token_planted_before_signing_in_is_not_taken_over(app: App, server: Starlette) -> None:
    victim, planted = Browser(server), "planted-by-somebody-else"
    attacker = signed_in(app, server, "demo-doctor")
    for token in (planted, attacker.cookies[SESSION_COOKIE]):
        victim.cookies = {SESSION_COOKIE: token}
        victim.ask("/")
        victim.ask(finish_url(new_code(app), victim.cookies[BROWSER_COOKIE]))
        fresh = victim.cookies[SESSION_COOKIE]
        assert fresh != token
        assert session_actor(app, fresh).username == "demo-patient"
        assert not opens(Browser(server), **{SESSION_COOKIE: planted})
    assert session_actor(app, attacker.cookies[SESSION_COOKIE]).username == "demo-doctor"


def test_a_link_that_signs_somebody_in_works_in_no_other_browser(app: App, server: Starlette) -> None:
    code, attacker = new_code(app), Browser(server)
    attacker.ask("/")
    link = finish_url(code, attacker.cookies[BROWSER_COOKIE])
    victim = Browser(server)
    victim.ask("/")
    for cookies in ({}, {BROWSER_COOKIE: ""}, {BROWSER_COOKIE: new_browser_mark()}):
        assert SESSION_COOKIE not in victim.ask(link, **cookies).cookies
    bare = Browser(server)
    for address in (
        f"{FINISH}?code={code}",
        f"{FINISH}?code={code}&proof=",
        f"{FINISH}?code={code}&proof={bind(code, '')}",
    ):
        assert SESSION_COOKIE not in bare.ask(address).cookies
    assert SESSION_COOKIE in attacker.ask(link).cookies  # and none of these tries spent the code


def test_a_code_is_not_replayed(app: App, server: Starlette, clock: FixedClock) -> None:
    browser = Browser(server)
    browser.ask("/")
    link = finish_url(new_code(app), browser.cookies[BROWSER_COOKIE])
    assert SESSION_COOKIE in browser.ask(link).cookies
    assert SESSION_COOKIE not in browser.ask(link).cookies
    late = finish_url(new_code(app), browser.cookies[BROWSER_COOKIE])
    clock.advance(timedelta(minutes=1))
    assert SESSION_COOKIE not in browser.ask(late).cookies


def test_a_link_signs_nobody_out(app: App, server: Starlette) -> None:
    browser = signed_in(app, server)
    answer = browser.ask(SIGN_OUT)
    assert SESSION_COOKIE not in answer.cookies
    assert opens(browser)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_the_session_routes_take_nothing_but_a_visit(app: App, server: Starlette, method: str) -> None:
    browser = Browser(server)
    browser.ask("/")
    link = finish_url(new_code(app), browser.cookies[BROWSER_COOKIE])
    browser.ask(link, method=method)
    assert SESSION_COOKIE not in browser.cookies
    browser.ask(link)
    assert opens(browser)  # the code was not spent either
    browser.ask(SIGN_OUT, method=method)
    assert opens(browser)


ELSEWHERE = (
    "//evil.example",
    "https://evil.example",
    "/\\evil.example",
    "javascript:alert(1)",
    "results\r\nSet-Cookie: hemaseal_session=x",
    "results?x=//evil.example",
    "../audit",
    "audit",
)


@pytest.mark.parametrize("wanted", ELSEWHERE)
def test_signing_in_leads_nowhere_else(app: App, server: Starlette, wanted: str) -> None:
    browser = Browser(server)
    browser.ask("/")
    mark = browser.cookies[BROWSER_COOKIE]
    for address in (
        finish_url(new_code(app), mark, wanted),
        finish_url(new_code(app), mark, "results") + f"&case={quote(wanted)}",
        finish_url(new_code(app), mark, "results", wanted),
    ):
        answer = browser.ask(address)
        assert answer.status == 303
        place = urlsplit(answer.header("location"))
        assert (place.scheme, place.netloc) == ("", "")
        assert place.path in {"/", "/results"}
        assert parse_qs(place.query) == {}


def test_every_answer_has_every_header_whatever_it_says(app: App, server: Starlette) -> None:
    browser = signed_in(app, server)
    for other in (browser, Browser(server)):
        for address in ("/", "/healthz", FINISH, SIGN_OUT, MEDIA, UPLOAD, "/_stcore/metrics", "/no-such-page"):
            for method in ("GET", "POST"):
                answer = other.ask(address, method=method)
                missing = [name for name in HEADERS if not answer.header(name)]
                assert missing == [], f"{method} {address}"
                assert answer.header("server") == ""
