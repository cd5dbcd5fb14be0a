"""Renewing certificates and giving one party new keys, as the authority's page does it."""

import errno
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from sqlmodel import col, select

from core.clock import FixedClock
from core.diagnosis.measurement import measure
from core.diagnosis.wire import image_context, result_context
from core.errors import CheckpointRefused, ClockWrong, InvalidInput, MemberRefused, NotAuthorised, StorageFailed
from core.imaging.archive import open_dataset
from core.imaging.decode import encode_png
from core.services import approvals, key_ceremony, members, models, node, setup
from core.services.app import Actor, App
from core.services.audit import list_entries
from core.services.authority import authority_office
from core.services.case_objects import ObjectKind, image_rows, replace_recipients
from core.services.case_reading import view_pictures
from core.services.dataset_store import sealed_path
from core.services.key_exchange import exchange, finish, parties, renew, unfinished
from core.services.model_store import model_in_service
from core.services.rollover import Progress
from core.services.vault import key_of
from core.settings import Settings
from core.studies import LEUKEMIA
from db.engine import read_scope, session_scope
from db.models import RevocationList, Run, RunStatus
from security import sealed_files
from security.errors import CertificateRefused, SealBroken
from security.keys import KeyUse
from security.sealed_format import front_length
from security.sealing import open_sealed
from tests.integration.keys_support import Estate, build, check_all_opens, check_goes_on, sealed_of
from tests.integration.page_support import draw, words
from tests.integration.runs_support import give_data
from tests.integration.test_rekey import Killed, image_of, stopping_at
from tests.integration.vault_support import BODY, full_case, identity_of

ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
LOST = "keyCompromise"


@pytest.fixture
def estate(app: App, clock: FixedClock, patient: Actor, doctor: Actor, authority: Actor) -> Estate:
    return build(app, clock, patient=patient, doctor=doctor, authority=authority)


def everybody(app: App, authority: Actor) -> list[str]:
    return [view.party for view in parties(app, authority)]


@pytest.mark.parametrize("party", ["north.serving", "east.training", "aggregation"])
def test_a_party_with_new_keys_opens_all_of_before_and_its_former_keys_nothing(  # noqa: PLR0917
    app: App, estate: Estate, clock: FixedClock, patient: Actor, doctor: Actor, authority: Actor, party: str
) -> None:
    thief, image = identity_of(app, party), sealed_of(app, estate.cases[0], ObjectKind.IMAGE)
    done = exchange(app, authority, party, LOST)
    assert (done.parties, done.damaged, done.voided) == ((party,), {}, 0)
    check_all_opens(app, estate, doctor=doctor, authority=authority)
    now = sealed_of(app, estate.cases[0], ObjectKind.IMAGE)
    assert now[front_length(now) :] == image[front_length(image) :]
    assert (now == image) is (party != "north.serving")
    for certificate, use in ((thief.signing_certificate, KeyUse.SIGN), (thief.sealing_certificate, KeyUse.SEAL)):
        with pytest.raises(CertificateRefused, match="revoked"):
            app.trust().for_stored().check(certificate, party=party, use=use, at=clock.now())
    assert app.certificate_of(party, KeyUse.SEAL).fingerprint != thief.sealing_key.fingerprint
    if party == "north.serving":
        context = image_of(estate)
        with pytest.raises(SealBroken):
            open_sealed(now, recipient=thief, trust=app.trust(), context=context, sender="app", at=clock.now())
    acts = [entry.action for entry in list_entries(app, authority, action="key.")]
    assert sorted(acts) == ["key.exchange", "key.exchange-begin"]
    with read_scope(app.engine) as session:
        assert session.get_one(Run, estate.queued_run).status is RunStatus.QUEUED
    check_goes_on(app, estate, clock, patient=patient, authority=authority)


