"""Certificates of the same keys, renewed: what the authority's page and the set-up do alike.

The set-up renews those that have ended. The page could not: every act is written into the audit log, whose head the app
signs, and nobody would accept a head that was signed with a certificate that has ended.
"""

from contextlib import suppress
from datetime import datetime

from sqlmodel import Session

from core.clock import Clock
from core.services import audit
from core.services.app import APP_PARTY, App, load_master_key
from core.services.authority import CERTIFICATE_DAYS, AuthorityOffice, authority_office, note_certificate
from core.services.rewrapping import Hands
from core.services.rewrapping_kinds import renew_all
from core.services.rollover import parties_here
from core.settings import Settings
from db.engine import make_engine, session_scope
from security.errors import KeyMissing
from security.identity import read_certificate
from security.keys import KeyStore, KeyUse
from security.rollover import prepare, take_over


def prepare_renewal(session: Session, office: AuthorityOffice, store: KeyStore, *, days: int) -> None:
    """Issue certificates of a party's keys and publish them; `security.rollover.take_over` after the commit."""
    for certificate in prepare(store, office.certificates, now=office.clock.now(), days=days, new_keys=False):
        note_certificate(session, certificate)


def renew_ended(settings: Settings, *, clock: Clock, days: int = CERTIFICATE_DAYS) -> list[str]:
    """Renew the certificates that have ended of parties that are here, before the app can start; returns whose.

    Safe to repeat after a stop. `seal_for_renewed` follows when the app has started.

    Raises:
        SecurityError: the authority's keys do not open, or new keys of such a party are on their way.
        DatabaseUnavailable: the database did not answer.
    """
    stores = [KeyStore(settings.keys_dir, name, load_master_key(settings)) for name in parties_here(settings)]
    ended = [store for store in stores if _has_ended(store, clock.now())]
    if not ended:
        return []
    engine = make_engine(settings.database)
    try:
        with session_scope(engine) as session, authority_office(settings, clock) as office:
            for store in ended:
                prepare_renewal(session, office, store, days=days)
    finally:
        engine.dispose()
    for store in ended:
        take_over(store)
    return [store.party for store in ended]


def seal_for_renewed(app: App, parties: list[str]) -> None:
    """Seal the models for the renewed certificates, and write down whose were renewed."""
    trust = app.trust()
    renew_all(Hands(app=app, before=trust, after=trust, tell=lambda _kind: None), ("model", "approved programs"))
    with session_scope(app.engine) as session:
        for party in parties:
            audit.append(app, session, APP_PARTY, "certificate.renew", object_id=party)


def _has_ended(store: KeyStore, now: datetime) -> bool:
    ends = []
    for use in (KeyUse.SIGN, KeyUse.SEAL):
        with suppress(KeyMissing):  # the set-up makes it
            ends.append(read_certificate(store, f"{use}.crt").not_after)
    return any(end < now for end in ends)
