"""Members and their certificates on both databases: admission, revocation, and what a changed database cannot do."""

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from sqlmodel import col, select

from core.clock import FixedClock
from core.errors import InvalidInput, MemberRefused, NotAuthorised, NotFound
from core.services import audit, members
from core.services.app import Actor, App
from core.services.members import RevocationReason
from db.engine import read_scope, session_scope
from db.models import CertificateRecord, Hospital, RevocationList
from federated.dbstore.office import DbDirectory
from security.errors import CertificateRefused
from security.identity import Identity
from security.keys import KeyStore, KeyUse, MasterKey

LOST = RevocationReason.KEY_COMPROMISE


def _serial(app: App, party: str, use: KeyUse) -> str:
    return app.certificate_of(party, use).serial


def _enrol(app: App, actor: Actor, slug: str = "centre") -> members.HospitalView:
    return members.enrol_hospital(
        app, actor, slug=slug, name="Centre Hospital", city="Vienna", latitude=48.2, longitude=16.37
    )


def test_every_party_of_a_fresh_installation_has_valid_certificates(app: App, authority: Actor) -> None:
    parties = {"authority", "coordinator", "aggregation", "app"} | {
        f"{slug}.{part}" for slug in ("north", "east", "south", "west") for part in ("training", "serving")
    }
    views = members.certificates(app, authority)
    assert {(view.party, view.key_use, view.state) for view in views} == {
        (party, use, "valid") for party in parties for use in ("sign", "seal")
    }
    for party in parties:
        for use in (KeyUse.SIGN, KeyUse.SEAL):
            assert app.certificate_of(party, use).party == party


def test_a_hospital_is_admitted_with_keys_of_its_own(app: App, authority: Actor) -> None:
    view = _enrol(app, authority)
    assert view in members.hospitals(app, authority)
    master = MasterKey.load(secret=None, file=app.settings.master_key_file)
    for part in ("training", "serving"):
        identity = Identity.load(KeyStore(app.settings.keys_dir, f"centre.{part}", master))
        assert app.certificate_of(f"centre.{part}", KeyUse.SEAL) == identity.sealing_certificate


def test_a_short_name_is_given_once(app: App, authority: Actor) -> None:
    _enrol(app, authority)
    for slug in ("centre", "north"):
        with pytest.raises(InvalidInput, match="used before"):
            _enrol(app, authority, slug)


def test_an_admission_that_was_cut_off_can_be_done_again(app: App, authority: Actor) -> None:
    _enrol(app, authority)
    with session_scope(app.engine) as session:
        rows = session.exec(select(CertificateRecord).where(col(CertificateRecord.party).like("centre.%"))).all()
        for row in [*rows, *session.exec(select(Hospital).where(col(Hospital.slug) == "centre")).all()]:
            session.delete(row)
    _enrol(app, authority)
    assert app.certificate_of("centre.serving", KeyUse.SEAL).party == "centre.serving"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("slug", ["", "x", "../etc", "two words", "1st", "with.dot"])
def test_a_short_name_that_could_be_a_path_is_refused(app: App, authority: Actor, slug: str) -> None:
    with pytest.raises(InvalidInput):
        _enrol(app, authority, slug)


def test_a_revoked_certificate_is_refused_from_then_on(app: App, authority: Actor) -> None:
    certificate = app.certificate_of("north.training", KeyUse.SIGN)
    number = members.revoke_certificate(app, authority, certificate.serial, LOST)
    assert number == 1
    with pytest.raises(MemberRefused, match="none was issued"):
        app.certificate_of("north.training", KeyUse.SIGN)
    with pytest.raises(CertificateRefused, match="revoked"):
        app.trust().check(certificate, party="north.training", use=KeyUse.SIGN, at=app.clock.now())
    view = next(view for view in members.certificates(app, authority) if view.serial == certificate.serial)
    assert (view.state, view.reason, view.revoked_at) == ("revoked", "keyCompromise", app.clock.now())
    assert [entry.number for entry in members.revocation_lists(app, authority)] == [1, 0]


def test_a_list_keeps_what_earlier_lists_revoked(app: App, authority: Actor) -> None:
    serials = [_serial(app, f"{slug}.training", KeyUse.SIGN) for slug in ("north", "east")]
    for serial in serials:
        members.revoke_certificate(app, authority, serial, LOST)
    assert members.new_revocation_list(app, authority) == 3
    der = app.trust().crl_der
    assert der is not None
    entries = {format(entry.serial_number, "x") for entry in x509.load_der_x509_crl(der)}
    assert entries == set(serials)


