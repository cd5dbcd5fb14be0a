"""The frozen description of a study; what every study must say about itself."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ClassLabel:
    """One class of a study.

    Attributes:
        name: the label as written in ``index.csv``.
        title: the class as a doctor reads it.
        plain: the class in a patient's words.
        positive: whether finding it calls for action.
    """

    name: str
    title: str
    plain: str
    positive: bool


@dataclass(frozen=True)
class Study:
    """A question asked of images.

    Attributes:
        name: the field's name, used in commands and folders.
        code: opaque code; the only form that is stored in the database, so that a stolen row names no disease.
        title: short title for pages.
        modality: value of the ``modality`` column in ``index.csv``.
        classes: in the order of the network's outputs.
        input_size: side of the square network input in pixels.
        min_side: smallest accepted side of an uploaded image in pixels.
        false_alarm_bound: largest share of all-normal pseudo-patients that may raise the alarm (design, section 8).
    """

    name: str
    code: str
    title: str
    modality: str
    classes: tuple[ClassLabel, ...]
    input_size: int
    min_side: int
    false_alarm_bound: float = 0.05

    @property
    def class_names(self) -> tuple[str, ...]:
        """Labels in output order."""
        return tuple(label.name for label in self.classes)

    @property
    def positive_indices(self) -> tuple[int, ...]:
        """Output indices of the positive classes."""
        return tuple(i for i, label in enumerate(self.classes) if label.positive)

    def index_of(self, name: str) -> int:
        """Return the output index of a label.

        Raises:
            KeyError: the study does not know the label.
        """
        try:
            return self.class_names.index(name)
        except ValueError:
            raise KeyError(name) from None
