"""The authority approves what enclaves run, and withdraws it: signed, numbered lists, the newest of which is in force.

Whoever can write to the database cannot make such a list; and an older one is refused, since the app keeps the highest
number that it has seen in its own key folder. Cases that come while the installed code is not approved wait.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from itertools import chain

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from core.diagnosis.approvals import Approval, Approvals
from core.diagnosis.measurement import Measurement, measure
from core.diagnosis.remote import ReplicaView
from core.errors import InvalidInput, MeasurementRefused, NotFound
from core.services import audit
from core.services.app import APP_PARTY, Actor, App
from core.services.authorise import Action, Relation, authorise
from core.services.authority import AUTHORITY, authority_office
from core.settings import Settings
from db.engine import read_scope, session_scope
from db.models import ApprovalList

_SEEN_FILE = "approved-measurements"
_NEWEST = select(ApprovalList).order_by(col(ApprovalList.number).desc()).limit(1)
_OVERTAKEN = "the list was changed in the meantime; look at it again"
SHORT = 16
"""Hex digits of a measurement in texts and audit entries."""


class Standing(StrEnum):
    """How the authority stands to the installed code."""

    APPROVED = "approved"
    NEVER_APPROVED = "never-approved"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True)
class Difference:
    """Something in which the installed code is not what was approved last; "" where there is nothing to compare."""

    name: str
    approved: str
    installed: str


@dataclass(frozen=True)
class MeasurementView:
    """The installed code beside what is approved.

    Attributes:
        installed: what enclaves of this installation run.
        standing: whether they may answer.
        number: of the list in force; 0 if there is none.
        approved: the approvals in force, the newest first.
        differences: from the newest approval; empty if the installed code is approved.
        problem: why there is no list in force, or "".
        has_list: whether the database holds one, believed or not.
        elsewhere: enclaves on other machines, as they were when they were asked last.
    """

    installed: Measurement
    standing: Standing
    number: int
    approved: tuple[Approval, ...]
    differences: tuple[Difference, ...]
    problem: str = ""
    has_list: bool = True
    elsewhere: tuple[ReplicaView, ...] = ()


def in_force(app: App, session: Session | None = None) -> Approvals:
    """Return the list in force; its number is remembered.

    Raises:
        MeasurementRefused: there is none, the authority did not sign the newest, or an older one was put back.
    """
    if session is None:
        with read_scope(app.engine) as own:
            return in_force(app, own)
    newest = session.exec(_NEWEST).first()
    seen = highest_seen(app)
    if newest is None:
        raise MeasurementRefused(f"the list is gone: known is number {seen}" if seen else "nothing was approved yet")
    found = Approvals.read(newest.statement, trust=app.trust(session), at=app.clock.now())
    if found.number != newest.number or found.number < seen:
        raise MeasurementRefused(f"an older list was put back: number {found.number}, known is number {seen}")
    if found.number > seen:
        app.store.write(_SEEN_FILE, str(found.number).encode())
    return found


def overview(app: App, actor: Actor) -> MeasurementView:
    """Return the installed code beside what is approved, and what enclaves on other machines say that they run.

    Raises:
        NotAuthorised: not the authority.
    """
    with read_scope(app.engine) as session:
        authorise(app, session, actor, Action.READ_MEASUREMENT, Relation.ANY)
        trust, believed = app.trust(session), _believed(app, session)
    look = partial(app.supervisor.replicas, identity=app.identity, trust=trust, approvals=believed)
    view, parties = _view(app), app.supervisor.elsewhere
    if not parties:
        return view
    with ThreadPoolExecutor(len(parties)) as pool:  # hospitals that are silent are waited for together
        return replace(view, elsewhere=tuple(chain.from_iterable(pool.map(look, parties))))


def approve(app: App, actor: Actor, measurement: str) -> int:
    """Approve the installed code and return the number of the approval; other approvals stay.

    Args:
        app: the application.
        actor: the authority.
        measurement: hash (hex) of what the authority has looked at.

    Raises:
        NotAuthorised: not the authority.
        InvalidInput: this is not the installed code (any more).
    """
    with session_scope(app.engine) as session:
        authorise(app, session, actor, Action.APPROVE_MEASUREMENT, Relation.ANY, object_id=measurement)
        installed = measure()
        if installed.sha256 != measurement:
            raise InvalidInput("the installed program is another one by now; look at it again")
        made = _next(app, session, _believed(app, session), approving=installed)
        details = {"list": made.number}
        audit.append(app, session, actor, "measurement.approve", object_id=measurement, details=details)
    return in_force(app).number


def withdraw(app: App, actor: Actor, measurement: str) -> int:
    """Withdraw an approval and return the number of the list without it: enclaves of that code end, cases wait.

    Raises:
        NotAuthorised: not the authority.
        NotFound: this measurement (hex) is not approved.
        MeasurementRefused: there is no list that can be believed; approve anew.
    """
    with session_scope(app.engine) as session:
        authorise(app, session, actor, Action.WITHDRAW_MEASUREMENT, Relation.ANY, object_id=measurement)
        before = in_force(app, session)
        if before.find(measurement) is None:
            raise NotFound
        made = _next(app, session, before, withdrawing=measurement)
        details = {"list": made.number}
        audit.append(app, session, actor, "measurement.withdraw", object_id=measurement, details=details)
    return in_force(app).number


def installed_view(settings: Settings) -> MeasurementView:
    """Return the same as `overview` to whoever holds the authority's keys at the command line.

    Raises:
        SettingsError: the installation does not start.
    """
    app = App.start(settings)
    try:
        return _view(app)
    finally:
        app.engine.dispose()


def approve_installed(settings: Settings, measurement: str) -> int:
    """Approve the installed code as whoever holds the authority's keys does at the command line; audited.

    Returns the number of the approval. Approvals of other code are superseded.

    Raises:
        InvalidInput: `measurement` (hex) is not the installed code.
        SettingsError: the installation does not start.
    """
    app = App.start(settings)
    try:
        installed = measure()
        if installed.sha256 != measurement:
            raise InvalidInput("the installed program is another one by now; look at it again")
        return _supersede(app, installed, AUTHORITY)
    finally:
        app.engine.dispose()


def approve_own_code(app: App) -> str:
    """Approve the installed code of a demo, whose authority is on the same machine, and say what was done.

    It is written to the audit log as an act of set-up. What the authority withdrew by an act of its own stays
    withdrawn, and where a list that was changed from outside is found, the authority has to look. "" if there was
    nothing to do.
    """
    before = _view(app)
    if before.standing is Standing.APPROVED:
        return ""
    short = before.installed.sha256[:SHORT]
    if before.standing is Standing.WITHDRAWN:
        return f"Enclaves do not answer: the authority has withdrawn the installed program ({short}); cases wait"
    if before.problem and before.has_list:
        return f"Enclaves do not answer: {before.problem}; the authority must look, and approve anew; cases wait"
    number = _supersede(app, before.installed, APP_PARTY)
    what = f"Program of the enclaves approved: {short}, approval {number}"
    if not before.approved:
        return f"{what}; {before.problem} (only a demo approves its own program)"
    changed = ", ".join(one.name for one in before.differences)
    return f"{what}, in place of {before.approved[0].measurement.sha256[:SHORT]}; changed: {changed} (demo only)"


def say_standing(app: App) -> str:
    """Return what the authority must do before enclaves answer, or "" if it need not do anything."""
    found = _view(app)
    if found.standing is Standing.APPROVED:
        return ""
    return (
        f"The program of the enclaves ({found.installed.sha256[:SHORT]}) is not approved: cases wait until the "
        "authority approves it on its page “Enclaves” or by: python -m core approve-measurement"
    )


def _view(app: App) -> MeasurementView:
    installed, problem = measure(), ""
    with read_scope(app.engine) as session:
        try:
            found = in_force(app, session)
        except MeasurementRefused as error:
            found, problem = Approvals(), error.detail
        has_list = session.exec(select(ApprovalList.number).limit(1)).first() is not None
    approved = tuple(sorted(found.approved, key=lambda one: -one.number))
    if found.find(installed.sha256) is not None:
        standing = Standing.APPROVED
    elif installed.sha256 in found.withdrawn:
        standing = Standing.WITHDRAWN
    else:
        standing = Standing.NEVER_APPROVED
    known = approved[0].measurement if approved else None
    differences = () if known is None or standing is Standing.APPROVED else _differences(known, installed)
    return MeasurementView(installed, standing, found.number, approved, differences, problem, has_list)


def _differences(approved: Measurement, installed: Measurement) -> tuple[Difference, ...]:
    known = {"code": approved.code_sha256[:SHORT]} | dict(line.split(" ", 1) for line in approved.libraries)
    now = {"code": installed.code_sha256[:SHORT]} | dict(line.split(" ", 1) for line in installed.libraries)
    names = [name for name in dict.fromkeys((*known, *now)) if known.get(name) != now.get(name)]
    return tuple(Difference(name, known.get(name, ""), now.get(name, "")) for name in names)


def _supersede(app: App, installed: Measurement, party: str) -> int:
    with session_scope(app.engine) as session:
        before = _believed(app, session)
        superseded = sum(one.measurement != installed for one in before.approved)
        made = _next(app, session, before, approving=installed, superseded=True)
        details = {"list": made.number, "superseded": superseded}
        audit.append(app, session, party, "measurement.approve", object_id=installed.sha256, details=details)
    return in_force(app).number


def _believed(app: App, session: Session) -> Approvals:
    """Return the list in force, or an empty one where none can be believed: what follows starts anew from there."""
    try:
        return in_force(app, session)
    except MeasurementRefused:
        return Approvals()


def _next(
    app: App,
    session: Session,
    before: Approvals,
    *,
    approving: Measurement | None = None,
    withdrawing: str = "",
    superseded: bool = False,
) -> Approvals:
    """Sign and store the list that follows; rows of as high a number, which nobody but a forger wrote, go.

    Raises:
        InvalidInput: another list came into force since `before` was read.
    """
    number, now = max(before.number, highest_seen(app)) + 1, app.clock.now()
    if _believed(app, session).number != before.number:
        raise InvalidInput(_OVERTAKEN)
    if approving is not None:
        made = before.approving(approving, number=number, at=now, superseded=superseded)
    else:
        made = before.withdrawing([withdrawing], number=number)
    for row in session.exec(select(ApprovalList).where(col(ApprovalList.number) >= number)).all():
        session.delete(row)
    session.flush()
    with authority_office(app.settings, app.clock) as office:
        made = made.signed(office.identity)
    session.add(ApprovalList(number=number, statement=made.envelope, issued_at=now))
    try:
        session.flush()
    except IntegrityError as error:
        raise InvalidInput(_OVERTAKEN) from error
    return made


def highest_seen(app: App) -> int:
    """Return the number of the newest list that the app has seen, 0 for none."""
    try:
        return int((app.store.folder / _SEEN_FILE).read_bytes())
    except FileNotFoundError:
        return 0
