"""What stands before Streamlit, asked directly: closed paths, guarded files, headers and the first cookie."""

import ast
import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from core.settings import ROOT
from pages._ui.cookies import BROWSER_COOKIE
from pages._ui.web_guard import MediaGuard, SameOrigin, SecureHeaders, content_security_policy


async def inner(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"content"})


def ask(path: str, *, method: str = "GET", cookie: str = "", over_tls: bool = False) -> tuple[int, dict[str, str]]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [(b"cookie", cookie.encode())] if cookie else [],
    }
    asyncio.run(SecureHeaders(MediaGuard(inner), over_tls=over_tls)(scope, receive, send))
    return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}


@pytest.mark.parametrize("path", ["/media", "/media/x.png", "/_stcore/upload_file/a/b"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_no_file_is_served_or_taken_without_a_session_cookie(path: str, method: str) -> None:
    status, headers = ask(path, method=method)

    assert status == 403
    assert headers["cache-control"] == "private, no-store"


@pytest.mark.parametrize("path", ["/_stcore/metrics", "/_stcore/agent/interact", "/_stcore/script-health-check"])
def test_what_tells_of_the_process_is_closed(path: str) -> None:
    assert ask(path)[0] == 404


@pytest.mark.parametrize("path", ["/", "/upload", "/static/media/font.woff2", "/_stcore/health", "/mediation"])
def test_pages_fonts_and_health_stay_open(path: str) -> None:
    assert ask(path)[0] == 200


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        ("https://app.example", "app.example", True),
        ("https://App.Example:8501", "app.example:8501", True),
        ("", "app.example", True),  # no browser, or a visit
        ("https://app.example:8502", "app.example:8501", False),
        ("https://app.example:8501", "app.example", False),
        ("https://evil.app.example", "app.example", False),
        ("https://app.example.evil", "app.example", False),
        ("https://app.example@evil", "app.example", False),
        ("https://localhost", "app.example", False),
        ("https://[::1", "app.example", False),
        ("null", "app.example", False),
        ("app.example", "app.example", False),
        ("https://app.example", "", False),
    ],
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_a_page_of_another_origin_gets_nothing(kind: str, origin: str, host: str, *, allowed: bool) -> None:
    headers = [(name, value.encode()) for name, value in ((b"origin", origin), (b"host", host)) if value]
    scope = {"type": kind, "method": "PUT", "path": "/_stcore/stream", "query_string": b"", "headers": headers}
    passed: list[Scope] = []
    sent: list[Message] = []

    async def within(scope: Scope, receive: Receive, send: Send) -> None:
        passed.append(scope)

    async def receive() -> Message:
        return {"type": f"{kind}.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(SameOrigin(within)(scope, receive, send))
    assert passed == ([scope] if allowed else [])
    assert allowed or sent[0].get("status") == 403 or sent[0]["type"] == "websocket.close"


def test_the_first_page_marks_the_browser_and_later_ones_do_not() -> None:
    first = ask("/")[1]["set-cookie"]

    assert first.startswith(f"{BROWSER_COOKIE}=")
    assert "HttpOnly" in first
    assert "SameSite=Strict" in first
    assert "Secure" not in first
    assert "set-cookie" not in ask("/", cookie=f"{BROWSER_COOKIE}=mark")[1]
    assert "set-cookie" not in ask("/_stcore/health")[1]


def test_over_tls_the_cookie_is_secure_and_the_browser_keeps_to_tls() -> None:
    headers = ask("/", over_tls=True)[1]

    assert "; Secure" in headers["set-cookie"]
    assert headers["strict-transport-security"].startswith("max-age=")


def test_the_policy_allows_scripts_of_this_server_only() -> None:
    rules = dict(rule.split(" ", 1) for rule in content_security_policy().split("; "))

    assert rules["frame-ancestors"] == "'none'"
    assert rules["script-src"].startswith("'self' 'sha256-")
    assert "unsafe" not in rules["script-src"]
    assert rules["connect-src"] == "'self'"


def test_the_server_puts_the_headers_outside_of_the_guard_and_serves_our_routes() -> None:
    tree = ast.parse((ROOT / "asgi.py").read_text(encoding="utf-8"))
    call = next(node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "st.App")
    given = {word.arg: ast.unparse(word.value) for word in call.keywords}
    assert given["middleware"].startswith("[Middleware(SecureHeaders")
    assert given["middleware"].endswith("Middleware(MediaGuard)]")
    assert given["routes"] == "routes()"
