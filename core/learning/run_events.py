"""Names that travel in a run's events: kinds of event, codes of failure with their plain text, and wishes.

They are stored and shown, so both the side that trains and the services that show it take them from here.
"""

from enum import StrEnum


class Wish(StrEnum):
    """What the authority asks of a run under way; the same values as the database's."""

    GO = "go"
    PAUSE = "pause"
    ABORT = "abort"


class EventKind(StrEnum):
    """Kinds of event of a run, in the order in which a run first has them."""

    RUN_STARTED = "run-started"
    RUN_RESUMED = "run-resumed"
    ROUND_STARTED = "round-started"
    PROGRESS = "progress"
    ANSWERED = "answered"
    FAILED = "member-failed"
    ATTEMPT_ABANDONED = "attempt-abandoned"
    ROUND_FINISHED = "round-finished"
    EXPORT_STARTED = "export-started"
    RUN_FINISHED = "run-finished"
    RUN_PAUSED = "run-paused"
    RUN_ABORTED = "run-aborted"
    RUN_FAILED = "run-failed"


class FailureCode(StrEnum):
    """Why a member's answer is missing or was not used. A failure is data: the round goes on without it."""

    DROPPED_OUT = "dropped-out"
    LEFT = "left"
    STOPPED = "stopped"
    CRASHED = "crashed"
    MEMBER_REFUSED = "member-refused"
    SIGNATURE = "signature"
    MESSAGE = "message"
    ORDER = "order"
    REPLAYED = "replayed"
    SEAL = "seal"
    CHECKPOINT = "checkpoint"
    CLINICAL = "clinical-data"
    SHAPE = "update-shape"
    NOT_FINITE = "update-not-finite"
    WEIGHT = "update-weight"
    SIZE = "update-size"
    FIGURES = "figures"
    TOO_FEW = "too-few-members"
    FIRST_WEIGHTS = "first-weights"
    ROSTER = "other-members"
    LATE = "late"
    PRIVACY_BUDGET = "privacy-budget"
    SHARE = "share"
    SURVIVORS = "survivors"
    SUM = "sum"
    GROUP = "group-key"

    @property
    def text(self) -> str:
        """The code in plain words."""
        return _TEXTS[self]


_TEXTS = {
    FailureCode.DROPPED_OUT: "did not answer",
    FailureCode.LEFT: "has left the run, as its hospital decided",
    FailureCode.STOPPED: "was asked to stop",
    FailureCode.CRASHED: "failed inside; its own log says why",
    FailureCode.MEMBER_REFUSED: "its certificate is revoked, expired or not for this",
    FailureCode.SIGNATURE: "the signature of its message does not hold",
    FailureCode.MESSAGE: "its message cannot be read or belongs to another step",
    FailureCode.ORDER: "the run's order is not the one that the authority signed",
    FailureCode.REPLAYED: "the same step of the same attempt came twice",
    FailureCode.SEAL: "what was sealed does not open for this sender, run, round and attempt",
    FailureCode.CHECKPOINT: "the global model is damaged, was changed, or belongs to another run or round",
    FailureCode.CLINICAL: "clinical images are never trained on in plain mode",
    FailureCode.SHAPE: "the update has other shapes or another number type than the model",
    FailureCode.NOT_FINITE: "the update holds values that are not numbers",
    FailureCode.WEIGHT: "the update claims a weight that its data set does not have",
    FailureCode.SIZE: "the update is larger than the model allows",
    FailureCode.FIGURES: "its validation figures are impossible",
    FailureCode.FIRST_WEIGHTS: "drew other first weights than most members did from the order's seed",
    FailureCode.ROSTER: "the figures of this round were summed up before, over other members than now",
    FailureCode.LATE: "was not ready in time",
    FailureCode.PRIVACY_BUDGET: "its privacy budget for this data set is spent, so it takes no further part",
    FailureCode.SHARE: "a share of a secret is not the one that was committed to",
    FailureCode.SURVIVORS: "the set of surviving members is too small, changed, or not the one that others signed",
    FailureCode.SUM: "the sum is not that of the members' uploads",
    FailureCode.GROUP: "the group key is missing, does not open, or a member of its group was revoked",
    FailureCode.TOO_FEW: "too few members are left for a sum that hides each of them",
}
