"""Adding up a run's events."""

from datetime import UTC, datetime, timedelta

from core.learning.run_events import EventKind, FailureCode
from core.learning.run_figures import WAITING, Answer, RunEntry, figures_of, totals_of

SECONDS = {"training_s": 2.0, "cryptography_s": 0.5}
ENTRIES = [
    RunEntry(EventKind.RUN_STARTED, 0, "coordinator", {}),
    RunEntry(EventKind.ROUND_STARTED, 1, "coordinator", {"attempt": "a"}),
    RunEntry(EventKind.PROGRESS, 1, "east.training", {"done": 3, "total": 9}),
    RunEntry(
        EventKind.ANSWERED,
        1,
        "east.training",
        {"step": "train", "attempt": "a", "bytes_out": 10, "bytes_in": 7, "seconds": SECONDS},
    ),
    RunEntry(EventKind.FAILED, 1, "west.training", {"step": "train", "code": "dropped-out", "bytes_out": 10}),
    RunEntry(EventKind.ATTEMPT_ABANDONED, 1, "coordinator", {"attempt": "a"}),
    RunEntry(EventKind.ROUND_STARTED, 1, "coordinator", {"attempt": "b"}),
    RunEntry(EventKind.FAILED, 1, "west.training", {"step": "average", "code": "seal", "refused_by": "aggregation"}),
    RunEntry(
        EventKind.ROUND_FINISHED,
        1,
        "coordinator",
        {"metrics": {"auc": 0.9}, "members": ["east.training"], "seconds": {"cryptography_s": 0.1}},
    ),
]


def test_costs_of_all_attempts_of_a_round_are_added() -> None:
    (figures,) = figures_of(ENTRIES)
    assert (figures.round, figures.finished, figures.attempts) == (1, True, 2)
    assert (figures.bytes_down, figures.bytes_up) == (20, 7)
    assert figures.seconds["cryptography_s"] == 0.6
    assert figures.by_party["east.training"]["training_s"] == 2.0
    assert totals_of([figures, figures])["training_s"] == 4.0


def test_failures_keep_who_what_and_by_whom() -> None:
    (figures,) = figures_of(ENTRIES)
    assert [(fault.step, fault.code, fault.refused_by) for fault in figures.failures] == [
        ("train", FailureCode.DROPPED_OUT, ""),
        ("average", FailureCode.SEAL, "aggregation"),
    ]


def test_a_new_attempt_starts_with_a_clean_board() -> None:
    before = figures_of(ENTRIES[:5])[0]
    after = figures_of(ENTRIES[:7])[0]
    assert before.answered == {"east.training": "train"}
    assert (after.answered, after.progress) == ({}, {})


def at(second: float) -> datetime:
    return datetime(2026, 1, 5, tzinfo=UTC) + timedelta(seconds=second)


def timed(*, lost: bool = False) -> list[RunEntry]:
    """Two attempts of a round, of 10 s (of which a lost worker leaves 4) and of 20 s, and an export of 5 s."""
    seconds = {"training_s": 3.0, "cryptography_s": 1.0}
    answered = {"step": "upload", "seconds": seconds}
    finished = {"metrics": {}, "members": ["east.training"], "seconds": {}}
    first = [
        RunEntry(EventKind.ROUND_STARTED, 1, "coordinator", {}, at(0)),
        RunEntry(EventKind.PROGRESS, 1, "east.training", {"done": 1, "total": 2}, at(4)),
        RunEntry(EventKind.ATTEMPT_ABANDONED, 1, "coordinator", {}, at(10)),
    ]
    return [
        *first[: 2 if lost else 3],
        RunEntry(EventKind.ROUND_STARTED, 1, "coordinator", {}, at(1000)),
        RunEntry(EventKind.ANSWERED, 1, "east.training", answered, at(1012)),
        RunEntry(EventKind.FAILED, 1, "west.training", {"step": "upload", "code": "late"}, at(1013)),
        RunEntry(EventKind.ROUND_FINISHED, 1, "coordinator", finished, at(1020)),
        RunEntry(EventKind.EXPORT_STARTED, 1, "coordinator", {}, at(1030)),
        RunEntry(EventKind.RUN_FINISHED, 1, "coordinator", {}, at(1035)),
    ]


def test_the_clock_runs_while_an_attempt_or_the_export_does_and_not_between_them() -> None:
    (figures,) = figures_of(timed())
    assert (figures.elapsed_s, figures.ended_at) == (35.0, at(1035))
    (figures,) = figures_of(timed(lost=True))
    assert figures.elapsed_s == 29.0, "of the lost attempt the clock counts up to the last sign"
    (under_way,) = figures_of(timed()[:5])
    assert (under_way.elapsed_s, under_way.began_at, under_way.ended_at) == (10.0, at(1000), None)
    assert under_way.heard == {"east.training": at(1012)}


def test_what_a_party_did_not_work_it_waited() -> None:
    (figures,) = figures_of(timed())
    split = figures.split_of("east.training")
    assert split == {"training_s": 3.0, "evaluation_s": 0.0, "cryptography_s": 1.0, "other_s": 0.0, WAITING: 31.0}
    assert figures.split_of("west.training")[WAITING] == 35.0
    (without_clock,) = figures_of(ENTRIES)
    assert without_clock.split_of("east.training")[WAITING] == 0.0


def test_a_failure_knows_its_attempt_and_its_time() -> None:
    (figures,) = figures_of(timed())
    assert [(fault.attempt, fault.at) for fault in figures.failures] == [(2, at(1013))]


def test_every_failure_code_has_a_text() -> None:
    assert all(code.text for code in FailureCode)


def test_what_came_back_is_kept_with_the_hash_of_its_attachment_and_each_partys_traffic() -> None:
    answered = {"step": "upload", "bytes_out": 5, "bytes_in": 9, "attached": [4, "ab"]}
    (figures,) = figures_of([*ENTRIES, RunEntry(EventKind.ANSWERED, 1, "east.training", answered)])
    assert figures.answers == [Answer("east.training", "upload", 9, attached=4, sha256="ab")]
    assert figures.traffic == {"east.training": (16, 15), "west.training": (0, 10), "coordinator": (0, 0)}
