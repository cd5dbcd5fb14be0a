"""What every attack is given: pictures of both sides, how often to try, where to write; and the two profiles."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.evaluation.attacks.pictures import Pictures, Say
from core.learning.orders import AggregationMode
from core.studies import Study

_PLAIN, _SEALED, _BLIND = AggregationMode.PLAIN, AggregationMode.SEALED, AggregationMode.BLIND


@dataclass(frozen=True, kw_only=True)
class Profile:
    """How often each attack is tried; docs/results.md says what one trial is.

    Attributes:
        name: of the profile.
        pictures: read of the data set at most.
        inversions: by mode.
        reconstructions: runs whose hospitals' pictures are drawn anew, by mode.
        inferences: uploads whose membership and property are guessed, by mode.
        told: further uploads of each mode, whose answers the adversary is told.
        shadows: trainings of the adversary's own.
        models: that are inverted.
        sealings: of each model, every one of them attacked.
        stored: pictures of each view.
        tampered: runs of each kind.
        objects: changes of stored objects.
        logs: changes of an exported log.
        poisonings: seeds.
    """

    name: str
    pictures: int
    inversions: Mapping[AggregationMode, int]
    reconstructions: Mapping[AggregationMode, int]
    inferences: Mapping[AggregationMode, int]
    told: int
    shadows: int
    models: int
    sealings: int
    stored: int
    tampered: int
    objects: int
    logs: int
    poisonings: int


QUICK = Profile(
    name="quick",
    pictures=1500,
    inversions={_PLAIN: 20, _SEALED: 20, _BLIND: 200},
    reconstructions={_PLAIN: 2, _SEALED: 1, _BLIND: 3},
    inferences={_PLAIN: 200, _SEALED: 200, _BLIND: 1000},
    told=200,
    shadows=1000,
    models=10,
    sealings=20,
    stored=400,
    tampered=5,
    objects=2000,
    logs=600,
    poisonings=1,
)
FULL = Profile(
    name="full",
    pictures=6000,
    inversions={_PLAIN: 100, _SEALED: 100, _BLIND: 400},
    reconstructions={_PLAIN: 8, _SEALED: 4, _BLIND: 30},
    inferences=dict.fromkeys(AggregationMode, 2000),
    told=400,
    shadows=3000,
    models=20,
    sealings=20,
    stored=1200,
    tampered=40,
    objects=10_000,
    logs=3000,
    poisonings=3,
)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where and on what attacks are tried.

    Attributes:
        own: the adversary's pictures.
        theirs: the hospitals' pictures.
        study: what is asked of them.
        profile: how often.
        seed: fixes what is drawn.
        out: results are written below ``attacks`` in it.
        folder: what was held in rounds of before, so that a run that was stopped goes on.
        say: told what is going on.
    """

    own: Pictures
    theirs: Pictures
    study: Study
    profile: Profile
    seed: int
    out: Path
    folder: Path
    say: Say
