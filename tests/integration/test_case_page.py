"""The parts of a doctor's case page: heat map as a layer, threshold with the model's figures, versions, the way on."""

from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from core.diagnosis.heatmap import lay_over, overlay_png
from core.errors import NotFound
from core.imaging.decode import encode_png
from core.services import models
from core.services.app import Actor, App
from core.services.appointments import book
from core.services.case_reading import HEAT_MAP_OPACITY, Pictures, at_opacity
from core.services.reviews import Decision, sign_review
from pages._ui import case_picture
from tests.integration.clinic import NEGATIVE, POSITIVE, offered_slots, stored_case
from tests.integration.page_support import TIMEOUT_S, draw, words

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def picture() -> tuple[np.ndarray, bytes]:
    """A grey square and an overlay with evidence in its middle."""
    heat_map = np.zeros((32, 32), np.float32)
    heat_map[8:24, 8:24] = 1.0
    return np.full((64, 64, 3), 128, np.uint8), overlay_png(heat_map)


def test_a_heat_map_is_laid_on_as_strongly_as_the_doctor_chooses_and_not_at_all_at_zero(app: App) -> None:
    pixels, overlay = picture()
    pictures = Pictures(encode_png(pixels), lay_over(pixels, overlay), overlay=overlay)
    assert at_opacity(app, pictures, HEAT_MAP_OPACITY) == pictures.with_heat_map
    assert at_opacity(app, pictures, 0.0) == lay_over(pixels, overlay, opacity=0)
    assert at_opacity(app, pictures, 1.0) != pictures.with_heat_map
    with pytest.raises(ValueError, match="no heat map"):
        at_opacity(app, Pictures(pictures.original, None), 0.5)


def test_there_is_no_model_of_an_unknown_number(app: App, doctor: Actor) -> None:
    with pytest.raises(NotFound):
        models.model(app, doctor, "0" * 32)


@dataclass(frozen=True)
class Answered:
    """What `case_picture.rule` reads of a result."""

    checkpoint_id: str = "0" * 32
    positive_probability: float = 0.62
    threshold: float = 0.55


@dataclass(frozen=True)
class Known:
    """What it reads of a model."""

    metrics: MappingProxyType[str, float]
    verified: bool = True


FIGURES = MappingProxyType(
    {"uncertain_low": 0.41, "uncertain_high": 0.7, "sensitivity": 0.934, "specificity": 0.92, "images": 1249.0}
)


@pytest.mark.parametrize("verified", [True, False])
def test_the_figures_of_the_threshold_stand_in_a_table_only_while_the_model_is_verified(
    app: App, doctor: Actor, monkeypatch: pytest.MonkeyPatch, *, verified: bool
) -> None:
    monkeypatch.setattr(case_picture, "model", lambda *_: Known(FIGURES, verified))
    monkeypatch.setattr(case_picture, "rule_of", lambda: case_picture.rule(app, doctor, Answered()), raising=False)  # type: ignore[arg-type]

    def page() -> None:
        from pages._ui import case_picture  # noqa: PLC0415  the function becomes a script of its own

        case_picture.rule_of()  # type: ignore[attr-defined]

    tab = AppTest.from_function(page, default_timeout=TIMEOUT_S).run()
    assert not tab.exception
    table = dict(tab.table[0].value["Value"])
    assert (table["Probability"], table["Threshold"]) == ("62.0%", "55.0%")
    if verified:
        assert table["Uncertain interval"] == "41.0% to 70.0%"
        assert (table["Sensitivity there"], table["Specificity there"]) == ("93.4%", "92.0%")
        assert "on 1,249 validation images" in words(tab)
    else:
        assert len(table) == 2
        assert "cannot be verified" in words(tab)


def test_an_amendment_says_what_it_changed_and_the_original_stays(served: App, patient: Actor, doctor: Actor) -> None:
    case = stored_case(served, patient, POSITIVE)
    first = sign_review(served, doctor, case, decision=Decision.AGREE, note="Please come.")
    tab = draw(served, "doctor/case", "demo-doctor", address={"case": case})
    assert not tab.table
    reason = {"conclusion": 0, "reason": "smudge *cell*"}
    sign_review(served, doctor, case, decision=Decision.OVERRIDE, note="Please come.", amends=first.id, **reason)  # type: ignore[arg-type]
    tab = draw(served, "doctor/case", "demo-doctor", address={"case": case})
    assert not tab.exception
    table = tab.table[0].value
    assert {"Decision", "Conclusion", "Reason"} <= set(table.index)
    assert not {"To the patient", "Doctor"} & set(table.index)
    assert list(table.loc["Reason"]) == ["\N{EN DASH}", r"smudge \*cell\*"]
    assert "In force" in words(tab)
    assert "Replaced by an amendment" in words(tab)


def test_an_appointment_of_the_case_is_shown_and_can_be_moved(served: App, patient: Actor, doctor: Actor) -> None:
    case = stored_case(served, patient)
    first, _ = offered_slots(served, doctor)
    tab = draw(served, "doctor/case", "demo-doctor", address={"case": case})
    assert tab.button(key="case_book").label == "Book this time for the patient"
    book(served, doctor, case_id=case, slot_id=first)
    tab = draw(served, "doctor/case", "demo-doctor", address={"case": case})
    assert not tab.exception
    assert "**Mon 12 Jan 2026, 09:00** with Demo doctor" in words(tab)
    assert tab.button(key="case_book").label == "Move the appointment to this time"
    tab.selectbox(key="case_booking_0").select("new").run()
    assert tab.button(key="case_book").label == "Book this time for the patient"


def test_the_way_leads_through_the_list_that_was_drawn_last(served: App, patient: Actor, doctor: Actor) -> None:
    urgent, calm = stored_case(served, patient, POSITIVE), stored_case(served, patient, NEGATIVE)
    order = [urgent, calm]
    tab = draw(served, "doctor/case", "demo-doctor", address={"case": urgent}, worklist_order=order)
    assert "1 of 2 in your list" in words(tab)
    assert (tab.button(key="case_previous").disabled, tab.button(key="case_next").disabled) == (True, False)
    assert f"history_open_{calm}" in {button.key for button in tab.button}
    alone = draw(served, "doctor/case", "demo-doctor", address={"case": urgent})
    assert "in your list" not in words(alone)
