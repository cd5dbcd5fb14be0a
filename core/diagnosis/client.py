"""The app's end of the line to one hospital's enclave: in clear to this machine, over TLS to another one."""

import secrets
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from core.clock import Clock, SystemClock
from core.diagnosis.approvals import Approvals
from core.diagnosis.wire import (
    NEEDS_NO_APPROVAL,
    REPLIES,
    REQUEST_ID_BYTES,
    REQUESTS,
    Code,
    Operation,
    Reply,
    Request,
    limit,
    receive_frame,
    reply_context,
    request_context,
    send_frame,
)
from core.errors import (
    CheckpointRefused,
    EnclaveBusy,
    EnclaveUnavailable,
    HemaSealError,
    ImageBroken,
    MeasurementRefused,
    MemberRefused,
    NoModel,
    RecordDamaged,
)
from security.certificates import Certificate, Trust
from security.errors import CertificateRefused, SecurityError
from security.identity import Identity
from security.party_tls import check_peer
from security.signing import sign, verify

HOST = "127.0.0.1"
_ERRORS: dict[Code, type[HemaSealError]] = {
    Code.REQUEST_REFUSED: EnclaveUnavailable,
    Code.MODEL_REFUSED: CheckpointRefused,
    Code.MODEL_UNKNOWN: NoModel,
    Code.IMAGE_SEAL: RecordDamaged,
    Code.IMAGE_UNREADABLE: ImageBroken,
    Code.ANSWER_REFUSED: RecordDamaged,
    Code.NOT_APPROVED: MeasurementRefused,
    Code.FAILED: EnclaveUnavailable,
}


@dataclass(frozen=True, kw_only=True)
class SealedModel:
    """A sealed serving model as it lies in the database.

    Attributes:
        checkpoint_id: its id.
        study: name of the study.
        run: id of the run that its seal names.
        sender: party that sealed it.
        sealed: what `core.diagnosis.checkpoint_file.seal_model` made.
        head: its encrypted head, signed by the sender; empty where the head is in the model.
    """

    checkpoint_id: str
    study: str
    run: str
    sender: str
    sealed: bytes = field(repr=False)
    head: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, kw_only=True)
class EncryptedQuestion:
    """A query for the key holder, its id, and how long each stage inside the enclave took, in milliseconds."""

    query_id: str
    query: bytes = field(repr=False)
    stages_ms: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class EnclaveAnswer:
    """A sealed result and how long each stage inside the enclave took, in milliseconds."""

    sealed: bytes = field(repr=False)
    stages_ms: dict[str, float]


