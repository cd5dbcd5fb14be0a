"""Step 3: a hospital goes away between agreeing on masks and uploading, and the round ends well without it."""

import numpy as np

from core.evaluation.attacks.cloud import Losing
from core.evaluation.attacks.held import flat
from core.evaluation.demonstration.federation import Played, mean_update, play
from core.evaluation.demonstration.hospitals import HOSPITALS, data_of_hospitals
from core.evaluation.demonstration.journal import Say
from core.evaluation.demonstration.outcome import Outcome, Table
from core.learning.orders import AggregationMode, slug_of, training_party
from core.learning.run_events import EventKind
from federated.messages import Step

LOST = "south"
_STEPS = (Step.ADVERTISE, Step.DEAL, Step.UPLOAD, Step.AGREE, Step.UNMASK, Step.REVEAL, Step.HASH, Step.APPLY)
_CLOSE = 1e-4


def show_drop_out(say: Say) -> Outcome:
    """Play a blind round and cut a hospital's line before its upload."""
    say("drawing the hospitals' pictures", 0.0)
    played = play(
        AggregationMode.BLIND,
        data_of_hospitals(),
        cloud=lambda transport, notary: Losing(transport, notary, party=training_party(LOST), before=Step.UPLOAD),
        say=say,
    )
    stayed = tuple(name for name in HOSPITALS if name != LOST)
    if played.simulated is None:
        return Outcome(headline=f"The round failed: {played.reason}", as_told=False, tables=(_course(played),))
    first = stayed[0]
    came_out = flat(played.model) - flat(played.before(first))
    apart = float(np.abs(came_out - mean_update(played, stayed)).max())
    return Outcome(
        headline=f"{LOST.capitalize()} dropped out before its upload; the round ended with the other three.",
        as_told=set(played.members) == set(stayed) and apart < _CLOSE,
        facts=(
            ("In the new model", ", ".join(name.capitalize() for name in played.members)),
            ("Largest difference to the mean of these three updates, added up in clear", f"{apart:.1e}"),
        ),
        tables=(_course(played),),
    )


def _course(played: Played) -> Table:
    """Return who answered at which step of the sum of updates."""
    answers = [event for event in played.events if event.kind is EventKind.ANSWERED]
    answered = {(slug_of(event.party), str(event.payload["step"])) for event in answers}
    rows = tuple(
        (step.value, *("answered" if (name, step.value) in answered else "silent" for name in HOSPITALS))
        for step in _STEPS
    )
    return Table(
        title="Who answered at each step of the blind sum",
        columns=("Step", *(name.capitalize() for name in HOSPITALS)),
        rows=rows,
    )
