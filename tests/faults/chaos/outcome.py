"""What came of a schedule of faults: what did not hold, and the figures."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlmodel import func, select

from core.services.app import App
from db.engine import read_scope
from db.models import AuditHead, Case, Run
from tests.faults.chaos.diary import Did, Line


@dataclass(frozen=True)
class Violation:
    """Something that did not hold: what, when (seconds since the schedule's begin), and the newest faults by then."""

    sentence: str
    at_s: float
    faults: list[str]


@dataclass
class Outcome:
    """What came of a schedule.

    Attributes:
        violations: what did not hold, in the order in which it was seen.
        happened: faults that hit something, by kind.
        missed: faults that found nothing to hit, by kind.
        starts: how often the app was started.
        looks: how often the invariants were looked at while faults went on.
        noted: lines of the diary, by what they say.
        refusals: what people were refused, by act and code.
        runs: runs, by how they ended and what a person reads about it.
        cases, log_entries: what the installation holds in the end.
        answered_s, finished_s: seconds after the last fault until uploads were answered, and until a run was finished.
    """

    violations: list[Violation] = field(default_factory=list)
    happened: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    starts: int = 0
    looks: int = 0
    noted: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    runs: Counter[str] = field(default_factory=Counter)
    cases: int = 0
    log_entries: int = 0
    answered_s: float | None = None
    finished_s: float | None = None

    def count(self, app: App, lines: Sequence[Line]) -> None:
        """Fill in what diary and installation hold in the end."""
        self.noted = Counter(line.what.value for line in lines)
        self.refusals = Counter(f"{line.id}: {line.words}" for line in lines if line.what is Did.REFUSED)
        with read_scope(app.engine) as session:
            ended = session.exec(select(Run.status, Run.reason)).all()
            self.runs = Counter(f"{status}: {reason}" if reason else str(status) for status, reason in ended)
            self.cases = session.exec(select(func.count()).select_from(Case)).one()
            head = session.get(AuditHead, 1)
            self.log_entries = head.size if head else 0
