"""The hop from the password form to the session cookie is bound to one browser."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.services.accounts import Role
from pages._ui.cookies import bind, is_bound, new_browser_mark
from pages._ui.routes import finish_url, page_address

TEXT = st.text(min_size=1, max_size=60)


@given(code=TEXT, mark=TEXT)
def test_a_code_is_bound_to_the_browser_it_was_handed_to(code: str, mark: str) -> None:
    assert is_bound(code, mark, bind(code, mark))


@given(code=TEXT, mark=TEXT, other=TEXT)
def test_no_other_browser_and_no_other_code_fits(code: str, mark: str, other: str) -> None:
    if other != mark:
        assert not is_bound(code, other, bind(code, mark))
    if other != code:
        assert not is_bound(other, mark, bind(code, mark))


def test_a_browser_without_a_mark_is_never_bound() -> None:
    assert not is_bound("code", "", bind("code", ""))


def test_a_proof_that_is_not_ascii_is_refused_and_breaks_nothing() -> None:
    assert not is_bound("code", "mark", "ü")


def test_marks_are_never_repeated() -> None:
    assert len({new_browser_mark() for _ in range(100)}) == 100


def test_the_case_of_the_address_goes_through_sign_in_to_the_page_that_was_asked_for() -> None:
    case = "0123456789abcdef" * 2
    assert f"case={case}" in finish_url("code", "mark", "results", case)
    assert page_address("results", case, Role.PATIENT) == f"/results?case={case}"
    assert page_address("results", "", Role.PATIENT) == "/results"
    assert page_address("results", case, Role.DOCTOR) == "/"


@pytest.mark.parametrize("case", ["a" * 31, "A" * 32, "a" * 32 + "\n", "//elsewhere.example", "a&to=audit"])
def test_nothing_but_a_case_number_goes_through_sign_in(case: str) -> None:
    assert "case=" not in finish_url("code", "mark", "results", case)
    assert page_address("results", case, Role.PATIENT) == "/results"
