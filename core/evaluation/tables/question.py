"""What tables are asked for: data, study, profile and checkpoint, and which patients the checkpoint is judged on."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.diagnosis.checkpoint_file import read_file
from core.errors import InvalidInput
from core.evaluation.answers import thinned
from core.evaluation.evaluate import read_split
from core.evaluation.tables.environment import data_sha256
from core.evaluation.tables.profile import HOSPITALS, Budget, Profile
from core.imaging.datasets import Part, Record, read_index
from core.settings import ROOT
from core.studies import Study
from federated.shares import Say, SimulationOptions, dealt

SHIPPED_SEED = 0
"""Of the split that a shipped model was trained with (`benchmarks.shipped_model`)."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question that a folder of tables answers.

    Attributes:
        data: folder with ``index.csv`` and images.
        study: what is asked of the images.
        profile: how much is done.
        checkpoint: model file of the table of metrics and of the response times.
        split: ``split.json`` of the checkpoint's training; None for the shipped model's own, or all patients.
        records: the images that are used for training and judging.
        sha256: one hash of those.
    """

    data: Path
    study: Study
    profile: Profile
    checkpoint: Path
    split: Path | None
    records: tuple[Record, ...]
    sha256: str

    @classmethod
    def ask(
        cls, *, data: Path, study: Study, profile: Profile, checkpoint: Path | None, split: Path | None, say: Say
    ) -> "Question":
        """Read the index and hash the images.

        Raises:
            DatasetRefused: the folder cannot be used.
            CheckpointRefused: the model file cannot be read.
            InvalidInput: the checkpoint is of another study.
        """
        chosen = checkpoint or shipped_model(study)
        if (of := read_file(chosen).study) != study.name:
            raise InvalidInput(f"{chosen.name} is a model of the study {of}")
        records = thinned(read_index(data, study), profile.images)
        sha256 = data_sha256(data, records, lambda done, total: say("hashing images", done, total))
        return cls(
            data=data,
            study=study,
            profile=profile,
            checkpoint=chosen,
            split=split,
            records=tuple(records),
            sha256=sha256,
        )

    @property
    def budget(self) -> Budget:
        """How long every method is trained."""
        return Budget.of(self.profile, self.study)

    def judged_patients(self) -> list[str] | None:
        """Return the patients on whom the checkpoint is judged; None for all of the folder.

        Raises:
            DatasetRefused: the split cannot be read, or there are too few patients for it.
        """
        if self.split is not None:
            return read_split(self.split, Part.TEST)
        shipped = shipped_model(self.study)
        if not shipped.exists() or self.checkpoint.read_bytes() != shipped.read_bytes():
            return None
        hospitals = dealt(read_index(self.data, self.study), SimulationOptions(hospitals=HOSPITALS, seed=SHIPPED_SEED))
        return sorted({record.patient for parts in hospitals.values() for record in parts[Part.TEST]})

    def to_json(self) -> dict[str, Any]:
        """Return what makes this question another one than the next."""
        return {
            "study": self.study.name,
            "data": self.data.resolve().name,
            "data_sha256": self.sha256,
            "images": len(self.records),
            "patients": len({record.patient for record in self.records}),
            "profile": self.profile.name,
            "seeds": list(self.profile.seeds),
            "rounds": self.budget.rounds,
            "epochs": self.budget.epochs,
            "uploads": self.profile.uploads,
            "replicates": self.profile.replicates,
            "checkpoint_sha256": hashlib.sha256(self.checkpoint.read_bytes()).hexdigest(),
            "split": None if self.split is None else self.split.name,
        }


def shipped_model(study: Study) -> Path:
    """Return the file of the model that ships for a study."""
    return ROOT / "models" / f"{study.name}.model"
