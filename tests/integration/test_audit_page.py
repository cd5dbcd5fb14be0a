"""The authority's audit page and the hospital's head: drawn, pressed, and what comes back verified."""

import pytest

from core.errors import NotAuthorised
from core.services import audit
from core.services.app import Actor, App
from core.services.case_reading import read_case
from tests.integration.clinic import stored_case
from tests.integration.page_support import draw, words

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def test_one_entry_is_verified_on_the_page(served: App, authority: Actor) -> None:
    tab = draw(served, "authority/audit", "demo-authority")
    assert not tab.exception
    tab.number_input(key="audit_prove_number").set_value(2)
    tab.button(key="audit_prove").click().run()
    assert not tab.exception
    assert "Entry 2 is in the log" in tab.success[0].value
    assert "verify_audit.py hemaseal-entry-2.json --root hemaseal-root.pem" in words(tab)
    tab.number_input(key="audit_prove_number").set_value(10**6)
    tab.button(key="audit_prove").click().run()
    assert "That was not found" in tab.error[0].value


def test_the_filters_of_the_page_show_what_was_asked_for_and_nothing_else(
    served: App, patient: Actor, doctor_east: Actor, authority: Actor
) -> None:
    case = stored_case(served, patient)
    read_case(served, patient, case)
    with pytest.raises(NotAuthorised):
        read_case(served, doctor_east, case)
    tab = draw(served, "authority/audit", "demo-authority")

    def shown() -> list[tuple[str, str, str]]:
        rows = tab.dataframe[0].value
        return list(zip(rows["Who"], rows["What"], rows["About"], strict=True))

    everything = shown()
    tab.text_input(key="audit_object").input(case).run()
    assert shown() == [
        ("demo-doctor-east", "refused.result.read", case),
        (f"patient {patient.user_id[:8]}…", "result.read", case),
    ]
    tab.selectbox(key="audit_outcome").select(audit.Outcome.REFUSED).run()
    assert shown() == [("demo-doctor-east", "refused.result.read", case)]
    tab.selectbox(key="audit_action").select("consent.").run()
    assert not tab.dataframe
    assert "No entry fits" in words(tab)
    tab.text_input(key="audit_object").input("")
    tab.selectbox(key="audit_outcome").select(None).run()
    assert {what for _, what, _ in shown()} == {"consent.give"}
    tab.selectbox(key="audit_action").select("").run()
    assert len(shown()) >= len(everything)
    tab.text_input(key="audit_object").input("' OR '1'='1").run()
    assert "No entry fits" in words(tab)


def test_the_page_explains_heads_and_waits_for_a_file(served: App, authority: Actor) -> None:
    tab = draw(served, "authority/audit", "demo-authority")
    assert "put the log back to an earlier state" in words(tab)
    assert tab.button(key="audit_compare").disabled
    assert audit.list_entries(served, authority, action="audit.compare") == []


def test_a_hospital_is_offered_the_head(served: App, hospital: Actor) -> None:
    tab = draw(served, "hospital/node", "demo-hospital")
    assert not tab.exception
    assert "can not cut them off before a head that you kept" in words(tab)
