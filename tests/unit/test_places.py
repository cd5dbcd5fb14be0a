"""The bundled list of cities and the distance between places."""

import pytest

from core.errors import InvalidInput
from core.services.places import distance_km, find_place, place_titles, places


def test_titles_are_unique_and_sorted() -> None:
    titles = place_titles()
    assert len(titles) == len(set(titles)) >= 150
    assert list(titles) == sorted(titles)


def test_every_coordinate_is_on_earth_and_rounded() -> None:
    for place in places():
        assert -90 <= place.latitude <= 90
        assert -180 <= place.longitude <= 180
        assert round(place.latitude, 2) == place.latitude
        assert place.name
        assert place.country


@pytest.mark.parametrize("name", ["Oslo", "Warsaw", "Rome", "Lisbon"])
def test_the_demo_hospitals_cities_are_listed(name: str) -> None:
    assert find_place(name).name == name


def test_an_unknown_city_is_refused() -> None:
    with pytest.raises(InvalidInput):
        find_place("Atlantis")


def test_distance_between_known_cities_is_right_within_one_percent() -> None:
    oslo, rome = find_place("Oslo"), find_place("Rome")
    assert distance_km(oslo.latitude, oslo.longitude, rome.latitude, rome.longitude) == pytest.approx(2007, rel=0.01)


def test_half_way_round_the_earth_is_half_its_circumference() -> None:
    assert distance_km(0, 0, 0, 180) == pytest.approx(20015.1, rel=1e-4)
    assert distance_km(12.3, 45.6, 12.3, 45.6) == 0
