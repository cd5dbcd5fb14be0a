"""Codes of an authenticator (RFC 6238: HMAC-SHA1, 6 digits, 30 s) through pyotp, each told from the step it is for.

Whoever calls keeps the step of the last code that counted and asks for a later one: so no code counts twice.
"""

import hmac
from datetime import datetime

import pyotp

ISSUER = "HemaSeal"
STEP_S = 30
WINDOW = 1
DIGITS = 6


def new_secret() -> str:
    """Return 160 random bits in base32 (RFC 4226, section 4, asks for 128 at least)."""
    return pyotp.random_base32()


def uri(secret: str, account: str) -> str:
    """Return the ``otpauth://`` address that authenticators take, as text or from a picture of it."""
    return pyotp.TOTP(secret, interval=STEP_S, digits=DIGITS).provisioning_uri(name=account, issuer_name=ISSUER)


def matching_step(secret: str, code: str, *, at: datetime, after: int = 0) -> int | None:
    """Return the step that `code` is for, or None: one within `WINDOW` of now (clocks differ) and later than `after`.

    Args:
        secret: base32.
        code: what was typed; any text.
        at: the time now.
        after: the step of the last code that counted.
    """
    clock = pyotp.TOTP(secret, interval=STEP_S, digits=DIGITS)
    now, typed = clock.timecode(at), code.encode("utf-8", "replace")
    for step in range(now - WINDOW, now + WINDOW + 1):
        if hmac.compare_digest(clock.generate_otp(step).encode(), typed) and step > after:
            return step
    return None
