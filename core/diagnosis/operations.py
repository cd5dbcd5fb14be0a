"""What an enclave does with a request that it admits: open model and image in memory, answer sealed and signed.

No sockets are opened and no files here. Whatever goes wrong becomes one code in the reply; the cause stays inside.
"""

import logging
import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.clock import Clock
from core.diagnosis.admission import Admission, Refused
from core.diagnosis.assessment import assess
from core.diagnosis.checkpoint_file import open_model
from core.diagnosis.encrypted_operations import EncryptedHeads
from core.diagnosis.hardening import wipe
from core.diagnosis.measurement import measure_with_model
from core.diagnosis.predictor import Predictor
from core.diagnosis.result import DiagnosisResult
from core.diagnosis.shelf import Shelf
from core.diagnosis.squares import squares_beside
from core.diagnosis.wire import (
    APP,
    REPLIES,
    REQUEST_ID_BYTES,
    Code,
    Operation,
    Reply,
    Request,
    crops_context,
    image_context,
    reply_context,
    result_context,
    view_context,
)
from core.errors import CheckpointRefused, HemaSealError, ImageRefused, NoModel, NotFound
from core.imaging.decode import decode_upload, encode_png
from core.studies import STUDIES
from security.certificates import Certificate, Trust
from security.context import Context
from security.errors import CertificateRefused, SealBroken, SecurityError
from security.identity import Identity
from security.sealing import handed_over, open_sealed, seal
from security.signing import sign

MAX_MODELS = 8
MAX_CROPS = 64
THREADS = min(2, os.cpu_count() or 1)
"""Of a network's answer about one image: the same bits as with one, in little more than half of the time."""
SERVING = ".serving"
"""How the party of every hospital's enclave ends."""
MODEL_SENDER = "authority"
"""The one party whose models serve: it seals a model for the enclaves when it promotes it."""

_LOG = logging.getLogger("hemaseal.enclave")


