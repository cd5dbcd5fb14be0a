"""Reference rows of the demonstration: four hospitals that do not exist, and say so."""

from sqlmodel import Session, select

from db.models import Hospital

DEMO_HOSPITALS: tuple[tuple[str, str, str, float, float], ...] = (
    ("north", "North Hospital (demo)", "Oslo", 59.9139, 10.7522),
    ("east", "East Hospital (demo)", "Warsaw", 52.2297, 21.0122),
    ("south", "South Hospital (demo)", "Rome", 41.9028, 12.4964),
    ("west", "West Hospital (demo)", "Lisbon", 38.7223, -9.1393),
)
"""Short name, name, city, degrees north, degrees east."""


def seed_hospitals(session: Session) -> list[str]:
    """Add the demo hospitals that are missing; returns the short names of those that were."""
    present = set(session.exec(select(Hospital.slug)).all())
    missing = [row for row in DEMO_HOSPITALS if row[0] not in present]
    for slug, name, city, latitude, longitude in missing:
        session.add(Hospital(slug=slug, name=name, city=city, latitude=latitude, longitude=longitude))
    return [row[0] for row in missing]
