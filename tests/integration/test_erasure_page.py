"""A patient erases everything on the page “My account”: with the password, with a tick, and never by one click."""

import pytest

from core.errors import SignInFailed
from core.services.app import Actor, App
from core.services.audit import list_entries
from core.services.demo import DEMO_PASSWORD
from core.services.sessions import check_password
from tests.integration.page_support import draw, words

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def test_nothing_is_erased_without_tick_and_password(served: App) -> None:
    page = draw(served, "account/profile", "demo-patient", account_section="Erase my data")
    page.text_input(key="erase_password").set_value(DEMO_PASSWORD)
    page.button(key="erase_submit").click().run()
    assert "Tick the box first." in words(page)
    page.checkbox(key="erase_understood").set_value(True)
    page.text_input(key="erase_password").set_value("not the password")
    page.button(key="erase_submit").click().run()
    assert not page.success
    assert check_password(served, "demo-patient", DEMO_PASSWORD)


def test_with_both_everything_is_gone_and_the_number_of_the_entry_is_shown(served: App, authority: Actor) -> None:
    page = draw(served, "account/profile", "demo-patient", account_section="Erase my data")
    page.checkbox(key="erase_understood").set_value(True)
    page.text_input(key="erase_password").set_value(DEMO_PASSWORD)
    page.button(key="erase_submit").click().run()
    assert not page.exception
    (entry,) = [entry for entry in list_entries(served, authority) if entry.action == "erasure.done"]
    assert f"Entry {entry.number} of the audit log" in page.success[0].value
    with pytest.raises(SignInFailed):
        check_password(served, "demo-patient", DEMO_PASSWORD)


@pytest.mark.parametrize("who", ["demo-doctor", "demo-hospital", "demo-authority"])
def test_nobody_but_a_patient_is_offered_it(served: App, who: str) -> None:
    page = draw(served, "account/profile", who)
    assert "Erase my data" not in page.segmented_control(key="account_section").options
