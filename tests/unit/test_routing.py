"""How a hospital is chosen for a case."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import NoHospital
from core.services.places import find_place
from core.services.routing import Candidate, Reason, RoutingDecision, choose, explain

OSLO, ROME = find_place("Oslo"), find_place("Rome")
NAMES = {"north": "North Hospital", "south": "South Hospital", "west": "West Hospital"}


def candidate(name: str, *, load: int = 0, healthy: bool = True, has_model: bool = True) -> Candidate:
    city = find_place({"north": "Oslo", "south": "Rome", "west": "Lisbon"}[name])
    return Candidate(
        hospital_id=name,
        latitude=city.latitude,
        longitude=city.longitude,
        open_cases=load,
        healthy=healthy,
        has_model=has_model,
    )


ALL = [candidate("north"), candidate("south"), candidate("west")]


def test_the_nearest_hospital_is_chosen() -> None:
    decision = choose(ALL, preferred=None, place=ROME, allow_fallback=False)
    assert (decision.hospital_id, decision.reason, decision.distance_km) == ("south", Reason.NEAREST, 0)
    assert decision.fallback_id is None


def test_the_patients_wish_comes_before_distance() -> None:
    decision = choose(ALL, preferred="north", place=ROME, allow_fallback=True)
    assert (decision.hospital_id, decision.reason) == ("north", Reason.PREFERRED)
    assert decision.fallback_id == "south"


def test_a_long_queue_sends_the_case_elsewhere() -> None:
    decision = choose(
        [candidate("south", load=200), candidate("north")], preferred=None, place=ROME, allow_fallback=False
    )
    assert (decision.hospital_id, decision.reason) == ("north", Reason.LESS_BUSY)


def test_without_a_place_the_shortest_queue_decides() -> None:
    decision = choose(
        [candidate("north", load=2), candidate("south", load=1)], preferred=None, place=None, allow_fallback=False
    )
    assert (decision.hospital_id, decision.reason, decision.distance_km) == ("south", Reason.LESS_BUSY, None)


def test_a_hospital_that_does_not_answer_is_avoided() -> None:
    decision = choose(
        [candidate("south", healthy=False), candidate("north")], preferred=None, place=ROME, allow_fallback=True
    )
    assert (decision.hospital_id, decision.reason, decision.fallback_id) == ("north", Reason.ONLY_ONE, "south")


def test_a_silent_preferred_hospital_keeps_the_case_unless_another_is_allowed() -> None:
    hospitals = [candidate("south", healthy=False), candidate("north")]
    kept = choose(hospitals, preferred="south", place=ROME, allow_fallback=False)
    assert (kept.hospital_id, kept.fallback_id) == ("south", None)
    moved = choose(hospitals, preferred="south", place=ROME, allow_fallback=True)
    assert (moved.hospital_id, moved.reason) == ("north", Reason.INSTEAD_OF_PREFERRED)


def test_a_hospital_without_the_model_is_never_asked() -> None:
    hospitals = [candidate("south", has_model=False), candidate("north")]
    assert choose(hospitals, preferred=None, place=ROME, allow_fallback=True).hospital_id == "north"
    with pytest.raises(NoHospital):
        choose(hospitals, preferred="south", place=ROME, allow_fallback=False)
    with pytest.raises(NoHospital):
        choose([candidate("south", has_model=False)], preferred=None, place=ROME, allow_fallback=True)


def test_a_case_waits_rather_than_being_refused_when_all_enclaves_are_down() -> None:
    hospitals = [candidate("south", healthy=False), candidate("north", healthy=False)]
    assert choose(hospitals, preferred=None, place=ROME, allow_fallback=False).hospital_id == "south"


@given(
    loads=st.lists(st.integers(0, 300), min_size=3, max_size=3),
    health=st.lists(st.booleans(), min_size=3, max_size=3),
    preferred=st.sampled_from([None, "north", "south", "west"]),
    place=st.sampled_from([None, OSLO, ROME]),
    allowed=st.booleans(),
)
def test_every_decision_survives_storage_and_reads_as_sentences(
    loads: list[int], health: list[bool], preferred: str | None, place: object, allowed: bool
) -> None:
    hospitals = [candidate(name, load=load, healthy=up) for name, load, up in zip(NAMES, loads, health, strict=True)]
    decision = choose(hospitals, preferred=preferred, place=place, allow_fallback=allowed)  # type: ignore[arg-type]
    assert RoutingDecision.from_json(decision.to_json()) == decision
    assert decision.fallback_id != decision.hospital_id
    assert allowed or decision.fallback_id is None
    assert allowed or preferred is None or decision.hospital_id == preferred
    sentence = explain(decision.after_failover(), NAMES)
    assert NAMES[decision.hospital_id] in sentence
    assert sentence.endswith(".")


def test_the_stored_distance_is_coarse() -> None:
    decision = choose([candidate("south")], preferred=None, place=OSLO, allow_fallback=False)
    assert decision.distance_km == 2010
    assert "about 2010 km" in explain(decision, NAMES)


def test_the_reason_is_said_to_the_patient_or_about_the_patient() -> None:
    decision = choose(ALL, preferred="north", place=ROME, allow_fallback=True)
    assert "because you chose it" in explain(decision, NAMES)
    assert "because the patient chose it" in explain(decision, NAMES, to_patient=False)
