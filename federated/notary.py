"""One party's cryptography: signing, sealing and checking with its own identity, against its own trust, timed."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache

from core.clock import Clock
from core.errors import RunRefused
from core.learning.orders import RunOptions, read_order
from federated.timing import Stopwatch, Task
from security.certificates import Certificate, Trust
from security.context import Context
from security.errors import CertificateRefused
from security.identity import Identity
from security.keys import KeyUse
from security.sealing import open_sealed, seal
from security.signing import sign, verify


class Notary:
    """Holds one party's identity; every object of this package that signs or opens does it through here.

    Attributes:
        party: whose identity it is.
        study: code of the study that everything it signs and opens is bound to.
        watch: counts the seconds spent here as cryptography.
    """

    def __init__(
        self,
        identity: Identity,
        trust: Trust,
        *,
        study: str,
        clock: Clock,
        watch: Stopwatch,
        keep: Callable[[bytes], object] = lambda _crl: None,
    ) -> None:
        """Work for one party.

        Args:
            identity: the party's keys.
            trust: root and newest revocation list.
            study: code of the study.
            clock: tells the time.
            watch: counts seconds.
            keep: told of each newer revocation list (DER) that comes with a message.
        """
        self._identity = identity
        self._trust = trust
        self._clock = clock
        self._keep = keep
        self._read: tuple[bytes, str, Trust, RunOptions] | None = None
        self.study = study
        self.watch = watch

    @property
    def party(self) -> str:
        """Name of the party."""
        return self._identity.party

    @property
    def clock(self) -> Clock:
        """The party's clock."""
        return self._clock

    @property
    def identity(self) -> Identity:
        """The party's identity, for what is signed outside this package's messages (lineage)."""
        return self._identity

    @property
    def trust(self) -> Trust:
        """Root and newest revocation list that this party has seen."""
        return self._trust

    def hear(self, crl: bytes) -> None:
        """Take over a newer revocation list; an older one than known changes nothing.

        Raises:
            CertificateRefused: the list is not the authority's.
        """
        if crl and crl != self._trust.crl_der:
            with self.watch.measuring(Task.CRYPTOGRAPHY):
                offered = replace(self._trust, crl_der=crl)
                if offered.crl_number > self._trust.crl_number:
                    self._keep(crl)
                    self._trust = offered

    def sign(self, payload: bytes, context: Context) -> bytes:
        """Return `payload` in an envelope signed by this party."""
        with self.watch.measuring(Task.CRYPTOGRAPHY):
            return sign(payload, signer=self._identity, context=context)

    def verify(self, envelope: bytes, context: Context) -> bytes:
        """Return the payload that `context.sender` signed.

        Raises:
            SignatureBroken: damaged, changed, or for another context.
            CertificateRefused: the sender's certificate does not hold (any more).
        """
        with self.watch.measuring(Task.CRYPTOGRAPHY):
            return verify(envelope, trust=self._trust, context=context, party=context.sender, at=self._clock.now())

    def seal(self, body: bytes, recipients: Iterable[Certificate], context: Context) -> bytes:
        """Return `body` sealed by this party for `recipients`."""
        with self.watch.measuring(Task.CRYPTOGRAPHY):
            return seal(body, sender=self._identity, recipients=list(recipients), context=context)

    def open(self, sealed: bytes, context: Context, *, stored: bool = False) -> bytes:
        """Return what `context.sender` sealed for this party, now or, if `stored`, at any time (`Trust.for_stored`).

        Raises:
            SealBroken: it does not open, whatever the cause.
        """
        with self.watch.measuring(Task.CRYPTOGRAPHY):
            return open_sealed(
                sealed,
                recipient=self._identity,
                trust=self._trust.for_stored() if stored else self._trust,
                context=context,
                sender=context.sender,
                at=self._clock.now(),
            )

    def read_order(self, order: bytes, *, run: str) -> RunOptions:
        """Return the run's options as the authority signed them; certificates named in them count from now on.

        Raises:
            SignatureBroken, CertificateRefused, RunRefused: see `core.learning.orders.read_order`.
        """
        if self._read is not None and self._read[:2] == (order, run) and self._read[2] is self._trust:
            return self._read[3]  # every message bears the order; a newer revocation list has it checked again
        with self.watch.measuring(Task.CRYPTOGRAPHY):
            options = read_order(order, run=run, study=self.study, trust=self._trust, at=self._clock.now())
            if self._trust.named != options.certificates:
                self._trust = replace(self._trust, named=options.certificates)
        self._read = (order, run, self._trust, options)
        return options

    def last_order(self, run: str) -> bytes:
        """Return the order that was read last, for a message in the midst of an attempt, which does not repeat it.

        Raises:
            RunRefused: it was not of this run, or there is none.
        """
        if self._read is None or self._read[1] != run:
            raise RunRefused("the message comes without the run's order, and nothing came before it")
        return self._read[0]

    def recipients(self, certificates: Iterable[bytes], parties: Iterable[str]) -> dict[str, Certificate]:
        """Choose, from certificates that anybody may have sent, those that hold and belong to `parties`.

        Args:
            certificates: DER; wrong, revoked and unwanted ones are passed over.
            parties: who may be a recipient.

        Returns:
            Sealing certificates by party, sorted; parties without a valid certificate are missing.
        """
        wanted, chosen = set(parties), {}
        with self.watch.measuring(Task.CRYPTOGRAPHY):
            for der in certificates:
                certificate = _parsed(der)
                try:
                    if certificate.party in wanted:
                        self._trust.check(certificate, party=None, use=KeyUse.SEAL, at=self._clock.now())
                        chosen[certificate.party] = certificate
                except CertificateRefused:
                    continue
        return dict(sorted(chosen.items()))


def by_party(certificates: Iterable[bytes]) -> dict[str, list[bytes]]:
    """Return certificates (DER) by the party that they name, unchecked; malformed ones are passed over."""
    found: dict[str, list[bytes]] = {}
    for der in certificates:
        with suppress(CertificateRefused):
            found.setdefault(_parsed(der).party, []).append(der)
    return found


@lru_cache(maxsize=4096)
def _parsed(der: bytes) -> Certificate:
    """The certificate of these bytes; what it says is read once, whether it holds is asked each time."""
    return Certificate(der)
