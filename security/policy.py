"""Who may do what, as one table: (role, action) -> the relations to the object that are enough.

A service states the relation that holds between actor and object, having looked it up in the database; an action that
is not in the table is refused. Act and read are told apart, since both are audited. The text of a row is its test:
`tests/unit/test_policy.py` walks the whole table.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

PATIENT = "patient"
DOCTOR = "doctor"
HOSPITAL = "hospital"
AUTHORITY = "authority"
ROLES = (PATIENT, DOCTOR, HOSPITAL, AUTHORITY)


class Relation(StrEnum):
    """How the actor stands to the object."""

    SELF = "self"  # the actor's own account, appointment slots, sessions, consents
    OWN_CASE = (
        "own_case"  # a case (its image, result, messages, appointment) of which the actor is the patient or doctor
    )
    OWN_HOSPITAL = "own_hospital"  # an object of the hospital to which the actor belongs
    ANY = "any"  # none of these, or an object that belongs to nobody in particular


class Action(StrEnum):
    """Everything a service can be asked to do, each value is object.verb."""

    READ_PROFILE = "profile.read"
    LIST_ACCOUNTS = "account.list"
    MANAGE_ACCOUNTS = "account.manage"
    CHANGE_PROFILE = "profile.change"
    CHANGE_PASSWORD = "password.change"  # noqa: S105 - the name of an act
    READ_SESSIONS = "session.read"
    END_SESSION = "session.end"
    READ_SECOND_FACTOR = "second-factor.read"
    CHANGE_SECOND_FACTOR = "second-factor.change"
    READ_NOTICES = "notice.read"
    MARK_NOTICES = "notice.mark"
    READ_CONSENT = "consent.read"
    CHANGE_CONSENT = "consent.change"
    EXPORT_DATA = "data.export"
    ERASE_DATA = "data.erase"

    SUBMIT_CASE = "case.submit"
    RETRY_CASE = "case.retry"
    LIST_CASES = "case.list"
    VIEW_IMAGE = "image.view"
    READ_RESULT = "result.read"
    READ_WORKLIST = "worklist.read"
    READ_HISTORY = "history.read"
    SIGN_REVIEW = "review.sign"
    READ_REVIEW = "review.read"
    ASK_REFERRAL = "referral.ask"
    ANSWER_REFERRAL = "referral.answer"
    READ_REFERRALS = "referral.read"
    READ_REPORT = "report.read"
    ASK_SECOND_READING = "second-reading.ask"
    SIGN_SECOND_READING = "second-reading.sign"
    READ_SECOND_READING = "second-reading.read"

    OFFER_SLOT = "slot.offer"
    WITHDRAW_SLOT = "slot.withdraw"
    READ_SLOTS = "slot.read"
    BOOK_APPOINTMENT = "appointment.book"
    CHANGE_APPOINTMENT = "appointment.change"
    CANCEL_APPOINTMENT = "appointment.cancel"
    READ_APPOINTMENT = "appointment.read"
    SEND_MESSAGE = "message.send"
    READ_MESSAGES = "message.read"

    IMPORT_DATASET = "dataset.import"
    GENERATE_DATASET = "dataset.generate"
    READ_DATASET = "dataset.read"
    DELETE_DATASET = "dataset.delete"
    READ_NODE = "node.read"
    READ_INCOMING = "incoming.read"

    PLAN_RUN = "run.plan"
    START_RUN = "run.start"
    CONTROL_RUN = "run.control"
    DROP_NODE = "run.drop_node"
    READ_RUN = "run.read"
    LEAVE_RUN = "run.leave"
    RETURN_TO_RUN = "run.return"
    COMPARE_RUNS = "run.compare"
    READ_UPLOADS = "upload.read"
    READ_MODEL = "model.read"
    OPEN_MODELS = "model.open"
    PROMOTE_MODEL = "model.promote"
    ROLL_BACK_MODEL = "model.roll_back"

    READ_EVALUATION = "evaluation.read"
    EVALUATE = "evaluation.run"

    READ_PRESENTATION = "presentation.read"
    PRESENT = "presentation.play"

    LIST_MEMBERS = "member.list"
    READ_MEMBER = "member.read"
    MANAGE_MEMBERS = "member.manage"
    REVOKE_CERTIFICATE = "certificate.revoke"
    RENEW_CERTIFICATE = "certificate.renew"
    EXCHANGE_KEYS = "key.exchange"

    READ_MEASUREMENT = "measurement.read"
    APPROVE_MEASUREMENT = "measurement.approve"
    WITHDRAW_MEASUREMENT = "measurement.withdraw"

    READ_AUDIT = "audit.read"
    EXPORT_AUDIT = "audit.export"
    VERIFY_AUDIT = "audit.verify"
    KEEP_AUDIT_HEAD = "audit.head"
    READ_ACCESS_LOG = "access.read"


_SELF = frozenset({Relation.SELF})
_CASE = frozenset({Relation.SELF, Relation.OWN_CASE})
_CARE = frozenset({Relation.OWN_CASE, Relation.OWN_HOSPITAL})
_HOUSE = frozenset({Relation.OWN_HOSPITAL})
_EVERY = frozenset(Relation)

_EVERYBODY = {
    Action.READ_PROFILE: _SELF,
    Action.CHANGE_PROFILE: _SELF,
    Action.CHANGE_PASSWORD: _SELF,
    Action.READ_SESSIONS: _SELF,
    Action.END_SESSION: _SELF,
    Action.LIST_MEMBERS: _EVERY,  # names and cities of the hospitals
}

_STEPPING_UP = {Action.READ_SECOND_FACTOR: _SELF, Action.CHANGE_SECOND_FACTOR: _SELF}

_NEWS = {Action.READ_NOTICES: _SELF, Action.MARK_NOTICES: _SELF}

_PATIENT = {
    **_NEWS,
    Action.READ_CONSENT: _SELF,
    Action.CHANGE_CONSENT: _SELF,
    Action.EXPORT_DATA: _SELF,
    Action.ERASE_DATA: _SELF,
    Action.SUBMIT_CASE: _SELF,
    Action.RETRY_CASE: _CASE,
    Action.LIST_CASES: _SELF,
    Action.VIEW_IMAGE: _CASE,
    Action.READ_RESULT: _CASE,
    Action.READ_REVIEW: _CASE,
    Action.ANSWER_REFERRAL: _CASE,
    Action.READ_REFERRALS: _SELF,
    Action.READ_REPORT: _CASE,
    Action.BOOK_APPOINTMENT: _CASE,
    Action.CHANGE_APPOINTMENT: _CASE,
    Action.CANCEL_APPOINTMENT: _CASE,
    Action.READ_APPOINTMENT: _CASE,
    Action.SEND_MESSAGE: _CASE,
    Action.READ_MESSAGES: _CASE,
    Action.READ_ACCESS_LOG: _SELF,
}

_DOCTOR = {
    **_NEWS,
    Action.READ_CONSENT: _SELF,  # to e-mails about what is new
    Action.CHANGE_CONSENT: _SELF,
    **_STEPPING_UP,
    Action.RETRY_CASE: _CARE,
    Action.LIST_CASES: _HOUSE,
    Action.VIEW_IMAGE: _CARE,
    Action.READ_RESULT: _CARE,
    Action.READ_WORKLIST: _HOUSE,
    Action.READ_HISTORY: _CARE,
    Action.SIGN_REVIEW: _CARE,
    Action.READ_REVIEW: _CARE,
    Action.ASK_REFERRAL: _CARE,
    Action.READ_REFERRALS: _CARE,
    Action.READ_REPORT: _CARE,
    Action.ASK_SECOND_READING: _CARE,
    Action.SIGN_SECOND_READING: _CARE,
    Action.READ_SECOND_READING: _CARE,
    Action.OFFER_SLOT: _SELF,
    Action.WITHDRAW_SLOT: _SELF,
    Action.READ_SLOTS: _SELF,
    Action.BOOK_APPOINTMENT: _CARE,
    Action.CHANGE_APPOINTMENT: _SELF | _CARE,
    Action.CANCEL_APPOINTMENT: _SELF | _CARE,
    Action.READ_APPOINTMENT: _SELF | _CARE,
    Action.SEND_MESSAGE: _CARE,
    Action.READ_MESSAGES: _CARE,
    Action.READ_MODEL: _EVERY,  # which model answered, and its published figures
}

_HOSPITAL = {
    Action.IMPORT_DATASET: _HOUSE,
    Action.GENERATE_DATASET: _HOUSE,
    Action.READ_DATASET: _HOUSE,
    Action.DELETE_DATASET: _HOUSE,
    Action.READ_NODE: _HOUSE,
    Action.READ_INCOMING: _HOUSE,  # figures over many patients, never of one
    Action.READ_RUN: _EVERY,  # the global metrics; a node's own ones are READ_NODE
    Action.LEAVE_RUN: _HOUSE,
    Action.RETURN_TO_RUN: _HOUSE,
    Action.READ_MODEL: _EVERY,
    Action.KEEP_AUDIT_HEAD: _EVERY,  # hashes and a number: what a hospital keeps, nobody can cut off
}

_AUTHORITY = {
    **_STEPPING_UP,
    Action.LIST_ACCOUNTS: _EVERY,
    Action.MANAGE_ACCOUNTS: _EVERY,
    Action.PLAN_RUN: _EVERY,
    Action.START_RUN: _EVERY,
    Action.CONTROL_RUN: _EVERY,
    Action.DROP_NODE: _EVERY,
    Action.READ_RUN: _EVERY,
    Action.COMPARE_RUNS: _EVERY,
    Action.READ_UPLOADS: _EVERY,  # masked vectors, which are public
    Action.READ_MODEL: _EVERY,
    Action.OPEN_MODELS: _EVERY,
    Action.PROMOTE_MODEL: _EVERY,
    Action.ROLL_BACK_MODEL: _EVERY,
    Action.READ_EVALUATION: _EVERY,
    Action.EVALUATE: _EVERY,  # images that are public or drawn, said so and logged
    Action.READ_PRESENTATION: _EVERY,
    Action.PRESENT: _EVERY,  # throw-away keys, and the demo patient; in demo mode only
    Action.READ_MEMBER: _EVERY,
    Action.MANAGE_MEMBERS: _EVERY,
    Action.REVOKE_CERTIFICATE: _EVERY,
    Action.READ_MEASUREMENT: _EVERY,
    Action.APPROVE_MEASUREMENT: _EVERY,
    Action.WITHDRAW_MEASUREMENT: _EVERY,
    Action.RENEW_CERTIFICATE: _EVERY,
    Action.EXCHANGE_KEYS: _EVERY,
    Action.READ_AUDIT: _EVERY,
    Action.EXPORT_AUDIT: _EVERY,
    Action.VERIFY_AUDIT: _EVERY,
    Action.KEEP_AUDIT_HEAD: _EVERY,
}

POLICY: Mapping[tuple[str, Action], frozenset[Relation]] = MappingProxyType(
    {
        (role, action): relations
        for role, own in ((PATIENT, _PATIENT), (DOCTOR, _DOCTOR), (HOSPITAL, _HOSPITAL), (AUTHORITY, _AUTHORITY))
        for action, relations in (_EVERYBODY | own).items()
    }
)

STEP_UP = frozenset(
    {
        Action.MANAGE_ACCOUNTS,
        Action.SIGN_REVIEW,
        Action.SIGN_SECOND_READING,
        Action.START_RUN,
        Action.OPEN_MODELS,
        Action.PROMOTE_MODEL,
        Action.ROLL_BACK_MODEL,
        Action.EVALUATE,
        Action.MANAGE_MEMBERS,
        Action.REVOKE_CERTIFICATE,
        Action.APPROVE_MEASUREMENT,
        Action.WITHDRAW_MEASUREMENT,
        Action.RENEW_CERTIFICATE,
        Action.EXCHANGE_KEYS,
    }
)
"""Acts that need a code of the second factor, entered in this browser a short while ago."""


def is_allowed(role: str, action: Action, relation: Relation) -> bool:
    """Whether `role` may do `action` to an object to which it stands in `relation`; unknown roles may nothing."""
    return relation in POLICY.get((role, action), frozenset())


def as_markdown() -> str:
    """Return the table for the documentation: a row per action, a column per role, and what needs a second factor."""
    lines = [f"| action | {' | '.join(ROLES)} | second factor |", f"|---|{'---|' * len(ROLES)}---|"]
    for action in Action:
        cells = [_cell(POLICY.get((role, action), frozenset())) for role in ROLES]
        lines.append(f"| {action.value} | {' | '.join(cells)} | {'yes' if action in STEP_UP else '-'} |")
    return "\n".join(lines) + "\n"


def _cell(relations: frozenset[Relation]) -> str:
    if relations == _EVERY:
        return "any"
    return ", ".join(relation.value.replace("_", " ") for relation in Relation if relation in relations) or "-"
