"""Patients, doctors and the authority at work: loops that use services as pages do, and tell a diary all of it."""

import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from sqlmodel import col, select

from core.errors import HemaSealError
from core.learning.run_choices import RoundRules
from core.services import appointments, cases, messages, reviews, run_views, runs, slots, worklist
from core.services.app import Actor, App
from core.services.case_reading import own_cases
from core.services.case_records import Outcome
from core.services.reviews import Decision
from core.settings import ROOT
from core.studies import LEUKEMIA
from db.engine import read_scope
from db.models import AppointmentStatus, CaseStatus, Dataset
from db.models.federation import RunStatus
from tests.faults.chaos import diary
from tests.faults.chaos.diary import Did, Line
from tests.faults.chaos.pictures import WORDS, upload_of
from tests.faults.chaos.place import person

PAUSE_S = (0.3, 1.2)
OFTEN, SOMETIMES = 0.3, 0.1
ROUNDS, EPOCHS, TRIES = 2, 2, 3
DEADLINE_S = 20.0

T = TypeVar("T")


class Person(ABC):
    """Somebody at work in a thread of the app's process."""

    def __init__(self, app: App, username: str, seed: Sequence[int]) -> None:
        """Begin work.

        Args:
            app: the application.
            username: the account.
            seed: fixes what is chosen, as far as the answers are the same.
        """
        self.app, self.username = app, username
        self.rng = np.random.default_rng(list(seed))
        self._me: Actor | None = None

    def work(self, ending: threading.Event) -> None:
        """Do one thing after the other until told to end."""
        while not ending.wait(float(self.rng.uniform(*PAUSE_S))):
            self.attempt(Did.LOOKING, "", self.act)

    @abstractmethod
    def act(self) -> None:
        """Do the next thing."""

    @property
    def me(self) -> Actor:
        """Whoever this is."""
        self._me = self._me or person(self.app, self.username)
        return self._me

    def note(self, what: Did, key: str = "", *, id: str = "", words: str = "") -> None:  # noqa: A002
        """Tell the diary."""
        diary.say(Line(what, self.username, key, id, words))

    def attempt(self, did: Did, key: str, call: Callable[[], T]) -> T | None:
        """Do something, and note how it was refused, or that it ended in what nobody foresaw."""
        try:
            return call()
        except HemaSealError as error:
            self.note(Did.REFUSED, key, id=did.value, words=error.code)
        except Exception as error:  # noqa: BLE001  a page would say that something unforeseen happened
            own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(str(ROOT))]
            where = " < ".join(f"{frame.filename[len(str(ROOT)) + 1 :]}:{frame.lineno}" for frame in own[:-4:-1])
            self.note(Did.BROKEN, key, id=did.value, words=f"{type(error).__name__}: {error} at {where}"[:1000])
        return None

    def does(self, share: float) -> bool:
        """Whether to do something that is done in so many of one cases."""
        return bool(self.rng.uniform() < share)

    def book(self, case_id: str) -> None:
        """Book one of the next times, which others want too."""
        free = slots.free_slots(self.app, self.me, case_id, limit=3)
        if free:
            slot = free[int(self.rng.integers(len(free)))].id
            self.note(Did.BOOKING, slot)
            booked = self.attempt(
                Did.BOOKING, slot, lambda: appointments.book(self.app, self.me, case_id=case_id, slot_id=slot)
            )
            if booked:
                self.note(Did.BOOKED, slot, id=booked.id)

    def cancel_one(self) -> None:
        """Cancel an appointment of one's own."""
        mine = appointments.appointments(self.app, self.me)
        standing = [one.id for one in mine if one.status is AppointmentStatus.BOOKED and not one.is_over]
        if standing:
            chosen = standing[int(self.rng.integers(len(standing)))]
            self.note(Did.CANCELLING, chosen)
            if self.attempt(Did.CANCELLING, chosen, lambda: appointments.cancel(self.app, self.me, chosen)):
                self.note(Did.CANCELLED, chosen)


