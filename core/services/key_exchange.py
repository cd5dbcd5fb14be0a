"""Renewing certificates and exchanging keys, as the authority's page asks for it.

A renewed certificate is of the same key. An exchange gives one party new keys, brings what is stored to them and
revokes the former ones. The app, the authority and the root are exchanged by the command alone (`core.services.rekey`),
since the app that is running works with them.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from filelock import Timeout
from sqlmodel import Session, col, select

from core.errors import EnclaveUnavailable, InvalidInput
from core.services import audit
from core.services.app import APP_PARTY, Actor, App, load_master_key
from core.services.authorise import Action, Relation, authorise
from core.services.authority import AUTHORITY, CERTIFICATE_DAYS, authority_office
from core.services.renewal import prepare_renewal
from core.services.rewrapping import Hands
from core.services.rewrapping_kinds import renew_all
from core.services.rollover import Outcome, Progress, Rollover, begin, lock, parties_here
from core.services.rollover_plan import Plan
from db.engine import read_scope, session_scope
from db.models import CertificateRecord
from security.authority import RevocationReason
from security.keys import KeyStore
from security.rollover import take_over

__all__ = ["SOON", "Outcome", "PartyKeys", "Progress", "ending", "exchange", "finish", "parties", "renew", "unfinished"]

SOON = timedelta(days=30)
BY_COMMAND = frozenset({APP_PARTY, AUTHORITY})
_SERVING = ".serving"
_WAIT_S = 5.0


@dataclass(frozen=True)
class PartyKeys:
    """How the certificates of a party stand.

    Attributes:
        party: its name.
        not_after: when the first of those in use ends; None without one that holds.
        is_soon: whether that is within `SOON`, or past.
        is_here: whether its private keys are in this installation.
    """

    party: str
    not_after: datetime | None
    is_soon: bool
    is_here: bool

    @property
    def can_exchange(self) -> bool:
        """Whether the page can exchange its keys."""
        return self.is_here and self.party not in BY_COMMAND


def parties(app: App, actor: Actor) -> list[PartyKeys]:
    """Return all parties by name.

    Raises:
        NotAuthorised: only the authority sees them.
    """
    here, now = set(parties_here(app.settings)), app.clock.now()
    with read_scope(app.engine) as session:
        authorise(app, session, actor, Action.READ_MEMBER, Relation.ANY)
        ends = ending(session)
        names = sorted(set(session.exec(select(CertificateRecord.party)).all()))
    return [PartyKeys(name, ends.get(name), name in ends and ends[name] <= now + SOON, name in here) for name in names]


def ending(session: Session) -> dict[str, datetime]:
    """Return when the first of the newest certificates that each party has ends; revoked ones do not count."""
    rows = session.exec(
        select(CertificateRecord.party, CertificateRecord.key_use, CertificateRecord.not_after).where(
            col(CertificateRecord.revoked_at).is_(None)
        )
    ).all()
    newest: dict[tuple[str, str], datetime] = {}
    for party, use, end in rows:
        newest[party, use] = max(end, newest.get((party, use), end))
    ends: dict[str, datetime] = {}
    for (party, _), end in newest.items():
        ends[party] = min(end, ends.get(party, end))
    return ends


def unfinished(app: App, actor: Actor) -> tuple[str, ...]:
    """Return the parties of an exchange that was begun and not finished.

    Raises:
        NotAuthorised: only the authority sees this.
    """
    with read_scope(app.engine) as session:
        authorise(app, session, actor, Action.READ_MEMBER, Relation.ANY)
    plan = Plan.read(app.settings)
    return plan.parties if plan is not None else ()


def renew(
    app: App, actor: Actor, names: Sequence[str], *, tell: Callable[[Progress], None] = lambda _progress: None
) -> int:
    """Issue certificates of the same keys to parties that are here, and seal the models for them; returns how many.

    An enclave is started again with its own at the next question; the app and the worker use theirs from their next
    start. Everything opens as before. Safe to repeat after a stop.

    Raises:
        NotAuthorised: only the authority renews.
        InvalidInput: a party's keys are not here, or an exchange of keys is under way.
    """
    with session_scope(app.engine) as session:
        authorise(app, session, actor, Action.RENEW_CERTIFICATE, Relation.ANY)
    if unknown := set(names) - set(parties_here(app.settings)):
        raise InvalidInput(f"the keys of {', '.join(sorted(unknown))} are on another machine, which asks by a request")
    with _alone(app):
        if Plan.read(app.settings) is not None:
            raise InvalidInput("an exchange of keys was begun; finish it first")
        for done, name in enumerate(names):
            tell(Progress(f"renewing {name}", done, len(names)))
            _renew(app, actor, name)
        tell(Progress("sealing the models for the renewed certificates", len(names), len(names)))
        trust = app.trust()
        renew_all(Hands(app=app, before=trust, after=trust, tell=lambda _kind: None), ("model", "approved programs"))
        for name in names:
            _start_again(app, name)
    return len(names)


def exchange(
    app: App,
    actor: Actor,
    name: str,
    reason: str,
    *,
    tell: Callable[[Progress], None] = lambda _progress: None,
) -> Outcome:
    """Give a party new keys, bring all that is stored to them, and revoke and destroy the former ones.

    Raises:
        NotAuthorised: only the authority exchanges keys.
        InvalidInput: its keys are elsewhere or exchanged by the command only, an unknown reason, or another exchange is
            under way.
    """
    with session_scope(app.engine) as session:
        authorise(app, session, actor, Action.EXCHANGE_KEYS, Relation.ANY, object_id=name)
    if name in BY_COMMAND or name not in parties_here(app.settings):
        raise InvalidInput("its keys are exchanged by the command on the machine that has them")
    if reason not in {known.value for known in RevocationReason}:
        raise InvalidInput("choose one of the reasons of the list")
    with _alone(app):
        if Plan.read(app.settings) is not None:
            raise InvalidInput("an exchange of keys was begun; finish it first")
        with session_scope(app.engine) as session:
            trust = app.trust(session)
            begin(app.settings, session, parties=[name], trust=trust, reason=reason, clock=app.clock)
            audit.append(app, session, actor, "key.exchange-begin", object_id=name, details={"reason": reason})
        return _finish(app, tell)


def finish(app: App, actor: Actor, *, tell: Callable[[Progress], None] = lambda _progress: None) -> Outcome:
    """Finish an exchange of keys that was begun and stopped.

    Raises:
        NotAuthorised: only the authority exchanges keys.
        InvalidInput: there is none, or one that the command finishes.
    """
    with session_scope(app.engine) as session:
        authorise(app, session, actor, Action.EXCHANGE_KEYS, Relation.ANY)
    with _alone(app):
        plan = Plan.read(app.settings)
        if plan is None or plan.whole:
            raise InvalidInput("there is no exchange that can be finished here")
        return _finish(app, tell)


@contextmanager
def _alone(app: App) -> Iterator[None]:
    """Hold the lock of exchanges, or say that somebody else does."""
    held = lock(app.settings)
    try:
        held.acquire(timeout=_WAIT_S)
    except Timeout as error:
        raise InvalidInput("somebody else is renewing or exchanging keys just now") from error
    try:
        yield
    finally:
        held.release()


def _finish(app: App, tell: Callable[[Progress], None]) -> Outcome:
    plan = Plan.read(app.settings)
    if plan is None:
        raise InvalidInput("there is no exchange that can be finished here")
    outcome = Rollover(app.settings, plan, engine=app.engine, clock=app.clock, tell=tell).finish(lambda: app)
    for name in plan.parties:
        _start_again(app, name)
    return outcome


def _renew(app: App, actor: Actor, name: str) -> None:
    store = KeyStore(app.settings.keys_dir, name, load_master_key(app.settings))
    with session_scope(app.engine) as session, authority_office(app.settings, app.clock) as office:
        prepare_renewal(session, office, store, days=CERTIFICATE_DAYS)
        audit.append(app, session, actor, "certificate.renew", object_id=name)
    take_over(store)


def _start_again(app: App, name: str) -> None:
    if name.endswith(_SERVING):
        with suppress(EnclaveUnavailable):
            app.supervisor.stop(name, identity=app.identity, trust=app.trust())
