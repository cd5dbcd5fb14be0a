"""Every service that somebody can ask for something, with what it needs of the policy and who may do it to what.

A new service function with an `Actor` gets a line here, or `test_policy_matrix` fails. Where the object belongs to
somebody, the line names those who may; else whoever's role the policy allows the action may do it to what is theirs.
"""

import importlib
import inspect
import io
import pkgutil
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from sqlmodel import Session

import core.services
from core.diagnosis.measurement import measure
from core.services import (
    access_log,
    accounts,
    appointments,
    approvals,
    audit,
    audit_proofs,
    availability,
    case_cells,
    case_images,
    case_reading,
    cases,
    cloud_uploads,
    consents,
    data_export,
    datasets,
    erasure,
    evaluation_orders,
    evaluations,
    fhir_export,
    incoming,
    key_ceremony,
    key_exchange,
    members,
    messages,
    model_cards,
    models,
    node,
    node_health,
    node_log,
    notices,
    participation,
    presentation,
    privacy_spend,
    referral,
    referrals,
    reports,
    reviews,
    run_comparison,
    run_views,
    runs,
    second_readings,
    sessions,
    share_preview,
    slots,
    step_up,
    users,
    worklist,
)
from core.services.accounts import ConsentPurpose, Profile, Role
from core.services.app import Actor, App
from core.services.demo import DEMO_PASSWORD
from core.services.notices import NoticeKind
from core.services.participation import LeaveReason
from core.services.reviews import Decision
from core.services.weekly_pattern import WeeklyPattern
from db.models import Provenance
from security.policy import POLICY, Action
from tests.integration.world import World

PATIENTS = frozenset({"patient", "other-patient"})
CARE = frozenset({"patient", "doctor", "colleague"})
NORTH_DOCTORS = frozenset({"doctor", "colleague"})
NEW_TIME = datetime(2026, 1, 14, 9, 0, tzinfo=UTC)
AWAY = date(2026, 2, 4)
WEEKLY = WeeklyPattern(
    weekday=3, start_minute=540, end_minute=600, minutes=30, capacity=1, zone="UTC", first_day=date(2026, 1, 1)
)


@dataclass(frozen=True)
class Act:
    """A service function as somebody calls it.

    Attributes:
        action: what the policy is asked for.
        call: does it, with arguments that pass whatever is checked before the policy.
        who: the people who may; None for all whose role the policy allows `action`.
        unseen: who may do it to their own, and for whom this object does not exist.
    """

    action: Action
    call: Callable[[World, Actor], object]
    who: frozenset[str] | None = None
    unseen: frozenset[str] = frozenset()

    def may(self, name: str, person: Actor) -> bool:
        """Whether a person may do it."""
        if self.who is not None:
            return name in self.who
        return (person.role.value, self.action) in POLICY


def _zip_of_nothing() -> io.BytesIO:
    return io.BytesIO(b"PK\x05\x06" + bytes(18))


