"""The tables of docs/law.md and docs/security.md: each row names tests, and each test that is named is there."""

import re
from collections.abc import Iterator

import pytest

from core.settings import ROOT

ARTICLES = ("5(1)(b)", "5(1)(d)", "5(1)(e)", "5(1)(f)", "5(2)", "15 ", "17 ", "25 ", "30 ", "32 ")
SAFEGUARDS = ("(a)(1)", "(a)(2)(i) ", "(a)(2)(ii)", "(a)(2)(iii)", "(a)(2)(iv)", "(b)", "(c)(1)", "(d)", "(e)(1)")
STRIDE = "STRIDE"
FLOWS = "## Threats by data flow (STRIDE)"


def rows(page: str, heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading."""
    below = (ROOT / "docs" / page).read_text(encoding="utf-8").partition(heading + "\n")[2].partition("\n## ")[0]
    lines = [line for line in below.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def named_tests(cell: str) -> Iterator[str]:
    """Yield the paths below `tests/` (or the benchmarks) that a cell names; a bare name is in the folder before it."""
    folder = ""
    for name in re.findall(r"`([^`]+)`", cell):
        found = name if "/" in name else f"{folder}/{name}"
        folder = found.rpartition("/")[0]
        yield found


TABLES = {
    "law.md, HIPAA": (rows("law.md", "## HIPAA, technical safeguards"), 2),
    "law.md, GDPR": (rows("law.md", "## GDPR"), 2),
    "security.md": (rows("security.md", FLOWS), 3),
}


@pytest.mark.parametrize("table", TABLES)
def test_every_row_names_a_mechanism_and_tests_that_are_there(table: str) -> None:
    found, place = TABLES[table]
    assert found
    for row in found:
        assert row[place - 1], row[0]
        tests = list(named_tests(row[place]))
        assert tests, f"{table}: {row[0]} names no test"
        for test in tests:
            path = ROOT / test if test.startswith("benchmarks/") else ROOT / "tests" / test
            assert path.exists(), f"{table}: {row[0]} names {test}"


def test_every_article_and_every_safeguard_has_a_row_and_each_says_what_the_operator_does() -> None:
    for table, wanted in (("law.md, HIPAA", SAFEGUARDS), ("law.md, GDPR", ARTICLES)):
        found, _ = TABLES[table]
        named = [cell + " " for row in found for cell in re.split(r", (?=\d)", row[0])]
        for one in wanted:
            assert any(cell.startswith(one) for cell in named), one
        assert all(row[-1] for row in found)


def test_every_kind_of_threat_meets_a_flow() -> None:
    kinds = {letter for row in TABLES["security.md"][0] for letter in re.findall(r"\b([STRIDE])\b", row[1])}
    assert kinds == set(STRIDE)