class Enclave:
    """One hospital's serving keys, the models it opened, and the operations on them. For several threads."""

    def __init__(
        self,
        identity: Identity,
        trust: Trust,
        *,
        clock: Clock,
        measurement: str,
        max_bytes: int,
        max_pixels: int,
        on_stop: Callable[[], None] = lambda: None,
    ) -> None:
        """Hold the party's identity.

        Args:
            identity: the serving identity of one hospital.
            trust: the authority's root; a newer revocation list that comes with a request replaces the one here.
            clock: tells the time.
            measurement: hash of `core.diagnosis.measurement.measure` of this code.
            max_bytes: largest accepted image file.
            max_pixels: largest accepted image.
            on_stop: called at a stop request, before it is answered.
        """
        self.admission = Admission(identity.party, trust, clock=clock, measurement=measurement)
        self._identity = identity
        self._clock = clock
        self._limits = {"max_bytes": max_bytes, "max_pixels": max_pixels}
        self._on_stop = on_stop
        self._models: Shelf[Predictor] = Shelf(MAX_MODELS)
        self._encrypted = EncryptedHeads(identity, measurement)
        self._inference = threading.Lock()
        self.start_s = 0.0
        self.protections: tuple[str, ...] = ()
        self._operations: Mapping[Operation, Callable[[Request], Reply]] = {
            Operation.HELLO: self._hello,
            Operation.LOAD_MODEL: self._load_model,
            Operation.DIAGNOSE: self._diagnose,
            Operation.VIEW: self._view,
            Operation.CROPS: self._crops,
            Operation.HAND_OVER: self._hand_over,
            Operation.ENCRYPT: self._encrypt,
            Operation.CONCLUDE: self._conclude,
            Operation.STOP: self._stop,
        }

    def answer(self, frame: bytes) -> bytes:
        """Answer one request frame with a signed reply. Never raises for anything that a request holds."""
        request_id = frame[:REQUEST_ID_BYTES].ljust(REQUEST_ID_BYTES, b"\0")
        try:
            request = self.admission.admit(request_id, frame[REQUEST_ID_BYTES:])
            reply = self._operations[request.op](request)
        except Refused as refused:
            reply = Reply(code=refused.code)
        except Exception as error:  # noqa: BLE001  a request must not end the process, nor tell its cause to anybody
            _LOG.warning("request failed: %s", type(error).__name__)
            reply = Reply(code=Code.FAILED)
        context = reply_context(request_id, self._identity.party)
        reply = replace(reply, measurement=self.admission.measurement)
        return sign(REPLIES.encode(reply), signer=self._identity, context=context)

    def _hello(self, _request: Request) -> Reply:
        models = (*self._models.ids, *self._encrypted.models)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return Reply(
            code=Code.OK,
            pid=os.getpid(),
            models=models,
            start_s=self.start_s,
            protections=self.protections,
            rss_mb=peak / (2**20 if sys.platform == "darwin" else 2**10),
        )

    def _load_model(self, request: Request) -> Reply:
        if request.sender != MODEL_SENDER:
            raise Refused(Code.MODEL_REFUSED)
        try:
            model = open_model(
                request.sealed,
                recipient=self._identity,
                trust=self.admission.trust.for_stored(),
                study=request.study,
                run=request.run,
                sender=request.sender,
                at=self._clock.now(),
            )
            if request.head:
                self._encrypted.load(
                    request.checkpoint_id,
                    model,
                    request.head,
                    sender=request.sender,
                    trust=self.admission.trust.for_stored(),
                    at=self._clock.now(),
                )
                return Reply(code=Code.OK)
            loaded = self._models.get(request.checkpoint_id) or Predictor(model.without_weights(), threads=THREADS)
        except CheckpointRefused as error:
            raise Refused(Code.MODEL_REFUSED) from error
        if loaded.manifest != model.manifest:  # an id names one model for ever
            raise Refused(Code.MODEL_REFUSED)
        self._models.put(request.checkpoint_id, loaded)
        return Reply(code=Code.OK)

    def _diagnose(self, request: Request) -> Reply:
        started = time.perf_counter()
        now = self._clock.now()
        predictor = self._models.get(request.checkpoint_id)
        if predictor is None or predictor.manifest.study != request.study:
            raise Refused(Code.MODEL_UNKNOWN)
        data = self._open_image(request, now)
        opened = time.perf_counter()
        pixels = self._decode(data)
        decoded = time.perf_counter()
        try:
            with self._inference:
                found = assess(pixels, STUDIES[request.study], predictor.predict)
        except ImageRefused as error:
            raise Refused(Code.IMAGE_UNREADABLE) from error
        finally:
            wipe(pixels)
        stages = {"open": (opened - started) * 1e3, "decode": (decoded - opened) * 1e3, **found.stages_ms}
        manifest = predictor.manifest
        result = DiagnosisResult.of(
            found.lead,
            manifest,
            heat_map_png=found.overlay,
            case_id=request.case_id,
            image=request.image,
            images=request.images,
            checkpoint_id=request.checkpoint_id,
            box=found.box,
            cells=found.cells,
            cells_seen=found.cells_seen,
            figures=found.figures,
            stages_ms=stages,
            answered_by=self._identity.party,
            measurement=measure_with_model(self.admission.measurement, manifest.litert_sha256),
            approval=self.admission.approval(),
            at=now,
        )
        before = time.perf_counter()
        sealed = self._seal(result.encode(), request, result_context(**self._which(request)))
        return Reply(code=Code.OK, sealed=sealed, stages_ms={**stages, "seal": (time.perf_counter() - before) * 1e3})

    def _view(self, request: Request) -> Reply:
        pixels = self._decode(self._open_image(request, self._clock.now()))
        try:
            picture = encode_png(pixels)
        finally:
            wipe(pixels)
        return Reply(code=Code.OK, sealed=self._seal(picture, request, view_context(**self._which(request))))

    def _crops(self, request: Request) -> Reply:
        if not 0 < len(request.boxes) <= MAX_CROPS:
            raise Refused(Code.REQUEST_REFUSED)
        pixels = self._decode(self._open_image(request, self._clock.now()))
        try:
            strip = encode_png(squares_beside(pixels, request.boxes))
        except ValueError as error:
            raise Refused(Code.IMAGE_UNREADABLE) from error
        finally:
            wipe(pixels)
        return Reply(code=Code.OK, sealed=self._seal(strip, request, crops_context(**self._which(request))))

    def _hand_over(self, request: Request) -> Reply:
        """Wrap an image's DEK for another hospital's enclave; the app, which has to sign that, does not see it."""
        try:
            other = Certificate(request.recipient)
            if not other.party.endswith(SERVING) or other.party == self._identity.party:
                raise Refused(Code.REQUEST_REFUSED)
            block = handed_over(
                request.sealed,
                holder=self._identity,
                recipients=[other],
                trust=self.admission.trust.for_stored(),
                context=_image_context(request),
                sender=APP,
                at=self._clock.now(),
            )
        except CertificateRefused as error:
            raise Refused(Code.REQUEST_REFUSED) from error
        except (SealBroken, ValueError) as error:
            raise Refused(Code.IMAGE_SEAL) from error
        return Reply(code=Code.OK, sealed=block)

    def _encrypt(self, request: Request) -> Reply:
        now = self._clock.now()
        pixels = self._decode(self._open_image(request, now))
        about = {"case_id": request.case_id, "image": request.image, "images": request.images}
        try:
            with self._inference:
                query_id, query, stages = self._encrypted.ask(
                    pixels, study=request.study, checkpoint_id=request.checkpoint_id, about=about, at=now
                )
        except NoModel as error:
            raise Refused(Code.MODEL_UNKNOWN) from error
        except ImageRefused as error:
            raise Refused(Code.IMAGE_UNREADABLE) from error
        finally:
            wipe(pixels)
        return Reply(code=Code.OK, query_id=query_id, query=query, stages_ms=stages)

    def _conclude(self, request: Request) -> Reply:
        try:
            result = self._encrypted.conclude(
                request.query_id,
                request.answer,
                trust=self.admission.trust,
                at=self._clock.now(),
                approval=self.admission.approval(),
            )
        except NotFound as error:
            raise Refused(Code.REQUEST_REFUSED) from error
        except SecurityError as error:
            raise Refused(Code.ANSWER_REFUSED) from error
        context = result_context(
            study=result.study,
            case_id=result.case_id,
            party=self._identity.party,
            image=result.image,
            images=result.images,
        )
        return Reply(code=Code.OK, sealed=self._seal(result.encode(), request, context), stages_ms=result.stages_ms)

    def _stop(self, _request: Request) -> Reply:
        self._on_stop()
        return Reply(code=Code.OK)

    def _open_image(self, request: Request, now: datetime) -> bytes:
        try:
            return open_sealed(
                request.sealed,
                recipient=self._identity,
                trust=self.admission.trust.for_stored(),
                context=_image_context(request),
                sender=APP,
                at=now,
            )
        except (SealBroken, CertificateRefused, ValueError) as error:
            raise Refused(Code.IMAGE_SEAL) from error

    def _decode(self, data: bytes) -> NDArray[np.uint8]:
        """Decode an opened image and wipe its bytes."""
        try:
            return decode_upload(data, **self._limits).pixels
        except HemaSealError as error:
            raise Refused(Code.IMAGE_UNREADABLE) from error
        finally:
            wipe(data)

    def _which(self, request: Request) -> dict[str, Any]:
        """Return what the context of an answer about an image names."""
        return {
            "study": request.study,
            "case_id": request.case_id,
            "party": self._identity.party,
            "image": request.image,
            "images": request.images,
        }

    def _seal(self, data: bytes, request: Request, context: Context) -> bytes:
        """Seal an answer to the app and wipe it."""
        sealed = seal(data, sender=self._identity, recipients=[Certificate(request.reply_to)], context=context)
        wipe(data)
        return sealed


def _image_context(request: Request) -> Context:
    return image_context(study=request.study, case_id=request.case_id, image=request.image, images=request.images)
