"""Stored objects for parties with new keys: DEKs wrapped for the new ones, signatures renewed, bodies left alone.

Whoever holds a former key hands the DEK over as in a referral; the sender, or the recipient for itself, or for what
members sealed the authority, signs. Each object is one transaction (a data set one file) and one that is done already
is told from its certificates, so that all of it can be repeated after a stop. What does not open is left as it is.

Images, results and reviews lie under the patient's key, which only the app has: what opens there, the app stored.
Models are held against the authority's promotion and lineage before anything is signed anew. A data set has nothing of
the kind: who had the app's key and the hospital's folder could have put one there before.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property

from sqlmodel import select

from core.services.app import App, load_master_key
from core.services.authority import AUTHORITY
from db.engine import read_scope
from db.models import CertificateRecord
from security.certificates import Certificate, Trust
from security.context import Context
from security.errors import CertificateRefused, KeyMissing, SealBroken
from security.identity import Identity
from security.keys import KeyStore, KeyUse
from security.sealed_core import Body
from security.sealed_format import recipients_of, signers_of
from security.sealing import handed_over, renewed

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Hands:
    """Who can open and sign what, before and after; short-lived, since it opens the stores of all parties here.

    Attributes:
        app: the application, with its keys of now.
        before: root and revocation list by which stored objects hold so far.
        after: root and list by which they shall hold.
        tell: told of each object, by its kind.
        damaged: kinds of what did not open, one for each object.
    """

    app: App
    before: Trust
    after: Trust
    tell: Tell
    damaged: list[str] = field(default_factory=list)
    _identities: dict[str, Identity | None] = field(default_factory=dict, repr=False)

    def identity(self, party: str) -> Identity | None:
        """Return a party's keys, or None where they are on another machine."""
        if party not in self._identities:
            settings = self.app.settings
            self._identities[party] = None
            with suppress(KeyMissing):
                self._identities[party] = Identity.load(KeyStore(settings.keys_dir, party, load_master_key(settings)))
        return self._identities[party]

    @property
    def authority(self) -> Identity:
        """The authority's keys."""
        found = self.identity(AUTHORITY)
        if found is None:
            raise KeyMissing("the authority's keys are not here")
        return found

    def renew(self, sealed: bytes, *, context: Context, signer: Identity, body: Body | None = None) -> bytes | None:
        """Return an object for the keys of now, signed by `signer`, or None where it is for them already.

        Of an object whose `body` lies elsewhere `sealed` is what comes before it, and so is what is returned.

        Raises:
            SealBroken: nobody here opens it, or a signature does not hold.
        """
        recipients, is_current = self._wanted(sealed)
        if is_current:
            return None
        named = recipients_of(sealed)
        readers = dict.fromkeys(self._known[serial].party for serial in named if serial in self._known)
        holder = next(
            (own for party in readers if (own := self.identity(party)) and own.openers.keys() & {*named}), None
        )
        if holder is None or not recipients:
            raise SealBroken
        try:
            block = handed_over(
                sealed,
                holder=holder,
                recipients=recipients,
                trust=self.before.for_stored(),
                new_trust=self.after,
                context=context,
                sender=context.sender,
                at=self.app.clock.now(),
                body=body,
            )
        except CertificateRefused as error:
            raise SealBroken from error
        return renewed(sealed, block, signer=signer, recipients=recipients, context=context)

    def is_current(self, sealed: bytes) -> bool:
        """Whether an object is for the keys of now, by what its front names.

        Raises:
            SealBroken: not a sealed object.
        """
        return self._wanted(sealed)[1]

    def _wanted(self, sealed: bytes) -> tuple[list[Certificate], bool]:
        """Return whom an object shall be for, and whether it is for them and its signers hold."""
        named = recipients_of(sealed)
        parties = dict.fromkeys(self._known[serial].party for serial in named if serial in self._known)
        wanted = [certificate for party in parties if (certificate := self._current(party))]
        return wanted, [one.serial for one in wanted] == named and all(map(self._holds, signers_of(sealed)))

    def _holds(self, certificate: Certificate) -> bool:
        try:
            self.after.for_stored().check(certificate, party=None, use=KeyUse.SIGN, at=self.app.clock.now())
        except CertificateRefused:
            return False
        return True

    def _current(self, party: str) -> Certificate | None:
        """Return a party's sealing certificate, of one elsewhere the newest that holds; None for one that is out."""
        own, at, found = self.identity(party), self.app.clock.now(), []
        if own is not None:
            with suppress(CertificateRefused):
                return self.after.check(own.sealing_certificate, party=party, use=KeyUse.SEAL, at=at)
            return None
        for certificate in self._known.values():
            with suppress(CertificateRefused):
                found.append(self.after.check(certificate, party=party, use=KeyUse.SEAL, at=at))
        return max(found, key=lambda one: one.not_before, default=None)

    @cached_property
    def _known(self) -> dict[str, Certificate]:
        """All sealing certificates of the database by serial; those that the authority issued, whatever a row says."""
        with read_scope(self.app.engine) as session:
            pems = session.exec(select(CertificateRecord.pem).where(CertificateRecord.key_use == KeyUse.SEAL)).all()
        found = {}
        for pem in pems:
            for trust in (self.before, self.after):
                with suppress(CertificateRefused):
                    certificate = Certificate.from_pem(pem)
                    trust.for_stored().check_issued(certificate)
                    found[certificate.serial] = certificate
        return found
