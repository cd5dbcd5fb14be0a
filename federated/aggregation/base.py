"""What an aggregation mode is: three sides (coordinator, node, aggregation) of one protocol, behind one interface.

The coordinator's side is a conversation: a generator that yields what to ask of whom (`Ask`) and receives the answers
of those who gave one. So a mode is straight-line code with its own steps and variables, and the coordinator's loop,
which signs, sends, verifies, records failures and counts the quorum, is the same for every mode. `plain` and `sealed`
train, average, evaluate and summarise; `blind` adds what nobody can read (`federated.aggregation.blind`).
"""

from collections.abc import Callable, Collection, Generator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Generic, Protocol, TypeVar

from core.imaging.datasets import DatasetArrays
from core.learning.orders import AggregationMode, RunOptions
from core.learning.run_choices import ANSWER_S
from core.learning.run_events import FailureCode
from federated.answering import Answers
from federated.board import Board
from federated.learner import Learner
from federated.ledger import Ledger
from federated.messages import NO_ATTACHMENT, Attachment, Message, Model, Reply, Request, Step
from federated.notary import Notary
from federated.spend import SpendBook

R = TypeVar("R", bound=Reply)


class Whose(Enum):
    """Whose sealing certificates come with a request."""

    NOBODY = auto()
    READERS = auto()
    """Of those who read a node's own figures: the node itself, the app that shows them, the authority."""
    EVERYBODY = auto()


T = TypeVar("T")


def keep_nothing(_party: str, _reply: Reply, _message: Message) -> None:
    """What most steps do with an answer beside keeping it: nothing."""


@dataclass(frozen=True, kw_only=True)
class Ask(Generic[R]):
    """What the coordinator shall ask.

    Attributes:
        step: what it is about.
        requests: party -> request.
        reply: the class that answers must have.
        quorum: with fewer proper answers the round fails.
        attachment: travels behind each request ...
        attached: ... to these parties; None for all.
        certificates: whose sealing certificates the parties need.
        briefed: whether order and group key come with it; who is in the midst of an attempt has them.
        deadline_s: seconds that the parties have, so that who hangs does not hang the others; 0 for a day.
        absorb: told of each proper reply and its attachment as it comes, so that nothing large needs to be kept; raises
            `Refused` for a reply that is not proper after all.
        explain: asked when the quorum is missed: what the conversation knows of the cause, for the round's reason.
    """

    step: Step
    requests: Mapping[str, Request]
    reply: type[R]
    quorum: int
    attachment: Attachment = NO_ATTACHMENT
    attached: Collection[str] | None = None
    certificates: Whose = Whose.EVERYBODY
    briefed: bool = True
    deadline_s: float = ANSWER_S
    absorb: "Callable[[str, R, Message], None]" = keep_nothing
    explain: Callable[[], str] = str


Conversation = Generator[Ask[Reply], Mapping[str, Reply], T]


def ask(question: Ask[R]) -> Generator[Ask[Reply], Mapping[str, Reply], Mapping[str, R]]:
    """Put a question in a conversation (``yield from``) and return the proper answers, each a `question.reply`."""
    answers = yield question  # type: ignore[misc]  # Ask is covariant in fact: only read from
    return answers  # type: ignore[return-value]  # the coordinator has parsed every answer as `question.reply`


@dataclass(frozen=True, kw_only=True)
class Play:
    """One attempt of one round, as a conversation sees it.

    Attributes:
        run: id of the run.
        round: its number.
        attempt: id of this attempt.
        options: the run's options.
        order: the order as the authority signed it.
        notary: the coordinator's cryptography.
        new_board: makes the board of a sum from its name.
        blame: records a party's failure that showed after its reply was taken, with the step that it was in.
    """

    run: str
    round: int
    attempt: str
    options: RunOptions
    order: bytes
    notary: Notary
    new_board: Callable[[str], Board]
    blame: Callable[[str, FailureCode, Step], None]


@dataclass(frozen=True, kw_only=True)
class GlobalModel:
    """The global model after a round.

    Attributes:
        wire: sealed weights and signed lineage, as nodes receive them.
        members: whose updates are in it.
        metrics: global validation figures.
    """

    wire: Model
    members: tuple[str, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def round(self) -> int:
        """Round that made it."""
        return self.wire.round


@dataclass(frozen=True, kw_only=True)
class Served:
    """A serving model as nodes exported it: sealed, by whom, and the word of all that exported the same."""

    sealed: bytes
    exporter: str
    statements: Mapping[str, bytes]


@dataclass(frozen=True, kw_only=True)
class NodeWork:
    """What a node lets its side of a mode use.

    Attributes:
        notary: the node's cryptography; its watch counts the node's time.
        learner: what it trains with.
        dataset: id of its data set.
        data: its own data set.
        spend: what its data sets have spent of their privacy.
        clinical: whether the images are of real patients.
        should_stop: asked before each training step.
        progress: told (steps done, steps in all); never a loss, which is the node's own.
    """

    notary: Notary
    ledger: Ledger
    learner: Learner
    dataset: str
    data: DatasetArrays
    spend: SpendBook
    clinical: bool
    should_stop: Callable[[], bool]
    progress: Callable[[int, int], None]


class Aggregation(Protocol):
    """One mode. Holds no keys and no state: each side's objects belong to the party that makes them."""

    mode: AggregationMode

    def opening(self, play: Play, start: Model | None) -> Conversation[GlobalModel]:
        """Begin the run's line of models with round 0: from `start`, a finished model, or from new weights."""
        ...

    def round(self, play: Play, model: GlobalModel) -> Conversation[GlobalModel]:
        """Play one round from `model`."""
        ...

    def closing(self, play: Play, model: GlobalModel) -> Conversation[Served]:
        """Have the serving model of the last round exported."""
        ...

    def node_side(self, work: NodeWork) -> Answers:
        """Return what a node does at each step; called once per node and run."""
        ...

    def aggregation_side(self, notary: Notary, ledger: Ledger) -> Answers:
        """Return what the aggregation party does at each step; called once per party and run."""
        ...
