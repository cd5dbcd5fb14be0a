"""Set-up: bring an installation, whatever its state, to one that starts. Safe to repeat and to run twice at once.

Order: master key, database schema, authority, members' keys, certificates that have ended, revocation list, audit log,
vault, approval of the enclaves' program (in demo mode; elsewhere that is the authority's act), then (in demo mode)
accounts and the rest of `core.services.demo`. A step that was done is left alone.
"""

import secrets
from collections.abc import Callable, Sequence

from filelock import FileLock
from sqlmodel import Session, col, select

from core.clock import Clock, SystemClock
from core.errors import InvalidInput, SettingsError
from core.services import approvals, audit
from core.services.accounts import new_user
from core.services.app import APP_PARTY, NAMES_SECRET, RECORDS_SECRET, App, check_settings, load_master_key
from core.services.authority import (
    AUTHORITY,
    CERTIFICATE_DAYS,
    authority_office,
    has_certificates,
    publish_certificates,
    restore_revocations,
)
from core.services.context import Profile
from core.services.erasure import resume
from core.services.members import PARTS
from core.services.rekey import resume as resume_exchange
from core.services.renewal import renew_ended, seal_for_renewed
from core.services.rollover import lock
from core.services.rollover_plan import Plan
from core.services.vault_intake import take_in
from core.settings import Mode, Settings
from db import migrate
from db.engine import make_engine, session_scope
from db.models import CertificateRecord, Hospital, RevocationList, Role, User
from db.seed import seed_hospitals
from security.authority import CertificateAuthority
from security.errors import SecurityError
from security.identity import Identity
from security.keys import KEY_BYTES, KeyStore, MasterKey
from security.passwords import ROUNDS

PARTIES = (AUTHORITY, "coordinator", "aggregation", APP_PARTY)
Say = Callable[[str], None]


def run(
    settings: Settings,
    *,
    clock: Clock | None = None,
    say: Say = lambda _line: None,
    demo_contents: bool = True,
    rounds: int = ROUNDS,
    certificate_days: int = CERTIFICATE_DAYS,
) -> None:
    """Make the installation ready.

    Args:
        settings: which installation.
        clock: tells the time of issue.
        say: takes each line for the person who runs it.
        demo_contents: in demo mode, also make appointment times, synthetic data sets and the shipped model.
        rounds: bcrypt rounds of the accounts that are made (tests ask for fewer).
        certificate_days: life of the certificates that are issued.

    Raises:
        SettingsError: a setting is unsafe for the mode, or the keys on disk do not open under the master key.
        DatabaseUnavailable: the database did not answer.
    """
    check_settings(settings)
    clock = clock or SystemClock()
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with FileLock(settings.data_dir / "setup.lock", timeout=600):
        _master_key(settings, say)
        _database(settings, say)
        _unfinished(settings, clock, say)
        try:
            _keys(settings, clock, say, certificate_days)
            renewed = renew_ended(settings, clock=clock, days=certificate_days)
        except SecurityError as error:
            raise SettingsError(str(error)) from error
        app = App.start(settings, clock=clock)
        try:
            _log(app)
            if renewed:
                seal_for_renewed(app, renewed)
                say(f"Certificates that had ended, renewed: {', '.join(renewed)}")
            if taken := take_in(app):
                say(f"Taken into the vault: what is stored of {taken} patients, each under a key of their own")
            if finished := resume(app):
                say(f"Finished the erasure of {finished} patients")
            demo_mode = settings.mode is Mode.DEMO
            if told := approvals.approve_own_code(app) if demo_mode else approvals.say_standing(app):
                say(told)
            if demo_mode:
                from core.services import demo  # noqa: PLC0415 (production never needs it)

                demo.seed_accounts(app, say, rounds=rounds)
                if demo_contents:
                    demo.seed_contents(app, say)
            else:
                _first_account(app, say, rounds)
        finally:
            app.engine.dispose()
    say(f"Ready ({settings.mode.value} mode).")


def _master_key(settings: Settings, say: Say) -> MasterKey:
    new = settings.master_key is None and not settings.master_key_file.exists()
    master = load_master_key(settings, create=settings.mode is Mode.DEMO)
    if new:
        say(f"Master key made: {settings.master_key_file} (mode 0600). Whoever has it can open all stored data;")
        say("  without it nothing can be opened. In production set HEMASEAL_MASTER_KEY and keep it elsewhere.")
    return master


