"""The hospital's pages where there is little to show: each says why, and what fills it."""

import numpy as np
import pytest
from sqlmodel import select

from core.imaging.drift import LEAST_PATIENTS, figures_of_square
from core.imaging.synthetic import STYLES, generate_arrays
from core.services import participation, worker_process
from core.services.app import Actor, App
from core.services.case_records import CaseSummary
from core.services.dataset_store import seed_synthetic
from core.services.participation import LeaveReason
from db.engine import session_scope
from db.models import Dataset
from tests.integration.clinic import POSITIVE, new_patients, stored_case
from tests.integration.page_support import draw, words
from tests.integration.runs_support import give_data, queue_run

USER = "demo-hospital"


def _seen(figures: tuple[float, ...]) -> CaseSummary:
    return CaseSummary(POSITIVE.outcome, 1, 0.91, 0.91, 0.5, figures=(figures,))


def test_a_hospital_without_runs_reads_who_orders_them(served: App) -> None:
    page = draw(served, "hospital/training", USER)
    assert not page.exception
    assert "No run counts on you now" in words(page)
    assert "Nothing spent" in words(page)


def test_a_run_says_whether_we_take_part_and_what_our_absence_means(
    served: App, authority: Actor, hospital: Actor
) -> None:
    run = queue_run(served, authority, give_data(served, slugs=("north", "south", "west")))
    page = draw(served, "hospital/training", USER)
    assert "We take part." in words(page)
    assert f"leave_{run}" in {button.key for button in page.button}
    participation.leave(served, hospital, run, LeaveReason.PRIVACY)
    page = draw(served, "hospital/training", USER)
    assert "it would cost more privacy than we agree to" in words(page)
    assert "Without us the run waits." in words(page)
    page.button(f"return_{run}").click().run()
    assert not page.exception
    assert [one.left_at for one in participation.open_runs(served, hospital)] == [None]


def test_the_authority_reads_who_has_left_and_why(
    served: App, authority: Actor, hospital: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_process, "ensure_running", lambda _settings: False)
    run = queue_run(served, authority, give_data(served))
    participation.leave(served, hospital, run, LeaveReason.MAINTENANCE)
    page = draw(served, "authority/runs", "demo-authority")
    assert not page.exception
    shown = " ".join(str(cell) for table in page.dataframe for cell in table.value.to_numpy().ravel())
    assert "has left: our machine or network" in shown


def test_incoming_pictures_need_a_data_set_then_patients_then_are_judged(served: App) -> None:
    page = draw(served, "hospital/incoming", USER)
    assert "No data set yet" in words(page)
    assert seed_synthetic(served, "north", patients=20)
    page = draw(served, "hospital/incoming", USER)
    assert "Too few pictures to judge" in words(page)
    assert f"{LEAST_PATIENTS} more patients" in words(page)
    own = generate_arrays(patients=LEAST_PATIENTS, cells_per_patient=1, style=STYLES["north"], seed=9)
    for person, image in zip(new_patients(served, LEAST_PATIENTS), own.images, strict=True):
        stored_case(served, person, _seen(figures_of_square(np.asarray(image))))
    page = draw(served, "hospital/incoming", USER)
    assert not page.exception
    assert [one.value.startswith("**No drift.**") for one in page.success] == [True]


def test_a_data_set_from_before_is_said_not_to_be_comparable(served: App) -> None:
    assert seed_synthetic(served, "north", patients=6)
    with session_scope(served.engine) as session:
        row = session.exec(select(Dataset)).one()
        row.looks = None
        session.add(row)
    page = draw(served, "hospital/incoming", USER)
    assert "Nothing to compare with" in words(page)
    assert "Import it again" in words(page)


def test_the_node_page_holds_the_panel_and_an_empty_log(served: App) -> None:
    page = draw(served, "hospital/node", USER)
    assert not page.exception
    for text in ("Wait for an answer", "Enclave", "Nothing yet"):
        assert text in words(page)
