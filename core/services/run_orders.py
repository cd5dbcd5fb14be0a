"""The authority's signed order of a run, as services read it: the options in the run's row only repeat it."""

import base64

from sqlmodel import Session

from core.errors import RecordDamaged, RunRefused
from core.learning.orders import RunOptions, read_order
from core.services.app import App
from db.models import Run
from security.errors import SecurityError

__all__ = ["order_bytes", "signed_order"]


def order_bytes(run: Run | None) -> bytes:
    """Return the signed order that is stored with a run; empty if there is none.

    Raises:
        ValueError: what is stored is no base64.
    """
    return base64.b64decode(str(run.options.get("order", "")) if run else "", validate=True)


def signed_order(app: App, session: Session, run: Run) -> RunOptions:
    """Return what the authority ordered.

    Raises:
        RecordDamaged: the stored order is not the authority's for this run, so no party obeys it either.
    """
    trust, now = app.trust(session).for_stored(), app.clock.now()
    try:
        return read_order(order_bytes(run), run=run.id, study=run.study_code, trust=trust, at=now)
    except (SecurityError, RunRefused, ValueError) as error:
        raise RecordDamaged("the order of this run") from error
