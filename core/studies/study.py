"""The frozen description of a study; what every study must say about itself."""

import re
from dataclasses import dataclass, field
from enum import StrEnum

from core.studies.preprocessing import Preprocessing

CODE = re.compile(r"s\d{2}")
NAME = re.compile(r"[a-z][a-z0-9_]{1,39}")


class Subject(StrEnum):
    """What one picture of a study shows."""

    CELL = "cell"
    """One stained white blood cell."""
    FIELD = "field"
    """A stained blood smear with several cells, judged as a whole."""
    SCAN = "scan"
    """A grey picture of radiology: CT, MRI, X-ray or ultrasound."""


class Inference(StrEnum):
    """Who reads what a study's models answer (docs/encrypted-inference.md)."""

    ENCLAVE = "enclave"
    """The hospital's enclave: it has the whole network."""
    ENCRYPTED_HEAD = "encrypted-head"
    """The key holder: the enclave has the network below the head, and the head encrypted."""


class Threshold(StrEnum):
    """From which calibrated probability of any positive class an image is called positive."""

    BALANCED = "balanced"
    """With the highest balanced accuracy of positive against negative on validation."""
    EVEN = "even"
    """A half: the more probable side. With many classes the best on validation is mostly chance (docs/studies.md)."""


@dataclass(frozen=True)
class ClassLabel:
    """One class of a study.

    Attributes:
        name: the label as written in ``index.csv``.
        title: the class as a doctor reads it.
        plain: the class in a patient's words; continues "the doctor sees ...", never alarms and names no disease.
        meaning: what the class stands for in the clinic and in the images that were learned from.
        positive: whether finding it calls for action.
    """

    name: str
    title: str
    plain: str
    meaning: str
    positive: bool


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How the decision rule of a study's models is chosen on the summed validation figures. Shares are in 0..1.

    Attributes:
        false_alarm_bound: largest share of all-normal pseudo-patients that may raise the alarm (design, section 8).
        threshold: how the threshold of an image is chosen.
        uncertain_share: at most this share of the validation images may be answered "uncertain" for lying near the
            threshold ...
        uncertain_odds: ... and none whose calibrated odds are more than this many times above or below the
            threshold's.
        coverage: share of the images of every class whose true class must be in the prediction set
            (`core.learning.conformal`).
    """

    false_alarm_bound: float = 0.05
    threshold: Threshold = Threshold.BALANCED
    uncertain_share: float = 0.10
    uncertain_odds: float = 9.0
    coverage: float = 0.95

    def __post_init__(self) -> None:
        """Refuse what decides nothing.

        Raises:
            ValueError: a share outside 0..1 or odds below 1.
        """
        if not (0 < self.false_alarm_bound < 1 and 0 <= self.uncertain_share < 1 and 0.5 <= self.coverage < 1):  # noqa: PLR2004  below a half a set means nothing
            raise ValueError("the shares of a policy must be in 0..1, its coverage at least 0.5")
        if self.uncertain_odds < 1:
            raise ValueError("uncertain_odds must be at least 1")


@dataclass(frozen=True, kw_only=True)
class Study:
    """A question asked of images.

    Attributes:
        name: the field's name, used in commands and folders.
        code: opaque code; the only form that is stored in the database, so that a stolen row names no disease.
        title: what its pictures show, for pages; a patient reads it too.
        modalities: values of the ``modality`` column in ``index.csv``.
        subject: what one picture shows.
        classes: in the order of the network's outputs.
        input_size: side of the square network input in pixels.
        min_side: smallest accepted side of an uploaded image in pixels.
        architecture: name in `core.learning.architectures` that a run trains unless told otherwise.
        orientations: over how many of the eight turned and mirrored pictures an answer is averaged
            (`core.learning.orientations`): 1; 2, the picture and its mirror image, where left and right may change
            places; or 8, only for pictures without a top.
        preprocessing: what is done to a picture before the network sees it, in training and in serving alike.
        policy: how the decision rule is chosen.
        second_reader: whether each first conclusion of a doctor is read by another doctor, too.
        inference: who reads the answers. With an encrypted head a picture is one question, without a heat map.
    """

    name: str
    code: str
    title: str
    modalities: tuple[str, ...]
    subject: Subject
    classes: tuple[ClassLabel, ...]
    input_size: int
    min_side: int
    architecture: str = "groupnorm-small"
    orientations: int = 1
    preprocessing: Preprocessing = field(default=Preprocessing())
    policy: Policy = field(default=Policy())
    second_reader: bool = False
    inference: Inference = Inference.ENCLAVE

    def __post_init__(self) -> None:
        """Refuse a description that contradicts itself.

        Raises:
            ValueError: a name, code or size out of form, no modality, a class twice, or only one side to decide for.
        """
        if not NAME.fullmatch(self.name) or not CODE.fullmatch(self.code):
            raise ValueError(f"study {self.name!r} with code {self.code!r}: expected lower_case and s00 to s99")
        if not self.modalities or len(set(self.class_names)) != len(self.classes):
            raise ValueError(f"study {self.name}: no modality, or a class twice")
        if not 0 < len(self.positive_indices) < len(self.classes):
            raise ValueError(f"study {self.name}: some classes must be positive, and some not")
        if self.input_size < 16 or self.min_side < 1:  # noqa: PLR2004  the smallest input of `core.learning.architectures`
            raise ValueError(f"study {self.name}: input_size must be 16 or more and min_side 1 or more")
        if self.orientations not in ({1, 2, 8} if self.is_stained else {1, 2}):
            raise ValueError(f"study {self.name}: orientations must be 1, 2, or, for pictures without a top, 8")

    @property
    def class_names(self) -> tuple[str, ...]:
        """Labels in output order."""
        return tuple(label.name for label in self.classes)

    @property
    def positive_indices(self) -> tuple[int, ...]:
        """Output indices of the positive classes."""
        return tuple(i for i, label in enumerate(self.classes) if label.positive)

    @property
    def is_stained(self) -> bool:
        """Whether its pictures are of stained blood, in colour."""
        return self.subject in (Subject.CELL, Subject.FIELD)

    def index_of(self, name: str) -> int:
        """Return the output index of a label.

        Raises:
            KeyError: the study does not know the label.
        """
        try:
            return self.class_names.index(name)
        except ValueError:
            raise KeyError(name) from None
