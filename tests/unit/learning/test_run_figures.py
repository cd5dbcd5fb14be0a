"""Adding up a run's events."""

from core.learning.run_events import EventKind, FailureCode
from core.learning.run_figures import Answer, RunEntry, figures_of, totals_of

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


def test_every_failure_code_has_a_text() -> None:
    assert all(code.text for code in FailureCode)


def test_what_came_back_is_kept_with_the_hash_of_its_attachment_and_each_partys_traffic() -> None:
    answered = {"step": "upload", "bytes_out": 5, "bytes_in": 9, "attached": [4, "ab"]}
    (figures,) = figures_of([*ENTRIES, RunEntry(EventKind.ANSWERED, 1, "east.training", answered)])
    assert figures.answers == [Answer("east.training", "upload", 9, attached=4, sha256="ab")]
    assert figures.traffic == {"east.training": (16, 15), "west.training": (0, 10), "coordinator": (0, 0)}
