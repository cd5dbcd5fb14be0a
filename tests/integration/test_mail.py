"""E-mails: what waits, what is sent and what it says, a dead server, a refused one, and the process that sends."""

import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import cast

import pytest
from icalendar import Calendar
from pydantic import SecretStr
from sqlmodel import select

from core.clock import FixedClock
from core.errors import NotAuthorised, SettingsError
from core.services import audit, mail_process, mail_sender
from core.services.access_log import accesses
from core.services.accounts import Profile, change_profile, set_active
from core.services.app import Actor, App, check_settings
from core.services.appointments import book, cancel, reschedule
from core.services.consents import ConsentPurpose, consents, give_consent, withdraw_consent
from core.services.demo import DEMO_PASSWORD
from core.services.erasure import erase
from core.services.mail_outbox import GATHERING
from core.services.mail_sender import (
    FIRST_RETRY,
    GIVE_UP,
    LAST_RETRY,
    MailRefused,
    Outcome,
    SmtpServer,
    retry_after,
    run,
    send_due,
)
from core.services.mail_text import SAID, SUBJECT, TO_DOCTORS
from core.services.messages import send
from core.services.reviews import Decision, sign_review
from core.services.second_readings import ask
from core.settings import Mode, Settings
from db.engine import read_scope
from db.models import MailKind, MailOutbox
from tests.integration.clinic import offered_slots, stored_case
from tests.integration.page_support import draw, words
from tests.integration.world import stored
from tests.smtp_sink import own_certificate, smtp_sink

ADDRESS = "patient@example.org"


@pytest.fixture
def mailing(app: App, patient: Actor) -> App:
    """The application with a mail server in its settings, and a patient with an address."""
    settings = app.settings.model_copy(
        update={
            "mail_host": "127.0.0.1",
            "mail_port": closed_port(),
            "mail_starttls": False,
            "mail_from": "h@example.org",
        }
    )
    change_profile(app, patient, Profile("Zoë Secret", ADDRESS))
    return replace(app, settings=settings)


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def on_port(app: App, port: int) -> App:
    return replace(app, settings=app.settings.model_copy(update={"mail_port": port}))


def waiting(app: App) -> list[MailKind]:
    with read_scope(app.engine) as session:
        return sorted(row.kind for row in session.exec(select(MailOutbox)).all())


class Collected(list[EmailMessage]):
    """A mail server that takes everything."""

    def __call__(self, message: EmailMessage) -> None:
        """Keep an e-mail."""
        self.append(message)


def refusing(_: EmailMessage) -> None:
    raise MailRefused


def test_each_kind_of_news_is_an_email_without_name_or_diagnosis(
    mailing: App, patient: Actor, doctor: Actor, clock: FixedClock
) -> None:
    case = stored_case(mailing, patient)
    first, second = offered_slots(mailing, doctor)
    sign_review(mailing, doctor, case, decision=Decision.AGREE, note="Please come.")
    send(mailing, doctor, case, "Good morning")
    send(mailing, patient, case, "Good morning, doctor")
    sent = Collected()
    send_due(mailing, sent)
    appointment = book(mailing, doctor, case_id=case, slot_id=first)
    send_due(mailing, sent)
    reschedule(mailing, patient, appointment.id, slot_id=second)
    send_due(mailing, sent)
    cancel(mailing, patient, appointment.id)
    send_due(mailing, sent)
    assert waiting(mailing) == []
    said = [next(kind for kind, text in SAID.items() if text in body_of(message)) for message in sent]
    assert sorted(said[:2]) == sorted([MailKind.DOCTOR_SIGNED, MailKind.MESSAGE_RECEIVED])
    assert said[2:] == [MailKind.APPOINTMENT_BOOKED, MailKind.APPOINTMENT_MOVED, MailKind.APPOINTMENT_CANCELLED]
    for message in sent:
        assert (message["To"], message["Subject"]) == (ADDRESS, SUBJECT)
        written = message.as_string() + "".join(text_of_calendar(message))
        for never in ("Secret", "Demo", "leuk", "Leuk", "blood", "Good morning", "Please come", "http", case):
            assert never not in written.replace("North Hospital (demo)", ""), never
    parts = [Calendar.from_ical(text_of_calendar(message)[0]) for message in sent[2:]]
    events = [part.walk("VEVENT")[0] for part in parts]
    assert [str(part["METHOD"]) for part in parts] == ["REQUEST", "REQUEST", "CANCEL"]
    assert [int(str(event["SEQUENCE"])) for event in events] == [0, 1, 2]
    assert len({str(event["UID"]) for event in events}) == 1
    methods = [part.get_param("method") for message in sent[2:] for part in message.iter_attachments()]
    assert methods == ["REQUEST", "REQUEST", "CANCEL"]