def test_rows_changed_in_the_database_do_not_bring_a_certificate_back(app: App, authority: Actor) -> None:
    serial = _serial(app, "north.training", KeyUse.SIGN)
    members.revoke_certificate(app, authority, serial, LOST)
    app.trust()
    with session_scope(app.engine) as session:
        session.get_one(CertificateRecord, serial).revoked_at = None
        session.delete(session.get_one(RevocationList, 1))
    again = App.start(app.settings, clock=app.clock)
    for running in (app, again):
        with pytest.raises(MemberRefused, match="revoked"):
            running.certificate_of("north.training", KeyUse.SIGN)
    assert members.new_revocation_list(again, authority) == 2
    with pytest.raises(MemberRefused, match="revoked"):
        again.certificate_of("north.training", KeyUse.SIGN)
    again.engine.dispose()


def test_a_forged_revocation_list_is_refused(app: App, tmp_path: Path) -> None:
    app.trust()
    with session_scope(app.engine) as session:
        session.add(RevocationList(number=9, der=b"forged", issued_at=app.clock.now()))
    with pytest.raises(MemberRefused, match="not the authority's"):
        app.trust()


def test_a_certificate_of_another_party_in_the_row_is_refused(app: App) -> None:
    with session_scope(app.engine) as session:
        rows = session.exec(select(CertificateRecord).where(col(CertificateRecord.key_use) == "seal")).all()
        by_party = {row.party: row for row in rows}
        by_party["north.serving"].pem = by_party["east.serving"].pem
    with pytest.raises(MemberRefused, match=r"north\.serving"):
        app.certificate_of("north.serving", KeyUse.SEAL)


def test_an_expired_certificate_is_refused(app: App, clock: FixedClock, authority: Actor) -> None:
    clock.advance(timedelta(days=3651))
    with pytest.raises(MemberRefused, match="not valid"):
        app.certificate_of("north.serving", KeyUse.SEAL)
    assert {view.state for view in members.certificates(app, authority)} == {"expired"}


def test_revoking_twice_an_unknown_one_or_the_authoritys_own_is_refused(app: App, authority: Actor) -> None:
    serial = _serial(app, "north.training", KeyUse.SIGN)
    members.revoke_certificate(app, authority, serial, LOST)
    with pytest.raises(InvalidInput, match="already"):
        members.revoke_certificate(app, authority, serial, LOST)
    with pytest.raises(InvalidInput, match="reasons"):
        members.revoke_certificate(app, authority, _serial(app, "east.training", KeyUse.SIGN), "because")
    with pytest.raises(NotFound):
        members.revoke_certificate(app, authority, "abc", LOST)
    with pytest.raises(InvalidInput, match="hospital's"):
        members.revoke_certificate(app, authority, _serial(app, "authority", KeyUse.SIGN), LOST)


def test_a_certificate_row_that_cannot_be_read_is_left_out_of_what_runs_are_told(app: App) -> None:
    directory = DbDirectory(app.engine)
    whole, east = directory.certificates(), app.certificate_of("east.serving", KeyUse.SEAL)
    with session_scope(app.engine) as session:
        session.get_one(CertificateRecord, east.serial).pem = "no certificate"
    assert set(directory.certificates()) == set(whole) - {east.der}


def test_only_the_authority_manages_members_but_all_may_see_the_hospitals(
    app: App, patient: Actor, doctor: Actor, hospital: Actor, authority: Actor
) -> None:
    serial = _serial(app, "north.training", KeyUse.SIGN)
    for actor in (patient, doctor, hospital):
        assert len(members.hospitals(app, actor)) == 4
        with pytest.raises(NotAuthorised):
            members.certificates(app, actor)
        with pytest.raises(NotAuthorised):
            members.revocation_lists(app, actor)
        with pytest.raises(NotAuthorised):
            members.new_revocation_list(app, actor)
        with pytest.raises(NotAuthorised):
            members.revoke_certificate(app, actor, serial, LOST)
        with pytest.raises(NotAuthorised):
            _enrol(app, actor)
    with read_scope(app.engine) as session:
        assert len(session.exec(select(Hospital)).all()) == 4
    assert len(audit.list_entries(app, authority, outcome=audit.Outcome.REFUSED)) == 15
