"""The authority's audit page and the hospital's head: drawn, pressed, and what comes back verified."""

import pytest

from core.services import audit
from core.services.app import Actor, App
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


def test_the_page_explains_heads_and_waits_for_a_file(served: App, authority: Actor) -> None:
    tab = draw(served, "authority/audit", "demo-authority")
    assert "put the log back to an earlier state" in words(tab)
    assert tab.button(key="audit_compare").disabled
    assert audit.list_entries(served, authority, action="audit.compare") == []


def test_a_hospital_is_offered_the_head(served: App, hospital: Actor) -> None:
    tab = draw(served, "hospital/node", "demo-hospital")
    assert not tab.exception
    assert "can not cut them off before a head that you kept" in words(tab)