@pytest.fixture
def told(mailing: App, doctor: Actor, second_doctor: Actor) -> App:
    """The application, whose two doctors of hospital north have agreed to e-mails and have addresses."""
    for person in (doctor, second_doctor):
        change_profile(mailing, person, Profile("Dr Secret", f"{person.username}@example.org"))
        give_consent(mailing, person, ConsentPurpose.EMAIL)
    return mailing


def to_doctors(app: App, clock: FixedClock) -> list[tuple[str, MailKind]]:
    """Send what waits; return which doctor was told of what, and see that nothing says more than that."""
    clock.advance(GATHERING)
    sent = Collected()
    send_due(app, sent)
    mine = [message for message in sent if ADDRESS not in str(message["To"])]
    for message in mine:
        assert message["Subject"] == SUBJECT
        assert not list(message.iter_attachments())
        for never in ("Secret", "Demo", "leuk", "Leuk", "blood", "Hospital", "http", "contact a doctor"):
            assert never not in message.as_string(), never
    said = {kind: text for kind, text in SAID.items() if kind in TO_DOCTORS}
    return sorted(
        (str(message["To"]).partition("@")[0], kind)
        for message in mine
        for kind, text in said.items()
        if text in body_of(message)
    )


def test_doctors_are_told_of_what_waits_for_them_and_nobody_of_what_they_did(
    told: App, patient: Actor, doctor: Actor, second_doctor: Actor, clock: FixedClock
) -> None:
    case = stored_case(told, patient)
    first, second = offered_slots(told, doctor)
    send(told, patient, case, "Good morning")
    both = [doctor.username, second_doctor.username]
    assert to_doctors(told, clock) == [(name, MailKind.PATIENT_WROTE) for name in both]
    send(told, doctor, case, "Good morning to you")
    sign_review(told, doctor, case, decision=Decision.AGREE)
    ask(told, doctor, case)
    assert to_doctors(told, clock) == [(second_doctor.username, MailKind.SECOND_READING_ASKED)]
    appointment = book(told, second_doctor, case_id=case, slot_id=first)
    assert to_doctors(told, clock) == [(doctor.username, MailKind.SCHEDULE_CHANGED)]
    reschedule(told, patient, appointment.id, slot_id=second)
    assert to_doctors(told, clock) == [(doctor.username, MailKind.SCHEDULE_CHANGED)]
    cancel(told, doctor, appointment.id)
    assert to_doctors(told, clock) == []


