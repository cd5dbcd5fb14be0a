"""A hospital's cases in the database, asked so that an index finds them: those sent to it, and those it answered.

Nothing is authorised here.
"""

from typing import Any

from sqlalchemy import ColumnElement, CompoundSelect, and_, func, or_, union
from sqlmodel import Session, col, select

from db.models import Case

_WAYS = (col(Case.hospital_id), col(Case.answered_by_hospital_id))


def is_of(hospital_id: str | None) -> ColumnElement[bool]:
    """Return the condition that a case is a hospital's, for cases that something else finds: no index is taken for it.

    A database without statistics believes that a hospital has few cases, and would begin with them.
    """
    return or_(*(func.coalesce(way, "") == hospital_id for way in _WAYS))


def newest(
    session: Session, hospital_id: str | None, *which: ColumnElement[bool], limit: int | None = None
) -> list[Case]:
    """Return the cases of a hospital for which `which` holds, the newest first, at most `limit` where one is given."""
    limited = None if limit is None else col(Case.id).in_(_newest_ids(hospital_id, *which, limit=limit))
    each_way = or_(*(and_(way == hospital_id, *which) for way in _WAYS))  # so that each can take an index
    wanted = each_way if limited is None else limited
    return list(session.exec(select(Case).where(wanted).order_by(col(Case.created_at).desc()).limit(limit)).all())


def count_up_to(session: Session, most: int, hospital_id: str | None, *which: ColumnElement[bool]) -> int:
    """Return how many cases of a hospital there are for which `which` holds; `most` if there are as many or more."""
    ids = _newest_ids(hospital_id, *which, limit=most).subquery()
    return min(most, session.exec(select(func.count()).select_from(ids)).one())


def _newest_ids(hospital_id: str | None, *which: ColumnElement[bool], limit: int) -> CompoundSelect[Any]:
    arms = [
        select(Case.id).where(way == hospital_id, *which).order_by(col(Case.created_at).desc()).limit(limit).subquery()
        for way in _WAYS
    ]
    return union(*(select(arm.c.id) for arm in arms))