ACTS: dict[Callable[..., object], Act] = {
    users.users: Act(Action.LIST_ACCOUNTS, lambda w, who: users.users(w.app, who)),
    users.staff_names: Act(Action.LIST_ACCOUNTS, lambda w, who: users.staff_names(w.app, who)),
    users.end_all_sessions: Act(Action.MANAGE_ACCOUNTS, lambda w, who: users.end_all_sessions(w.app, who, w.somebody)),
    users.unlock: Act(Action.MANAGE_ACCOUNTS, lambda w, who: users.unlock(w.app, who, w.somebody)),
    access_log.accesses: Act(Action.READ_ACCESS_LOG, lambda w, who: access_log.accesses(w.app, who)),
    accounts.create_account: Act(
        Action.MANAGE_ACCOUNTS,
        lambda w, who: accounts.create_account(
            w.app, who, username="new-one", password="quite long enough", display_name="New", role=Role.AUTHORITY
        ),
    ),
    accounts.set_active: Act(
        Action.MANAGE_ACCOUNTS, lambda w, who: accounts.set_active(w.app, who, w.somebody, active=True)
    ),
    accounts.profile: Act(Action.READ_PROFILE, lambda w, who: accounts.profile(w.app, who)),
    accounts.change_profile: Act(
        Action.CHANGE_PROFILE, lambda w, who: accounts.change_profile(w.app, who, Profile("Somebody"))
    ),
    appointments.book: Act(
        Action.BOOK_APPOINTMENT,
        lambda w, who: appointments.book(w.app, who, case_id=w.case, slot_id=w.free_slot),
        CARE,
    ),
    appointments.reschedule: Act(
        Action.CHANGE_APPOINTMENT,
        lambda w, who: appointments.reschedule(w.app, who, w.appointment, slot_id=w.free_slot),
        CARE,
    ),
    appointments.cancel: Act(
        Action.CANCEL_APPOINTMENT, lambda w, who: appointments.cancel(w.app, who, w.appointment), CARE
    ),
    appointments.calendar: Act(
        Action.READ_APPOINTMENT, lambda w, who: appointments.calendar(w.app, who, w.appointment), CARE
    ),
    appointments.of_case: Act(Action.READ_APPOINTMENT, lambda w, who: appointments.of_case(w.app, who, w.case), CARE),
    appointments.appointments: Act(Action.READ_APPOINTMENT, lambda w, who: appointments.appointments(w.app, who)),
    approvals.overview: Act(Action.READ_MEASUREMENT, lambda w, who: approvals.overview(w.app, who)),
    approvals.approve: Act(Action.APPROVE_MEASUREMENT, lambda w, who: approvals.approve(w.app, who, measure().sha256)),
    approvals.withdraw: Act(Action.WITHDRAW_MEASUREMENT, lambda w, who: approvals.withdraw(w.app, who, "0" * 64)),
    audit.list_entries: Act(Action.READ_AUDIT, lambda w, who: audit.list_entries(w.app, who)),
    audit.verify: Act(Action.VERIFY_AUDIT, lambda w, who: audit.verify(w.app, who)),
    audit.export: Act(Action.EXPORT_AUDIT, lambda w, who: audit.export(w.app, who)),
    audit_proofs.head_to_keep: Act(Action.KEEP_AUDIT_HEAD, lambda w, who: audit_proofs.head_to_keep(w.app, who)),
    audit_proofs.prove_entry: Act(Action.EXPORT_AUDIT, lambda w, who: audit_proofs.prove_entry(w.app, who, 0)),
    audit_proofs.compare: Act(Action.EXPORT_AUDIT, lambda w, who: audit_proofs.compare(w.app, who, _head(w))),
    case_cells.view_cells: Act(Action.VIEW_IMAGE, lambda w, who: case_cells.view_cells(w.app, who, w.case), CARE),
    case_images.studies_served: Act(Action.SUBMIT_CASE, lambda w, who: case_images.studies_served(w.app, who)),
    case_images.look_at: Act(
        Action.SUBMIT_CASE, lambda w, who: case_images.look_at(w.app, who, b"no picture", study="leukemia")
    ),
    case_reading.own_cases: Act(Action.LIST_CASES, lambda w, who: case_reading.own_cases(w.app, who), PATIENTS),
    worklist.worklist: Act(Action.READ_WORKLIST, lambda w, who: worklist.worklist(w.app, who)),
    worklist.counts: Act(Action.READ_WORKLIST, lambda w, who: worklist.counts(w.app, who)),
    worklist.history: Act(Action.READ_HISTORY, lambda w, who: worklist.history(w.app, who, w.case), NORTH_DOCTORS),
    case_reading.read_case: Act(Action.READ_RESULT, lambda w, who: case_reading.read_case(w.app, who, w.case), CARE),
    case_reading.view_pictures: Act(
        Action.VIEW_IMAGE, lambda w, who: case_reading.view_pictures(w.app, who, w.case), CARE
    ),
    cases.submit: Act(
        Action.SUBMIT_CASE, lambda w, who: cases.submit(w.app, who, files=[b"no picture"], study="leukemia")
    ),
    cases.retry_waiting: Act(Action.RETRY_CASE, lambda w, who: cases.retry_waiting(w.app, who)),
    consents.consents: Act(Action.READ_CONSENT, lambda w, who: consents.consents(w.app, who)),
    consents.give_consent: Act(
        Action.CHANGE_CONSENT, lambda w, who: consents.give_consent(w.app, who, ConsentPurpose.EMAIL)
    ),
    consents.withdraw_consent: Act(
        Action.CHANGE_CONSENT, lambda w, who: consents.withdraw_consent(w.app, who, ConsentPurpose.EMAIL)
    ),
    datasets.datasets: Act(Action.READ_DATASET, lambda w, who: datasets.datasets(w.app, who)),
    datasets.import_folder: Act(
        Action.IMPORT_DATASET,
        lambda w, who: datasets.import_folder(w.app, who, folder="/nowhere", provenance=Provenance.PUBLIC),
    ),
    datasets.import_zip: Act(
        Action.IMPORT_DATASET,
        lambda w, who: datasets.import_zip(w.app, who, file=_zip_of_nothing(), provenance=Provenance.PUBLIC),
    ),
    datasets.generate_dataset: Act(
        Action.GENERATE_DATASET, lambda w, who: datasets.generate_dataset(w.app, who, patients=-1)
    ),
    datasets.delete_dataset: Act(
        Action.DELETE_DATASET,
        lambda w, who: datasets.delete_dataset(w.app, who, w.dataset),
        unseen=frozenset({"hospital-east"}),
    ),
    data_export.export_data: Act(
        Action.EXPORT_DATA, lambda w, who: data_export.export_data(w.app, who, password=DEMO_PASSWORD)
    ),
    fhir_export.case_bundle: Act(Action.READ_REPORT, lambda w, who: fhir_export.case_bundle(w.app, who, w.case), CARE),
    key_ceremony.root: Act(Action.READ_MEMBER, lambda w, who: key_ceremony.root(w.app, who)),
    key_ceremony.make_recovery_shares: Act(
        Action.MANAGE_MEMBERS, lambda w, who: key_ceremony.make_recovery_shares(w.app, who, needed=2, people=3)
    ),
    key_exchange.parties: Act(Action.READ_MEMBER, lambda w, who: key_exchange.parties(w.app, who)),
    key_exchange.unfinished: Act(Action.READ_MEMBER, lambda w, who: key_exchange.unfinished(w.app, who)),
    key_exchange.renew: Act(Action.RENEW_CERTIFICATE, lambda w, who: key_exchange.renew(w.app, who, ["elsewhere"])),
    key_exchange.exchange: Act(
        Action.EXCHANGE_KEYS, lambda w, who: key_exchange.exchange(w.app, who, "west.serving", "because")
    ),
    key_exchange.finish: Act(Action.EXCHANGE_KEYS, lambda w, who: key_exchange.finish(w.app, who)),
    members.hospitals: Act(Action.LIST_MEMBERS, lambda w, who: members.hospitals(w.app, who)),
    members.certificates: Act(Action.READ_MEMBER, lambda w, who: members.certificates(w.app, who)),
    members.revocation_lists: Act(Action.READ_MEMBER, lambda w, who: members.revocation_lists(w.app, who)),
    members.parties_with_model: Act(Action.READ_MEMBER, lambda w, who: members.parties_with_model(w.app, who)),
    members.enrol_hospital: Act(
        Action.MANAGE_MEMBERS,
        lambda w, who: members.enrol_hospital(
            w.app, who, slug="new", name="New", city="Oslo", latitude=59.9, longitude=10.7
        ),
    ),
    members.revoke_certificate: Act(
        Action.REVOKE_CERTIFICATE, lambda w, who: members.revoke_certificate(w.app, who, w.serial, "key_compromise")
    ),
    members.new_revocation_list: Act(Action.MANAGE_MEMBERS, lambda w, who: members.new_revocation_list(w.app, who)),
    messages.send: Act(Action.SEND_MESSAGE, lambda w, who: messages.send(w.app, who, w.case, "Good morning"), CARE),
    messages.read_thread: Act(Action.READ_MESSAGES, lambda w, who: messages.read_thread(w.app, who, w.case), CARE),
    messages.conversations: Act(Action.LIST_CASES, lambda w, who: messages.conversations(w.app, who)),
    messages.unread_count: Act(Action.LIST_CASES, lambda w, who: messages.unread_count(w.app, who)),
    models.list_models: Act(Action.READ_MODEL, lambda w, who: models.list_models(w.app, who)),
    model_cards.model_card: Act(Action.READ_MODEL, lambda w, who: model_cards.model_card(w.app, who, "nowhere")),
    models.model: Act(
        Action.READ_MODEL,
        lambda w, who: models.model(w.app, who, "0" * 32),
        unseen=frozenset({"doctor", "colleague", "doctor-east", "hospital", "hospital-east", "authority"}),
    ),
    models.promote: Act(Action.PROMOTE_MODEL, lambda w, who: models.promote(w.app, who, "0" * 32)),
    models.roll_back: Act(Action.ROLL_BACK_MODEL, lambda w, who: models.roll_back(w.app, who, "leukemia")),
    node.node: Act(Action.READ_NODE, lambda w, who: node.node(w.app, who)),
    node.certificates: Act(Action.READ_NODE, lambda w, who: node.certificates(w.app, who)),
    node.comparison: Act(
        Action.READ_NODE, lambda w, who: node.comparison(w.app, who, w.run), unseen=frozenset({"hospital-east"})
    ),
    node.last_runs: Act(Action.READ_NODE, lambda w, who: node.last_runs(w.app, who)),
    privacy_spend.own_spend: Act(Action.READ_NODE, lambda w, who: privacy_spend.own_spend(w.app, who)),
    referrals.destinations: Act(
        Action.ASK_REFERRAL, lambda w, who: referrals.destinations(w.app, who, w.case), NORTH_DOCTORS
    ),
    referrals.ask: Act(
        Action.ASK_REFERRAL,
        lambda w, who: referrals.ask(w.app, who, w.case, hospital_id=w.hospital, reason="because it is better there"),
        NORTH_DOCTORS,
    ),
    referrals.referrals: Act(Action.READ_REFERRALS, lambda w, who: referrals.referrals(w.app, who)),
    referrals.news_count: Act(Action.READ_REFERRALS, lambda w, who: referrals.news_count(w.app, who)),
    referrals.referrals_of: Act(
        Action.READ_REFERRALS, lambda w, who: referrals.referrals_of(w.app, who, w.case), NORTH_DOCTORS
    ),
    referrals.accept: Act(
        Action.ANSWER_REFERRAL, lambda w, who: referrals.accept(w.app, who, w.referral), frozenset({"patient"})
    ),
    referrals.bring_back: Act(
        Action.ANSWER_REFERRAL, lambda w, who: referrals.bring_back(w.app, who, w.referral), frozenset({"patient"})
    ),
    referrals.decline: Act(
        Action.ANSWER_REFERRAL, lambda w, who: referrals.decline(w.app, who, w.referral), frozenset({"patient"})
    ),
    referrals.take_back: Act(
        Action.ASK_REFERRAL, lambda w, who: referrals.take_back(w.app, who, w.referral), NORTH_DOCTORS
    ),
    reviews.sign_review: Act(
        Action.SIGN_REVIEW,
        lambda w, who: reviews.sign_review(w.app, who, w.case, decision=Decision.AGREE),
        NORTH_DOCTORS,
    ),
    reports.case_report: Act(Action.READ_REPORT, lambda w, who: reports.case_report(w.app, who, w.case), CARE),
    reviews.reviews_of: Act(Action.READ_REVIEW, lambda w, who: reviews.reviews_of(w.app, who, w.case), CARE),
    second_readings.ask: Act(
        Action.ASK_SECOND_READING, lambda w, who: second_readings.ask(w.app, who, w.case), NORTH_DOCTORS
    ),
    second_readings.sign_second: Act(
        Action.SIGN_SECOND_READING,
        lambda w, who: second_readings.sign_second(w.app, who, w.case, conclusion=1, reason="coarse chromatin"),
        NORTH_DOCTORS,
    ),
    second_readings.second_readings_of: Act(
        Action.READ_SECOND_READING, lambda w, who: second_readings.second_readings_of(w.app, who, w.case), NORTH_DOCTORS
    ),
    cloud_uploads.uploads_in_cloud: Act(
        Action.READ_UPLOADS, lambda w, who: cloud_uploads.uploads_in_cloud(w.app, who, w.run)
    ),
    cloud_uploads.change_beside_uploads: Act(
        Action.OPEN_MODELS, lambda w, who: cloud_uploads.change_beside_uploads(w.app, who, w.run)
    ),
    run_comparison.compare: Act(
        Action.COMPARE_RUNS, lambda w, who: run_comparison.compare(w.app, who, [w.run, "another"])
    ),
    run_views.list_runs: Act(Action.READ_RUN, lambda w, who: run_views.list_runs(w.app, who)),
    run_views.run_detail: Act(
        Action.READ_RUN, lambda w, who: run_views.run_detail(w.app, who, w.run), unseen=frozenset({"hospital-east"})
    ),
    run_views.origins: Act(Action.CONTROL_RUN, lambda w, who: run_views.origins(w.app, who, w.run, parties=())),
    runs.dataset_choices: Act(Action.PLAN_RUN, lambda w, who: runs.dataset_choices(w.app, who)),
    runs.start_run: Act(
        Action.START_RUN, lambda w, who: runs.start_run(w.app, who, study="leukemia", rounds=1, dataset_ids=[])
    ),
    evaluations.evaluations: Act(Action.READ_EVALUATION, lambda w, who: evaluations.evaluations(w.app, who)),
    evaluations.contents: Act(Action.READ_EVALUATION, lambda w, who: evaluations.contents(w.app, who, "none")),
    evaluations.kept: Act(Action.READ_EVALUATION, lambda w, who: evaluations.kept(w.app, who, "none")),
    evaluations.read_file: Act(
        Action.READ_EVALUATION, lambda w, who: evaluations.read_file(w.app, who, "none", "report.html")
    ),
    evaluation_orders.order: Act(
        Action.EVALUATE,
        lambda w, who: evaluation_orders.order(
            w.app, who, folder="/nowhere", study="leukemia", full=False, tables=True, attacks=True, is_public=True
        ),
    ),
    evaluation_orders.go_on: Act(Action.EVALUATE, lambda w, who: evaluation_orders.go_on(w.app, who, "none")),
    evaluation_orders.stop: Act(Action.EVALUATE, lambda w, who: evaluation_orders.stop(w.app, who, "none")),
    evaluation_orders.remove: Act(Action.EVALUATE, lambda w, who: evaluation_orders.remove(w.app, who, "none")),
    presentation.look: Act(Action.READ_PRESENTATION, lambda w, who: presentation.look(w.app, who)),
    presentation.play: Act(
        Action.PRESENT, lambda w, who: presentation.play(w.app, who, [presentation.StepName.HOSPITALS])
    ),
    presentation.book: Act(Action.PRESENT, lambda w, who: presentation.book(w.app, who)),
    presentation.cancel_booking: Act(
        Action.PRESENT, lambda w, who: presentation.cancel_booking(w.app, who, w.appointment)
    ),
    presentation.reset: Act(Action.PRESENT, lambda w, who: presentation.reset(w.app, who)),
    runs.wake_worker: Act(Action.CONTROL_RUN, lambda w, who: runs.wake_worker(w.app, who)),
    runs.pause: Act(Action.CONTROL_RUN, lambda w, who: runs.pause(w.app, who, w.run)),
    runs.resume: Act(Action.CONTROL_RUN, lambda w, who: runs.resume(w.app, who, w.run)),
    runs.set_drop_out: Act(
        Action.DROP_NODE, lambda w, who: runs.set_drop_out(w.app, who, w.run, w.hospital, drop=True)
    ),
    node_health.health: Act(Action.READ_NODE, lambda w, who: node_health.health(w.app, who)),
    node_log.node_log: Act(Action.READ_NODE, lambda w, who: node_log.node_log(w.app, who)),
    incoming.incoming: Act(
        Action.READ_INCOMING,
        lambda w, who: incoming.incoming(w.app, who, w.dataset),
        unseen=frozenset({"hospital-east"}),
    ),
    participation.open_runs: Act(Action.READ_NODE, lambda w, who: participation.open_runs(w.app, who)),
    share_preview.preview: Act(
        Action.READ_NODE,
        lambda w, who: share_preview.preview(w.app, who, w.run),
        unseen=frozenset({"hospital-east"}),
    ),
    participation.leave: Act(
        Action.LEAVE_RUN,
        lambda w, who: participation.leave(w.app, who, w.run, LeaveReason.DATA),
        unseen=frozenset({"hospital-east"}),
    ),
    participation.return_to: Act(
        Action.RETURN_TO_RUN,
        lambda w, who: participation.return_to(w.app, who, w.run),
        unseen=frozenset({"hospital-east"}),
    ),
    runs.abort: Act(Action.CONTROL_RUN, lambda w, who: runs.abort(w.app, who, w.run)),
    sessions.change_password: Act(
        Action.CHANGE_PASSWORD,
        lambda w, who: sessions.change_password(w.app, who, current=DEMO_PASSWORD, new="another long one"),
    ),
    sessions.sessions: Act(Action.READ_SESSIONS, lambda w, who: sessions.sessions(w.app, who)),
    sessions.end_other_sessions: Act(Action.END_SESSION, lambda w, who: sessions.end_other_sessions(w.app, who, "")),
    slots.offer: Act(
        Action.OFFER_SLOT, lambda w, who: slots.offer(w.app, who, [(NEW_TIME, NEW_TIME + timedelta(minutes=30))])
    ),
    slots.withdraw: Act(
        Action.WITHDRAW_SLOT, lambda w, who: slots.withdraw(w.app, who, w.free_slot), frozenset({"doctor"})
    ),
    availability.plan: Act(Action.READ_SLOTS, lambda w, who: availability.plan(w.app, who)),
    availability.add_pattern: Act(Action.OFFER_SLOT, lambda w, who: availability.add_pattern(w.app, who, WEEKLY)),
    availability.top_up: Act(Action.OFFER_SLOT, lambda w, who: availability.top_up(w.app, who)),
    availability.end_pattern: Act(
        Action.WITHDRAW_SLOT, lambda w, who: availability.end_pattern(w.app, who, w.pattern), frozenset({"doctor"})
    ),
    availability.add_absence: Act(
        Action.OFFER_SLOT,
        lambda w, who: availability.add_absence(w.app, who, first_day=AWAY, last_day=AWAY, zone="UTC"),
    ),
    availability.remove_absence: Act(
        Action.OFFER_SLOT, lambda w, who: availability.remove_absence(w.app, who, w.absence), frozenset({"doctor"})
    ),
    notices.notices: Act(Action.READ_NOTICES, lambda w, who: notices.notices(w.app, who)),
    notices.mark_seen: Act(Action.MARK_NOTICES, lambda w, who: notices.mark_seen(w.app, who, NoticeKind.NEW_CASES)),
    slots.own_slots: Act(Action.READ_SLOTS, lambda w, who: slots.own_slots(w.app, who)),
    slots.free_slots: Act(Action.BOOK_APPOINTMENT, lambda w, who: slots.free_slots(w.app, who, w.case), CARE),
    step_up.second_factor: Act(Action.READ_SECOND_FACTOR, lambda w, who: step_up.second_factor(w.app, who)),
    step_up.begin: Act(Action.CHANGE_SECOND_FACTOR, lambda w, who: step_up.begin(w.app, who, password=DEMO_PASSWORD)),
    step_up.confirm: Act(Action.CHANGE_SECOND_FACTOR, lambda w, who: step_up.confirm(w.app, who, "000000")),
    step_up.step_up: Act(Action.CHANGE_SECOND_FACTOR, lambda w, who: step_up.step_up(w.app, who, "000000")),
    step_up.renew_recovery_codes: Act(
        Action.CHANGE_SECOND_FACTOR, lambda w, who: step_up.renew_recovery_codes(w.app, who, "000000")
    ),
    step_up.take_off: Act(
        Action.CHANGE_SECOND_FACTOR,
        lambda w, who: step_up.take_off(w.app, who, password=DEMO_PASSWORD, code="000000"),
    ),
    step_up.reset_second_factor: Act(
        Action.MANAGE_ACCOUNTS, lambda w, who: step_up.reset_second_factor(w.app, who, w.somebody)
    ),
    erasure.erase: Act(Action.ERASE_DATA, lambda w, who: erasure.erase(w.app, who, password=DEMO_PASSWORD)),
}
"""In the order in which they are done; erasing comes last."""