def test_a_busy_hour_is_one_email_of_a_kind_and_not_before_the_others_had_time_to_come(
    told: App, patient: Actor, doctor: Actor, clock: FixedClock
) -> None:
    case = stored_case(told, patient)
    for _ in range(5):
        send(told, patient, case, "Good morning")
    assert send_due(told, Collected()) == []
    assert len(to_doctors(told, clock)) == 2
    send(told, patient, case, "Good morning again")
    assert len(to_doctors(told, clock)) == 2


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_doctor_who_does_not_want_it_has_left_or_is_elsewhere_gets_none(
    told: App, patient: Actor, doctor: Actor, second_doctor: Actor, authority: Actor
) -> None:
    case = stored_case(told, patient)
    send(told, patient, case, "Good morning")
    withdraw_consent(told, doctor, ConsentPurpose.EMAIL)
    set_active(told, authority, second_doctor.user_id, active=False)
    cast("FixedClock", told.clock).advance(GATHERING)
    assert send_due(told, Collected()) == [Outcome.DROPPED] * 2
    send(told, patient, case, "Good morning again")
    assert waiting(told) == []
    send(told, patient, stored_case(told, patient, slug="west"), "Good morning, west")
    assert waiting(told) == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_doctors_agree_to_emails_and_to_nothing_else(app: App, doctor: Actor, hospital: Actor) -> None:
    assert [view.purpose for view in consents(app, doctor)] == [ConsentPurpose.EMAIL]
    with pytest.raises(NotAuthorised):
        give_consent(app, doctor, ConsentPurpose.FALLBACK_HOSPITAL)
    for act in (lambda: consents(app, hospital), lambda: give_consent(app, hospital, ConsentPurpose.EMAIL)):
        with pytest.raises(NotAuthorised):
            act()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_consent_to_emails_without_an_address_is_told_so(served: App, patient: Actor, doctor: Actor) -> None:
    for person in (patient, doctor):
        change_profile(served, person, Profile("Somebody"))
        withdraw_consent(served, person, ConsentPurpose.EMAIL)
        assert not any(view.lacks_address for view in consents(served, person))
        give_consent(served, person, ConsentPurpose.EMAIL)
        assert [view.purpose for view in consents(served, person) if view.lacks_address] == [ConsentPurpose.EMAIL]
        tab = draw(served, "account/profile", person.username, account_section="Consents")
        assert "none can be sent to you" in words(tab)
        assert "none can be sent to you" in words(draw(served, "account/profile", person.username))
        change_profile(served, person, Profile("Somebody", "somebody@example.org"))
        assert not any(view.lacks_address for view in consents(served, person))
        assert "none can be sent to you" not in words(draw(served, "account/profile", person.username))


def body_of(message: EmailMessage) -> str:
    body = message.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


def text_of_calendar(message: EmailMessage) -> list[str]:
    return [str(part.get_content()) for part in message.iter_attachments()]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_without_consent_or_server_nothing_waits_and_without_address_nothing_goes(
    app: App, mailing: App, patient: Actor, doctor: Actor
) -> None:
    case = stored_case(app, patient)
    send(app, doctor, case, "no server is set")
    assert waiting(mailing) == []
    change_profile(mailing, patient, Profile("Zoë Secret", ""))
    send(mailing, doctor, case, "no address")
    sent = Collected()
    assert send_due(mailing, sent) == [Outcome.DROPPED]
    change_profile(mailing, patient, Profile("Zoë Secret", ADDRESS))
    send(mailing, doctor, case, "withdrawn before it was sent")
    withdraw_consent(mailing, patient, ConsentPurpose.EMAIL)
    assert send_due(mailing, sent) == [Outcome.DROPPED]
    send(mailing, doctor, case, "withdrawn")
    assert waiting(mailing) == []
    assert sent == []


