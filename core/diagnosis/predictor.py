"""One image in, one calibrated answer with its heat map out. LiteRT only; never TensorFlow.

The rule of an answer: it is positive when the calibrated positive probability reaches the threshold, and the class
called is the most probable one of that side. It is uncertain within the band around the threshold. With more than two
classes it is uncertain too when the prediction set (`core.learning.conformal`) holds a class of the other side: then
the two sides cannot be told apart at the set's coverage, though each class of the other side may be improbable by
itself. With two classes the band says the same and keeps to the share of uncertain answers that the study's policy
allows, so the set is shown but does not decide. A set is never empty, so an unusual image is not uncertain for that
alone; the gate looks for images that are foreign to the study.
"""

import time
from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from core.diagnosis.bundle import ModelManifest, ServingModel
from core.errors import CheckpointRefused
from core.imaging.preprocess import normalise, preprocess
from core.learning.class_scores import calibrated_probabilities, positive_log_odds
from core.learning.conformal import prediction_sets
from core.studies import STUDIES

CLEAR_EVIDENCE = 8.0
"""Calibrated log-odds at one place that fill the heat map's scale (for a whole image they would be p = 0.9997)."""


class Outcome(StrEnum):
    """What an answer says."""

    POSITIVE = "positive"
    NEGATIVE = "negative"
    UNCERTAIN = "uncertain"


@dataclass(frozen=True, eq=False)
class Prediction:
    """The answer for one image.

    Attributes:
        probabilities: calibrated probability of each class, in the study's order.
        label_index: the class that is called.
        positive_probability: calibrated probability of any positive class.
        outcome: positive, negative or uncertain, by the rule of this module.
        confidence: probability of the side that is called, positive or negative.
        prediction_set: the classes that cannot be excluded at the model's coverage, the called one among them, the
            most probable one first.
        heat_map: float32 [s, s] in 0..1, for the square that the network saw: how strongly each place speaks for
            the positive classes; 0 where it speaks for none or against.
        stages_ms: milliseconds in ``preprocess``, ``infer`` and ``heat_map``.
    """

    probabilities: tuple[float, ...]
    label_index: int
    positive_probability: float
    outcome: Outcome
    confidence: float
    prediction_set: tuple[int, ...]
    heat_map: NDArray[np.float32]
    stages_ms: dict[str, float]


def decide(
    probabilities: NDArray[np.float64],
    logits: NDArray[np.float64],
    manifest: ModelManifest,
    *,
    heat_map: NDArray[np.float32],
    stages_ms: dict[str, float],
) -> Prediction:
    """Apply the rule of this module to calibrated probabilities float64 [C] and logits float64 [1, C] of one image."""
    positive = np.zeros(len(manifest.classes), bool)
    positive[list(STUDIES[manifest.study].positive_indices)] = True
    probability = float(probabilities[positive].sum())
    is_positive = probability >= manifest.threshold
    side = positive if is_positive else ~positive
    called = int(np.argmax(np.where(side, probabilities, -1.0)))
    members = prediction_sets(logits, manifest.set_bounds, np.array([called]))[0]
    uncertain = manifest.uncertain_low <= probability < manifest.uncertain_high
    if len(probabilities) > 2:  # noqa: PLR2004  two classes
        uncertain = uncertain or bool((members & ~side).any())
    return Prediction(
        probabilities=tuple(float(p) for p in probabilities),
        label_index=called,
        positive_probability=probability,
        outcome=Outcome.UNCERTAIN if uncertain else Outcome.POSITIVE if is_positive else Outcome.NEGATIVE,
        confidence=probability if is_positive else 1.0 - probability,
        prediction_set=tuple(int(c) for c in np.argsort(-probabilities, kind="stable") if members[c]),
        heat_map=heat_map,
        stages_ms=stages_ms,
    )


class Predictor:
    """A loaded model. Not for several threads at once: LiteRT's interpreter has one set of buffers."""

    def __init__(self, model: ServingModel, *, threads: int = 1) -> None:
        """Load the network.

        Raises:
            CheckpointRefused: LiteRT cannot load it, or its inputs and outputs are not those of its manifest.
        """
        model.check()
        self.manifest = manifest = model.manifest
        self._study = STUDIES[manifest.study]
        try:
            self._interpreter = Interpreter(model_content=model.litert, num_threads=threads)
            self._runner = self._interpreter.get_signature_runner()
            outputs = self._runner(image=np.zeros((1, manifest.input_size, manifest.input_size, 3), np.float32))
            shapes = (outputs["logits"].shape, outputs["cam"].shape[0::3])
        except (ValueError, RuntimeError, KeyError) as error:
            raise CheckpointRefused("the network cannot be loaded") from error
        classes = len(manifest.classes)
        if shapes != ((1, classes), (1, classes)):
            raise CheckpointRefused("the network's outputs are not those of its manifest")

    def predict(self, pixels: NDArray[np.uint8]) -> Prediction:
        """Answer for one decoded image uint8 [h, w, 3], RGB.

        Raises:
            CheckpointRefused: the network's answer is not finite.
        """
        manifest = self.manifest
        started = time.perf_counter()
        options = self._study.preprocessing
        image = normalise(preprocess(pixels, manifest.input_size, options)[np.newaxis], options)
        prepared = time.perf_counter()
        outputs = self._runner(image=image)
        logits = np.asarray(outputs["logits"], np.float64)
        cam = np.asarray(outputs["cam"][0], np.float64)
        if not (np.isfinite(logits).all() and np.isfinite(cam).all()):
            raise CheckpointRefused("the network's answer is not finite")
        inferred = time.perf_counter()
        heat_map = self._heat_map(cam)
        drawn = time.perf_counter()
        probabilities = calibrated_probabilities(
            logits,
            self._study,
            temperature=manifest.temperature,
            positive_temperature=manifest.positive_temperature,
            positive_offset=manifest.positive_offset,
        )[0]
        stages_ms = {
            "preprocess": (prepared - started) * 1e3,
            "infer": (inferred - prepared) * 1e3,
            "heat_map": (drawn - inferred) * 1e3,
        }
        return decide(probabilities, logits, manifest, heat_map=heat_map, stages_ms=stages_ms)

    def _heat_map(self, cam: NDArray[np.float64]) -> NDArray[np.float32]:
        """Class activation map float64 [h, w, classes] to evidence float32 [s, s] in 0..1.

        For two classes the log-odds of the places average to exactly the log-odds of the answer. The scale ends at
        the strongest place of this image, or at `CLEAR_EVIDENCE` where no place is that strong, so that weak
        evidence stays faint.
        """
        height, width, classes = cam.shape
        log_odds = positive_log_odds(cam.reshape(-1, classes), self._study).reshape(height, width)
        side = self.manifest.input_size
        smooth = np.asarray(cv2.resize(log_odds, (side, side), interpolation=cv2.INTER_CUBIC), np.float64)
        scale = max(float(smooth.max()), CLEAR_EVIDENCE * self.manifest.positive_temperature)
        return np.clip(smooth / scale, 0.0, 1.0).astype(np.float32)
