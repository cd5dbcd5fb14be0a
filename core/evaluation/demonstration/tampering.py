"""Step 4: a cloud that changes one number of the sum, and the same cloud when it changes nothing."""

from core.evaluation.attacks.cloud import Tampering
from core.evaluation.demonstration.federation import Played, part_of, play
from core.evaluation.demonstration.hospitals import HOSPITALS, data_of_hospitals
from core.evaluation.demonstration.journal import Say
from core.evaluation.demonstration.outcome import Outcome, Table
from core.learning.orders import AggregationMode
from core.learning.run_choices import DEFAULT_CLIP
from core.learning.run_events import FailureCode
from federated.aggregation.blind.fixed_point import Encoding
from federated.messages import Step

COORDINATE = 4321


def show_tampering(say: Say) -> Outcome:
    """Play a blind round with a cloud that adds 0 to a number of the sum, and one with a cloud that adds 1."""
    say("drawing the hospitals' pictures", 0.0)
    honest, caught = (_play(by, part_of(say, by, 2)) for by in (0, 1))
    refused = tuple(
        name for name, step, code in caught.failures() if (step, code) == (Step.APPLY.value, FailureCode.SUM.value)
    )
    encoding = Encoding.for_members(len(HOSPITALS), clip=DEFAULT_CLIP)
    rows = tuple(
        (
            what,
            "none" if played.simulated is None else ", ".join(name.capitalize() for name in played.members),
            "a new model" if played.simulated is not None else "no model: the sum is not proved",
        )
        for what, played in (("Nothing", honest), (f"Number {COORDINATE:,} of the sum, by 1", caught))
    )
    return Outcome(
        headline="The cloud changed one number by one, and every hospital that checked the sum refused it.",
        as_told=honest.simulated is not None and caught.simulated is None and len(refused) >= len(HOSPITALS) - 1,
        facts=(
            ("Refused the sum", ", ".join(name.capitalize() for name in refused) or "nobody"),
            ("What 1 stands for in the sum of updates", f"{2.0**-encoding.guard / encoding.scale:.1e}"),
            ("Why the run ended", caught.reason),
        ),
        tables=(
            Table(
                title="What the cloud changed, and what came of it",
                columns=("Changed", "Hospitals in the model", "Came out"),
                rows=rows,
            ),
        ),
    )


def _play(by: int, say: Say) -> Played:
    return play(
        AggregationMode.BLIND,
        data_of_hospitals(),
        cloud=lambda transport, notary: Tampering(transport, notary, coordinate=COORDINATE, by=by),
        say=say,
    )
