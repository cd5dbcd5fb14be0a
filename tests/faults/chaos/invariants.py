"""What must hold while parts die and after it; each check returns sentences about what does not."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from sqlmodel import col, select

from core.errors import AuditLogBroken
from core.imaging.decode import decode_upload
from core.services import audit_rows
from core.services.answering import ImageOfCase, view
from core.services.app import App
from core.services.case_objects import ObjectKind, sealed_objects
from core.services.case_reading import read_case
from core.services.vault import key_of
from core.settings import ROOT
from core.studies import LEUKEMIA
from db.engine import read_scope
from db.models import Appointment, AppointmentStatus, Case, CaseReview, CaseStatus, Hospital, Run, Slot, User
from db.models.federation import RunStatus
from tests.faults.chaos.diary import Did, Line, accepted
from tests.faults.chaos.in_clear import is_in_clear
from tests.faults.chaos.pictures import digest, pixels_of
from tests.faults.chaos.place import PATIENTS, Place, person
from tests.secrets_search import contents

_TOLD = (RunStatus.FINISHED, RunStatus.FAILED, RunStatus.PAUSED, RunStatus.ABORTED)
_MAX_BYTES, _MAX_PIXELS = 2**24, 2**22


def uploads_kept(app: App, lines: Sequence[Line]) -> Iterator[str]:
    """Every upload that a patient was told of is there and is this patient's."""
    with read_scope(app.engine) as session:
        held = dict(session.exec(select(Case.id, User.username).join(User, col(User.id) == col(Case.patient_id))).all())
    for key, line in accepted(lines).items():
        if held.get(line.id) != line.who:
            yield f"upload lost: {key} was accepted as case {line.id}, which is {held.get(line.id, 'nobody')}'s"


def uploads_single(app: App, lines: Sequence[Line]) -> Iterator[str]:
    """Every case shows the very picture that its patient sent, no two the same one, and an enclave still opens it."""
    sent = {digest(pixels_of(line.key)): line for line in lines if line.what is Did.UPLOADING}
    told = {line.id: key for key, line in accepted(lines).items()}
    seen: dict[str, str] = {}
    with read_scope(app.engine) as session:
        places = dict(session.exec(select(Hospital.id, Hospital.slug)).all())
        people = dict(session.exec(select(User.id, User.username)).all())
        cases = session.exec(select(Case).order_by(col(Case.created_at))).all()
        images = {
            case.id: sealed_objects(session, case.id, ObjectKind.IMAGE, key=key_of(app, session, case.patient_id))
            for case in cases
        }
    for case in cases:
        which = ImageOfCase(case_id=case.id, study=LEUKEMIA, number=0, images=len(images[case.id]))
        png = view(app, which=which, slug=places[case.hospital_id], sealed_image=images[case.id][0])
        line = sent.get(digest(decode_upload(png, max_bytes=_MAX_BYTES, max_pixels=_MAX_PIXELS).pixels))
        if line is None or line.who != people[case.patient_id]:
            yield f"case {case.id} shows a picture that its patient has not sent"
        elif line.key in seen:
            yield f"upload doubled: {line.key} is case {seen[line.key]} and case {case.id}"
        elif told.get(case.id, line.key) != line.key:
            yield f"case {case.id} was told to be {told[case.id]} and shows {line.key}"
        else:
            seen[line.key] = case.id


def all_answered(app: App) -> Iterator[str]:
    """Every case is answered, and its patient reads a result whose seals and signatures hold."""
    for name in PATIENTS:
        who = person(app, name)
        with read_scope(app.engine) as session:
            mine = session.exec(select(Case.id, Case.status).where(Case.patient_id == who.user_id)).all()
        for case_id, status in mine:
            if status is CaseStatus.WAITING:
                yield f"case {case_id} of {name} still waits for an answer"
            elif problem := read_case(app, who, case_id).problem:
                yield f"the answer of case {case_id} does not hold: {problem}"


