"""The application's own parts, put together once per process: settings, database, identity, records, trust.

The app opens its own key store only. Enclave processes are started on first use.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from threading import BoundedSemaphore, Lock
from typing import TYPE_CHECKING, Self

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, col, select

from core.clock import Clock, SystemClock
from core.errors import MemberRefused, SettingsError, TooBusy
from core.services.context import APP_PARTY, Actor, KnownHead
from core.services.rollover_plan import Plan
from core.services.serving import check_transport
from core.settings import Mode, Settings
from db import migrate
from db.engine import ReadingSession, make_engine, read_scope
from db.models import CertificateRecord, Hospital, RevocationList, User
from security.authority import CRL_FILE
from security.certificates import Certificate, Trust
from security.errors import CertificateRefused, KeyMissing, SelfTestFailed
from security.identity import Identity, load_root
from security.keys import KeyStore, KeyUse, MasterKey
from security.records import RecordCipher
from security.row_mac import RowMac
from security.selftest import run_self_test
from security.vault import Vault

if TYPE_CHECKING:
    from core.diagnosis.supervisor import EnclaveSupervisor

__all__ = ["APP_PARTY", "Actor", "App", "check_settings", "load_master_key"]

RECORDS_SECRET = "records"  # noqa: S105 (the name of a file)
NAMES_SECRET = "sign-in-names"  # noqa: S105
MOST_ANSWERED = 24
"""So many cases one process has answered at once; an enclave serves 32 requests, so that room is left for viewing."""
_TRUST = "hemaseal_trust"
_NEWEST_LIST = select(RevocationList.der).order_by(col(RevocationList.number).desc()).limit(1)
_MIN_DISTINCT_DIGITS = 8


def check_settings(settings: Settings) -> None:
    """Refuse secrets and ways of serving that an installation must not have.

    Raises:
        SettingsError: addresses of enclaves cannot be read; in production the master key is missing, is a key file, or
            is not random, or e-mails would go unencrypted; what `core.services.serving.check_transport` refuses; a mail
            server without a sender's address.
    """
    check_transport(settings)
    _ = settings.remote_enclaves
    if settings.mail_host and "@" not in settings.mail_from:
        raise SettingsError("HEMASEAL_MAIL_FROM must be an address where HEMASEAL_MAIL_HOST is set")
    if settings.mode is not Mode.PRODUCTION:
        return
    if settings.master_key is None:
        raise SettingsError("HEMASEAL_MASTER_KEY is required in production")
    if settings.master_key_file.exists():
        raise SettingsError(f"the demo's key file {settings.master_key_file} must not exist in production")
    if len(set(settings.master_key.get_secret_value().lower())) < _MIN_DISTINCT_DIGITS:
        raise SettingsError("HEMASEAL_MASTER_KEY is not random; make one with: openssl rand -hex 32")
    if settings.mail_host and not settings.mail_starttls:
        raise SettingsError("HEMASEAL_MAIL_STARTTLS=false is refused in production: e-mails would go unencrypted")


def load_master_key(settings: Settings, *, create: bool = False) -> MasterKey:
    """Return the installation's master key; `create` makes the demo's key file where none is.

    Raises:
        SettingsError: there is none, or it cannot be used.
    """
    secret = settings.master_key.get_secret_value() if settings.master_key else None
    try:
        return MasterKey.load(secret=secret, file=settings.master_key_file, create=create)
    except KeyMissing as error:
        raise SettingsError(str(error)) from error


@dataclass(frozen=True)
class App:
    """What every service needs. One per process; safe to share between threads.

    Attributes:
        settings: the installation's settings.
        engine: the database.
        clock: tells the time.
        store: the app's own key store, no other party's.
        identity: the app's signing and sealing keys.
        records: seals the fields that the app keeps for itself.
        macs: vouches for rows that say who somebody is.
        vault: the keys of patients, apart from the database.
        root: the authority's root certificate, from the app's own folder (the database is not trusted with it).
        audit_head: the head of the audit log that this process signed last.
        places: of which each case that is being answered has one.
    """

    settings: Settings
    engine: Engine
    clock: Clock
    store: KeyStore
    identity: Identity
    records: RecordCipher
    macs: RowMac
    vault: Vault
    root: Certificate
    audit_head: KnownHead = field(default_factory=KnownHead, repr=False, compare=False)
    places: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(MOST_ANSWERED), repr=False, compare=False)
    _seen: list[Trust] = field(default_factory=list, repr=False, compare=False)
    _lock: Lock = field(default_factory=Lock, repr=False, compare=False)

    @classmethod
    def start(cls, settings: Settings, *, clock: Clock | None = None, finishing: bool = False) -> Self:
        """Check the installation and open the app's own parts.

        Args:
            settings: the installation's.
            clock: tells the time; the machine's by default.
            finishing: by whom an exchange of the root that was begun is finished (`core.services.rekey`).

        Raises:
            SettingsError: the self-test fails, a setting is unsafe, or the installation has not been set up.
            DatabaseUnavailable: the database did not answer.
        """
        try:
            run_self_test()
        except SelfTestFailed as error:
            raise SettingsError(f"self-test failed: {error}") from error
        check_settings(settings)
        plan = Plan.read(settings)
        if plan is not None and plan.new_root and not finishing:
            raise SettingsError("new keys for the whole federation are on their way; finish with: python -m core rekey")
        master = load_master_key(settings)
        store = KeyStore(settings.keys_dir, APP_PARTY, master)
        try:
            identity, root = Identity.load(store), load_root(store)
            secret = store.load_secret(RECORDS_SECRET)
        except (KeyMissing, CertificateRefused) as error:
            raise SettingsError(f"{error}; run: python -m core setup") from error
        app = cls(
            settings,
            make_engine(settings.database),
            clock or SystemClock(),
            store,
            identity,
            RecordCipher(secret),
            RowMac(secret),
            Vault(settings.vault, master),
            root,
        )
        app._check_database()
        return app

    def _check_database(self) -> None:
        with read_scope(self.engine) as session:
            try:
                ready = migrate.current(session.connection()) == migrate.head()
            except SQLAlchemyError as error:
                if not migrate.is_missing(error):
                    raise  # it is only busy, or its server does not answer
                raise SettingsError("the database cannot be read; run: python -m core setup") from error
            if not ready:
                raise SettingsError("the database is not at this version's schema; run: python -m core setup")
            if self.settings.mode is Mode.PRODUCTION:
                demo = select(User.username).where(col(User.is_demo), col(User.is_active)).limit(1)
                if session.exec(demo).first() is not None:
                    raise SettingsError("demo accounts are active, which production refuses; deactivate them")

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold one of the places of cases that are being answered; nobody waits for one.

        Raises:
            TooBusy: all are taken.
        """
        if not self.places.acquire(blocking=False):
            raise TooBusy
        try:
            yield
        finally:
            self.places.release()

    @cached_property
    def supervisor(self) -> "EnclaveSupervisor":
        """Starts the enclave processes of the active hospitals, and reaches those on other machines."""
        from core.diagnosis.supervisor import EnclaveSupervisor  # noqa: PLC0415 (an app without cases needs none)

        with read_scope(self.engine) as session:
            slugs = session.exec(select(Hospital.slug).where(col(Hospital.is_active)).order_by(Hospital.slug)).all()
        return EnclaveSupervisor(self.settings, [f"{slug}.serving" for slug in slugs], store=self.store)

    @cached_property
    def name_key(self) -> bytes:
        """Key of the keyed hash under which failed sign-ins are counted."""
        return self.store.load_secret(NAMES_SECRET)

    def trust(self, session: Session | None = None) -> Trust:
        """Return the root and the newest revocation list ever seen: an older list in the database changes nothing.

        A transaction that only reads looks for it once.

        Raises:
            MemberRefused: the list in the database is not the authority's.
        """
        if session is None:
            with read_scope(self.engine) as own:
                return self.trust(own)
        known: dict[str, Trust] = session.info if isinstance(session, ReadingSession) else {}
        if _TRUST not in known:
            known[_TRUST] = self._newest(session.exec(_NEWEST_LIST).first())
        return known[_TRUST]

    def _newest(self, der: bytes | None) -> Trust:
        """Return the trust under a list of the database, or under the newest that was seen if it is older."""
        with self._lock:
            if not self._seen:
                self._seen.append(self.remembered_trust(self.store))
            seen = self._seen[0]
            if der is None or der == seen.crl_der:
                return seen
            try:
                offered = Trust(self.root, der)
            except CertificateRefused as error:
                raise MemberRefused("the stored revocation list is not the authority's") from error
            if offered.crl_number > seen.crl_number:
                self.store.write(CRL_FILE, der)
                self._seen[0] = offered
            return self._seen[0]

    @staticmethod
    def remembered_trust(store: KeyStore) -> Trust:
        """Return the root and the newest revocation list that the app has kept in its own folder.

        Raises:
            SettingsError: the file was changed.
        """
        file = store.folder / CRL_FILE
        try:
            return Trust(load_root(store), file.read_bytes() if file.exists() else None)
        except CertificateRefused as error:
            raise SettingsError(f"{file.name} of the app's key folder is damaged") from error

    def certificate_of(self, party: str, use: KeyUse, session: Session | None = None) -> Certificate:
        """Return the newest certificate of a party that holds now: issued by the root, in time, not revoked.

        Raises:
            MemberRefused: the party has none.
        """
        if session is None:
            with read_scope(self.engine) as own:
                return self.certificate_of(party, use, own)
        record = col(CertificateRecord.party), col(CertificateRecord.key_use), col(CertificateRecord.revoked_at)
        rows = session.exec(
            select(CertificateRecord.pem)
            .where(record[0] == party, record[1] == use.value, record[2].is_(None))
            .order_by(col(CertificateRecord.issued_at).desc())
        ).all()
        trust, reason = self.trust(session), "none was issued"
        for pem in rows:
            try:
                return trust.check(Certificate.from_pem(pem), party=party, use=use, at=self.clock.now())
            except CertificateRefused as error:
                reason = str(error)
        raise MemberRefused(f"{party}: {reason}")
