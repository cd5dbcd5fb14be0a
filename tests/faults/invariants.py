"""What must hold after any fault; each check returns sentences about what does not."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from sqlmodel import Session, col, select

from core.clock import SystemClock
from core.errors import HemaSealError
from core.learning.orders import AUTHORITY, RunOptions
from core.services import audit_rows
from core.services.app import App, load_master_key
from core.services.model_store import verified_lineage
from core.services.models import list_models
from core.services.sessions import actor_of
from db.blobs import get_blob
from db.engine import read_scope, session_scope
from db.models import Checkpoint, Run, RunAttempt, User
from db.models.federation import RunStatus
from federated.checkpoints import open_model
from federated.hosting import LEDGER_NAME
from federated.ledger import FileLedger
from federated.messages import Model
from federated.notary import Notary
from federated.timing import Stopwatch
from security.errors import SecurityError
from security.identity import Identity
from security.keys import KeyStore
from tests.faults.arena import ROUNDS, Ground
from tests.faults.plan import Note, What
from tests.federation import SLUGS, tiny_data
from tests.secrets_search import contents, found_in_clear

_GOOD = (RunStatus.FINISHED, RunStatus.FAILED, RunStatus.PAUSED)
_OUTCOMES = ("finished", "abandoned", "failed")


@dataclass
class Ran:
    """What the one who played a fault saw.

    Attributes:
        status: how the run ended, or how it was when patience ended.
        reason: the sentence that people read.
        fired: whether the fault happened.
        lived: processes that played the worker.
        seen: finished rounds that were seen on the way: round -> hash of the weights.
        problems: what went wrong on the way.
        took_s: duration.
    """

    status: RunStatus = RunStatus.QUEUED
    reason: str = ""
    fired: bool = False
    lived: int = 0
    seen: dict[int, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    took_s: float = 0.0


def rounds_of(session: Session, run: str) -> dict[int, str]:
    """Return the finished rounds of a run: round -> hash of the weights."""
    rows = session.exec(select(Checkpoint).where(Checkpoint.run_id == run)).all()
    return {row.round_number: row.weights_sha256 for row in rows}


def check(ground: Ground, ran: Ran, journal: Sequence[Note], *, undisturbed: dict[int, str]) -> list[str]:
    """Return what does not hold, in words; nothing if all holds.

    Args:
        ground: the installation after the fault.
        ran: what was seen.
        journal: notes of all its processes.
        undisturbed: round -> hash of the weights of a run without faults.
    """
    settings = ground.direct()
    app = App.start(settings, clock=SystemClock())
    try:
        with read_scope(app.engine) as session:
            run = session.get_one(Run, ground.run)
            session.expunge_all()
        problems = [
            *ran.problems,
            *_ending(run),
            *_models(app, run, ran, undisturbed),
            *_attempts(app, ground.run, journal),
            *_owners(journal),
            *_ledgers(ground, journal),
            *_audit(app),
            *_secrets(app, ground),
        ]
    finally:
        app.engine.dispose()
    return problems


def _ending(run: Run) -> Iterator[str]:
    if run.status not in _GOOD:
        yield f"the run is {run.status}"
    elif run.status is not RunStatus.FINISHED and not run.reason:
        yield f"the run is {run.status} without a reason"
    if run.worker is not None or run.lease_until is not None:
        yield "the run still has an owner"


def _models(app: App, run: Run, ran: Ran, undisturbed: dict[int, str]) -> Iterator[str]:
    """All finished rounds are there, open, chain, are what they were, and are what they would have been."""
    store = KeyStore(app.settings.keys_dir, AUTHORITY, load_master_key(app.settings))
    with read_scope(app.engine) as session:
        rows = session.exec(
            select(Checkpoint).where(Checkpoint.run_id == run.id).order_by(col(Checkpoint.round_number))
        ).all()
        trust = app.trust(session)
        blobs = [get_blob(session, row.weights_blob_id) for row in rows]
        notary = Notary(Identity.load(store), trust, study=run.study_code, clock=SystemClock(), watch=Stopwatch())
        members: dict[int, tuple[str, ...]] = {}
        for row, sealed in zip(rows, blobs, strict=True):
            model = Model(
                run=run.id,
                round=row.round_number,
                sealed=sealed,
                weights_sha256=row.weights_sha256,
                lineage=row.lineage,
            )
            try:
                _, lineage = open_model(notary, model, run=run.id, round_number=row.round_number)
                members[row.round_number] = lineage.members
                verified_lineage(app, session, row)
            except (HemaSealError, SecurityError) as error:
                yield f"the model of round {row.round_number} does not hold: {error}"
    found = {row.round_number: row.weights_sha256 for row in rows}
    if list(found) != list(range(len(found))) or (found and max(found) != run.rounds_done):
        yield f"finished rounds are {list(found)}, {run.rounds_done} are said to be done"
    if any(found.get(number) != sha256 for number, sha256 in ran.seen.items()):
        yield "a round that had been finished is lost or another one now"
    asked = set(RunOptions.from_json({key: run.options[key] for key in RunOptions.__dataclass_fields__}).parties)
    whole = all(set(members.get(number, ())) == asked for number in range(1, len(found)))
    if whole and any(undisturbed[number] != sha256 for number, sha256 in found.items()):
        yield "all members took part and the weights are not those of a run without faults"
    if run.status is RunStatus.FINISHED:
        served = rows[-1].serving_blob_id is not None and rows[-1].exports is not None
        if len(found) != ROUNDS + 1 or not served:
            yield "the run is said to be finished and lacks rounds or its serving model"
        with read_scope(app.engine) as session:
            authority = actor_of(app, session.exec(select(User).where(User.username == "demo-authority")).one())
        if not all(view.verified for view in list_models(app, authority)):
            yield "the authority does not accept the finished model"


def _attempts(app: App, run: str, journal: Sequence[Note]) -> Iterator[str]:
    """Attempts follow one another; what was abandoned is never sent again, and no step is answered twice."""
    with read_scope(app.engine) as session:
        rows = session.exec(select(RunAttempt).where(RunAttempt.run_id == run).order_by(col(RunAttempt.number))).all()
    if [row.number for row in rows] != list(range(1, len(rows) + 1)) or any(
        row.outcome not in _OUTCOMES for row in rows[:-1]
    ):
        yield "attempts are missing or were left open"
    if rows and rows[-1].outcome not in _OUTCOMES:
        yield "the last attempt was left open"
    number = {row.id: row.number for row in rows}
    if unknown := {note.attempt for note in journal if note.what is What.SENT} - set(number):
        yield f"{len(unknown)} attempts were used without having been stored"
        return
    newest, doubtful = 0, set[tuple[int, str]]()
    for note in journal:
        if note.what is What.ASKED:
            if number[note.attempt] < newest:
                doubtful.add((note.pid, note.step))
            newest = max(newest, number[note.attempt])
    if doubtful:
        yield f"an abandoned attempt was used again: {sorted(doubtful)}"
    answered = Counter((note.party, note.attempt, note.step) for note in journal if note.reply)
    if twice := [key for key, times in answered.items() if times > 1]:
        yield f"a step of an attempt was answered twice: {twice}"


def _owners(journal: Sequence[Note]) -> Iterator[str]:
    """Who has once been followed by another worker asks nobody any more, so at most one owns the run at any time."""
    order: list[int] = []
    for note in journal:
        if note.what is What.ASKED and (not order or order[-1] != note.pid):
            order.append(note.pid)
    if len(order) != len(set(order)):
        yield f"workers took turns: {order}"


def _ledgers(ground: Ground, journal: Sequence[Note]) -> Iterator[str]:
    """Every ledger can be read, and knows each step that its party has answered."""
    answered: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for note in journal:
        if note.reply:
            answered[note.party].add((note.attempt, note.step))
    for party, steps in answered.items():
        try:
            ledgers = [FileLedger(folder / "keys" / party / LEDGER_NAME) for folder in ground.folders]
        except (OSError, ValueError) as error:
            yield f"the ledger of {party} cannot be read: {error}"
            continue
        if missing := steps.difference(*(ledger._claimed for ledger in ledgers)):
            yield f"the ledger of {party} does not know {len(missing)} steps that it answered"


def _audit(app: App) -> Iterator[str]:
    try:
        with session_scope(app.engine) as session:
            audit_rows.verified(session, app.trust(session))
    except HemaSealError as error:
        yield f"the audit log does not hold: {error}"


def _secrets(app: App, ground: Ground) -> Iterator[str]:
    """No image, weight or update stands in a file below the installation, in a temporary file, or in the database."""
    files = [
        file for folder in (*ground.folders, ground.post.temporary) for file in folder.rglob("*") if file.is_file()
    ]
    held = b"\0".join([contents(app.engine), *map(_read, files)])
    numbers = b"".join(map(_read, ground.post.secrets.iterdir()))
    images = [np.asarray(tiny_data(number).images).tobytes() for number in range(len(SLUGS))]
    if found := found_in_clear(held, long=[numbers, *images], texts=[]):
        yield f"{len(found)} pieces of images, weights or updates lie in clear"


def _read(file: Path) -> bytes:
    return file.read_bytes()
