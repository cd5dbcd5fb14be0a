"""Exchanging keys: one way for one party and for the whole federation, step by step, each of which can be repeated.

1. Next keys and certificates are made beside those in use, and published. 2. They are put into place; former sealing
keys stay, for opening. 3. Every stored object is wrapped and signed for the new ones. 4. An entry in the audit log, and
so its head, is signed with the new keys. 5. The former certificates are revoked, and what came meanwhile is wrapped
for the new ones too. 6. The former keys are destroyed.

With the same root everything opens at every moment in between. With a new root nothing of the former one holds once the
new one is in place, so that the app does not start before all is done (`App.start`).
Parties whose private keys are not here cannot be given new ones here: they ask for certificates
(docs/how-to/several-machines.md).
"""

from collections.abc import Callable
from dataclasses import dataclass

from filelock import FileLock
from sqlalchemy import Engine
from sqlmodel import Session, col, select

from core.clock import Clock
from core.errors import AuditLogBroken
from core.services import audit_log
from core.services.app import App, load_master_key
from core.services.audit_kept import keep_end
from core.services.authority import AUTHORITY, CERTIFICATE_DAYS, note_certificate, revoked_in
from core.services.rewrapping import Hands
from core.services.rewrapping_kinds import counts, renew_all, renew_late
from core.services.rollover_plan import Plan
from core.settings import Settings
from db.engine import session_scope
from db.models import CertificateRecord, RevocationList, Run, RunStatus, UserSession
from security.authority import CRL_FILE, ROOT_FILE, CertificateAuthority
from security.certificates import Trust
from security.identity import read_certificate
from security.keys import KeyStore, KeyUse, folders_of_parties
from security.rollover import (
    NEXT,
    destroy_former,
    is_prepared,
    prepare,
    prepare_root,
    take_over,
    take_over_root,
)

FAREWELL = "former-root.crl"
VOIDED = "the federation was given new keys; order a new run"
_UNDER_WAY = (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.PAUSED)


@dataclass(frozen=True)
class Progress:
    """How far an exchange of keys is.

    Attributes:
        step: what is being done, in words.
        done: objects of this step that were looked at.
        total: of so many.
    """

    step: str
    done: int = 0
    total: int = 0


@dataclass(frozen=True)
class Outcome:
    """What an exchange of keys has done.

    Attributes:
        parties: who has new keys.
        looked_at: stored objects that were looked at, by kind.
        damaged: of these could not be opened and are left as they were, by kind.
        voided: runs that were under way and are void.
        elsewhere: parties whose keys are on other machines.
        root: fingerprint of the root.
    """

    parties: tuple[str, ...]
    looked_at: dict[str, int]
    damaged: dict[str, int]
    voided: int
    elsewhere: tuple[str, ...]
    root: str


Tell = Callable[[Progress], None]


def parties_here(settings: Settings) -> list[str]:
    """Return the parties whose private keys are in this installation, sorted."""
    master = load_master_key(settings)
    stores = [KeyStore(settings.keys_dir, party, master) for party in folders_of_parties(settings.keys_dir)]
    return [store.party for store in stores if store.has(KeyUse.SIGN) and store.has(KeyUse.SEAL)]


def parties_elsewhere(settings: Settings, session: Session) -> list[str]:
    """Return the parties with certificates whose private keys are on other machines, sorted."""
    known = set(session.exec(select(CertificateRecord.party)).all())
    return sorted(known - set(parties_here(settings)))


def lock(settings: Settings) -> FileLock:
    """Return the lock under which keys are exchanged or renewed: one at a time."""
    return FileLock(settings.data_dir / "rollover.lock", timeout=600)