class Patient(Person):
    """Uploads one picture after the other; sends one again only when it is not there, or was refused."""

    def __init__(self, app: App, username: str, seed: Sequence[int], before: Sequence[Line]) -> None:
        """Go on where the diary ends."""
        super().__init__(app, username, seed)
        mine = [line for line in before if line.who == username]
        settled = diary.accepted(mine)
        self._known = {line.id for line in settled.values()}
        tried = [line for line in mine if line.what is Did.UPLOADING]
        self._number = len({line.key for line in tried})
        self._open = tried[-1].key if tried and tried[-1].key not in settled else ""
        about = [line.what for line in mine if line.key == self._open]
        self._is_sure = not about or about[-1] is Did.REFUSED

    def act(self) -> None:
        """Upload; sometimes ask again for what waits, write, book, cancel."""
        if not self._open:
            self._number += 1
            self._open, self._is_sure = f"{self.username}/{self._number}", True
        if not self._is_sure:
            self._look()
        if self._open:
            self._upload()
        if self.does(SOMETIMES):
            cases.retry_waiting(self.app, self.me)
        if self._known and self.does(SOMETIMES):
            self._write(max(self._known))
            self.book(max(self._known))
        if self.does(SOMETIMES):
            self.cancel_one()

    def _upload(self) -> None:
        key = self._open
        self.note(Did.UPLOADING, key)
        self._is_sure = False
        try:
            case = cases.submit(self.app, self.me, files=[upload_of(key)], study=LEUKEMIA.name)
        except HemaSealError as error:
            self._is_sure = True  # that is what a refusal says: nothing was stored
            self.note(Did.REFUSED, key, id=Did.UPLOADING.value, words=error.code)
        else:
            self._settle(Did.UPLOADED, case.id, case.status.value)

    def _look(self) -> None:
        """Find out whether the upload in hand arrived before its answer was lost."""
        listed = own_cases(self.app, self.me)
        new = [entry.case for entry in listed if entry.case.id not in self._known]
        if new:
            self._settle(Did.FOUND, new[0].id, new[0].status.value)
        self._is_sure = True

    def _settle(self, what: Did, case_id: str, status: str) -> None:
        self.note(what, self._open, id=case_id, words=status)
        self._known.add(case_id)
        self._open = ""

    def _write(self, case_id: str) -> None:
        def send() -> None:
            messages.send(self.app, self.me, case_id, WORDS)
            self.note(Did.WROTE, case_id)

        self.attempt(Did.WRITING, case_id, send)


class Doctor(Person):
    """Signs what is most urgent; books for patients, and cancels."""

    def act(self) -> None:
        """Sign one case of the list, and sometimes book or cancel."""
        listed = [entry for entry in worklist.worklist(self.app, self.me) if entry.case.status is CaseStatus.ANSWERED]
        damaged = [entry.case.id for entry in listed if entry.is_damaged]
        if damaged:
            self.note(Did.BROKEN, damaged[0], words="a case of the worklist is damaged")
        whole = [entry for entry in listed if not entry.is_damaged and entry.review is None and entry.case.summary]
        if not whole:
            return
        case, summary = whole[0].case, whole[0].case.summary
        assert summary is not None
        uncertain = summary.outcome is Outcome.UNCERTAIN
        self.note(Did.SIGNING, case.id)
        signed = self.attempt(
            Did.SIGNING,
            case.id,
            lambda: reviews.sign_review(
                self.app,
                self.me,
                case.id,
                decision=Decision.OVERRIDE if uncertain else Decision.AGREE,
                conclusion=1 if uncertain else None,
                reason=WORDS if uncertain else "",
                note=WORDS,
            ),
        )
        if signed:
            self.note(Did.SIGNED, case.id, id=signed.id)
        if self.does(OFTEN):
            self.book(case.id)
        if self.does(OFTEN):
            self.cancel_one()


class Authority(Person):
    """Orders one blind run after the other and keeps a worker awake, as the page of a run does."""

    def act(self) -> None:
        """Order a run if none is under way, and wake the worker."""
        listed = run_views.list_runs(self.app, self.me)
        if not any(run.status in {RunStatus.QUEUED, RunStatus.RUNNING} for run in listed):
            with read_scope(self.app.engine) as session:
                chosen = session.exec(select(Dataset.id).order_by(col(Dataset.id))).all()
            self.note(Did.ORDERING)
            ordered = self.attempt(Did.ORDERING, "", lambda: self._order(chosen))
            if ordered:
                self.note(Did.ORDERED, id=ordered)
        runs.wake_worker(self.app, self.me)

    def _order(self, datasets: Sequence[str]) -> str:
        rules = RoundRules(deadline_s=DEADLINE_S, tries=TRIES)
        return runs.start_run(
            self.app,
            self.me,
            study=LEUKEMIA.name,
            rounds=ROUNDS,
            dataset_ids=datasets,
            local_epochs=EPOCHS,
            round_rules=rules,
        )
