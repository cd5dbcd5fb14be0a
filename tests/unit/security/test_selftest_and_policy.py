"""The power-on self-test fails for every wrong answer; the policy table says what the documentation says."""

from dataclasses import fields, replace

import pytest

from security import policy
from security.errors import SelfTestFailed
from security.policy import POLICY, ROLES, Action, Relation, is_allowed
from security.selftest import KnownAnswers, agree_three_ways, require_agreement, run_self_test

ANSWERS = KnownAnswers()


def test_the_self_test_passes_here() -> None:
    run_self_test()


@pytest.mark.parametrize("name", [field.name for field in fields(KnownAnswers)])
def test_the_self_test_fails_when_one_published_value_does_not_fit(name: str) -> None:
    value = getattr(ANSWERS, name)
    if name == "ecdsa_point":  # another point of the curve: the generator
        changed = (
            "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
            "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
        )
    else:
        changed = value[:-1] + ("0" if value[-1] != "0" else "1")
    with pytest.raises(SelfTestFailed):
        run_self_test(replace(ANSWERS, **{name: changed}))


def test_three_libraries_agree_and_a_difference_is_named_without_its_values() -> None:
    results = agree_three_ways(12345)
    assert set(results) == {"cryptography", "PyCryptodome", "tinyec"}
    require_agreement("ECDH", results)
    with pytest.raises(SelfTestFailed, match=r"ECDH: .*tinyec") as caught:
        require_agreement("ECDH", results | {"tinyec": bytes(32)})
    assert results["cryptography"].hex() not in str(caught.value)


def test_everything_that_is_not_in_the_table_is_refused() -> None:
    for role in (*ROLES, "", "admin", "PATIENT"):
        for action in Action:
            for relation in Relation:
                assert is_allowed(role, action, relation) == (relation in POLICY.get((role, action), ()))
    assert not is_allowed("admin", Action.READ_PROFILE, Relation.SELF)


def test_every_action_is_allowed_to_somebody() -> None:
    assert {action for _, action in POLICY} == set(Action)


CLINICAL = (
    Action.VIEW_IMAGE,
    Action.READ_RESULT,
    Action.READ_MESSAGES,
    Action.READ_REVIEW,
    Action.READ_APPOINTMENT,
)


@pytest.mark.parametrize("action", CLINICAL)
def test_a_patients_data_are_seen_by_the_patient_and_by_doctors_of_the_hospital_only(action: Action) -> None:
    for role in ("hospital", "authority"):
        assert not any(is_allowed(role, action, relation) for relation in Relation)
    for role in ("patient", "doctor"):
        assert not is_allowed(role, action, Relation.ANY)
        assert is_allowed(role, action, Relation.OWN_CASE)
    assert not is_allowed("patient", action, Relation.OWN_HOSPITAL)
    assert is_allowed("doctor", action, Relation.OWN_HOSPITAL)


def test_only_a_doctor_signs_reviews_and_only_the_authority_runs_and_promotes() -> None:
    for action, role in (
        (Action.SIGN_REVIEW, "doctor"),
        (Action.START_RUN, "authority"),
        (Action.PROMOTE_MODEL, "authority"),
        (Action.REVOKE_CERTIFICATE, "authority"),
        (Action.EXPORT_AUDIT, "authority"),
        (Action.IMPORT_DATASET, "hospital"),
        (Action.SUBMIT_CASE, "patient"),
    ):
        assert {r for r, a in POLICY if a is action} == {role}


def test_a_hospital_acts_on_its_own_data_sets_only() -> None:
    for action in (Action.IMPORT_DATASET, Action.READ_DATASET, Action.DELETE_DATASET, Action.READ_NODE):
        assert POLICY["hospital", action] == {Relation.OWN_HOSPITAL}


def test_the_printed_table_has_a_row_per_action() -> None:
    lines = policy.as_markdown().splitlines()
    assert len(lines) == len(Action) + 2
    assert "| case.submit | self | - | - | - | - |" in lines
    assert "| model.promote | - | - | - | any | yes |" in lines
