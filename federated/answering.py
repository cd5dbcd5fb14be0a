"""How a party answers requests: verify, obey the authority's order, never twice, and always with a signed answer.

`Answering` is the shell of training nodes and of the aggregation enclave; what a step does is its subclass's matter.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from core.learning.orders import COORDINATOR, RunOptions
from core.learning.run_events import FailureCode
from federated.failures import Refused, code_of
from federated.ledger import Ledger
from federated.messages import NO_ATTACHMENT, Attachment, Header, Kind, Message, Refusal, Reply, Request, pack, unpack
from federated.notary import Notary

log = logging.getLogger(__name__)

Q = TypeVar("Q", bound=Request)


@dataclass(frozen=True, kw_only=True)
class Errand:
    """A verified request.

    Attributes:
        header: run, round, attempt and step that it belongs to.
        options: the run's options, from the authority's signed order.
        order: the order as the authority signed it.
        message: the request with what came with it.
    """

    header: Header
    options: RunOptions
    order: bytes
    message: Message

    @property
    def certificates(self) -> list[bytes]:
        """Certificates (DER) of possible recipients, as they came; unchecked."""
        return self.message.briefing.certificates

    @property
    def attachment(self) -> memoryview:
        """What came behind the request; the request's signature covers its SHA-256."""
        return self.message.attachment


@dataclass(frozen=True)
class Attached:
    """A reply with bytes that travel behind it."""

    reply: Reply
    attachment: Attachment


Answer = Callable[[Errand], "Reply | Attached"]
Answers = Mapping[str, Answer]
"""Step -> what the party does."""


def handle(kind: type[Q], act: Callable[[Errand, Q], Reply | Attached]) -> Answer:
    """Return an answer that reads the request's body as `kind` before it acts."""
    return lambda errand: act(errand, errand.message.parse(kind))


class Answering(ABC):
    """A party that answers the coordinator's requests; one request at a time."""

    def __init__(self, *, notary: Notary, ledger: Ledger) -> None:
        self._notary = notary
        self._ledger = ledger

    @property
    def party(self) -> str:
        """Name of the party."""
        return self._notary.party

    def answer(self, data: bytes) -> bytes:
        """Answer one request with a signed reply or a signed refusal.

        Raises:
            Refused, SecurityError: the bytes are no verified request of the coordinator, so there is nobody to answer.
        """
        self._notary.watch.restart()
        message = unpack(data, notary=self._notary)
        header = message.header
        if header.sender != COORDINATOR or header.kind != Kind.REQUEST:
            raise Refused(FailureCode.MESSAGE)
        kind, (reply, attachment) = self._reply(message)
        closing = reply.model_copy(update={"seconds": self._notary.watch.lap()})
        return pack(header.answered(kind, self.party), closing, notary=self._notary, attachment=attachment)

    def _reply(self, message: Message) -> tuple[Kind, tuple[Reply, Attachment]]:
        header = message.header
        try:
            reply = self._act(message)
        except Exception as error:  # whatever happens inside, the coordinator gets a code and no more
            code = code_of(error)
            log.log(_level(code), "%s refuses %s: %s", self.party, header.step, code, exc_info=_trace(error, code))
            refused = error.refused if isinstance(error, Refused) else {}
            refusal = Refusal(code=code.value, refused={party: why.value for party, why in refused.items()})
            return Kind.REFUSAL, (refusal, NO_ATTACHMENT)
        attached = reply if isinstance(reply, Attached) else Attached(reply, NO_ATTACHMENT)
        return Kind.REPLY, (attached.reply, attached.attachment)

    def _act(self, message: Message) -> Reply | Attached:
        header = message.header
        order = message.briefing.order or self._notary.last_order(header.run)
        options = self._notary.read_order(order, run=header.run)
        self._check(options, header)
        answers = self._answers(options)
        if header.step not in answers:
            raise Refused(FailureCode.MESSAGE)
        self._ledger.claim(header.attempt, header.step)
        return answers[header.step](Errand(header=header, options=options, order=order, message=message))

    def _check(self, options: RunOptions, header: Header) -> None:  # noqa: B027 - a party without demands refuses none
        """Refuse orders that are not for this party, and attempts that it takes no part in."""

    @abstractmethod
    def _answers(self, options: RunOptions) -> Answers:
        """Return what this party does at each step of the order's mode."""


def _level(code: FailureCode) -> int:
    return logging.ERROR if code is FailureCode.CRASHED else logging.INFO


def _trace(error: Exception, code: FailureCode) -> Any:
    return error if code is FailureCode.CRASHED else None
