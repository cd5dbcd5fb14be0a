"""The authority's keys as its page shows them: the root, what expires soon, and shares that bring the root back."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from core.errors import InvalidInput, SettingsError
from core.services import audit
from core.services.app import Actor, App, load_master_key
from core.services.authorise import Action, Relation, authorise
from core.services.authority import AUTHORITY, authority_office
from core.services.key_exchange import SOON, ending
from core.settings import Settings
from db.engine import read_scope, session_scope
from security.authority import CertificateAuthority
from security.errors import SecurityError, ShareBroken
from security.keys import KeyStore
from security.recovery import FILE, LEAST, MOST, RecoveryShare, prepare, recover

__all__ = ["LEAST", "MOST", "SOON", "RootView", "make_recovery_shares", "recover_root", "root"]


@dataclass(frozen=True)
class RootView:
    """The root of all certificates.

    Attributes:
        fingerprint: SHA-256 of its public key, hex: what people read to each other.
        not_after: end of validity.
        expiring: parties with a certificate in use that ends within `SOON` or has ended, sorted.
        has_recovery: whether shares were made.
    """

    fingerprint: str
    not_after: datetime
    expiring: tuple[str, ...]
    has_recovery: bool


def root(app: App, actor: Actor) -> RootView:
    """Return what is known of the root without opening its key.

    Raises:
        NotAuthorised: only the authority sees this.
    """
    now = app.clock.now()
    with read_scope(app.engine) as session:
        authorise(app, session, actor, Action.READ_MEMBER, Relation.ANY)
        parties = tuple(sorted(party for party, end in ending(session).items() if end <= now + SOON))
        certificate = app.trust(session).root
    has_recovery = (app.settings.keys_dir / AUTHORITY / FILE).exists()
    return RootView(certificate.fingerprint, certificate.not_after, parties, has_recovery)


def make_recovery_shares(app: App, actor: Actor, *, needed: int, people: int) -> list[str]:
    """Write a recovery file of the root key and return a share for each person, as text; shares made before are void.

    Nobody keeps the shares: who does not write them down now has none.

    Raises:
        NotAuthorised: only the authority does this.
        InvalidInput: not 2 <= needed <= people <= 15.
    """
    with session_scope(app.engine) as session:
        authorise(app, session, actor, Action.MANAGE_MEMBERS, Relation.ANY)
        store = KeyStore(app.settings.keys_dir, AUTHORITY, load_master_key(app.settings))
        audit.append(
            app, session, actor, "certificate.recovery", object_id=AUTHORITY, details={"people": people, "of": needed}
        )
        with authority_office(app.settings, app.clock) as office:
            try:
                shares = prepare(store, office.certificates.root.fingerprint, needed=needed, people=people)
            except ValueError as error:
                raise InvalidInput(str(error)) from error
    return [share.to_text() for share in shares]


def recover_root(settings: Settings, lines: Sequence[str]) -> str:
    """Put the root key back from people's shares, for a machine that lost it; returns the root's fingerprint.

    Raises:
        InvalidInput: a line is no share or mistyped, there are too few, or they are not those of the recovery file.
        SettingsError: there is no recovery file or no master key, or the root key is there already.
    """
    store = KeyStore(settings.keys_dir, AUTHORITY, load_master_key(settings))
    try:
        recover(store, [RecoveryShare.of_text(line) for line in lines if line.strip()])
    except ShareBroken as error:
        raise InvalidInput(str(error)) from error
    except SecurityError as error:
        raise SettingsError(str(error)) from error
    return CertificateAuthority.open(store).root.fingerprint
