"""An enclave's part in encrypted inference: an image becomes a query, the key holder's answer becomes a result.

The node that runs the enclave holds the backbone and an encrypted head. It learns the probabilities in hundredths, as
the doctor does, and not the weights. Between query and answer the enclave remembers what was asked about, so the query
itself says nothing of it; an answer concludes one query once. A picture is one query: of a field of several cells the
number of queries would tell their number, so this mode refuses fields.
"""

import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.diagnosis.assessment import ONE_CELL, cells_of_field
from core.diagnosis.bundle import ModelManifest, ServingModel
from core.diagnosis.encrypted_backbone import Backbone
from core.diagnosis.encrypted_head import logits_behind
from core.diagnosis.measurement import measure_with_model
from core.diagnosis.predictor import decide
from core.diagnosis.result import Box, DiagnosisResult
from core.diagnosis.shelf import Shelf
from core.errors import CheckpointRefused, ImageRefused, NoModel, NotFound
from core.imaging.drift import figures_of
from core.imaging.preprocess import square_window
from core.studies import STUDIES
from security.certificates import Trust
from security.encrypted_inference.evaluation import HeadEvaluator
from security.encrypted_inference.signed import WHOLE, Query, open_answer, open_head, sign_query
from security.errors import CiphertextRefused, SecurityError
from security.identity import Identity

KEYHOLDER = "keyholder"
"""The party that reads encrypted logits: the authority's, with keys and a folder of its own."""
MAX_MODELS = 4
MAX_OPEN = 256
ANSWERED_WITHIN = timedelta(minutes=5)
QUERY_ID_BYTES = 16

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class _Loaded:
    """A model without its head, and the head as it can be used."""

    backbone: Backbone
    evaluator: HeadEvaluator
    head: bytes

    @property
    def manifest(self) -> ModelManifest:
        return self.backbone.manifest


@dataclass(frozen=True, eq=False)
class _Open:
    """A query that was not concluded yet, and what its result will be about."""

    manifest: ModelManifest
    about: dict[str, Any]
    box: Box
    figures: tuple[float, ...]
    stages_ms: dict[str, float]
    at: datetime


class EncryptedHeads:
    """The models of one enclave whose heads are encrypted, and its open queries. For several threads but `ask`."""

    def __init__(self, identity: Identity, measurement: str) -> None:
        self._identity = identity
        self._measurement = measurement
        self._models: Shelf[_Loaded] = Shelf(MAX_MODELS)
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def models(self) -> tuple[str, ...]:
        """Ids of the loaded checkpoints."""
        return self._models.ids

    def load(
        self, checkpoint_id: str, model: ServingModel, envelope: bytes, *, sender: str, trust: Trust, at: datetime
    ) -> None:
        """Load a backbone with its head, which `sender` signed for this checkpoint.

        Raises:
            CheckpointRefused: signature or contents do not hold, or the id names another model or head already.
        """
        manifest = model.manifest
        try:
            head = open_head(
                envelope, trust=trust, party=sender, study=manifest.study, checkpoint_id=checkpoint_id, at=at
            )
        except SecurityError as error:
            raise CheckpointRefused("the encrypted head does not hold for this model") from error
        if head.classes != len(manifest.classes):
            raise CheckpointRefused("the encrypted head is of other classes")
        encoded = head.encode()
        loaded = self._models.get(checkpoint_id)
        if loaded is None:
            backbone = Backbone(model.without_weights(), features=head.features)
            loaded = _Loaded(backbone, HeadEvaluator(head), encoded)
        if (loaded.manifest, loaded.head) != (manifest, encoded):
            raise CheckpointRefused("an id names one model and one head for ever")
        self._models.put(checkpoint_id, loaded)

    def ask(
        self, pixels: Pixels, *, study: str, checkpoint_id: str, about: dict[str, Any], at: datetime
    ) -> tuple[str, bytes, dict[str, float]]:
        """Return the id of a query about a decoded image uint8 [h, w, 3], the signed query, and milliseconds by stage.

        Args:
            pixels: the image.
            study: name of the study.
            checkpoint_id: the model.
            about: case, image and number of images, for the result.
            at: now.

        Raises:
            NoModel: that model is not loaded, or is of another study.
            ImageRefused: a field of several cells.
            CheckpointRefused: the backbone's features are not finite or negative.
        """
        loaded = self._models.get(checkpoint_id)
        if loaded is None or loaded.manifest.study != study:
            raise NoModel(study)
        if cells_of_field(pixels, STUDIES[study]) is not None:
            raise ImageRefused(ONE_CELL)
        features, stages = loaded.backbone.features(pixels)
        started = time.perf_counter()
        query = Query(features.scale, loaded.evaluator.logits(features.numbers))
        query_id = secrets.token_hex(QUERY_ID_BYTES)
        envelope = sign_query(query, signer=self._identity, study=study, checkpoint_id=checkpoint_id, query_id=query_id)
        stages["encrypted_head"] = (time.perf_counter() - started) * 1e3
        top, left, side = square_window(*pixels.shape[:2])
        seen = figures_of(pixels, STUDIES[study])
        about = {**about, "checkpoint_id": checkpoint_id}
        with self._lock:
            self._open[query_id] = _Open(loaded.manifest, about, (left, top, side), seen, stages, at)
            while len(self._open) > MAX_OPEN:
                self._open.popitem(last=False)
        return query_id, envelope, stages

    def conclude(self, query_id: str, answer: bytes, *, trust: Trust, at: datetime, approval: int) -> DiagnosisResult:
        """Return the result that the key holder's answer to an open query makes; the query is closed by that.

        `approval` is the number of the authority's approval of this enclave, for the result.

        Raises:
            NotFound: there is no such query, it was concluded already, or is too old.
            SecurityError: the answer is not the key holder's to this query.
        """
        with self._lock:
            found = self._open.get(query_id)
        if found is None or at - found.at > ANSWERED_WITHIN:
            raise NotFound
        manifest = found.manifest
        hundredths = open_answer(
            answer,
            trust=trust,
            party=KEYHOLDER,
            study=manifest.study,
            checkpoint_id=found.about["checkpoint_id"],
            query_id=query_id,
            classes=len(manifest.classes),
            at=at,
        )
        result = self._result(found, hundredths, at, approval)
        with self._lock:
            if self._open.pop(query_id, None) is None:
                raise NotFound
        return result

    def _result(self, found: _Open, hundredths: tuple[int, ...], at: datetime, approval: int) -> DiagnosisResult:
        """Apply the model's rule to rounded probabilities; prediction sets are of the logits behind these."""
        manifest, total = found.manifest, sum(hundredths)
        if abs(total - WHOLE) > len(hundredths):
            raise CiphertextRefused("the hundredths of an answer do not add up to one")
        lead = decide(
            np.array(hundredths, np.float64) / total,
            logits_behind(hundredths, manifest),
            manifest,
            heat_map=np.zeros((1, 1), np.float32),
            stages_ms=found.stages_ms,
        )
        return DiagnosisResult.of(
            lead,
            manifest,
            heat_map_png=b"",
            **found.about,
            box=found.box,
            cells=(),
            cells_seen=0,
            figures=found.figures,
            stages_ms=found.stages_ms,
            answered_by=self._identity.party,
            measurement=measure_with_model(self._measurement, manifest.litert_sha256),
            approval=approval,
            at=at,
        )