@ON_SQLITE
def test_an_exchange_that_was_stopped_leaves_everything_open_and_is_finished(
    served: App, estate: Estate, doctor: Actor, authority: Actor
) -> None:
    app = served
    tell, steps = stopping_at(9)
    with pytest.raises(Killed):
        exchange(app, authority, "north.serving", LOST, tell=tell)
    assert steps[-1].startswith("stored objects")
    assert unfinished(app, authority) == ("north.serving",)
    check_all_opens(app, estate, doctor=doctor, authority=authority)
    for refused in (
        lambda: exchange(app, authority, "south.serving", LOST),
        lambda: renew(app, authority, ["south.serving"]),
    ):
        with pytest.raises(InvalidInput, match="finish it first"):
            refused()
    assert "Finish the exchange" in {button.label for button in page(app).button}
    assert finish(app, authority).damaged == {}
    assert unfinished(app, authority) == ()
    check_all_opens(app, estate, doctor=doctor, authority=authority)
    with pytest.raises(InvalidInput):
        finish(app, authority)


@ON_SQLITE
def test_a_revoked_party_takes_part_again_with_new_keys(
    app: App, estate: Estate, doctor: Actor, authority: Actor
) -> None:
    serial = app.certificate_of("north.serving", KeyUse.SEAL).serial
    members.revoke_certificate(app, authority, serial, "cessationOfOperation")
    with pytest.raises(MemberRefused):
        app.certificate_of("north.serving", KeyUse.SEAL)
    assert exchange(app, authority, "north.serving", LOST).damaged == {}
    check_all_opens(app, estate, doctor=doctor, authority=authority)
    reasons = {view.serial: view.reason for view in members.certificates(app, authority)}
    assert reasons[serial] == "cessationOfOperation"  # the first reason stays


@ON_SQLITE
def test_what_was_revoked_while_an_exchange_was_stopped_stays_revoked_beside_the_former_keys(
    app: App, clock: FixedClock, patient: Actor, authority: Actor
) -> None:
    full_case(app, patient)
    thief, other = identity_of(app, "north.serving"), app.certificate_of("west.serving", KeyUse.SIGN)
    tell, steps = stopping_at(4)
    with pytest.raises(Killed):
        exchange(app, authority, "north.serving", LOST, tell=tell)
    assert "making the revocation list" in steps
    members.revoke_certificate(app, authority, other.serial, LOST)
    members.new_revocation_list(app, authority)
    assert finish(app, authority).damaged == {}
    for certificate in (thief.signing_certificate, thief.sealing_certificate, other):
        with pytest.raises(CertificateRefused, match="revoked"):
            app.trust().check(certificate, party=certificate.party, use=certificate.key_use, at=clock.now())
    with read_scope(app.engine) as session:  # and so whoever starts from the database alone
        newest = session.exec(select(RevocationList).order_by(col(RevocationList.number).desc())).first()
        assert newest is not None
        assert newest.der == app.trust(session).crl_der


@ON_SQLITE
def test_what_is_stored_for_the_former_key_after_everything_was_renewed_is_renewed_too(
    app: App, clock: FixedClock, patient: Actor, authority: Actor
) -> None:
    case = full_case(app, patient)
    former = {kind: sealed_of(app, case, kind) for kind in (ObjectKind.IMAGE, ObjectKind.RESULT)}

    def tell(progress: Progress) -> None:
        if progress.step == "writing the audit log":  # an upload and its answer that began before are committed now
            with session_scope(app.engine) as session:
                row, key = image_rows(session, case)[0], key_of(app, session, patient.user_id)
                for kind, sealed in former.items():
                    replace_recipients(session, row, sealed, key=key, kind=kind)

    assert exchange(app, authority, "north.serving", LOST, tell=tell).damaged == {}
    image, result = (sealed_of(app, case, kind) for kind in former)
    study, north = LEUKEMIA.name, "north.serving"
    contexts = image_context(study=study, case_id=case), result_context(study=study, case_id=case, party=north)
    enclave, at = identity_of(app, north), clock.now()
    for sealed, reader, context in ((image, enclave, contexts[0]), (result, app.identity, contexts[1])):
        trust, sender = app.trust().for_stored(), context.sender
        assert open_sealed(sealed, recipient=reader, trust=trust, context=context, sender=sender, at=at)


