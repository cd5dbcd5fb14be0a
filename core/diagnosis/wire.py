"""What client and enclave say to each other: frames, signed requests, signed replies.

A frame is 4 bytes of length (big endian) and as many bytes. A request frame is the request id (16 random bytes) and
the request, signed by the app; a reply frame is the reply, signed by the enclave. Both signatures bind the request id,
so that a reply fits one request only. Freshness and replay are the enclave's to check (`Replays`).
"""

import socket
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from core.diagnosis.codec import TRAVELS, Codec
from security.context import Context, Purpose

APP = "app"
MAX_FRAME = 64 * 2**20
MAX_IMAGE_BYTES = 60 * 2**20
"""Largest PNG that is sealed for an enclave; with seal, signature and certificates it fits into a frame, both ways."""

REQUEST_ID_BYTES = 16
MAX_AGE_S = 60.0
_LENGTH_BYTES = 4
_PART_BYTES = 2**18
_MAX_REMEMBERED = 100_000


class Operation(StrEnum):
    """What can be asked of an enclave."""

    HELLO = "hello"
    LOAD_MODEL = "load_model"
    DIAGNOSE = "diagnose"
    VIEW = "view"
    CROPS = "crops"
    HAND_OVER = "hand_over"
    ENCRYPT = "encrypt"
    CONCLUDE = "conclude"
    STOP = "stop"


NEEDS_NO_APPROVAL = frozenset({Operation.HELLO, Operation.STOP})
"""What an enclave does whatever its measurement is: say it, and end."""


class Code(StrEnum):
    """How a request ended. A code is all that an enclave says about a failure."""

    OK = "ok"
    REQUEST_REFUSED = "request-refused"
    MODEL_REFUSED = "model-refused"
    MODEL_UNKNOWN = "model-unknown"
    IMAGE_SEAL = "image-seal"
    IMAGE_UNREADABLE = "image-unreadable"
    ANSWER_REFUSED = "answer-refused"
    NOT_APPROVED = "not-approved"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request, before it is signed.

    Attributes:
        op: what is asked.
        party: the enclave that is asked; another one refuses.
        at: when it was made, UTC.
        reply_to: the app's sealing certificate, DER; sealed answers go to it.
        crl: newest revocation list that the app knows, DER, or None.
        approvals: the authority's list of approved measurements, signed; an enclave that is not on it does no work.
        study: name of the study (all but hello and stop).
        checkpoint_id: the model (load_model, diagnose, encrypt).
        run: run that the model's seal names (load_model).
        sender: party that sealed the model (load_model).
        head: the model's encrypted head, signed by its sender; empty for a model that has its head (load_model).
        case_id: the case that the image's seal names (diagnose, view, crops, hand_over, encrypt).
        image: number of the image in its case, from 0 ...
        images: ... and how many the case has.
        boxes: (left, top, side) of the squares to cut out (crops).
        recipient: sealing certificate, DER, of the enclave that the image is handed over to (hand_over).
        sealed: sealed model or image.
        query_id: the query that is answered (conclude) ...
        answer: ... and the answer, signed by the key holder.
    """

    op: Operation
    party: str
    at: datetime
    reply_to: bytes = field(repr=False)
    crl: bytes | None = field(default=None, repr=False)
    approvals: bytes = field(default=b"", repr=False)
    study: str = ""
    checkpoint_id: str = ""
    run: str = ""
    sender: str = ""
    head: bytes = field(default=b"", repr=False)
    case_id: str = ""
    image: int = 0
    images: int = 1
    boxes: tuple[tuple[int, int, int], ...] = ()
    recipient: bytes = field(default=b"", repr=False)
    sealed: bytes = field(default=b"", repr=False)
    query_id: str = ""
    answer: bytes = field(default=b"", repr=False)

    __pydantic_config__: ClassVar = TRAVELS


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer, before it is signed.

    Attributes:
        code: how it ended; all else but the measurement is empty unless it is OK.
        measurement: what the enclave runs, the hash of `core.diagnosis.measurement.measure`.
        sealed: sealed result (diagnose, conclude), image (view) or strip of squares (crops); block of recipients
            (hand_over).
        query_id: the id of a query (encrypt) ...
        query: ... and the query, signed by the enclave for the key holder.
        stages_ms: milliseconds of each stage inside the enclave.
        pid: process id (hello).
        models: ids of the loaded checkpoints (hello).
        start_s: seconds from the start of the process until it listened (hello).
        rss_mb: resident memory in MiB (hello).
        protections: what it gave up or keeps to itself, by the names of `core.diagnosis.hardening` and `confinement`
            (hello).
    """

    code: Code
    measurement: str = ""
    sealed: bytes = field(default=b"", repr=False)
    query_id: str = ""
    query: bytes = field(default=b"", repr=False)
    stages_ms: dict[str, float] = field(default_factory=dict)
    pid: int = 0
    models: tuple[str, ...] = ()
    start_s: float = 0.0
    rss_mb: float = 0.0
    protections: tuple[str, ...] = ()

    __pydantic_config__: ClassVar = TRAVELS


