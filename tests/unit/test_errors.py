"""Every error that people can meet has a code of its own, and says what happened and what to do."""

import inspect
import re

import pytest

from core import errors

KNOWN = [
    found
    for _, found in inspect.getmembers(errors, inspect.isclass)
    if issubclass(found, errors.HemaSealError) and found.__module__ == errors.__name__
]


def test_no_two_errors_share_a_code() -> None:
    codes = [error.code for error in KNOWN]

    assert len(codes) > 20
    assert sorted(set(codes)) == sorted(codes)


@pytest.mark.parametrize("error", KNOWN, ids=lambda error: error.__name__)
def test_an_error_has_a_readable_code_and_two_whole_sentences(error: type[errors.HemaSealError]) -> None:
    assert re.fullmatch(r"[A-Z]{3}-[A-Z]+", error.code)
    for text in (error.text, error.remedy):
        assert re.fullmatch(r"[A-Z].*\.", text), text


def test_what_a_person_reads_holds_sentence_detail_remedy_and_code() -> None:
    shown = errors.DatasetRefused("line 3: no label").public_text

    assert shown == (
        "The data set cannot be imported. (line 3: no label) "
        "Correct index.csv or the files that are named, then import again. [DAT-INDEX]"
    )
