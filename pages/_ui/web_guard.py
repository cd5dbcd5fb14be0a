"""What stands before Streamlit: no file without a session, nothing for other origins, and headers on every answer.

Streamlit serves what `st.image` and `st.download_button` show under ``/media/<hash>`` to anybody who has the address
(its issue 8148), and takes uploads from any tab. `MediaGuard` asks for a live session first.
"""

import base64
import hashlib
import re
from pathlib import Path
from urllib.parse import urlsplit

import streamlit
from anyio import to_thread
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from pages._ui.cookies import BROWSER_COOKIE, SESSION_COOKIE, new_browser_mark
from pages._ui.routes import is_live

_FILES = re.compile(r"/(media|_stcore/upload_file)(/|$)")
_CLOSED = re.compile(r"/_stcore/(metrics|agent|script-health-check)(/|$)")
_NOT_DOCUMENTS = re.compile(r"/(_stcore|static|media|component|app|auth|healthz)(/|$)")


class MediaGuard:
    """Answers 403 to whoever asks for a file, or sends one, without a live session; and 404 to what is closed."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            path = scope["path"]
            if _CLOSED.match(path):
                await PlainTextResponse("Not found", status_code=404)(scope, receive, send)
                return
            if _FILES.match(path) and not await to_thread.run_sync(is_live, _cookie(scope, SESSION_COOKIE)):
                await PlainTextResponse("Sign in first", status_code=403)(scope, receive, send)
                return
        await self.app(scope, receive, send)


class SameOrigin:
    """Answers 403 to what a page of another origin asks for, another port of this host included.

    Cookies know no ports, so a neighbour's page would else act with the session of whoever looks at it: Streamlit takes
    a WebSocket from any port of the hosts that it knows as its own. A proxy must hand the ``Host`` on as it came.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or one WebSocket."""
        if scope["type"] in {"http", "websocket"} and _is_foreign(HTTPConnection(scope)):
            if scope["type"] == "websocket":
                await WebSocketClose()(scope, receive, send)  # before it is accepted: the client is told 403
            else:
                await PlainTextResponse("From another origin", status_code=403)(scope, receive, send)
            return
        await self.app(scope, receive, send)


class SecureHeaders:
    """Adds the security headers to every answer, and the browser cookie to the first page of a browser."""

    def __init__(self, app: ASGIApp, *, over_tls: bool) -> None:
        self.app = app
        self.over_tls = over_tls
        self.fixed = {
            "Content-Security-Policy": content_security_policy(),
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
        }
        if over_tls:
            self.fixed["Strict-Transport-Security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"]
        first_page = scope["method"] == "GET" and not _NOT_DOCUMENTS.match(path) and not _cookie(scope, BROWSER_COOKIE)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(self.fixed)
                if _FILES.match(path):
                    headers["Cache-Control"] = "private, no-store"
                if first_page:
                    mark = f"{BROWSER_COOKIE}={new_browser_mark()}; Path=/; HttpOnly; SameSite=Strict"
                    headers.append("Set-Cookie", mark)
                if self.over_tls:
                    message["headers"] = [_secured(name, value) for name, value in message["headers"]]
            await send(message)

        await self.app(scope, receive, send_with_headers)


def _secured(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """Return a header; a cookie gets the word without which browsers would send it in clear, if it lacks that."""
    if name.lower() == b"set-cookie" and b"secure" not in value.lower().replace(b" ", b"").split(b";"):
        value += b"; Secure"
    return name, value


def content_security_policy() -> str:
    """Return the policy: everything from this server only; the inline script of Streamlit's own page by its hash.

    Inline styles stay allowed, since Streamlit's front end writes its styles at run time.
    """
    page = Path(streamlit.__file__).parent / "static" / "index.html"
    scripts = re.findall(r"<script>(.*?)</script>", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    return "; ".join(
        (
            "default-src 'self'",
            f"script-src 'self' {hashes}".rstrip(),
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self' data:",
            "connect-src 'self'",
            "worker-src 'self' blob:",
            "frame-src 'self'",
            "frame-ancestors 'none'",
            "form-action 'self'",
            "base-uri 'self'",
            "object-src 'none'",
        )
    )


def _is_foreign(connection: HTTPConnection) -> bool:
    """Tell whether a browser says that another origin asks; what is no browser says nothing."""
    origins, hosts = connection.headers.getlist("origin"), connection.headers.getlist("host")
    try:
        named = [urlsplit(one).netloc.lower() for one in origins]
    except ValueError:  # brackets that do not close
        return True
    return bool(named) and named != [host.lower() for host in hosts]


def _cookie(scope: Scope, name: str) -> str:
    """Return the value of a cookie of the request, or ""."""
    return HTTPConnection(scope).cookies.get(name, "")
