"""Names and values of the two cookies. Both are HttpOnly: the browser's scripts can read neither.

The session cookie carries the opaque token of a row in the database. The browser cookie is a random number that marks
a browser before anybody signs in; the sign-in hop is bound to it, so that a link to ``/auth/finish`` made elsewhere
signs nobody in (login CSRF).
"""

import hashlib
import hmac
import secrets

SESSION_COOKIE = "hemaseal_session"
BROWSER_COOKIE = "hemaseal_browser"


def new_browser_mark() -> str:
    """Return a fresh random value for the browser cookie (192 bits)."""
    return secrets.token_urlsafe(24)


def bind(code: str, browser_mark: str) -> str:
    """Return the proof that `code` was handed to the browser that holds `browser_mark` (HMAC-SHA256, hex)."""
    return hmac.new(browser_mark.encode(), code.encode(), hashlib.sha256).hexdigest()


def is_bound(code: str, browser_mark: str, proof: str) -> bool:
    """Tell whether `proof` was made by `bind` for this browser; an empty mark never is."""
    return bool(browser_mark) and hmac.compare_digest(bind(code, browser_mark).encode(), proof.encode())