def bookings_single(app: App) -> Iterator[str]:
    """No slot has more appointments than places, and no patient two at a time."""
    with read_scope(app.engine) as session:
        standing = session.exec(
            select(Appointment, Slot)
            .join(Slot, col(Slot.id) == col(Appointment.slot_id))
            .where(Appointment.status == AppointmentStatus.BOOKED)
            .order_by(col(Slot.starts_at))
        ).all()
    taken = Counter(slot.id for _, slot in standing)
    yield from (f"slot {slot.id} is booked twice" for _, slot in standing if taken[slot.id] > slot.capacity)
    for patient in {row.patient_id for row, _ in standing}:
        times = [slot for row, slot in standing if row.patient_id == patient]
        if any(later.starts_at < earlier.ends_at for earlier, later in pairwise(times)):
            yield f"patient {patient} has two appointments at a time"


def bookings_kept(app: App, lines: Sequence[Line]) -> Iterator[str]:
    """Every booking that somebody was told of stands, unless somebody wanted it cancelled; a cancelled one does not."""
    with read_scope(app.engine) as session:
        held = dict(session.exec(select(Appointment.id, Appointment.status)).all())
    wanted = {line.key for line in lines if line.what is Did.CANCELLING}
    for line in lines:
        status = held.get(line.id if line.what is Did.BOOKED else line.key)
        if line.what is Did.BOOKED and status is not AppointmentStatus.BOOKED and line.id not in wanted:
            yield f"booking lost: {line.id} was confirmed to {line.who} and is {status}"
        if line.what is Did.CANCELLED and status is not AppointmentStatus.CANCELLED:
            yield f"appointment {line.key} was cancelled by {line.who} and is {status}"


def reviews_kept(app: App, lines: Sequence[Line]) -> Iterator[str]:
    """Every review that a doctor was told of is there, and no case has two."""
    with read_scope(app.engine) as session:
        held = session.exec(select(CaseReview.id, CaseReview.case_id)).all()
    for line in lines:
        if line.what is Did.SIGNED and (line.id, line.key) not in held:
            yield f"review lost: {line.id} of case {line.key}, signed by {line.who}"
    yield from (
        f"case {case} is reviewed twice" for case, times in Counter(case for _, case in held).items() if times > 1
    )


def log_verifies(app: App) -> Iterator[str]:
    """The audit log is whole, from its first entry to its signed head."""
    try:
        with read_scope(app.engine) as session:
            audit_rows.verified(session, app.trust(session))
    except AuditLogBroken as error:
        yield f"the audit log does not hold: {error}"


def runs_told(app: App, lines: Sequence[Line], *, ended: bool = False) -> Iterator[str]:
    """Every run that was ordered is there; if it has ended, its rounds are there or a sentence says why not.

    Args:
        app: the application.
        lines: the diary.
        ended: all must have ended.
    """
    with read_scope(app.engine) as session:
        held = {run.id: run for run in session.exec(select(Run)).all()}
        session.expunge_all()
    yield from (f"run lost: {one.id}" for one in lines if one.what is Did.ORDERED and one.id not in held)
    for run in held.values():
        if run.status is RunStatus.FINISHED and run.rounds_done != run.rounds:
            yield f"run {run.id} is finished after {run.rounds_done} of {run.rounds} rounds"
        elif run.status in _TOLD and run.status is not RunStatus.FINISHED and not run.reason:
            yield f"run {run.id} is {run.status} without a reason"
        elif run.status not in _TOLD and ended:
            yield f"run {run.id} is {run.status} and will not end"


def words_for_all(lines: Sequence[Line]) -> Iterator[str]:
    """Whatever was refused was refused in words: nobody met an error that the program did not foresee."""
    for line in lines:
        if line.what is Did.BROKEN:
            yield f"no words for {line.who} ({line.id}): {line.words}"


def nothing_in_clear(place: Place, app: App) -> Iterator[str]:
    """No file of the installation, no temporary file and no row holds a picture, a message, a note or a name."""
    command = [sys.executable, "-m", "tests.faults.chaos.in_clear", str(place.data_dir), str(place.temporary)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in done.stdout.splitlines():
        yield f"something lies in clear in {Path(name).relative_to(place.folder)}"
    if place.database_url and is_in_clear(contents(app.engine)):
        yield "something lies in clear in the database"
