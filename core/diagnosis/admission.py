"""Whom an enclave hears: a request that the app signed for it just now, while the authority approves this very code.

What comes with a request is taken over when it is newer: the authority's revocation list, and its list of approvals.
"""

import ssl
import threading

from core.clock import Clock
from core.diagnosis.approvals import Approvals
from core.diagnosis.wire import (
    APP,
    NEEDS_NO_APPROVAL,
    REQUESTS,
    Code,
    Replays,
    Request,
    request_context,
)
from core.errors import MeasurementRefused
from security.certificates import Certificate, Trust
from security.errors import SecurityError
from security.keys import KeyUse
from security.party_tls import check_peer
from security.signing import verify


class Refused(Exception):
    """A request that is answered with a code."""

    def __init__(self, code: Code) -> None:
        """Remember the code."""
        super().__init__(code.value)
        self.code = code


class Admission:
    """What one enclave goes by when it is asked. For several threads."""

    def __init__(self, party: str, trust: Trust, *, clock: Clock, measurement: str) -> None:
        """Begin without approvals.

        Args:
            party: the enclave's.
            trust: the authority's root; a newer revocation list that comes with a request replaces the one here.
            clock: tells the time.
            measurement: hash of `core.diagnosis.measurement.measure` of this code.
        """
        self.trust = trust
        self.measurement = measurement
        self._party = party
        self._clock = clock
        self._replays = Replays()
        self._approvals = Approvals()
        self._lock = threading.Lock()

    def check_caller(self, connection: ssl.SSLSocket) -> None:
        """Check that the app is at the other end of a connection over TLS.

        Raises:
            CertificateRefused: another party, or its certificate does not hold or is revoked, as far as is known here.
        """
        check_peer(connection, trust=self.trust, party=APP, at=self._clock.now())

    def admit(self, request_id: bytes, envelope: bytes) -> Request:
        """Return the request if it is to be answered; once.

        Args:
            request_id: `core.diagnosis.wire.REQUEST_ID_BYTES` bytes.
            envelope: the signed request.

        Raises:
            Refused: the app did not sign it for this enclave just now, or it needs an approval that is not there.
        """
        request = self._read(request_id, envelope)
        if request.approvals and request.approvals != self._approvals.envelope:
            self._take_approvals(request.approvals)
        if request.op not in NEEDS_NO_APPROVAL and self._approvals.find(self.measurement) is None:
            raise Refused(Code.NOT_APPROVED)
        return request

    def approval(self) -> int:
        """Return the number under which the authority approved this code.

        Raises:
            MeasurementRefused: it has not.
        """
        return self._approvals.require(self.measurement).number

    def _read(self, request_id: bytes, envelope: bytes) -> Request:
        now = self._clock.now()
        context = request_context(request_id)
        try:
            payload = verify(envelope, trust=self.trust, context=context, party=APP, at=now)
            request = REQUESTS.decode(payload)
            if request.crl is not None and request.crl != self.trust.crl_der:
                self._learn(request.crl)
                verify(envelope, trust=self.trust, context=context, party=APP, at=now)
            reply_to = Certificate(request.reply_to)
            self.trust.check(reply_to, party=APP, use=KeyUse.SEAL, at=now)
        except (SecurityError, ValueError) as error:
            raise Refused(Code.REQUEST_REFUSED) from error
        if request.party != self._party or not self._replays.is_new(request_id, request.at, now):
            raise Refused(Code.REQUEST_REFUSED)
        return request

    def _learn(self, crl: bytes) -> None:
        """Take a newer revocation list; an older one of the same authority changes nothing."""
        offered = Trust(self.trust.root, crl)
        with self._lock:
            if offered.crl_number > self.trust.crl_number:
                self.trust = offered

    def _take_approvals(self, envelope: bytes) -> None:
        """Take a newer list of approvals; an older one changes nothing."""
        try:
            offered = Approvals.read(envelope, trust=self.trust, at=self._clock.now())
        except MeasurementRefused as error:
            raise Refused(Code.REQUEST_REFUSED) from error
        with self._lock:
            if offered.number >= self._approvals.number:
                self._approvals = offered
