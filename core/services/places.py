"""The bundled list of cities a person picks a place from; never the browser's location, never a request elsewhere.

``data/cities.csv`` holds name, country, latitude and longitude in degrees, rounded to 0.01 (about one kilometre).
"""

import csv
from dataclasses import dataclass
from functools import cache
from math import asin, cos, radians, sin, sqrt
from pathlib import Path

from core.errors import InvalidInput

CITIES_FILE = Path(__file__).parent / "data" / "cities.csv"
EARTH_RADIUS_KM = 6371.0088  # IUGG mean radius


@dataclass(frozen=True)
class Place:
    """A city.

    Attributes:
        name: the city.
        country: its country, in English.
        latitude: degrees north.
        longitude: degrees east.
    """

    name: str
    country: str
    latitude: float
    longitude: float

    @property
    def title(self) -> str:
        """Name and country, unique in the list; also what is stored as a person's place."""
        return f"{self.name}, {self.country}"


@cache
def places() -> tuple[Place, ...]:
    """All cities, by title."""
    with CITIES_FILE.open(encoding="utf-8", newline="") as file:
        rows = [
            Place(row["name"], row["country"], float(row["latitude"]), float(row["longitude"]))
            for row in csv.DictReader(file)
        ]
    return tuple(sorted(rows, key=lambda place: place.title))


def place_titles() -> tuple[str, ...]:
    """Titles of all cities, for a select box."""
    return tuple(place.title for place in places())


def find_place(title: str) -> Place:
    """Return the city with this title (or with this name alone, where only one city has it).

    Raises:
        InvalidInput: the list has no such city.
    """
    named = [place for place in places() if title in {place.title, place.name}]
    if len(named) != 1:
        raise InvalidInput("choose a city from the list")
    return named[0]


def distance_km(latitude: float, longitude: float, other_latitude: float, other_longitude: float) -> float:
    """Great-circle distance in kilometres between two points given in degrees (haversine formula, Sinnott 1984)."""
    north, other_north = radians(latitude), radians(other_latitude)
    half_north = (other_north - north) / 2
    half_east = radians(other_longitude - longitude) / 2
    chord = sin(half_north) ** 2 + cos(north) * cos(other_north) * sin(half_east) ** 2
    return 2 * EARTH_RADIUS_KM * asin(min(1.0, sqrt(chord)))
