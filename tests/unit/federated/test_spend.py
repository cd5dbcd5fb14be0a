"""A data set's spend of privacy: recorded before it is used, counted over all runs, kept over restarts."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.learning.lineage import Lineage
from core.learning.privacy import PrivacyUnit, StepBlock, epsilon_of
from core.learning.run_choices import PrivacyOptions
from core.learning.run_events import FailureCode
from core.services.privacy_spend import describe
from federated.failures import Refused
from federated.messages import PrivacyStatement
from federated.privacy_statements import check_statement, privacy_of
from federated.spend import HISTORY_NAME, LIMIT_NAME, FileSpendBook, SpendBook, Spent

DELTA = 1e-5
NOISED = StepBlock(noise_multiplier=1.4, sampling_rate=0.25, steps=12)
ENTRY = Spent(dataset="cells", run="r", round=1, attempt="a", unit=PrivacyUnit.PATIENT, block=NOISED)
BARE = replace(ENTRY, block=StepBlock(noise_multiplier=0.0, sampling_rate=1.0, steps=3))
STATED = PrivacyStatement(epsilon=3.0, delta=DELTA, unit="patient", noise_multiplier=1.4)
FIRST = Lineage(
    study="s",
    run="r",
    round=0,
    attempt="",
    weights_sha256="",
    parent="",
    mode="",
    members=(),
    metrics={},
    order="",
    at="",
)


def spend(book: SpendBook, entry: Spent = ENTRY, budget: float = 8.0) -> float:
    return book.spend(entry, budget=budget, delta=DELTA)


def test_spend_adds_up_over_rounds_and_runs_but_not_over_data_sets() -> None:
    book = SpendBook()
    first = spend(book)
    second = spend(book, replace(ENTRY, run="another", attempt="b"))
    other = spend(book, replace(ENTRY, dataset="other"))

    assert first == other == epsilon_of([NOISED], DELTA)
    assert second == epsilon_of([NOISED, NOISED], DELTA) > first


def test_a_training_that_would_exceed_the_budget_is_refused_and_not_recorded() -> None:
    book = SpendBook()
    once, twice = (epsilon_of([NOISED] * times, DELTA) for times in (1, 2))
    spend(book, budget=once)

    with pytest.raises(Refused) as refused:
        spend(book, budget=(once + twice) / 2)

    assert refused.value.code is FailureCode.PRIVACY_BUDGET
    assert len(list(book.entries("cells"))) == 1


def test_the_history_survives_a_restart(tmp_path: Path) -> None:
    first = FileSpendBook(tmp_path / "node")
    spend(first)
    spend(first, replace(ENTRY, round=2, attempt="b"), budget=20)

    again = FileSpendBook(tmp_path / "node")

    assert list(again.entries("cells")) == list(first.entries("cells"))
    assert spend(again, replace(ENTRY, round=3), budget=20) == epsilon_of([NOISED] * 3, DELTA)


def test_a_torn_line_is_a_training_that_never_began(tmp_path: Path) -> None:
    spend(FileSpendBook(tmp_path))
    with (tmp_path / HISTORY_NAME).open("a", encoding="utf-8") as file:
        file.write('\n{"dataset":"cells","run":"r","rou')

    book = FileSpendBook(tmp_path)
    spend(book, replace(ENTRY, round=2), budget=20)

    assert [entry.round for entry in FileSpendBook(tmp_path).entries("cells")] == [1, 2]


def test_a_whole_line_that_is_no_record_stops_the_node(tmp_path: Path) -> None:
    (tmp_path / HISTORY_NAME).write_text('{"dataset":"cells","block":{}}\n', encoding="utf-8")

    with pytest.raises((KeyError, TypeError, ValueError)):
        FileSpendBook(tmp_path)


def test_it_is_on_disk_before_the_training_may_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("federated.spend.os.fsync", full)
    book = FileSpendBook(tmp_path)

    with pytest.raises(OSError, match="no space"):
        spend(book)


def test_a_hospital_can_set_a_limit_of_its_own(tmp_path: Path) -> None:
    (tmp_path / LIMIT_NAME).write_text("0.5\n", encoding="ascii")
    book = FileSpendBook(tmp_path)

    with pytest.raises(Refused):
        spend(book)
    with pytest.raises(Refused):
        spend(book, BARE, budget=math.inf)


@pytest.mark.parametrize("text", ["", "much", "nan", "inf"])
def test_a_limit_that_cannot_be_read_allows_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / LIMIT_NAME).write_text(text, encoding="ascii")

    assert FileSpendBook(tmp_path).limit() == 0


def test_training_without_noise_is_recorded_and_told_apart() -> None:
    book = SpendBook()

    assert spend(book, BARE, budget=math.inf) == math.inf
    assert book.unprotected("cells") == 1
    assert spend(book) == epsilon_of([NOISED], DELTA), "no epsilon covers it, and none pretends to"


@given(
    st.builds(
        Spent,
        dataset=st.text(),
        run=st.text(),
        round=st.integers(0),
        attempt=st.text(),
        unit=st.sampled_from(PrivacyUnit),
        block=st.builds(
            StepBlock, noise_multiplier=st.floats(0, 1e9), sampling_rate=st.floats(1e-9, 1), steps=st.integers(1)
        ),
    )
)
def test_an_entry_is_read_as_it_was_written(entry: Spent) -> None:
    assert Spent.from_json(entry.to_json()) == entry


def test_a_statement_about_something_else_than_the_order_is_refused() -> None:
    privacy = PrivacyOptions(noise_multiplier=1.4, delta=DELTA, budget_epsilon=4)
    check_statement(STATED, privacy)
    check_statement(None, None)

    wrong = [
        None,
        *(STATED.model_copy(update=one) for one in ({"delta": 1e-3}, {"epsilon": 5.0}, {"noise_multiplier": 9.0})),
    ]
    for statement in wrong:
        with pytest.raises(Refused):
            check_statement(statement, privacy)
    with pytest.raises(Refused):
        check_statement(STATED, None)


def test_a_model_has_the_largest_epsilon_of_its_line_and_the_weaker_unit() -> None:
    first = privacy_of(FIRST, [STATED, STATED.model_copy(update={"epsilon": 4.0})])
    assert first == {"epsilon": 4.0, "delta": DELTA, "unit": "patient", "noise_multiplier": 1.4, "covers": "line"}

    later = replace(FIRST, round=1, parent="x", privacy=first)
    assert privacy_of(later, [STATED.model_copy(update={"unit": "image"})])["unit"] == "image"
    assert (privacy_of(later, [STATED])["epsilon"], privacy_of(later, [STATED])["covers"]) == (4.0, "line")


def test_what_a_model_was_before_its_private_run_is_not_covered() -> None:
    start = replace(FIRST, parent="a model trained without noise")
    first = privacy_of(start, [STATED])

    assert first["covers"] == "run"
    assert privacy_of(replace(FIRST, round=1, parent="x", privacy=first), [STATED])["covers"] == "run"
    assert describe(first).endswith("not for the model that its run began with")


def test_a_model_trained_without_noise_has_no_privacy() -> None:
    assert privacy_of(FIRST, [None, None]) == {}
    assert describe({}) == "trained without differential privacy"
