"""Charts of a long run draw its newest rounds until somebody asks for all."""

# ruff: noqa: PLC0415  (the page is a script of its own)

import pytest
from streamlit.testing.v1 import AppTest

TIMEOUT_S = 60


def page(rounds: int) -> None:
    """Draw the window of a run with so many rounds after the opening; a page of its own, so it imports by itself."""
    from datetime import UTC, datetime

    import streamlit as st

    from core.learning.run_figures import RoundFigures
    from core.services.run_views import RunDetail, RunView
    from core.services.runs import AggregationMode, RunStatus
    from db.models.federation import RunWish
    from pages._ui import run_charts

    run = RunView(
        id="0" * 32,
        study="Leukemia",
        mode=AggregationMode.BLIND,
        status=RunStatus.RUNNING,
        wish=RunWish.GO,
        rounds=200,
        rounds_done=rounds,
        attempts=rounds,
        reason="",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        started_at=None,
        finished_at=None,
    )
    numbers = range(rounds + 1)
    epsilon = {number: {"north": float(number)} for number in numbers}
    detail = RunDetail(run, [], [RoundFigures(number) for number in numbers], epsilon=epsilon)
    shown = run_charts.window(detail)
    st.text(f"{[one.round for one in shown.rounds]} {sorted(shown.epsilon)}")


def shown(tab: AppTest) -> str:
    assert not tab.exception, tab.exception
    return tab.text[0].value


@pytest.mark.parametrize("rounds", [0, 19])
def test_a_short_run_is_drawn_whole(rounds: int) -> None:
    tab = AppTest.from_function(page, args=(rounds,), default_timeout=TIMEOUT_S).run()
    assert shown(tab) == f"{list(range(rounds + 1))} {list(range(rounds + 1))}"
    assert not tab.toggle


def test_of_a_long_run_the_newest_rounds_are_drawn_and_all_when_they_are_asked_for() -> None:
    tab = AppTest.from_function(page, args=(53,), default_timeout=TIMEOUT_S).run()
    assert shown(tab) == f"{list(range(34, 54))} {list(range(34, 54))}"
    assert shown(tab.toggle[0].set_value(True).run()) == f"{list(range(54))} {list(range(54))}"