WITHOUT_SERVICE: frozenset[Action] = frozenset()
"""Actions of the policy that no service asks for yet."""

PARTS: dict[Callable[..., object], str] = {
    sessions.require_password: "asks for the person's own password, inside other acts",
    referral.move_case: "moves a case inside the acts of `referrals`, which say what is asked of the policy",
    fhir_export.case_resources: "is told of a case that its caller has read, and reads its reviews as everybody does",
    audit.end_after: "is told by its callers which action it is part of",
}
"""Functions with an app and an actor that are no service of their own, and why."""


def _head(world: World) -> bytes:
    return audit_proofs.head_to_keep(world.app, world.people["authority"])


def services() -> Iterator[Callable[..., object]]:
    """Yield every public function of `core.services` with an app and an actor, and no transaction of its caller's."""
    for found in pkgutil.iter_modules(core.services.__path__):
        module = importlib.import_module(f"core.services.{found.name}")
        for name, value in vars(module).items():
            if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_"):
                kinds = typing.get_type_hints(value, localns={"App": App})
                kinds.pop("return", None)
                if {App, Actor} <= set(kinds.values()) and Session not in kinds.values():
                    yield value


def title(service: Callable[..., object]) -> str:
    """Return how a test names a service."""
    return f"{service.__module__.rpartition('.')[2]}.{service.__qualname__}"
