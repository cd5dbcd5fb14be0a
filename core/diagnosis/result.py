"""The answer to one case, as it is sealed, stored and shown."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from core.diagnosis.codec import TRAVELS, Codec
from core.diagnosis.predictor import Outcome


@dataclass(frozen=True, kw_only=True)
class DiagnosisResult:
    """A preliminary answer. Probabilities are calibrated and in 0..1.

    Attributes:
        case_id: the case that was asked about.
        study: name of the study.
        checkpoint_id: the model that answered.
        weights_sha256: hash of its weights.
        probabilities: of each class, in the study's order.
        label_index: the class that is called.
        outcome: positive, negative or uncertain.
        positive_probability: of any positive class.
        confidence: probability of the side that is called.
        threshold: positive probability from which the model calls an image positive.
        prediction_set: classes that cannot be excluded, the most probable one first ...
        coverage: ... each class being in the sets of at least this share of its images, on validation.
        heat_map_png: RGBA overlay for the centred square of the image (`core.diagnosis.heatmap`).
        stages_ms: milliseconds spent in each stage inside the enclave, sealing of the result not included.
        answered_by: party of the enclave.
        measurement: hash of the enclave's code, dependencies and this model.
        at: when, UTC.
    """

    case_id: str
    study: str
    checkpoint_id: str
    weights_sha256: str
    probabilities: tuple[float, ...]
    label_index: int
    outcome: Outcome
    positive_probability: float
    confidence: float
    threshold: float
    prediction_set: tuple[int, ...]
    coverage: float
    heat_map_png: bytes = field(repr=False)
    stages_ms: dict[str, float]
    answered_by: str
    measurement: str
    at: datetime

    __pydantic_config__: ClassVar = TRAVELS

    def encode(self) -> bytes:
        """Return the canonical CBOR of this result."""
        return _CODEC.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> "DiagnosisResult":
        """Read what `encode` wrote.

        Raises:
            ValueError: it is something else.
        """
        return _CODEC.decode(data)


_CODEC = Codec(DiagnosisResult)
