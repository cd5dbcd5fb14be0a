"""``python -m core rekey``: new keys for the whole federation that is here, as one command, after a compromise.

Whoever holds the master key and the machine runs it, with the app stopped; it can be stopped at any point and is then
run again. What it cannot do: a key that leaked has opened what its thief has, and whatever they took stays taken.
"""

from core.clock import Clock
from core.errors import SettingsError
from core.services import audit
from core.services.app import App
from core.services.audit_kept import last_verified
from core.services.audit_rows import verified
from core.services.authority import AUTHORITY
from core.services.rollover import Outcome, Rollover, Tell, begin, lock, parties_here
from core.services.rollover_plan import Plan
from core.settings import Settings
from db.engine import make_engine, read_scope, session_scope
from security.authority import RevocationReason


def rekey(settings: Settings, *, new_root: bool, clock: Clock, tell: Tell) -> Outcome:
    """Give every party here new keys, or go on with that where it stopped; an exchange of less is finished before.

    Args:
        settings: the installation.
        new_root: whether the root key is exchanged too; parties on other machines then enrol anew.
        clock: tells the time.
        tell: told of each step and each stored object.

    Raises:
        SettingsError: the installation does not start, or a file of a plan that was begun is damaged.
        AuditLogBroken: the log does not hold; nothing was begun.
    """
    with lock(settings):
        plan = Plan.read(settings)
        if plan is not None and (not plan.whole or (new_root and not plan.new_root)):
            resume(settings, clock=clock, tell=tell)  # which is less than is asked for: finished first
            plan = None
        if plan is None:
            _begin(settings, new_root=new_root, clock=clock)
        return resume(settings, clock=clock, tell=tell)


def resume(settings: Settings, *, clock: Clock, tell: Tell) -> Outcome:
    """Finish the exchange that was begun; the caller holds the lock.

    Raises:
        SettingsError: there is none, or its files are damaged.
    """
    plan = Plan.read(settings)
    if plan is None:
        raise SettingsError("no exchange of keys was begun")
    engine, started = make_engine(settings.database), list[App]()

    def start() -> App:
        started.append(App.start(settings, clock=clock, finishing=True))
        return started[-1]

    try:
        return Rollover(settings, plan, engine=engine, clock=clock, tell=tell).finish(start)
    finally:
        for app in started:
            app.engine.dispose()
        engine.dispose()


def _begin(settings: Settings, *, new_root: bool, clock: Clock) -> None:
    app = App.start(settings, clock=clock)
    try:
        with read_scope(app.engine) as session:
            verified(session, app.trust(session), last_verified(app))
        with session_scope(app.engine) as session:
            begin(
                settings,
                session,
                parties=parties_here(settings),
                trust=app.trust(session),
                reason=RevocationReason.KEY_COMPROMISE,
                clock=clock,
                whole=True,
                new_root=new_root,
            )
            audit.append(app, session, AUTHORITY, "key.federation-begin", details={"root": new_root})
    finally:
        app.engine.dispose()
