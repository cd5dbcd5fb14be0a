"""What the cloud held of hospitals' updates in real rounds of each mode, and how it reads it as numbers.

A round is played by `federated.simulation`, every message signed and checked; the cloud stands where they pass.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.evaluation.attacks.cloud import Keeping, Seen
from core.evaluation.attacks.pictures import Pictures, Say
from core.imaging.datasets import DatasetArrays, Part
from core.learning.orders import AggregationMode, training_party
from core.learning.training import TrainingOptions
from core.learning.weights import Weights, decode_weights
from core.studies import Study
from federated.numpy_learner import NumpyLearner
from federated.shares import SimulationOptions
from federated.simulation import simulate
from security.signing import claims_of

HOSPITALS = 10
"""In each round."""
Floats = NDArray[np.float64]
Batches = Callable[[int], Sequence[NDArray[np.int64]]]
"""Number of a round -> places of the pictures that each hospital trains on."""
_WORD = 2.0**31


def flat(weights: Weights) -> Floats:
    """Return all numbers of weights in one vector, float64."""
    return np.concatenate([np.asarray(array, np.float64).ravel() for array in weights.values()])


def vector_of(mode: AggregationMode, data: bytes, size: int) -> Floats:
    """Read what the cloud held of an update as `size` numbers, in the order of the weights.

    Words and ciphertext are read as signed 32-bit numbers, from -1 to 1: the first words of a masked vector, the last
    bytes of a sealed object.
    """
    if mode is AggregationMode.PLAIN:
        return flat(decode_weights(claims_of(data)[1])[0])
    words = data[: 4 * size] if mode is AggregationMode.BLIND else data[-4 * size :]
    return np.frombuffer(words, "<i4").astype(np.float64) / _WORD


def play_rounds(
    mode: AggregationMode,
    batches: Sequence[tuple[NDArray[np.uint8], NDArray[np.int64]]],
    public: Pictures,
    *,
    study: Study,
    learner: NumpyLearner,
    steps: int,
    seed: int,
    rounds: int = 1,
) -> list[list[bytes]]:
    """Play rounds of one hospital for each batch; return what the cloud held of each one's update, round by round.

    Args:
        mode: of aggregation.
        batches: training images [n, side, side, 3] and labels of each hospital.
        public: pictures that hospitals validate on, one each.
        study: what is asked of the images.
        learner: what hospitals train with.
        steps: along the gradient.
        seed: of the first weights.
        rounds: number of rounds.

    Raises:
        RunRefused: the run failed.
    """
    held: dict[str, list[bytes]] = {}
    data = datasets_of(batches, public, study)

    def keep(seen: Seen) -> None:
        held.setdefault(seen.party, []).append(seen.data)

    options = SimulationOptions(
        hospitals=len(data), rounds=rounds, mode=mode, seed=seed, training=TrainingOptions(epochs=steps)
    )
    simulate(data, study, options, learner=learner, cloud=lambda transport, notary: Keeping(transport, notary, keep))
    return [[held[training_party(hospital)][number] for hospital in data] for number in range(rounds)]


def datasets_of(
    batches: Sequence[tuple[NDArray[np.uint8], NDArray[np.int64]]], public: Pictures, study: Study
) -> dict[str, DatasetArrays]:
    """Return a data set for each hospital: a batch to train on, and one of the public pictures to validate on."""
    classes = len(study.classes)
    shown = [int(np.flatnonzero(public.labels == number % classes)[0]) for number in range(len(batches))]
    return {
        f"hospital-{number}": DatasetArrays(
            images=np.concatenate([images, public.images[shown[number]][None]]),
            labels=np.append(labels, public.labels[shown[number]]),
            patients=tuple(f"{number}-{place}" for place in range(len(labels) + 1)),
            parts=np.array(
                [list(Part).index(Part.TRAINING)] * len(labels) + [list(Part).index(Part.VALIDATION)], np.uint8
            ),
        )
        for number, (images, labels) in enumerate(batches)
    }


def held_vectors(
    folder: Path,
    mode: AggregationMode,
    batches: Batches,
    pictures: Pictures,
    public: Pictures,
    *,
    trials: int,
    study: Study,
    learner: NumpyLearner,
    steps: int,
    seed: int,
    say: Say,
) -> Iterator[Floats]:
    """Yield what the cloud held of `trials` updates, `HOSPITALS` a round; those of before are read from `folder`."""
    size = sum(array.size for array in learner.initial(seed).values())
    folder.mkdir(parents=True, exist_ok=True)
    rounds = -(-trials // HOSPITALS)
    for number in range(rounds):
        say(f"rounds in mode {mode.value}", number, rounds)
        path = folder / f"{mode.value}-{number}.npy"
        if not path.exists():
            own = [(pictures.images[places], pictures.labels[places]) for places in batches(number)]
            (seen,) = play_rounds(mode, own, public, study=study, learner=learner, steps=steps, seed=seed)
            partial = path.with_suffix(".partial")
            with partial.open("wb") as file:
                np.save(file, np.stack([vector_of(mode, data, size) for data in seen]))
            partial.replace(path)
        yield from np.load(path)[: trials - number * HOSPITALS]
