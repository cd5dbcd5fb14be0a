"""A hospital's own figures of a round: sealed by its node for itself, the authority and the app, which shows them.

The app shows them to the authority and to the hospital's own people; the cloud in between cannot open them.
"""

import json
from datetime import datetime

from security.certificates import Trust
from security.context import Context, Purpose
from security.identity import Identity
from security.sealing import open_sealed


def own_context(*, study: str, party: str, run: str, round_number: int, attempt: str, step: str) -> Context:
    """Return what a node's own figures are bound to; `study` is a code, `step` ``train`` or ``evaluate``."""
    return Context(
        purpose=Purpose.NODE_METRICS,
        study=study,
        sender=party,
        object_id=f"own/{step}",
        run=run,
        round=round_number,
        attempt=attempt,
    )


def open_own_figures(
    sealed: bytes, *, reader: Identity, trust: Trust, context: Context, at: datetime
) -> dict[str, float]:
    """Return a node's own figures; `reader` is the authority, the app or that node's training party.

    Raises:
        SealBroken: changed, of another node or round, or not for this reader.
    """
    body = open_sealed(sealed, recipient=reader, trust=trust, context=context, sender=context.sender, at=at)
    return {str(name): float(value) for name, value in json.loads(body).items()}