def test_a_silent_server_loses_nothing_and_all_go_when_it_is_back(
    mailing: App, patient: Actor, doctor: Actor, clock: FixedClock, authority: Actor
) -> None:
    case = stored_case(mailing, patient)
    for _ in range(3):
        send(mailing, doctor, case, "Good morning")
    for _ in range(5):
        assert send_due(mailing, SmtpServer(mailing.settings)) == []
        clock.advance(FIRST_RETRY)
    clock.advance(timedelta(days=6))
    assert len(waiting(mailing)) == 3
    with smtp_sink() as sink:
        there = on_port(mailing, sink.port)
        assert send_due(there, SmtpServer(there.settings)) == [Outcome.SENT] * 3
    assert sink.recipients == [ADDRESS] * 3
    assert len({str(message["Message-ID"]) for message in sink.taken}) == 3
    assert waiting(mailing) == []
    done = audit.list_entries(mailing, authority, action="mail.send")
    assert [entry.object_id for entry in done] == [patient.user_id] * 3
    assert "Sent you an e-mail that something is new" in [act.what for act in accesses(mailing, patient).acts]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_refused_email_is_tried_later_and_later_and_given_up_after_a_week(
    mailing: App, patient: Actor, doctor: Actor, clock: FixedClock, authority: Actor
) -> None:
    begun = clock.now()
    send(mailing, doctor, stored_case(mailing, patient), "Good morning")
    with smtp_sink() as sink:
        sink.refuse = True
        there = on_port(mailing, sink.port)
        assert send_due(there, SmtpServer(there.settings)) == [Outcome.REFUSED]
    attempts = 1
    while waiting(mailing):
        clock.advance(retry_after(attempts) - timedelta(seconds=1))
        assert send_due(mailing, refusing) == []
        clock.advance(timedelta(seconds=1))
        outcome = send_due(mailing, refusing)
        attempts += 1
    assert outcome == [Outcome.GIVEN_UP]
    assert GIVE_UP <= clock.now() - begun < GIVE_UP + LAST_RETRY
    assert attempts < 50
    (entry,) = audit.list_entries(mailing, authority, action="mail.send")
    assert entry.outcome == audit.Outcome.FAILED


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_email_that_cannot_be_written_is_given_up_after_a_week(  # noqa: PLR0917
    mailing: App, patient: Actor, doctor: Actor, clock: FixedClock, authority: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(mailing, doctor, stored_case(mailing, patient), "Good morning")
    monkeypatch.setattr(mail_sender, "compose", lambda *_, **__: 1 / 0)  # any fault of the program
    with pytest.raises(ZeroDivisionError):
        send_due(mailing, refusing)
    clock.advance(GIVE_UP)
    assert send_due(mailing, refusing) == [Outcome.GIVEN_UP]
    assert waiting(mailing) == []
    (entry,) = audit.list_entries(mailing, authority, action="mail.send")
    assert (entry.object_id, entry.outcome) == (patient.user_id, audit.Outcome.FAILED)


def test_an_email_that_a_later_state_of_the_appointment_overtakes_is_not_sent(
    mailing: App, patient: Actor, doctor: Actor
) -> None:
    case = stored_case(mailing, patient)
    appointment = book(mailing, patient, case_id=case, slot_id=offered_slots(mailing, doctor)[0])
    cancel(mailing, patient, appointment.id)
    sent = Collected()
    assert sorted(send_due(mailing, sent)) == [Outcome.DROPPED, Outcome.SENT]
    assert SAID[MailKind.APPOINTMENT_CANCELLED] in body_of(sent[0])


def test_two_senders_at_once_send_each_email_once(mailing: App, patient: Actor, doctor: Actor) -> None:
    case = stored_case(mailing, patient)
    for _ in range(8):
        send(mailing, doctor, case, "Good morning")
    sent = Collected()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: send_due(mailing, sent), range(2)))
    assert len(sent) == 8
    assert len({str(message["Message-ID"]) for message in sent}) == 8


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_who_dies_after_taking_an_email_up_loses_it_for_nobody(
    mailing: App, patient: Actor, doctor: Actor, clock: FixedClock
) -> None:
    send(mailing, doctor, stored_case(mailing, patient), "Good morning")

    def dies(_: EmailMessage) -> None:
        raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):
        send_due(mailing, dies)
    sent = Collected()
    assert send_due(mailing, sent) == []
    clock.advance(FIRST_RETRY)
    assert send_due(mailing, sent) == [Outcome.SENT]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_one_email_that_cannot_be_made_does_not_keep_the_others_from_going(
    mailing: App, patient: Actor, doctor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = stored_case(mailing, patient)
    book(mailing, patient, case_id=case, slot_id=offered_slots(mailing, doctor)[0])
    send(mailing, doctor, case, "Good morning")

    def broken(*_: object) -> bytes:
        raise ZeroDivisionError

    monkeypatch.setattr(mail_sender, "calendar_of", broken)
    sent, turns = Collected(), iter([False, True])
    run(mailing, sent, pause=lambda _seconds: next(turns))
    assert [SAID[MailKind.MESSAGE_RECEIVED] in body_of(message) for message in sent] == [True]
    assert waiting(mailing) == [MailKind.APPOINTMENT_BOOKED]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_erasure_takes_unsent_emails_along(mailing: App, patient: Actor, doctor: Actor) -> None:
    case = stored_case(mailing, patient)
    book(mailing, patient, case_id=case, slot_id=offered_slots(mailing, doctor)[0])
    erase(mailing, patient, password=DEMO_PASSWORD)
    assert waiting(mailing) == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_nothing_in_the_outbox_names_the_patients_address(mailing: App, patient: Actor, doctor: Actor) -> None:
    send(mailing, doctor, stored_case(mailing, patient), "Good morning")
    rows = repr(stored(mailing))
    assert patient.user_id in rows
    assert ADDRESS not in rows
    assert "Secret" not in rows


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's TLS, whose root this process trusts."""
    context, root = own_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(root))
    return context


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_with_starttls_nothing_goes_in_clear(
    mailing: App, patient: Actor, doctor: Actor, clock: FixedClock, tmp_path: Path
) -> None:
    send(mailing, doctor, stored_case(mailing, patient), "Good morning")
    context, _ = own_certificate(tmp_path)
    for tls in (None, context):  # no STARTTLS at all; a certificate that nobody trusts
        with smtp_sink(tls) as sink:
            there = on_port(mailing, sink.port).settings.model_copy(update={"mail_starttls": True})
            assert send_due(mailing, SmtpServer(there)) == []
        assert sink.taken == []
        clock.advance(FIRST_RETRY)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_process_sends_over_starttls_and_ends_with_the_app(
    mailing: App, patient: Actor, doctor: Actor, certificate: ssl.SSLContext
) -> None:
    send(mailing, doctor, stored_case(mailing, patient), "Good morning")
    with smtp_sink(certificate) as sink:
        settings = on_port(mailing, sink.port).settings.model_copy(update={"mail_starttls": True})
        sender = mail_process.Sender(settings)
        sender.start()
        try:
            assert sink.came.wait(60)
        finally:
            sender.stop()
    assert sender.process is not None
    assert sender.process.returncode == 0
    assert sink.encrypted == [True]
    assert sink.recipients == [ADDRESS]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_process_that_died_is_followed_by_another(
    mailing: App, patient: Actor, doctor: Actor, certificate: ssl.SSLContext
) -> None:
    with smtp_sink(certificate) as sink:
        settings = on_port(mailing, sink.port).settings.model_copy(update={"mail_starttls": True})
        sender = mail_process.Sender(settings, again_after_s=0.1)
        sender.start()
        try:
            assert sender.process is not None
            died = sender.process
            died.kill()
            send(mailing, doctor, stored_case(mailing, patient), "Good morning")
            assert sink.came.wait(60)
            assert sender.process is not died
        finally:
            sender.stop()
    assert sender.process.returncode == 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_without_a_mail_server_there_is_no_process(app: App) -> None:
    sender = mail_process.Sender(app.settings)
    sender.start()
    assert sender.process is None
    sender.stop()
    with pytest.raises(SettingsError, match="MAIL_HOST"):
        mail_process.main(app.settings, attached=False)


def test_settings_that_would_send_in_clear_or_from_nobody_are_refused() -> None:
    with pytest.raises(SettingsError, match="MAIL_FROM"):
        check_settings(Settings(mail_host="mail.example.org", database_url="", master_key=None))
    strict = Settings(
        mode=Mode.PRODUCTION,
        master_key=SecretStr("0123456789abcdef" * 4),
        data_dir=Path("/nowhere"),
        behind_tls=True,
        mail_host="mail.example.org",
        mail_from="h@example.org",
        mail_starttls=False,
        database_url="",
    )
    with pytest.raises(SettingsError, match="STARTTLS"):
        check_settings(strict)


def test_the_wait_doubles_up_to_six_hours() -> None:
    waits = [retry_after(attempt) for attempt in range(1, 40)]
    assert waits[:3] == [FIRST_RETRY, FIRST_RETRY * 2, FIRST_RETRY * 4]
    assert waits == sorted(waits)
    assert waits[-1] == LAST_RETRY