class EnclaveClient:
    """Asks one enclave. Each call is one connection; safe to use from several threads.

    All calls raise:
        EnclaveUnavailable: no answer in time, or not one that this enclave signed for this request.
        EnclaveBusy: it closed the connection without an answer, as one does that serves as many as it can (and one that
            dies at this moment: it refuses the next connection).
        MemberRefused: the enclave's certificate is revoked, expired or another party's.
        MeasurementRefused: but for `hello` and `stop`: it runs what the authority has not approved.
    """

    def __init__(
        self,
        port: int,
        *,
        identity: Identity,
        trust: Trust,
        approvals: Approvals,
        party: str,
        timeout_s: float = 20.0,
        clock: Clock | None = None,
        host: str = HOST,
        tls: ssl.SSLContext | None = None,
        on_silence: Callable[[], None] = lambda: None,
    ) -> None:
        """Remember how the enclave is reached.

        Args:
            port: TCP port.
            identity: the app's.
            trust: the authority's root and newest revocation list, which travels with each request.
            approvals: what the authority has approved; travels with each request too.
            party: the enclave's party, for example ``north.serving``.
            timeout_s: how long one call may take.
            clock: the machine's; the enclave refuses requests that are older than a minute by its own.
            host: where it listens: this machine, unless there is `tls`.
            tls: opens connections to another machine as the app (`security.party_tls`).
            on_silence: called when a call ends without an answer.
        """
        if tls is None and host != HOST:
            raise ValueError("an enclave on another machine is reached over TLS only")
        self.host = host
        self.port = port
        self.party = party
        self._identity = identity
        self._trust = trust
        self._approvals = approvals
        self._timeout_s = timeout_s
        self._clock = clock or SystemClock()
        self._tls = tls
        self._on_silence = on_silence

    def hello(self) -> Reply:
        """Return the enclave's process id, measurement, loaded models, start time and memory."""
        return self._ask(self._request(Operation.HELLO))

    def load_model(self, model: SealedModel) -> None:
        """Let the enclave open a model; costs little if it has it already.

        Raises:
            CheckpointRefused: changed, sealed for another enclave or run, or not usable.
        """
        self._ask(
            self._request(
                Operation.LOAD_MODEL,
                checkpoint_id=model.checkpoint_id,
                study=model.study,
                run=model.run,
                sender=model.sender,
                sealed=model.sealed,
                head=model.head,
            )
        )

    def diagnose(
        self,
        *,
        case_id: str,
        study: str,
        checkpoint_id: str,
        sealed_image: bytes,
        image: int = 0,
        images: int = 1,
        supply: Callable[[], SealedModel] | None = None,
    ) -> EnclaveAnswer:
        """Let the enclave answer for one image of a case.

        Args:
            case_id: the case that the image's seal names.
            image: number of the image in the case, from 0.
            images: how many the case has.
            study: name of the study.
            checkpoint_id: the model that shall answer.
            sealed_image: PNG, sealed with `core.diagnosis.wire.image_context`.
            supply: gives the sealed model if the enclave has not loaded it (after a restart, say).

        Returns:
            The result (`DiagnosisResult`), sealed for the app with `core.diagnosis.wire.result_context`.

        Raises:
            NoModel: the enclave has not loaded that model and there is no `supply`.
            CheckpointRefused: the supplied model was refused.
            RecordDamaged: the image was changed, or sealed for another enclave, case or study.
            ImageBroken: the seal holds, but what it holds is no image.
        """
        fields: dict[str, Any] = {
            "case_id": case_id,
            "image": image,
            "images": images,
            "study": study,
            "checkpoint_id": checkpoint_id,
            "sealed": sealed_image,
        }
        reply = self._ask_of_model(Operation.DIAGNOSE, fields, supply)
        return EnclaveAnswer(sealed=reply.sealed, stages_ms=reply.stages_ms)

    def encrypt(
        self,
        *,
        case_id: str,
        study: str,
        checkpoint_id: str,
        sealed_image: bytes,
        image: int = 0,
        images: int = 1,
        supply: Callable[[], SealedModel] | None = None,
    ) -> EncryptedQuestion:
        """Let the enclave make a query of one image of a case, for the key holder of a model's encrypted head.

        Arguments as in `diagnose`. The query says nothing of the case; `conclude` makes a result of its answer.

        Raises:
            NoModel, CheckpointRefused, RecordDamaged: as in `diagnose`.
            ImageBroken: as in `diagnose`, or the image is a field of several cells.
        """
        fields: dict[str, Any] = {
            "case_id": case_id,
            "image": image,
            "images": images,
            "study": study,
            "checkpoint_id": checkpoint_id,
            "sealed": sealed_image,
        }
        reply = self._ask_of_model(Operation.ENCRYPT, fields, supply)
        return EncryptedQuestion(query_id=reply.query_id, query=reply.query, stages_ms=reply.stages_ms)

    def conclude(self, query_id: str, answer: bytes) -> EnclaveAnswer:
        """Let the enclave make the result of a query from the key holder's signed answer; once for each query.

        Returns:
            As `diagnose`, for the image that the query was made of.

        Raises:
            RecordDamaged: the answer is not the key holder's to this query.
            EnclaveUnavailable: as ever, or the query is not open: concluded already, too old, or of another enclave.
        """
        reply = self._ask(self._request(Operation.CONCLUDE, query_id=query_id, answer=answer))
        return EnclaveAnswer(sealed=reply.sealed, stages_ms=reply.stages_ms)

    def view(self, *, case_id: str, study: str, sealed_image: bytes, image: int = 0, images: int = 1) -> bytes:
        """Return an image (PNG) of a case, sealed again for the app with `core.diagnosis.wire.view_context`.

        Raises:
            RecordDamaged: as in `diagnose`.
            ImageBroken: as in `diagnose`.
        """
        which = {"case_id": case_id, "study": study, "image": image, "images": images}
        return self._ask(self._request(Operation.VIEW, **which, sealed=sealed_image)).sealed

    def crops(
        self,
        *,
        case_id: str,
        study: str,
        sealed_image: bytes,
        boxes: tuple[tuple[int, int, int], ...],
        image: int = 0,
        images: int = 1,
    ) -> bytes:
        """Return squares (left, top, side) of an image beside each other as one PNG, sealed again for the app.

        Each is `core.diagnosis.squares.CROP_PX` wide; the seal is that of `core.diagnosis.wire.crops_context`.

        Raises:
            RecordDamaged: as in `diagnose`.
            ImageBroken: as in `diagnose`, or a square lies outside of the image.
        """
        which = {"case_id": case_id, "study": study, "image": image, "images": images}
        return self._ask(self._request(Operation.CROPS, **which, boxes=boxes, sealed=sealed_image)).sealed

    def hand_over(
        self, *, case_id: str, study: str, sealed_image: bytes, to: Certificate, image: int = 0, images: int = 1
    ) -> bytes:
        """Return the block of recipients with which the enclave hands an image over to another hospital's enclave.

        Raises:
            RecordDamaged: as in `diagnose`.
            EnclaveUnavailable: also if the enclave does not take `to` for a hospital's enclave.
        """
        which = {"case_id": case_id, "study": study, "image": image, "images": images}
        return self._ask(self._request(Operation.HAND_OVER, **which, recipient=to.der, sealed=sealed_image)).sealed

    def stop(self) -> None:
        """End the enclave process."""
        self._ask(self._request(Operation.STOP))

    def _ask_of_model(self, op: Operation, fields: dict[str, Any], supply: Callable[[], SealedModel] | None) -> Reply:
        """Ask for something that needs a model; one that the enclave has not loaded is supplied."""
        try:
            return self._ask(self._request(op, **fields))
        except NoModel:
            if supply is None:
                raise
            self.load_model(supply())
            return self._ask(self._request(op, **fields))

    def _request(self, op: Operation, **fields: Any) -> Request:
        return Request(
            op=op,
            party=self.party,
            at=self._clock.now(),
            reply_to=self._identity.sealing_certificate.der,
            crl=self._trust.crl_der,
            approvals=self._approvals.envelope,
            **fields,
        )

    def _connect(self, until: float) -> socket.socket:
        """Return a connection to the enclave: over TLS, if that is set, only once it is known who is there."""
        plain = socket.create_connection((self.host, self.port), timeout=self._timeout_s)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is None:
            return plain
        limit(plain, until)
        try:
            connection = self._tls.wrap_socket(plain)
        except ssl.SSLCertVerificationError as error:
            raise MemberRefused(self.party) from error
        try:
            check_peer(connection, trust=self._trust, party=self.party, at=self._clock.now())
        except CertificateRefused as error:
            connection.close()
            raise MemberRefused(self.party) from error
        return connection

    def _exchange(self, request_id: bytes, envelope: bytes) -> bytes:
        """Return the answer, unread, to one request."""
        until = time.monotonic() + self._timeout_s
        try:
            with self._connect(until) as connection:
                send_frame(connection, request_id, envelope, until=until)
                answer = receive_frame(connection, until=until)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError) as error:
            raise EnclaveBusy(self.party) from error
        except (OSError, ValueError) as error:
            raise EnclaveUnavailable(self.party) from error
        if answer is None:
            raise EnclaveBusy(self.party)
        return answer

    def _ask(self, request: Request) -> Reply:
        request_id = secrets.token_bytes(REQUEST_ID_BYTES)
        envelope = sign(REQUESTS.encode(request), signer=self._identity, context=request_context(request_id))
        try:
            answer = self._exchange(request_id, envelope)
        except EnclaveUnavailable:
            self._on_silence()
            raise
        try:
            context = reply_context(request_id, self.party)
            payload = verify(answer, trust=self._trust, context=context, party=self.party, at=self._clock.now())
            reply = REPLIES.decode(payload)
        except CertificateRefused as error:
            raise MemberRefused(self.party) from error
        except (SecurityError, ValueError) as error:
            raise EnclaveUnavailable(self.party) from error
        if request.op not in NEEDS_NO_APPROVAL:
            self._approvals.require(reply.measurement)
        if reply.code is not Code.OK:
            raise _ERRORS[reply.code](f"{self.party}: {reply.code}")
        return reply
