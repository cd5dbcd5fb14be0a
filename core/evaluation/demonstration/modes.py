"""Step 2: one round in each aggregation mode, and one hospital's update as the cloud held it."""

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.evaluation.attacks.cloud import Keeping, Seen
from core.evaluation.attacks.held import flat
from core.evaluation.demonstration.federation import Played, part_of, play
from core.evaluation.demonstration.hospitals import HOSPITALS, data_of_hospitals
from core.evaluation.demonstration.journal import Say
from core.evaluation.demonstration.outcome import Curves, Outcome, Table
from core.evaluation.masked_uploads import largest_number
from core.learning.orders import AggregationMode, training_party
from core.learning.run_choices import DEFAULT_CLIP
from core.learning.weights import decode_weights
from federated.aggregation.blind.fixed_point import Encoding
from security.signing import claims_of

WATCHED = HOSPITALS[0]
_BINS = 32
_CLOSE = 1e-4
_UNLIKE = 0.1
_SHOWN = 4


@dataclass(frozen=True)
class _Round:
    played: Played
    seen: bytes
    seconds: float


def show_modes(say: Say) -> Outcome:
    """Play the three modes on the same data and compare what the cloud held of one hospital's update."""
    say("drawing the hospitals' pictures", 0.0)
    data, modes = data_of_hospitals(), tuple(AggregationMode)
    rounds: dict[AggregationMode, _Round] = {}
    for number, mode in enumerate(modes):
        seen: list[Seen] = []
        began = time.perf_counter()
        played = play(
            mode,
            data,
            cloud=lambda transport, notary, keep=seen.append: Keeping(transport, notary, keep),  # type: ignore[misc]
            say=part_of(say, number, len(modes)),
        )
        held = next(one.data for one in seen if one.party == training_party(WATCHED))
        rounds[mode] = _Round(played, held, time.perf_counter() - began)
    plain, sealed, blind = (rounds[mode] for mode in modes)

    true = flat(plain.played.update_of(WATCHED))
    read = flat(decode_weights(claims_of(plain.seen)[1])[0])
    masked = as_numbers(blind.seen, members=len(data))[: len(true)]
    largest = largest_number(len(data), DEFAULT_CLIP)
    apart = max(float(np.abs(flat(one.played.model) - flat(plain.played.model)).max()) for one in (sealed, blind))
    alike = {"plain": _alike(read, true), "blind": _alike(masked, true)}
    kinds = {AggregationMode.PLAIN: "yes, each number", AggregationMode.SEALED: "no", AggregationMode.BLIND: "no"}
    likeness = {
        AggregationMode.PLAIN: f"{alike['plain']:+.3f}",
        AggregationMode.SEALED: "no vector to compare",
        AggregationMode.BLIND: f"{alike['blind']:+.3f}",
    }
    rows = tuple(
        (mode.value, f"{len(one.seen):,}", kinds[mode], likeness[mode], _auc(one.played), f"{one.seconds:.1f} s")
        for mode, one in rounds.items()
    )
    numbers = tuple(
        (str(place + 1), f"{true[place]:+.6f}", f"{read[place]:+.6f}", f"{masked[place]:+.6f}")
        for place in range(_SHOWN)
    )
    name = WATCHED.capitalize()
    return Outcome(
        headline=f"The cloud reads {name}'s update in plain mode, and nothing of it in the other two.",
        as_told=alike["plain"] > 1 - _CLOSE and abs(alike["blind"]) < _UNLIKE and apart < _CLOSE,
        facts=(
            ("Largest difference between a weight of the three models", f"{apart:.1e}"),
            ("Parameters of the network", f"{len(true):,}"),
        ),
        tables=(
            Table(
                title=f"What the cloud held of {name}'s update",
                columns=(
                    "Mode",
                    "Bytes",
                    "Cloud can read it",
                    "Correlation with the true update",
                    "AUC of the model",
                    "Whole run",
                ),
                rows=rows,
            ),
            Table(
                title="The first numbers of it",
                columns=("Place", "True", "In the cloud, plain", "In the cloud, blind"),
                rows=numbers,
            ),
        ),
        curves=(
            _histogram(
                f"Plain: the numbers of {name}'s update, as the cloud reads them",
                {"True update": true, "In the cloud": read},
                "Change of a weight (1: the largest)",
                scale=float(np.abs(true).max()),
            ),
            _histogram(
                f"Sealed: the bytes of {name}'s parcel, as the cloud holds them",
                {"In the cloud": np.frombuffer(sealed.seen, np.uint8) / 128 - 1},
                "Byte (-1: 0, 1: 256)",
            ),
            _histogram(
                f"Blind: the masked numbers of {name}'s update beside the true ones",
                {"True update": true / largest, "In the cloud": masked / largest},
                "Number (1: the largest in a word)",
            ),
        ),
    )


def as_numbers(masked: bytes, *, members: int) -> NDArray[np.float64]:
    """Return the words of a masked vector as the numbers that they would stand for without masks."""
    encoding = Encoding.for_members(members, clip=DEFAULT_CLIP)
    words = np.frombuffer(masked, np.dtype(f"<i{encoding.word // 8}"))
    return words / encoding.scale / 2.0**encoding.guard


def _alike(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(np.corrcoef(one, other)[0, 1])


def _auc(played: Played) -> str:
    if played.simulated is None:
        return "none"
    value = played.simulated.rounds[-1].metrics.get("auc")
    return "none" if value is None else f"{value:.3f}"


def _histogram(title: str, series: dict[str, NDArray[np.float64]], x_title: str, *, scale: float = 1.0) -> Curves:
    edges = np.linspace(-1, 1, _BINS + 1)
    shares = {
        name: np.histogram(np.clip(values / scale, -1, 1), bins=edges)[0] / len(values) * 100
        for name, values in series.items()
    }
    return Curves(
        title=title,
        x_title=x_title,
        y_title="Share of the numbers in %",
        x=tuple(float(value) for value in (edges[1:] + edges[:-1]) / 2),
        series={name: tuple(float(value) for value in values) for name, values in shares.items()},
    )
