"""Who has which images in a simulation: patients are dealt out to hospitals and split there, never divided."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from core.imaging.datasets import (
    Assignment,
    DatasetArrays,
    Part,
    Record,
    assign_to_hospitals,
    load_arrays,
    patient_stains,
    read_index,
    split_by_patient,
)
from core.learning.orders import MIN_MEMBERS, AggregationMode
from core.learning.run_choices import Combining, PrivacyOptions, RoundRules, ServerOptions
from core.learning.training import TrainingOptions
from core.studies import Study

Say = Callable[[str, int, int], None]
"""Told (what is done, steps done, steps in all)."""


@dataclass(frozen=True, kw_only=True)
class SimulationOptions:
    """What to simulate.

    Attributes:
        hospitals: number of hospitals.
        rounds: number of rounds.
        mode: aggregation mode.
        seed: of split, assignment, first weights and shuffling.
        assignment: how patients go to hospitals.
        alpha: concentration of the assignments by Dirichlet (`dirichlet`, `quantity`).
        minimum_members: see `RunOptions`.
        training: local training of one round.
        clinical: the images are of real patients who did not agree to publication; refuses `plain`.
        round_rules: who is asked in a round and for how long; here the hospitals' trainings take turns.
        privacy: differential privacy of local training, or None.
        combining: how updates become one.
        server: what is done with the combined update.
    """

    hospitals: int = 4
    rounds: int = 5
    mode: AggregationMode = AggregationMode.BLIND
    seed: int = 0
    assignment: Assignment = "patients"
    alpha: float = 0.5
    minimum_members: int = MIN_MEMBERS
    training: TrainingOptions = field(default_factory=TrainingOptions)
    clinical: bool = False
    round_rules: RoundRules = field(default_factory=RoundRules)
    privacy: PrivacyOptions | None = None
    combining: Combining = field(default_factory=Combining)
    server: ServerOptions = field(default_factory=ServerOptions)


@dataclass(frozen=True, kw_only=True)
class Shares:
    """The images of each hospital and which patients they are of.

    Attributes:
        arrays: hospital -> its data set.
        patients: hospital -> part -> patients.
        paths: hospital -> the images' paths, in the order of its arrays.
        rejected: files that were left out, with the reason.
    """

    arrays: dict[str, DatasetArrays]
    patients: dict[str, dict[str, list[str]]]
    paths: dict[str, tuple[str, ...]]
    rejected: list[tuple[str, str]]

    def class_counts(self, study: Study) -> list[int]:
        """Return the training images of each class of all hospitals together."""
        own = [arrays.class_counts(study)[Part.TRAINING.value] for arrays in self.arrays.values()]
        return [sum(column) for column in zip(*own, strict=True)]

    def split(self) -> dict[str, Any]:
        """Return the content of ``split.json``: part -> patients, and the same for each hospital."""
        parts = {
            part.value: sorted(name for own in self.patients.values() for name in own[part.value]) for part in Part
        }
        return {**parts, "hospitals": self.patients}


def share_out(
    folder: Path, study: Study, options: SimulationOptions, say: Say, *, records: Sequence[Record] | None = None
) -> Shares:
    """Read an ``index.csv`` folder, give each hospital whole patients, split each hospital's by patient.

    Args:
        folder: the folder.
        study: whose images they are.
        options: how patients are dealt out.
        say: told of the reading.
        records: only these of the folder; all of its index by default.

    Raises:
        DatasetRefused: the folder cannot be used, or has too few patients.
    """
    records = read_index(folder, study) if records is None else records
    stains = patient_stains(records, folder, seed=options.seed) if options.assignment == "stain" else {}
    arrays: dict[str, DatasetArrays] = {}
    patients: dict[str, dict[str, list[str]]] = {}
    paths: dict[str, tuple[str, ...]] = {}
    rejected: list[tuple[str, str]] = []
    done = 0
    for hospital, parts in dealt(records, options, stains).items():
        patients[hospital] = {part.value: sorted({record.patient for record in parts[part]}) for part in Part}
        tell = partial(_tell, say, done, len(records))
        arrays[hospital], left_out = load_arrays(parts, folder, study, tell)
        out = {item.path for item in left_out}
        paths[hospital] = tuple(record.path for part in Part for record in parts[part] if record.path not in out)
        done += sum(map(len, parts.values()))
        rejected += [(item.path, item.reason) for item in left_out]
    return Shares(arrays=arrays, patients=patients, paths=paths, rejected=rejected)


def dealt(
    records: Sequence[Record], options: SimulationOptions, stains: Mapping[str, float] | None = None
) -> dict[str, dict[Part, list[Record]]]:
    """Return hospital -> part -> its images; `stains` (patient -> stain) are needed to assign by stain.

    Raises:
        DatasetRefused: there are too few patients.
    """
    groups = assign_to_hospitals(
        records,
        options.hospitals,
        how=options.assignment,
        alpha=options.alpha,
        seed=options.seed,
        stains=stains or {},
    )
    return {f"hospital-{number}": split_by_patient(group, seed=options.seed) for number, group in enumerate(groups, 1)}


def _tell(say: Say, before: int, total: int, read: int, _of: int) -> None:
    say("reading images", before + read, total)