def _database(settings: Settings, say: Say) -> None:
    engine = make_engine(settings.database)
    try:
        if migrate.upgrade(engine):
            say(f"Database ready: {engine.url.render_as_string(hide_password=True)}")
    finally:
        engine.dispose()


def _unfinished(settings: Settings, clock: Clock, say: Say) -> None:
    """Finish an exchange of keys that was stopped."""
    if Plan.read(settings) is None:
        return
    with lock(settings):
        done = resume_exchange(settings, clock=clock, tell=lambda _progress: None)
    say(f"Finished an exchange of keys that was stopped: {', '.join(done.parties)}")


def _keys(settings: Settings, clock: Clock, say: Say, days: int) -> None:
    """Make what is missing: the authority, the parties' identities, the app's secrets, the public rows of them."""
    master = load_master_key(settings)
    authority = KeyStore(settings.keys_dir, AUTHORITY, master)
    made: list[str] = []
    if not (authority.folder / "root.crt").exists():
        CertificateAuthority.create(authority, clock.now())
    if not has_certificates(settings, AUTHORITY):
        Identity.enrol(authority, CertificateAuthority.open(authority), now=clock.now(), days=days)
        made.append(AUTHORITY)
    engine = make_engine(settings.database)
    try:
        with session_scope(engine) as session:
            if settings.mode is Mode.DEMO:
                seed_hospitals(session)
                session.flush()
            parties = (*PARTIES, *_hospital_parties(session))
            missing = [party for party in parties if not has_certificates(settings, party)]
            if missing:
                with authority_office(settings, clock) as office:
                    for party in missing:
                        office.enrol(session, party, days=days)
            made += missing
            app_store = KeyStore(settings.keys_dir, APP_PARTY, master)
            for name in (RECORDS_SECRET, NAMES_SECRET):
                if not (app_store.folder / f"{name}.secret").exists():
                    app_store.save_secret(name, secrets.token_bytes(KEY_BYTES))
            _publish(session, settings, clock, parties)
    finally:
        engine.dispose()
    if made:
        say(f"Keys ready: {len(made)} parties, each with its own folder below {settings.keys_dir}")


def _hospital_parties(session: Session) -> list[str]:
    slugs = session.exec(select(Hospital.slug).order_by(Hospital.slug)).all()
    return [f"{slug}.{part}" for slug in slugs for part in PARTS]


def _publish(session: Session, settings: Settings, clock: Clock, parties: Sequence[str]) -> None:
    """Write certificates and the list in force to a database that lacks them (the first, or another one)."""
    known = set(session.exec(select(CertificateRecord.party)).all())
    for party in parties:
        if party not in known:
            publish_certificates(session, settings, party)
    session.flush()
    if session.exec(select(RevocationList.number).limit(1)).first() is not None:
        return
    trust = App.remembered_trust(KeyStore(settings.keys_dir, APP_PARTY, load_master_key(settings)))
    if trust.crl_der is not None:
        restore_revocations(session, trust, clock.now())
        return
    with authority_office(settings, clock) as office:
        office.publish_list(session, trust)


def _log(app: App) -> None:
    with session_scope(app.engine) as session:
        if audit.begin_log(session, clock=app.clock, signer=app.identity):
            session.flush()
            audit.append(app, session, APP_PARTY, "installation.create")


def _first_account(app: App, say: Say, rounds: int) -> None:
    """Make the first authority account of a production installation from the settings."""
    with session_scope(app.engine) as session:
        held = select(User.id).where(col(User.role) == Role.AUTHORITY, col(User.is_active)).limit(1)
        if session.exec(held).first() is not None:
            return
    name, password = app.settings.admin_user, app.settings.admin_password
    if not name or password is None:
        say(
            "There is no authority account yet: set HEMASEAL_ADMIN_USER and HEMASEAL_ADMIN_PASSWORD, then set up again."
        )
        return
    try:
        user = new_user(
            app,
            username=name,
            password=password.get_secret_value(),
            role=Role.AUTHORITY,
            profile=Profile("Administrator"),
            rounds=rounds,
        )
    except InvalidInput as error:
        raise SettingsError(f"HEMASEAL_ADMIN_USER or HEMASEAL_ADMIN_PASSWORD: {error.detail}") from error
    with session_scope(app.engine) as session:
        session.add(user)
        session.flush()
        audit.append(app, session, APP_PARTY, "account.create", object_id=user.id, details={"role": user.role.value})
    say(f"Authority account made: {user.username}")