REQUESTS = Codec(Request)
REPLIES = Codec(Reply)


def request_context(request_id: bytes) -> Context:
    """Return the context that the signature of a request binds."""
    return Context(purpose=Purpose.ENCLAVE_REQUEST, study="", sender=APP, object_id=request_id.hex())


def reply_context(request_id: bytes, party: str) -> Context:
    """Return the context that the signature of a reply binds."""
    return Context(purpose=Purpose.ENCLAVE_REPLY, study="", sender=party, object_id=request_id.hex())


def image_context(*, study: str, case_id: str, image: int = 0, images: int = 1) -> Context:
    """Return the context of a patient's image that the app seals for enclaves: which image of which case."""
    return Context(purpose=Purpose.IMAGE, study=study, sender=APP, object_id=_image_of(case_id, image, images))


def result_context(*, study: str, case_id: str, party: str, image: int = 0, images: int = 1) -> Context:
    """Return the context of a result that an enclave seals for the app."""
    return Context(purpose=Purpose.RESULT, study=study, sender=party, object_id=_image_of(case_id, image, images))


def view_context(*, study: str, case_id: str, party: str, image: int = 0, images: int = 1) -> Context:
    """Return the context of an image that an enclave seals for the app, for one viewing."""
    return Context(purpose=Purpose.VIEW, study=study, sender=party, object_id=_image_of(case_id, image, images))


def crops_context(*, study: str, case_id: str, party: str, image: int = 0, images: int = 1) -> Context:
    """Return the context of squares of an image that an enclave seals for the app, for one viewing."""
    which = f"{_image_of(case_id, image, images)}/crops"
    return Context(purpose=Purpose.VIEW, study=study, sender=party, object_id=which)


def _image_of(case_id: str, image: int, images: int) -> str:
    """Name an image by its case, its number and how many there are: one that is taken away or added is noticed.

    A case's only image bears the name of the case, as before a case could hold several.
    """
    return case_id if images == 1 else f"{case_id}/{image + 1}/{images}"


def send_frame(connection: socket.socket, *parts: bytes, until: float | None = None) -> None:
    """Send the parts as one frame, by `until` (of `time.monotonic`): however slowly the other side takes it.

    Raises:
        ValueError: they are longer than `MAX_FRAME`.
        OSError: the connection broke or timed out.
    """
    length = sum(map(len, parts))
    if length > MAX_FRAME:
        raise ValueError(f"a frame of at most {MAX_FRAME} bytes expected, got {length}")
    left = memoryview(b"".join((length.to_bytes(_LENGTH_BYTES, "big"), *parts)))
    while left:
        limit(connection, until)
        left = left[connection.send(left) :]


def receive_frame(connection: socket.socket, *, until: float | None = None) -> bytes | None:
    """Return the next frame, or None if the other side closed the connection between frames.

    It is there by `until` (of `time.monotonic`), however slowly it comes.

    Raises:
        ValueError: the frame is too long or ends too early.
        OSError: the connection broke or timed out.
    """
    limit(connection, until)
    first = connection.recv(_LENGTH_BYTES)
    if not first:
        return None
    length = int.from_bytes(first + _receive(connection, _LENGTH_BYTES - len(first), until), "big")
    if length > MAX_FRAME:
        raise ValueError(f"a frame of at most {MAX_FRAME} bytes expected, {length} announced")
    return _receive(connection, length, until)


def limit(connection: socket.socket, until: float | None) -> None:
    """Let the next operation of a connection take what is left until then; without it, what its timeout says.

    Raises:
        TimeoutError: nothing is left.
    """
    if until is not None:
        left_s = until - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        connection.settimeout(left_s)


def _receive(connection: socket.socket, count: int, until: float | None) -> bytes:
    """Return the next `count` bytes; memory grows with what arrives, not with what a stranger announces."""
    data = bytearray()
    while len(data) < count:
        limit(connection, until)
        part = connection.recv(min(count - len(data), _PART_BYTES))
        if not part:
            raise ValueError("the frame ended too early")
        data += part
    return bytes(data)


class Replays:
    """Remembers the ids of recent requests, so that none is answered twice. For several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[bytes, datetime] = {}

    def is_new(self, request_id: bytes, at: datetime, now: datetime) -> bool:
        """Remember a request and return whether it is fresh (`MAX_AGE_S`, either way) and was not seen before."""
        if abs((now - at).total_seconds()) > MAX_AGE_S:
            return False
        with self._lock:
            if request_id in self._seen or len(self._seen) >= _MAX_REMEMBERED:
                self._forget(now)
            if request_id in self._seen or len(self._seen) >= _MAX_REMEMBERED:
                return False
            self._seen[request_id] = at
            return True

    def _forget(self, now: datetime) -> None:
        """Drop ids whose requests are refused for their age anyway; they are in order of arrival, roughly of age."""
        self._seen = {key: at for key, at in self._seen.items() if abs((now - at).total_seconds()) <= MAX_AGE_S}
