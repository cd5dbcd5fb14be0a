"""`make audit` never says that all is well when nobody could be asked."""

import json

from tests.advisories import CLEAN, NOT_ASKED, VULNERABLE, conclude, read_report


def report(*entries: dict[str, object]) -> str:
    return json.dumps({"dependencies": list(entries), "fixes": []})


def clean(name: str) -> dict[str, object]:
    return {"name": name, "version": "1.0", "vulns": []}


def unknown(name: str) -> dict[str, object]:
    return {"name": name, "skip_reason": f"Dependency not found on PyPI and could not be audited: {name} (1.0)"}


def test_a_source_that_knows_no_package_audits_nothing() -> None:
    mirror = read_report("pypi", report(unknown("numpy"), unknown("pillow")), "No known vulnerabilities found")
    status, lines = conclude([mirror])
    assert status == NOT_ASKED
    assert lines[0] == "pypi: knows 0 of 2 packages"
    assert lines[-1].startswith("NOT AUDITED: no source of advisories could be asked")


def test_a_source_that_does_not_answer_is_named_with_its_reason() -> None:
    silent = read_report("osv", "", "Traceback ...\nConnectionError: name or service not known\n")
    status, lines = conclude([silent])
    assert status == NOT_ASKED
    assert lines[0] == "osv: ConnectionError: name or service not known"
    assert read_report("osv", "[]", "").problem == "it said nothing"


def test_packages_that_one_source_does_not_know_are_asked_of_the_next_and_else_named() -> None:
    first = read_report("pypi", report(clean("numpy"), unknown("pillow"), unknown("cbor2")), "")
    second = read_report("osv", report(clean("pillow"), unknown("cbor2")), "")
    assert conclude([first, second]) == (
        NOT_ASKED,
        ["pypi: knows 1 of 3 packages", "osv: knows 1 of 2 packages", "NOT AUDITED: cbor2"],
    )


def test_all_packages_known_and_none_vulnerable_is_clean() -> None:
    status, lines = conclude([read_report("pypi", report(clean("numpy"), clean("pillow")), "")])
    assert (status, lines[-1]) == (CLEAN, "No vulnerability is known of 2 packages.")


def test_a_known_vulnerability_counts_whatever_was_not_asked() -> None:
    bad: dict[str, object] = {"name": "pillow", "version": "1.0", "vulns": [{"id": "GHSA-1"}]}
    status, lines = conclude([read_report("pypi", report(clean("numpy"), bad, unknown("cbor2")), "")])
    assert status == VULNERABLE
    assert "VULNERABLE pillow 1.0: GHSA-1" in lines
