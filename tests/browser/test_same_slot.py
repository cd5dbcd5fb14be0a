"""Two real browsers want the same time at once: one gets it, the other is offered the next ones."""

from collections.abc import Iterator

import pytest

from core.services.app import App
from core.settings import Settings
from tests.browser.conftest import NewPage
from tests.browser.harness import Server, shot, sign_in
from tests.browser.same_slot import PATIENTS, booked_twice, meetings, prepare, take_the_next

DEMO_CONTENTS = False
TIMES = 5


@pytest.fixture
def place(home: Settings) -> Iterator[tuple[App, Server]]:
    """The application and a server on it, with two patients and times that both could have."""
    app = App.start(home)
    prepare(app, TIMES)
    server = Server(home.data_dir, settings={"database_url": home.database_url})
    try:
        yield app, server.start()
    finally:
        server.stop()
        app.engine.dispose()


def test_of_two_browsers_that_want_the_same_time_one_gets_it_and_the_other_is_offered_the_next(
    place: tuple[App, Server], new_page: NewPage
) -> None:
    app, server = place
    pages = [sign_in(new_page(), server, name) for name in PATIENTS]

    found = list(meetings(pages, server, TIMES))

    assert [one for one in found if not one.as_it_should_be] == []
    assert len({one.time for one in found}) == TIMES
    loser = pages[found[-1].told[0][0]]
    shot(loser, "just-taken")
    take_the_next(loser)
    assert booked_twice(app) == (TIMES + 1, 0)
