"""The routes that a script cannot be: they set and clear the session cookie. Mounted by `asgi.py`."""

import re
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from core.errors import HemaSealError
from core.services.accounts import Role, redeem_code, session_actor
from pages._ui import state
from pages._ui.cookies import BROWSER_COOKIE, SESSION_COOKIE, bind, is_bound
from pages._ui.guard import SIGN_OUT
from pages._ui.registry import page_at

FINISH = "/auth/finish"
HEALTH = "/healthz"
_CASE = re.compile(r"[0-9a-f]{32}")


def finish_url(code: str, browser_mark: str, wanted: str = "", case: str = "") -> str:
    """Return the address that turns a one-time code into the session cookie, for this browser only.

    Args:
        code: what `accounts.check_password` returned.
        browser_mark: this browser's `BROWSER_COOKIE`.
        wanted: address of the page that the person asked for, or "".
        case: the case that this address named, or ""; anything but 32 hex digits is left out.
    """
    asked = {"code": code, "proof": bind(code, browser_mark), "to": wanted}
    if _CASE.fullmatch(case):
        asked["case"] = case
    return f"{FINISH}?{urlencode(asked)}"


def page_address(wanted: str, case: str, role: Role) -> str:
    """Return the address to go to after signing in: the page that was asked for if the role may open it, else "/"."""
    page = page_at(wanted)
    if page is None or role not in page.roles:
        return "/"
    return f"/{page.url_path}?case={case}" if _CASE.fullmatch(case) else f"/{page.url_path}"


def finish(request: Request) -> Response:
    """Turn a one-time code into the session cookie and go on to the page that was asked for."""
    code = request.query_params.get("code", "")
    mark = request.cookies.get(BROWSER_COOKIE, "")
    if not is_bound(code, mark, request.query_params.get("proof", "")):
        return _to("/")
    app = state.app()
    try:
        token = redeem_code(app, code)
        role = session_actor(app, token).role
    except HemaSealError:
        return _to("/")
    response = _to(page_address(request.query_params.get("to", ""), request.query_params.get("case", ""), Role(role)))
    response.set_cookie(
        SESSION_COOKIE,
        token,
        max_age=int(app.settings.session_hours * 3600),
        path="/",
        httponly=True,
        secure=app.settings.over_tls,
        samesite="lax",
    )
    return response


def sign_out(request: Request) -> Response:
    """Clear the cookie of a session that has ended.

    A live session is left alone: the sign-out button ends it in the database first, so a link to this address that
    somebody else made signs nobody out.
    """
    response = _to("/")
    if not is_live(request.cookies.get(SESSION_COOKIE, "")):
        response.delete_cookie(SESSION_COOKIE, path="/", httponly=True, samesite="lax")
    return response


def health(_request: Request) -> Response:
    """Say that the process answers; nothing about what is in it."""
    return JSONResponse({"status": "ok"})


def is_live(token: str) -> bool:
    """Tell whether the token names a session that is neither ended nor expired."""
    if not token:
        return False
    try:
        session_actor(state.app(), token)
    except HemaSealError:
        return False
    return True


def routes() -> list[Route]:
    """Return the routes; plain functions, so that the server runs them in a thread and never waits for the database."""
    return [
        Route(FINISH, finish, methods=["GET"]),
        Route(SIGN_OUT, sign_out, methods=["GET"]),
        Route(HEALTH, health, methods=["GET"]),
    ]


def _to(path: str) -> Response:
    """Go to `path` of this server; the answer is never kept by a cache."""
    return RedirectResponse(path, status_code=303, headers={"Cache-Control": "no-store"})
