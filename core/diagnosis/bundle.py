"""A model as it is served: manifest (what it is and how it decides), LiteRT network, and, for members, the weights."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from core.diagnosis.codec import TRAVELS, Codec
from core.errors import CheckpointRefused
from core.learning.class_scores import LIMIT
from core.learning.metric_sums import Summary, summary_dict
from core.learning.weights import Weights, checkpoint_sha256, decode_weights, encode_weights, sha256_of
from core.studies import STUDIES, Study
from security.encoding import decode, encode

FORMAT = "hemaseal-serving-model"
VERSION = 2
_MOMENTS = "moments"


@dataclass(frozen=True, kw_only=True)
class ModelManifest:
    """What a model is and how it decides. Probabilities and rates are in 0..1.

    Attributes:
        study: name of the study.
        architecture: name in `core.learning.architectures`.
        input_size: side of the network's input in pixels.
        classes: labels in output order.
        preprocessing: version of the study's `core.studies.Preprocessing`; another one would see other pixels.
        temperature: logits are divided by it before they become probabilities of classes.
        positive_temperature: positive log-odds are divided by it ...
        positive_offset: ... and this is added before they become the positive probability.
        threshold: calibrated positive probability from which an image is called positive; it maximises balanced
            accuracy on the summed validation histograms (middle of the flat top).
        uncertain_low: from this calibrated positive probability ...
        uncertain_high: ... up to this one the answer is "uncertain" (at most 10 % of the validation images).
        alarm_threshold: calibrated positive probability from which an image counts for its patient's alarm; a
            patient is judged by many images, so it is at least `threshold`.
        alarm_rate: a patient whose share of such images exceeds it raises the alarm.
        false_alarm_bound: share of all-normal pseudo-patients that may raise it, on validation.
        coverage: share of each class's images whose prediction set must hold the class, on validation.
        set_bounds: for each class the lowest log-odds with which it is in the set (`core.learning.conformal`).
        run_id: federated run, or the name of the training that made it.
        round: round of the run.
        weights_sha256: names the checkpoint that its weights are from (`core.learning.weights.checkpoint_sha256`).
        litert_sha256: SHA-256 of the LiteRT network.
        members: parties that trained it.
        metrics: figures of the summed validation (`core.learning.metric_sums.Summary`).
    """

    study: str
    architecture: str
    input_size: int
    classes: tuple[str, ...]
    preprocessing: str
    temperature: float
    positive_temperature: float
    positive_offset: float
    threshold: float
    uncertain_low: float
    uncertain_high: float
    alarm_threshold: float
    alarm_rate: float
    false_alarm_bound: float
    coverage: float
    set_bounds: tuple[float, ...]
    run_id: str
    round: int
    weights_sha256: str
    litert_sha256: str
    members: tuple[str, ...]
    metrics: dict[str, float]

    __pydantic_config__: ClassVar = TRAVELS

    def check(self) -> None:
        """Refuse what this installation cannot serve.

        Raises:
            CheckpointRefused: unknown study, other classes or preprocessing, or numbers out of range.
        """
        study = STUDIES.get(self.study)
        if study is None or (study.class_names, study.input_size) != (self.classes, self.input_size):
            raise CheckpointRefused("the model was made for a study that is not known here")
        here = study.preprocessing.version
        if self.preprocessing != here:
            raise CheckpointRefused(f"the model needs preprocessing {self.preprocessing}, here is {here}")
        ordered = 0 <= self.uncertain_low <= self.threshold <= self.uncertain_high <= 1
        ordered = ordered and self.threshold <= self.alarm_threshold <= 1
        rates = 0 <= self.alarm_rate <= 1 and 0 <= self.false_alarm_bound <= 1
        calibration = 0 < self.temperature < math.inf and 0 < self.positive_temperature < math.inf
        calibration = calibration and math.isfinite(self.positive_offset)
        sets = len(self.set_bounds) == len(self.classes) and 0 < self.coverage < 1
        sets = sets and all(-LIMIT <= bound <= LIMIT for bound in self.set_bounds)
        if not (ordered and rates and calibration and sets and self.round >= 0):
            raise CheckpointRefused("the model's decision rule holds impossible numbers")


@dataclass(frozen=True, kw_only=True)
class ServingModel:
    """An immutable model. Nobody changes it in place; a new model is a new object.

    Attributes:
        manifest: what it is and how it decides.
        litert: LiteRT flatbuffer (`core.learning.export`).
        weights: safetensors bytes, or None in the copies that only serve. Where the checkpoint held a server
            optimiser's moments too, the metadata state the moments' hash.
    """

    manifest: ModelManifest
    litert: bytes = field(repr=False)
    weights: bytes | None = field(default=None, repr=False)

    def encode(self) -> bytes:
        """Return the canonical CBOR of this model."""
        return encode(
            {
                "format": FORMAT,
                "version": VERSION,
                "manifest": _MANIFEST.encode(self.manifest),
                "litert": self.litert,
                "weights": self.weights,
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> "ServingModel":
        """Read and check what `encode` wrote.

        Raises:
            CheckpointRefused: damaged, inconsistent (hashes), or not for this installation.
        """
        try:
            value = decode(data)
            if (value["format"], value["version"], len(value)) != (FORMAT, VERSION, 5):
                raise CheckpointRefused(f"the model is not of version {VERSION}; it must be trained or shipped anew")
            manifest, litert, weights = _MANIFEST.decode(value["manifest"]), value["litert"], value["weights"]
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointRefused("the model cannot be read") from error
        if not isinstance(litert, bytes) or not isinstance(weights, bytes | None):
            raise CheckpointRefused("the model cannot be read")
        model = cls(manifest=manifest, litert=litert, weights=weights)
        model.check()
        return model

    def check(self) -> None:
        """Check manifest and hashes.

        Raises:
            CheckpointRefused: they do not hold.
        """
        self.manifest.check()
        if hashlib.sha256(self.litert).hexdigest() != self.manifest.litert_sha256:
            raise CheckpointRefused("the network is not the one of its manifest")
        if self.weights is not None and _name_of(*decode_weights(self.weights)) != self.manifest.weights_sha256:
            raise CheckpointRefused("the weights are not those of the manifest")

    def without_weights(self) -> "ServingModel":
        """Return the copy for enclaves."""
        return ServingModel(manifest=self.manifest, litert=self.litert)

    def standing_alone(self) -> "ServingModel":
        """Return the model named by its weights alone, for where the moments of its checkpoint are not."""
        if self.weights is None:
            return self
        weights, metadata = decode_weights(self.weights)
        metadata.pop(_MOMENTS, None)
        manifest = replace(self.manifest, weights_sha256=sha256_of(weights))
        return ServingModel(manifest=manifest, litert=self.litert, weights=encode_weights(weights, metadata))


def make_serving_model(
    *,
    weights: Weights,
    litert: bytes,
    architecture: str,
    study: Study,
    summary: Summary,
    run_id: str,
    round_number: int,
    members: Sequence[str],
    moments_sha256: str = "",
) -> ServingModel:
    """Put a model together from trained weights, their LiteRT export and the summed validation figures.

    `moments_sha256` is the hash of the server optimiser's moments in the weights' checkpoint, empty when it has none.

    Raises:
        CheckpointRefused: the parts do not make a model that can be served.
    """
    metadata = {"study": study.name, "architecture": architecture, "run": run_id, "round": str(round_number)}
    if moments_sha256:
        metadata[_MOMENTS] = moments_sha256
    manifest = ModelManifest(
        study=study.name,
        architecture=architecture,
        input_size=study.input_size,
        classes=study.class_names,
        preprocessing=study.preprocessing.version,
        temperature=summary.temperature,
        positive_temperature=summary.positive_temperature,
        positive_offset=summary.positive_offset,
        threshold=summary.threshold,
        uncertain_low=summary.uncertain_low,
        uncertain_high=summary.uncertain_high,
        alarm_threshold=summary.alarm_threshold,
        alarm_rate=summary.alarm_rate,
        false_alarm_bound=study.policy.false_alarm_bound,
        coverage=study.policy.coverage,
        set_bounds=summary.set_bounds,
        run_id=run_id,
        round=round_number,
        weights_sha256=_name_of(weights, metadata),
        litert_sha256=hashlib.sha256(litert).hexdigest(),
        members=tuple(members),
        metrics=summary_dict(summary),
    )
    model = ServingModel(manifest=manifest, litert=litert, weights=encode_weights(weights, metadata))
    model.check()
    return model


def _name_of(weights: Weights, metadata: Mapping[str, str]) -> str:
    return checkpoint_sha256(sha256_of(weights), metadata.get(_MOMENTS, ""))


_MANIFEST = Codec(ModelManifest)
