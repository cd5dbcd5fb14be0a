"""New keys for the whole federation as one command: all that was stored opens, the former keys are worth nothing."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from sqlmodel import select
from typer.testing import CliRunner

from core.__main__ import app as commands
from core.clock import FixedClock, SystemClock
from core.errors import AuditLogBroken, SettingsError
from core.services import audit, setup
from core.services.app import Actor, App
from core.services.case_objects import ObjectKind
from core.services.context import APP_PARTY
from core.services.dataset_store import sealed_path
from core.services.key_exchange import exchange
from core.services.rekey import rekey
from core.services.reviews import reviews_of
from core.services.rollover import Outcome, Progress
from core.settings import Settings
from db.engine import read_scope, session_scope
from db.models import AuditEntry, CertificateRecord, Run, RunStatus, UserSession
from security.audit import decode_entry
from security.certificates import Trust
from security.context import Context, Purpose
from security.errors import CertificateRefused, SealBroken, SecurityError
from security.identity import Identity
from security.keys import KeyUse
from security.sealed_format import front_length
from security.sealing import open_sealed, seal
from security.signing import sign, verify
from tests.integration.keys_support import Estate, build, check_all_opens, check_goes_on, sealed_of
from tests.integration.vault_support import BODY, identity_of

ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
PARTIES = 12
Stop = Callable[[Progress], None]


class Killed(BaseException):
    """The process ends here: nothing of the application catches it."""


@pytest.fixture
def estate(app: App, clock: FixedClock, patient: Actor, doctor: Actor, authority: Actor) -> Estate:
    return build(app, clock, patient=patient, doctor=doctor, authority=authority)


def stopping_at(number: int) -> tuple[Stop, list[str]]:
    """Return what kills at the `number`-th report, and the reports so far; 0 never kills."""
    seen: list[str] = []

    def tell(progress: Progress) -> None:
        seen.append(progress.step)
        if len(seen) == number:
            raise Killed

    return tell, seen


def points_of(steps: list[str], *, within: bool) -> list[int]:
    """Return the places to kill at, from 1: the first of each kind of step and, if asked for, one within."""
    by_kind: dict[str, list[int]] = {}
    for number, step in enumerate(steps, 1):
        by_kind.setdefault(re.sub(r"[a-z]+\.[a-z]+|app|authority|aggregation|coordinator", "", step), []).append(number)
    return sorted(
        {place for places in by_kind.values() for place in (places[0], places[len(places) // 2 if within else 0])}
    )


def do(
    settings: Settings, clock: FixedClock, *, new_root: bool = False, tell: Stop = lambda _progress: None
) -> Outcome:
    return rekey(settings, new_root=new_root, clock=clock, tell=tell)


def thieves(app: App) -> dict[str, Identity]:
    """Return the keys of every party as a thief has copied them."""
    return {folder.name: identity_of(app, folder.name) for folder in sorted(app.settings.keys_dir.iterdir())}


@pytest.mark.parametrize("new_root", [False, True])
def test_all_that_was_stored_opens_and_work_goes_on(  # noqa: PLR0917
    app: App, estate: Estate, clock: FixedClock, patient: Actor, doctor: Actor, authority: Actor, new_root: bool
) -> None:
    before = {case: sealed_of(app, case, ObjectKind.IMAGE) for case in estate.cases}
    root = app.root.fingerprint
    done = do(app.settings, clock, new_root=new_root)
    assert (len(done.parties), done.damaged, done.voided, done.elsewhere) == (PARTIES, {}, 1, ())
    assert (done.root == root) is not new_root

    again = App.start(app.settings, clock=clock)
    check_all_opens(again, estate, doctor=doctor, authority=authority)
    for case, sealed in before.items():  # bodies were not touched
        now = sealed_of(again, case, ObjectKind.IMAGE)
        assert now[front_length(now) :] == sealed[front_length(sealed) :]
        assert now[: front_length(now)] != sealed[: front_length(sealed)]
    check_goes_on(again, estate, clock, patient=patient, authority=authority)
    again.engine.dispose()


@ON_SQLITE
@pytest.mark.parametrize("new_root", [False, True])
def test_whoever_stole_every_key_before_opens_and_signs_nothing_after(
    app: App, estate: Estate, clock: FixedClock, doctor: Actor, new_root: bool
) -> None:
    stolen, former = thieves(app), app.trust()
    seen = sealed_of(app, estate.cases[0], ObjectKind.IMAGE)
    do(app.settings, clock, new_root=new_root)
    again = App.start(app.settings, clock=clock)
    trust, at = again.trust(), clock.now()
    sealed = sealed_of(again, estate.cases[0], ObjectKind.IMAGE)
    later = seal(
        b"sealed later",
        sender=again.identity,
        recipients=[again.certificate_of("north.serving", KeyUse.SEAL)],
        context=Context(purpose=Purpose.IMAGE, study="s", sender=APP_PARTY, object_id="later"),
    )
    for party, thief in stolen.items():
        context = Context(purpose=Purpose.MESSAGE, study="", sender=party, object_id="x")
        envelope = sign(b"forged", signer=thief, context=context)
        for held in (trust, trust.for_stored()):
            with pytest.raises(CertificateRefused):
                verify(envelope, trust=held, context=context, party=party, at=at)
            for stored, purpose_context in ((sealed, image_of(estate)), (later, later_context())):
                with pytest.raises(SealBroken):
                    open_sealed(stored, recipient=thief, trust=held, context=purpose_context, sender=APP_PARTY, at=at)
    # what a thief copied before stays readable to them: new keys do not cure that
    asked: dict[str, Any] = {"context": image_of(estate), "sender": APP_PARTY, "at": at}
    assert open_sealed(seen, recipient=stolen["north.serving"], trust=former, **asked) == BODY
    with pytest.raises(SealBroken):
        open_sealed(
            seen,
            recipient=identity_of(again, "north.serving"),
            trust=trust.for_stored(),
            context=image_of(estate),
            sender=APP_PARTY,
            at=at,
        )
    again.engine.dispose()


def later_context() -> Context:
    return Context(purpose=Purpose.IMAGE, study="s", sender=APP_PARTY, object_id="later")


def image_of(estate: Estate) -> Context:
    return Context(purpose=Purpose.IMAGE, study="leukemia", sender=APP_PARTY, object_id=estate.cases[0])


@ON_SQLITE
@pytest.mark.parametrize("new_root", [False, True])
def test_the_former_certificates_are_revoked_as_compromised_and_the_log_says_so(
    app: App, estate: Estate, clock: FixedClock, authority: Actor, new_root: bool
) -> None:
    with read_scope(app.engine) as session:
        former = set(session.exec(select(CertificateRecord.serial)).all())
    held = app.trust()
    do(app.settings, clock, new_root=new_root)
    again = App.start(app.settings, clock=clock)
    lists = [again.trust().crl_der]
    if new_root:  # for who knows the former root only
        lists.append((app.settings.keys_dir / "authority" / "former-root.crl").read_bytes())
        told = held.with_crl(lists[-1] or b"")
        assert all(told.is_revoked(serial) for serial in former)
    for der in lists:
        entries = {
            format(entry.serial_number, "x"): entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
            for entry in x509.load_der_x509_crl(der or b"")
        }
        assert entries == dict.fromkeys(former, x509.ReasonFlags.key_compromise)
    with read_scope(again.engine) as session:
        rows = session.exec(select(CertificateRecord)).all()
        assert {row.serial for row in rows if row.revocation_reason == "keyCompromise"} == former
        acts = [decode_entry(entry).action for entry in session.exec(select(AuditEntry.entry)).all()]
        assert session.get_one(Run, estate.queued_run).status is RunStatus.ABORTED
        assert not session.exec(select(UserSession).where(UserSession.revoked_at == None)).all()  # noqa: E711
    assert acts.count("key.federation-begin") == acts.count("key.federation") == 1
    assert not list(app.settings.keys_dir.glob("*/former*/*/seal.p8"))
    assert not list(app.settings.keys_dir.glob("*/next*"))
    assert not app.settings.rollover_dir.exists()
    assert audit.verify(again, authority).size
    again.engine.dispose()


@ON_SQLITE
@pytest.mark.parametrize("new_root", [False, True])
def test_it_can_be_killed_in_every_step_and_finishes_when_it_is_run_again(  # noqa: PLR0917
    app: App,
    estate: Estate,
    clock: FixedClock,
    doctor: Actor,
    authority: Actor,
    tmp_path: Path,
    new_root: bool,
) -> None:
    app.engine.dispose()
    kept, last = tmp_path / "kept", ""
    shutil.copytree(app.settings.data_dir, kept)
    tell, all_steps = stopping_at(0)
    do(app.settings, clock, new_root=new_root, tell=tell)
    for number in points_of(all_steps, within=not new_root):  # what a new root adds is a step of its own
        shutil.rmtree(app.settings.data_dir)
        shutil.copytree(kept, app.settings.data_dir)
        tell, steps = stopping_at(number)
        with pytest.raises(Killed):
            do(app.settings, clock, new_root=new_root, tell=tell)
        last = steps[-1]
        is_open = (app.settings.rollover_dir / "plan.json").exists()
        assert is_open is (last != "done")
        if is_open and new_root:
            with pytest.raises(SettingsError, match="core rekey"):
                App.start(app.settings, clock=clock)
        if is_open and not new_root:  # nothing is out of reach in between
            between = App.start(app.settings, clock=clock)
            check_all_opens(between, estate, doctor=doctor, authority=authority)
            between.engine.dispose()
        if is_open:
            assert do(app.settings, clock, new_root=new_root).damaged == {}, last
        again = App.start(app.settings, clock=clock)
        check_all_opens(again, estate, doctor=doctor, authority=authority)
        again.engine.dispose()
    assert last == "done"


@ON_SQLITE
def test_an_app_that_goes_on_with_the_former_keys_writes_nothing(app: App, estate: Estate, clock: FixedClock) -> None:
    do(app.settings, clock)
    with pytest.raises(AuditLogBroken), session_scope(app.engine) as session:
        audit.append(app, session, APP_PARTY, "test.act")
    again = App.start(app.settings, clock=clock)
    with session_scope(again.engine) as session:
        assert audit.append(again, session, APP_PARTY, "test.act")
    again.engine.dispose()


@ON_SQLITE
def test_what_was_changed_before_is_not_vouched_for(
    app: App, estate: Estate, clock: FixedClock, authority: Actor
) -> None:
    path = sealed_path(app.settings, "north", estate.datasets[1])
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    changed = path.read_bytes()
    done = do(app.settings, clock)
    assert done.damaged == {"data set": 1}
    assert path.read_bytes() == changed


@ON_SQLITE
def test_a_log_that_does_not_hold_stops_it_before_anything_is_begun(
    app: App, estate: Estate, clock: FixedClock
) -> None:
    with session_scope(app.engine) as session:
        session.get_one(AuditEntry, 1).entry = b"{}"
    with pytest.raises(AuditLogBroken):
        do(app.settings, clock)
    assert not app.settings.rollover_dir.exists()
    assert not list(app.settings.keys_dir.glob("*/next"))


@ON_SQLITE
def test_a_certificate_of_the_former_root_is_refused_by_the_new_one(
    app: App, estate: Estate, clock: FixedClock
) -> None:
    former, held = app.certificate_of("north.training", KeyUse.SIGN), app.trust()
    do(app.settings, clock, new_root=True)
    again = App.start(app.settings, clock=clock)
    with pytest.raises(SecurityError, match="not issued by this authority"):
        again.trust().check(former, party="north.training", use=KeyUse.SIGN, at=clock.now())
    with pytest.raises(CertificateRefused, match="not this authority's"):
        Trust(again.root, held.crl_der)
    again.engine.dispose()


@ON_SQLITE
def test_the_command_says_who_has_new_keys_and_which_root_to_compare(
    app: App, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.engine.dispose()
    monkeypatch.setenv("HEMASEAL_DATA_DIR", str(app.settings.data_dir))
    refused = CliRunner().invoke(commands, ["rekey"], input="n\n")
    assert refused.exit_code == 1
    assert not app.settings.rollover_dir.exists()
    done = CliRunner().invoke(commands, ["rekey", "--new-root", "--yes"])
    assert done.exit_code == 0, done.output
    again = App.start(app.settings, clock=SystemClock())
    assert f"New keys for {PARTIES} parties: aggregation, app, authority" in done.output
    assert again.root.fingerprint in done.output
    assert again.root.fingerprint != app.root.fingerprint
    again.engine.dispose()


@ON_SQLITE
def test_an_exchange_of_one_party_that_was_stopped_is_not_taken_for_a_new_key_for_all(
    app: App, clock: FixedClock, authority: Actor
) -> None:
    root = app.root.fingerprint
    with pytest.raises(Killed):
        exchange(app, authority, "north.serving", "superseded", tell=stopping_at(4)[0])
    app.engine.dispose()
    done = do(app.settings, clock, new_root=True)
    assert len(done.parties) == PARTIES
    assert done.root != root


@ON_SQLITE
def test_set_up_finishes_what_was_stopped(app: App, estate: Estate, clock: FixedClock, doctor: Actor) -> None:
    tell, _ = stopping_at(31)
    with pytest.raises(Killed):
        do(app.settings, clock, new_root=True, tell=tell)
    said: list[str] = []
    setup.run(app.settings, clock=clock, say=said.append, demo_contents=False, rounds=4)
    assert any("Finished an exchange of keys" in line for line in said)
    assert not app.settings.rollover_dir.exists()
    again = App.start(app.settings, clock=clock)
    assert [review.reason for review in reviews_of(again, doctor, estate.cases[0])] == ["another laboratory"]
    again.engine.dispose()
