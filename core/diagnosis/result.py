"""The answer for one image of a case, as it is sealed, stored and shown. `conclusion` puts a case's images together."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

from core.diagnosis.bundle import ModelManifest
from core.diagnosis.codec import TRAVELS, Codec
from core.diagnosis.predictor import Outcome, Prediction

Box = tuple[int, int, int]
"""(left, top, side) of a square in pixels of the image; it may reach over the border."""


@dataclass(frozen=True, kw_only=True)
class CellFinding:
    """What the model says of one cell of a field; see `DiagnosisResult` for the terms."""

    box: Box
    probabilities: tuple[float, ...]
    label_index: int
    outcome: Outcome
    positive_probability: float
    heat_map_png: bytes = field(repr=False)

    __pydantic_config__: ClassVar = TRAVELS


@dataclass(frozen=True, kw_only=True)
class DiagnosisResult:
    """A preliminary answer for one image. Probabilities are calibrated and in 0..1.

    The answer is that for `box`: the centred square of the image or, in a field of several cells, the cell that
    looks most suspicious; `cells` then tells of each cell.

    Attributes:
        case_id: the case that was asked about.
        image: number of the image in the case, from 0.
        images: how many images the case has.
        box: what the following is about.
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
        heat_map_png: RGBA overlay for `box` (`core.diagnosis.heatmap`); empty where an encrypted head answered.
        cells: the cells of a field, row by row, the most suspicious of them with heat maps; empty for other images.
        cells_seen: how many cells the field has; more than are in `cells` where there are very many.
        alarm_threshold: positive probability from which a cell counts for its patient's alarm.
        alarm_rate: share of such cells that must be exceeded for the alarm.
        false_alarm_bound: share of patients without any such cell that may raise it.
        stages_ms: milliseconds spent in each stage inside the enclave, sealing of the result not included.
        answered_by: party of the enclave.
        measurement: hash of the enclave's code, dependencies and this model.
        approval: number of the authority's approval of that code; 0 in a result from before approvals were kept.
        figures: of light, focus and colour (`core.diagnosis.assessment`); empty in a result from before there were any.
        at: when, UTC.
    """

    case_id: str
    image: int
    images: int
    study: str
    checkpoint_id: str
    weights_sha256: str
    box: Box
    probabilities: tuple[float, ...]
    label_index: int
    outcome: Outcome
    positive_probability: float
    confidence: float
    threshold: float
    prediction_set: tuple[int, ...]
    coverage: float
    heat_map_png: bytes = field(repr=False)
    cells: tuple[CellFinding, ...] = field(repr=False)
    cells_seen: int
    alarm_threshold: float
    alarm_rate: float
    false_alarm_bound: float
    stages_ms: dict[str, float]
    answered_by: str
    measurement: str
    at: datetime
    approval: int = 0
    figures: tuple[float, ...] = ()

    __pydantic_config__: ClassVar = TRAVELS

    @classmethod
    def of(
        cls, lead: Prediction, manifest: ModelManifest, *, heat_map_png: bytes, **circumstances: Any
    ) -> "DiagnosisResult":
        """Return the result with the answer `lead` of a model; `circumstances` are the fields that neither knows."""
        return cls(
            study=manifest.study,
            weights_sha256=manifest.weights_sha256,
            probabilities=lead.probabilities,
            label_index=lead.label_index,
            outcome=lead.outcome,
            positive_probability=lead.positive_probability,
            confidence=lead.confidence,
            threshold=manifest.threshold,
            prediction_set=lead.prediction_set,
            coverage=manifest.coverage,
            heat_map_png=heat_map_png,
            alarm_threshold=manifest.alarm_threshold,
            alarm_rate=manifest.alarm_rate,
            false_alarm_bound=manifest.false_alarm_bound,
            **circumstances,
        )

    @property
    def findings(self) -> tuple[CellFinding, ...]:
        """The cells of a field, or the one thing that another image shows."""
        return self.cells or (
            CellFinding(
                box=self.box,
                probabilities=self.probabilities,
                label_index=self.label_index,
                outcome=self.outcome,
                positive_probability=self.positive_probability,
                heat_map_png=self.heat_map_png,
            ),
        )

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


_CODEC = Codec(DiagnosisResult, later=("approval", "figures"))
