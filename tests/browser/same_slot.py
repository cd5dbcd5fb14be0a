"""Two patients in two browsers press “Book this time” on the same time in the same millisecond.

Used by a test (a few times, on both databases) and by ``python -m benchmarks.same_slot`` (fifty times).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from playwright.sync_api import Page, expect
from sqlmodel import col, func, select

from core.clock import SystemClock
from core.services.accounts import Role, new_user
from core.services.app import Actor, App
from core.services.context import Profile
from core.services.demo import DEMO_PASSWORD
from core.services.sessions import actor_of
from core.services.slots import offer
from db.engine import read_scope, session_scope
from db.models import Appointment, User
from tests.browser.harness import Server, by_key, runs, settle, visit
from tests.integration.clinic import stored_case

PATIENTS = ("demo-patient", "second-patient")
SPARE = 4  # so that there are next times to offer, the last time too
AHEAD_MS = 400
_PRESS = """
at => {
  const button = document.querySelector('.st-key-appointment_book button');
  window.__pressed = new Promise(done => setTimeout(() => { button.click(); done(Date.now()); }, at - Date.now()));
}
"""


@dataclass(frozen=True)
class Meeting:
    """What came of one time that two wanted.

    Attributes:
        time: the time as the page writes it.
        apart_ms: how far apart the two presses were.
        winners: which of the two were told that it is booked.
        told: which were told that it was just taken, with how many next times offered.
    """

    time: str
    apart_ms: int
    winners: tuple[int, ...]
    told: tuple[tuple[int, int], ...]

    @property
    def as_it_should_be(self) -> bool:
        """Whether one has it, and the other was offered others."""
        return len(self.winners) == len(self.told) == 1 and self.told[0][1] > 0 and self.told[0][0] not in self.winners


def prepare(app: App, times: int) -> None:
    """Let two patients have a case each at hospital north, and one doctor offer `times` half hours and a few more."""
    second = new_user(
        app,
        username=PATIENTS[1],
        password=DEMO_PASSWORD,
        role=Role.PATIENT,
        profile=Profile("Second patient"),
        rounds=4,
    )
    with session_scope(app.engine) as session:
        session.add(second)
    for name in PATIENTS:
        stored_case(app, _actor(app, name))
    first = datetime.combine(SystemClock().now().date() + timedelta(days=2), time(8), UTC)
    a_day = 16
    starts = [first + timedelta(days=n // a_day, minutes=30 * (n % a_day)) for n in range(times + SPARE)]
    offer(app, _actor(app, "demo-doctor"), [(start, start + timedelta(minutes=30)) for start in starts])


def meetings(pages: Sequence[Page], server: Server, times: int) -> Iterator[Meeting]:
    """Let two signed-in patients want the same time, `times` times."""
    for _ in range(times):
        wanted = {_choose_first(visit(page, server, "/appointments")) for page in pages}
        assert len(wanted) == 1, wanted
        at = int(pages[0].evaluate("Date.now()")) + AHEAD_MS
        for page in pages:
            page.evaluate(_PRESS, at)
        pressed = [int(page.evaluate("window.__pressed")) for page in pages]
        winners, told = [], []
        for number, page in enumerate(pages):
            booked, taken = page.get_by_text("Booked:"), by_key(page, "slot_taken_box")
            expect(booked.or_(taken).first).to_be_visible()
            settle(page)
            if booked.count():
                winners.append(number)
            if taken.count():
                told.append((number, page.locator('[class*="st-key-instead_"]').count()))
        yield Meeting(wanted.pop(), abs(pressed[0] - pressed[1]), tuple(winners), tuple(told))


def take_the_next(page: Page) -> None:
    """Press the first of the times that are offered instead."""
    before = runs(page)
    page.locator('[class*="st-key-instead_"]').first.get_by_role("button").click()
    settle(page, since=before)
    expect(page.get_by_text("Booked:")).to_be_visible()


def booked_twice(app: App) -> tuple[int, int]:
    """Return how many appointments stand in the database, and how many times more than one has."""
    with read_scope(app.engine) as session:
        live = col(Appointment.live_key).is_not(None)
        counts = session.exec(select(func.count()).where(live).group_by(col(Appointment.slot_id))).all()
    return sum(counts), sum(count > 1 for count in counts)


def _choose_first(page: Page) -> str:
    """Choose the first free time; return its day and time."""
    before = runs(page)
    times = page.locator('[class*="st-key-slot_time_"]').get_by_role("radio").first
    times.click()
    settle(page, since=before)
    day = by_key(page, "slot_day_0").get_by_role("combobox")
    return f"{day.input_value()} {times.inner_text()}"


def _actor(app: App, username: str) -> Actor:
    with read_scope(app.engine) as session:
        return actor_of(app, session.exec(select(User).where(User.username == username)).one())