class Rollover:
    """One exchange of keys that was planned, from wherever it stopped to its end; hold `lock` meanwhile."""

    def __init__(self, settings: Settings, plan: Plan, *, engine: Engine, clock: Clock, tell: Tell) -> None:
        self._settings = settings
        self._plan = plan
        self._engine = engine
        self._clock = clock
        self._tell = tell
        self._master = load_master_key(settings)
        self._before = Plan.before(settings)
        self._authority = self._store(AUTHORITY)

    def finish(self, app: Callable[[], App]) -> Outcome:
        """Do what is left; `app` gives the application with the keys that are in place when it is called."""
        certificates = self._make()
        after = self._list(certificates)
        voided = self._void() if self._plan.whole else 0
        self._put_into_place(after)
        running = app()
        after = self._with_later(running, after)
        looked_at, damaged = self._renew_objects(running, after)
        self._note(running, after, looked_at, len(damaged))
        self._revoke(running, after)
        late = Hands(app=running, before=self._before, after=after, tell=lambda _kind: None)
        renew_late(late, since=self._plan.at)
        self._say("destroying the former keys")
        for party in self._plan.parties:
            destroy_former(self._store(party))
        with session_scope(self._engine) as session:
            elsewhere = tuple(parties_elsewhere(self._settings, session))
        Plan.end(self._settings)
        self._say("done")
        by_kind = {kind: damaged.count(kind) for kind in sorted(set(damaged))}
        return Outcome(self._plan.parties, looked_at, by_kind, voided, elsewhere, after.root.fingerprint)

    def _say(self, step: str, done: int = 0, total: int = 0) -> None:
        self._tell(Progress(step, done, total))

    def _store(self, party: str) -> KeyStore:
        return KeyStore(self._settings.keys_dir, party, self._master)

    def _make(self) -> CertificateAuthority:
        """Make what is missing of the next keys and certificates, and publish them."""
        is_coming = self._plan.new_root and not self._root_in_place()
        certificates = (
            prepare_root(self._authority, self._plan.at) if is_coming else CertificateAuthority.open(self._authority)
        )
        for party in self._plan.parties:
            self._say(f"new keys for {party}")
            store = self._store(party)
            if is_prepared(store) or not self._is_new(store):
                prepare(store, certificates, now=self._clock.now(), days=CERTIFICATE_DAYS, new_keys=True)
        self._say("publishing the certificates")
        with session_scope(self._engine) as session:
            for party in self._plan.parties:
                store = self._store(party)
                source = store.beside(NEXT) if is_prepared(store) else store
                for use in (KeyUse.SIGN, KeyUse.SEAL):
                    note_certificate(session, read_certificate(source, f"{use}.crt"))
        return certificates

    def _root_in_place(self) -> bool:
        """Finish putting a new root into place if that was begun, and tell whether it is there."""
        if self._is_new(self._authority):
            take_over_root(self._authority)
        return read_certificate(self._authority, ROOT_FILE).fingerprint != self._before.root.fingerprint

    def _is_new(self, store: KeyStore) -> bool:
        """Whether a party's sealing certificate in use, which is exchanged last, is none of the former ones."""
        return read_certificate(store, f"{KeyUse.SEAL}.crt").serial not in self._plan.former

    def _list(self, certificates: CertificateAuthority) -> Trust:
        """Make the revocation list that will be in force, and, with a new root, the last one of the former root."""
        made = Plan.following(self._settings, certificates.root)
        if made is not None:
            return made
        self._say("making the revocation list")
        moment, reason = self._clock.now(), self._plan.reason
        earlier = revoked_in(self._before)
        revoked = {entry[0] for entry in earlier}
        former = [(serial, moment, reason) for serial in self._plan.former if serial not in revoked]
        number = self._before.crl_number + 1
        if self._plan.new_root:
            last = CertificateAuthority.open(self._authority)
            self._authority.write(FAREWELL, last.revocation_list([*earlier, *former], number=number, now=moment))
        der = certificates.revocation_list([*earlier, *former], number=number, now=moment)
        Plan.keep_list(self._settings, der)
        return Trust(certificates.root, der)

    def _void(self) -> int:
        """End the runs that are under way, whose orders and group keys name former certificates, and all sessions."""
        self._say("voiding runs and sessions")
        now = self._clock.now()
        with session_scope(self._engine) as session:
            runs = session.exec(select(Run).where(col(Run.status).in_(_UNDER_WAY)).with_for_update()).all()
            for run in runs:
                run.status, run.finished_at, run.reason = RunStatus.ABORTED, now, VOIDED
            for row in session.exec(select(UserSession).where(col(UserSession.revoked_at).is_(None))).all():
                row.revoked_at = now
        return len(runs)

    def _put_into_place(self, after: Trust) -> None:
        for party in self._plan.parties:
            self._say(f"putting the new keys of {party} into place")
            store = self._store(party)
            take_over(store)
            if self._plan.new_root:  # a list of another root than its own would stop a party
                store.write(CRL_FILE, after.crl_der or b"")
        if self._plan.new_root:
            self._say("putting the new root into place")
            take_over_root(self._authority)
            self._publish(after)

    def _with_later(self, app: App, after: Trust) -> Trust:
        """Return the list to put into force: with what the authority revoked since, under a number that is free."""
        in_force = app.trust()
        if self._plan.new_root or in_force.crl_number < after.crl_number:  # with a new root nobody else acts meanwhile
            return after
        entries = revoked_in(in_force)
        revoked = {serial for serial, _, _ in entries}
        missing = [entry for entry in revoked_in(after) if entry[0] not in revoked]
        if not missing:
            return in_force
        office, number = CertificateAuthority.open(self._authority), in_force.crl_number + 1
        return Trust(after.root, office.revocation_list([*entries, *missing], number=number, now=self._clock.now()))

    def _publish(self, after: Trust) -> None:
        """Put the list into force, and its entries into the rows that the page shows."""
        revoked = {serial: (moment, reason) for serial, moment, reason in revoked_in(after)}
        with session_scope(self._engine) as session:
            for serial in self._plan.former:
                record = session.get(CertificateRecord, serial, with_for_update=True)
                if record is not None and record.revoked_at is None:
                    record.revoked_at, record.revocation_reason = revoked[serial]
            if session.get(RevocationList, after.crl_number) is None:
                now = self._clock.now()
                session.add(RevocationList(number=after.crl_number, der=after.crl_der or b"", issued_at=now))

    def _renew_objects(self, app: App, after: Trust) -> tuple[dict[str, int], list[str]]:
        """Return how many objects of each kind were looked at, and the kind of each that did not open."""
        seen, total = 0, 0

        def told(kind: str) -> None:
            nonlocal seen
            self._say(f"stored objects: {kind}", seen, total)
            seen += 1

        hands = Hands(app=app, before=self._before, after=after, tell=told)
        looked_at = counts(hands)
        total = sum(looked_at.values())
        renew_all(hands)
        return looked_at, hands.damaged

    def _note(self, app: App, after: Trust, looked_at: dict[str, int], damaged: int) -> None:
        """Write to the audit log what was done; its head is signed with the new keys from then on."""
        self._say("writing the audit log")
        details: audit_log.Details = {
            "parties": len(self._plan.parties),
            "reason": self._plan.reason,
            "root": "new" if self._plan.new_root else "same",
            "objects": sum(looked_at.values()),
            "damaged": damaged,
        }
        for trust, last in ((self._before, False), (after, True)):
            try:
                with session_scope(self._engine) as session:
                    audit_log.append_signed(
                        session,
                        clock=self._clock,
                        signer=app.identity,
                        trust=trust,
                        actor=AUTHORITY,
                        action="key.federation" if self._plan.whole else "key.exchange",
                        object_id=AUTHORITY if self._plan.whole else self._plan.parties[0],
                        details=details,
                    )
                break
            except AuditLogBroken:
                if last:
                    raise
        if self._plan.new_root:
            keep_end(app, after)

    def _revoke(self, app: App, after: Trust) -> None:
        self._say("revoking the former certificates")
        self._publish(self._with_later(app, after))
        app.trust()  # which keeps the list in the app's own folder


def begin(
    settings: Settings,
    session: Session,
    *,
    parties: list[str],
    trust: Trust,
    reason: str,
    clock: Clock,
    whole: bool = False,
    new_root: bool = False,
) -> Plan:
    """Plan an exchange of keys and write the plan down.

    Args:
        settings: the installation.
        session: reads which certificates the parties have.
        parties: who gets new keys.
        trust: root and list in force.
        reason: why.
        clock: tells the time.
        whole: whether this is the whole federation: runs and sessions end.
        new_root: whether the root is exchanged as well: then every certificate there is becomes a former one.
    """
    chosen = select(CertificateRecord.serial)
    if not new_root:
        chosen = chosen.where(col(CertificateRecord.party).in_(parties))
    plan = Plan(
        parties=tuple(sorted(parties)),
        former=tuple(sorted(session.exec(chosen).all())),
        reason=reason,
        new_root=new_root,
        whole=whole,
        begun=clock.now().isoformat(),
    )
    plan.begin(settings, trust)
    return plan