@ON_SQLITE
def test_a_full_disk_stops_an_exchange_before_the_former_keys_are_destroyed(
    app: App, clock: FixedClock, authority: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = give_data(app, slugs=("east",))[0]

    def full(*_what: object) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    with monkeypatch.context() as patch:
        patch.setattr(sealed_files, "private_file", full)
        with pytest.raises(StorageFailed):
            exchange(app, authority, "east.training", LOST)
    assert unfinished(app, authority) == ("east.training",)
    assert finish(app, authority).damaged == {}
    file, node = sealed_path(app.settings, "east", dataset), identity_of(app, "east.training")
    trust, at = app.trust(), clock.now()
    assert len(open_dataset(file, node=node, trust=trust, study=LEUKEMIA, dataset_id=dataset, at=at).arrays)


@pytest.fixture
def yearly(app: App, authority: Actor, clock: FixedClock) -> Iterator[App]:
    """The application with certificates that hold for a year, as outside of tests."""
    renew(app, authority, everybody(app, authority))
    again = App.start(app.settings, clock=clock)
    yield again
    again.engine.dispose()


@ON_SQLITE
def test_what_was_stored_is_opened_after_its_certificates_have_ended_once_they_were_renewed(
    yearly: App, clock: FixedClock, patient: Actor, doctor: Actor, authority: Actor
) -> None:
    estate = build(yearly, clock, patient=patient, doctor=doctor, authority=authority)
    keys = {name: identity_of(yearly, name).sealing_key.fingerprint for name in everybody(yearly, authority)}
    image = sealed_of(yearly, estate.cases[0], ObjectKind.IMAGE)
    clock.advance(timedelta(days=350))
    assert renew(yearly, authority, list(keys)) == len(keys)
    clock.advance(timedelta(days=30))
    with pytest.raises(CertificateRefused, match="not valid"):
        yearly.trust().check(yearly.identity.signing_certificate, party="app", use=KeyUse.SIGN, at=clock.now())
    again = App.start(yearly.settings, clock=clock)
    check_all_opens(again, estate, doctor=doctor, authority=authority)
    assert sealed_of(again, estate.cases[0], ObjectKind.IMAGE) == image  # nothing was wrapped anew for that
    assert {name: identity_of(again, name).sealing_key.fingerprint for name in keys} == keys
    check_goes_on(again, estate, clock, patient=patient, authority=authority)
    assert all(not view.is_soon for view in parties(again, authority))
    again.engine.dispose()


@ON_SQLITE
def test_an_ended_certificate_speaks_for_what_was_stored_only_and_a_revoked_one_not_even_for_that(
    yearly: App, clock: FixedClock, patient: Actor, doctor: Actor, authority: Actor
) -> None:
    estate = build(yearly, clock, patient=patient, doctor=doctor, authority=authority)
    with read_scope(yearly.engine) as session:
        assert model_in_service(yearly, session, LEUKEMIA).sealed
    clock.advance(timedelta(days=366))
    context, sealed = image_of(estate), sealed_of(yearly, estate.cases[0], ObjectKind.IMAGE)
    enclave, at = identity_of(yearly, "north.serving"), clock.now()
    opened = open_sealed(
        sealed, recipient=enclave, trust=yearly.trust().for_stored(), context=context, sender="app", at=at
    )
    assert opened == BODY
    with pytest.raises(SealBroken):  # as what comes over the line
        open_sealed(sealed, recipient=enclave, trust=yearly.trust(), context=context, sender="app", at=at)
    with read_scope(yearly.engine) as session, pytest.raises(CheckpointRefused):  # the authority has to say it again
        model_in_service(yearly, session, LEUKEMIA)
    serial = yearly.identity.signing_certificate.serial
    with session_scope(yearly.engine) as session, authority_office(yearly.settings, clock) as office:
        office.revoke(session, yearly.trust(session), serial, LOST)
    with pytest.raises(SealBroken):
        open_sealed(sealed, recipient=enclave, trust=yearly.trust().for_stored(), context=context, sender="app", at=at)


@ON_SQLITE
def test_certificates_that_have_ended_are_renewed_by_the_set_up(  # noqa: PLR0917
    yearly: App,
    clock: FixedClock,
    patient: Actor,
    doctor: Actor,
    authority: Actor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    estate = build(yearly, clock, patient=patient, doctor=doctor, authority=authority)
    keys = {name: identity_of(yearly, name).sealing_key.fingerprint for name in everybody(yearly, authority)}
    clock.advance(timedelta(days=400))
    with pytest.raises(ClockWrong):  # so the page cannot: it would be written into the log
        renew(yearly, authority, ["app"])
    said: list[str] = []
    setup.run(yearly.settings, clock=clock, say=said.append, demo_contents=False, rounds=4)
    assert [line for line in said if "renewed" in line] == [f"Certificates that had ended, renewed: {', '.join(keys)}"]
    again = App.start(yearly.settings, clock=clock)
    assert {name: identity_of(again, name).sealing_key.fingerprint for name in keys} == keys
    assert all(not view.is_soon for view in parties(again, authority))
    logged = list_entries(again, authority, action="certificate.renew")
    assert {entry.object_id for entry in logged[: len(keys)]} == set(keys)
    # what the authority said with a certificate that has ended it says again
    approvals.approve(again, authority, measure().sha256)
    served = next(view for view in models.list_models(again, authority) if view.run_id == estate.served_run)
    assert not served.answers
    monkeypatch.setattr("pages._ui.state.app", lambda: again)
    chosen: dict[str, Any] = {f"model_chosen_{LEUKEMIA.code}": served.id}
    assert "Pictures wait" in words(draw(again, "authority/models", "demo-authority", **chosen))
    models.promote(again, authority, served.id)
    assert models.model(again, authority, served.id).answers
    check_all_opens(again, estate, doctor=doctor, authority=authority)
    again.engine.dispose()


def page(app: App):  # type: ignore[no-untyped-def]  # noqa: ANN201
    return draw(app, "authority/keys", "demo-authority", keys_section="Renew and exchange")


@ON_SQLITE
def test_who_may_renew_and_exchange_and_what_is_refused(
    app: App, patient: Actor, doctor: Actor, hospital: Actor, authority: Actor
) -> None:
    for actor in (patient, doctor, hospital):
        for act in (
            lambda who: parties(app, who),
            lambda who: renew(app, who, ["north.serving"]),
            lambda who: exchange(app, who, "north.serving", LOST),
            lambda who: finish(app, who),
        ):
            with pytest.raises(NotAuthorised):
                act(actor)
    for name, reason in (("app", LOST), ("authority", LOST), ("nobody", LOST), ("north.serving", "because")):
        with pytest.raises(InvalidInput):
            exchange(app, authority, name, reason)
    with pytest.raises(InvalidInput, match="another machine"):
        renew(app, authority, ["elsewhere.training"])


@ON_SQLITE
def test_what_ends_soon_is_said_to_the_authority_and_to_the_hospital_until_it_is_renewed(
    served: App, authority: Actor, hospital: Actor, clock: FixedClock
) -> None:
    app = served
    clock.advance(timedelta(days=3630))
    assert "north.serving" in key_ceremony.root(app, authority).expiring
    assert all(view.is_soon for view in parties(app, authority))
    assert "ends within 30 days" in words(draw(app, "hospital/node", "demo-hospital"))
    assert "end within 30 days" in words(
        draw(app, "authority/members", "demo-authority", members_section="Certificates")
    )
    renew(app, authority, everybody(app, authority))
    assert len(node.certificates(app, hospital)) == 8  # those of before, too


@ON_SQLITE
def test_a_running_enclave_is_started_again_and_shows_the_picture_of_before(
    settings: Settings, patient: Actor, doctor: Actor, authority: Actor
) -> None:
    app = App.start(settings)  # by the machine's clock, as the enclave's process has it
    try:
        picture = encode_png(np.full((32, 32, 3), 200, np.uint8))
        case = full_case(app, patient, None, body=picture)
        assert view_pictures(app, doctor, case).original == picture
        first = app.supervisor.running()["north.serving"]
        for act in (
            lambda: renew(app, authority, ["north.serving"]),
            lambda: exchange(app, authority, "north.serving", LOST),
        ):
            assert act()
            assert view_pictures(app, doctor, case).original == picture
            second = app.supervisor.running()["north.serving"]
            assert second != first
            first = second
    finally:
        app.supervisor.stop_all()
        app.engine.dispose()
