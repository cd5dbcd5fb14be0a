"""Keeps docs/policy.md true: ``make docs`` writes it from the table in `security.policy`."""

from pathlib import Path

from core.services.rate_limits import LOOKS, MESSAGES, REGISTRATIONS, SIGN_INS, VIEWS, Limit
from core.services.step_up import RECOVERY_CODES, STEP_UP_LIFE
from core.settings import Settings
from security import policy
from security.totp import STEP_S, WINDOW

PAGE = Path(__file__).resolve().parent.parent / "docs" / "policy.md"

_TEXT = """# Who may do what

Written by `make docs` from `security/policy.py`, `core/services/step_up.py` and `core/services/rate_limits.py`.

Every service asks `core.services.authorise` with the role of who is signed in, the action, and how they stand to the
object, looked up in the database. What is not in the table is refused, undone and written to the audit log.
`tests/integration/test_policy_matrix.py` finds every service by inspection and lets everybody try each of them.

- *self*: one's own account, consents, sessions, appointment slots, data
- *own case*: a case of which one is the patient
- *own hospital*: an object, or a case, of the hospital to which one belongs
- *any*: none of these, or an object that belongs to nobody in particular

{table}
## Second factor

Acts with *yes* in the last column need a code of an authenticator (RFC 6238, {step} s, {window} step either way) that
was entered in the same browser at most {minutes} minutes before. A code counts once; {recovery} recovery codes stand in
once each. Five wrong codes in a row close it for 15 minutes, counted in the database and apart from wrong passwords.
Setting up asks for the password, taking off for the password and a code. Who has set one up needs it in every mode.
Outside demo mode the authority and doctors must set one up before they can do such an act (`HEMASEAL_SECOND_FACTOR`);
in the demo it is optional, so that a presentation is not held up.

## How often

| what | whose | at once, and in each period |
|---|---|---|
{limits}
Counted in the database, so for all processes together; the refusal says when there is room again. Five wrong passwords
in a row close a name for 15 minutes, from wherever they come. An address is the one that connects; of a proxy on the
same machine, or one named in `FORWARDED_ALLOW_IPS`, it is the last that `X-Forwarded-For` states and the proxy saw.
Browsers on the same machine have none and are not counted.
"""


def render() -> str:
    """Return the page."""
    default = Settings.model_fields["uploads_per_hour"].default
    rows = [
        f"| cases sent | a patient's | {default} in 60 min (`HEMASEAL_UPLOADS_PER_HOUR`) |",
        _row("files looked at before they are sent", "a patient's", LOOKS),
        _row("images opened", "a person's", VIEWS),
        _row("messages written", "a person's", MESSAGES),
        _row("failed sign-ins", "an address's", SIGN_INS),
        _row("accounts made", "an address's", REGISTRATIONS),
    ]
    return _TEXT.format(
        table=policy.as_markdown(),
        step=STEP_S,
        window=WINDOW,
        minutes=int(STEP_UP_LIFE.total_seconds() // 60),
        recovery=RECOVERY_CODES,
        limits="".join(f"{row}\n" for row in rows),
    )


def _row(what: str, whose: str, limit: Limit) -> str:
    return f"| {what} | {whose} | {limit.times} in {int(limit.period.total_seconds() // 60)} min |"
