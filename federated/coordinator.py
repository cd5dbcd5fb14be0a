"""The coordinator: plays a run's rounds, carries messages, counts answers, and reads none of what it carries.

It holds its own identity and nothing of anybody else's. The loop is the same for every aggregation mode; what a round
consists of is the mode's conversation (`federated.aggregation.base`). Failures of members are data: they are recorded,
and the round goes on while its quorum holds. An attempt's id is stored before a message bears it, and is never used
again after it failed.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, TypeVar

from core.errors import CheckpointRefused
from core.learning.orders import APP, AUTHORITY, RunOptions
from core.learning.run_choices import OnFailure
from core.learning.run_events import EventKind, FailureCode, Wish
from federated.aggregation.base import Aggregation, Ask, Conversation, GlobalModel, Play, Whose
from federated.aggregation.registry import AGGREGATIONS
from federated.board import Board, MemoryBoard
from federated.failures import Interrupted, Refused, RoundFailed, code_of
from federated.messages import (
    EVERYBODY,
    NO_ATTACHMENT,
    Briefing,
    Header,
    Kind,
    Refusal,
    Reply,
    Request,
    Step,
    pack,
    unpack,
)
from federated.notary import Notary, by_party
from federated.store import AttemptOutcome, Ending, Event, RunStore
from federated.timing import Task
from federated.transport.base import Delivery, Transport
from security.errors import SecurityError

T = TypeVar("T")

MAX_OWN_BYTES = 16 * 1024
"""A node's own figures are a few numbers; more is not stored."""
SHOWN_DIGITS = 16
"""Hex digits of an attachment's hash that its event keeps, for people to tell one from another."""


class Directory(Protocol):
    """Public statements of the authority, as the coordinator passes them on."""

    def crl(self) -> bytes:
        """The newest revocation list, DER."""
        ...

    def certificates(self) -> list[bytes]:
        """Sealing certificates (DER) of all parties that may be recipients."""
        ...


class Coordinator:
    """Plays one run to its end, from wherever its store says it is."""

    def __init__(
        self,
        *,
        notary: Notary,
        run: str,
        order: bytes,
        transport: Transport,
        store: RunStore,
        directory: Directory,
        group: bytes = b"",
        boards: Callable[[str, str], Board] = lambda _attempt, _name: MemoryBoard(),
    ) -> None:
        """Read the order.

        Args:
            notary: cryptography of the party ``coordinator``.
            run: id of the run.
            order: the authority's signed order.
            transport: carries the messages.
            store: the run's state.
            directory: revocation list and certificates to pass on.
            group: the group key, sealed by the authority for the members (`core.learning.group_key`); for `blind`.
            boards: makes the board on which an attempt's sum is published, from attempt and name of the sum.

        Raises:
            SignatureBroken, CertificateRefused, RunRefused: the order is not the authority's for this run.
        """
        self._notary = notary
        self._run = run
        self._order = order
        self._group = group
        self._boards = boards
        self._transport = transport
        self._store = store
        self._directory = directory
        self._left: Collection[str] = ()
        self._options: RunOptions = notary.read_order(order, run=run)
        self._mode: Aggregation = AGGREGATIONS[self._options.mode]

    def play(self) -> Ending:
        """Play the run: round 0, the rounds, the export. Returns how it ended; the store knows the rest.

        Raises:
            DatabaseUnavailable, StoreLost, TransportClosed: the state could not be stored or nothing can be sent; the
                attempt in hand is lost, the last finished round is not.
        """
        try:
            model = self._store.latest()
            self._tell(EventKind.RUN_RESUMED if model else EventKind.RUN_STARTED, model.round if model else 0)
            if model is None:
                model = self._finish_round(0, partial(self._mode.opening, start=self._store.starting_model()))
            while model.round < self._options.rounds and not self._levelled_off():
                model = self._finish_round(model.round + 1, partial(self._mode.round, model=model))
            self._export(model)
        except Interrupted as stop:
            ending = Ending.PAUSED if stop.wish is Wish.PAUSE else Ending.ABORTED
            kind = EventKind.RUN_PAUSED if stop.wish is Wish.PAUSE else EventKind.RUN_ABORTED
            self._store.end(ending, "", self._event(kind, 0))
            return ending
        except (RoundFailed, CheckpointRefused) as failed:
            reason = failed.public_text if isinstance(failed, CheckpointRefused) else str(failed)
            pausing = self._options.round_rules.on_failure is OnFailure.PAUSE
            waits = isinstance(failed, RoundFailed) and (failed.waits or pausing or bool(self._left))
            ending = Ending.PAUSED if waits else Ending.FAILED
            kind = EventKind.RUN_PAUSED if waits else EventKind.RUN_FAILED
            self._store.end(ending, reason, self._event(kind, 0, {"reason": reason}))
            return ending
        return Ending.FINISHED

    def _levelled_off(self) -> bool:
        return self._options.round_rules.levelled_off(self._store.losses())

    def _finish_round(self, number: int, conversation: Callable[[Play], Conversation[GlobalModel]]) -> GlobalModel:
        for left in reversed(range(self._options.round_rules.tries)):
            try:
                attempt, model = self._attempt(number, conversation)
                break
            except RoundFailed as failed:
                if failed.waits or not left:
                    raise
        payload = {"metrics": dict(model.metrics), "members": list(model.members), "seconds": self._own_seconds()}
        self._store.finish_round(attempt, model, self._event(EventKind.ROUND_FINISHED, number, payload))
        return model

    def _export(self, model: GlobalModel) -> None:
        attempt, served = self._attempt(model.round, partial(self._mode.closing, model=model), EventKind.EXPORT_STARTED)
        payload = {"exporter": served.exporter, "bytes": len(served.sealed), "seconds": self._own_seconds()}
        self._store.finish_run(attempt, served, self._event(EventKind.RUN_FINISHED, model.round, payload))

    def _attempt(
        self, number: int, conversation: Callable[[Play], Conversation[T]], kind: EventKind = EventKind.ROUND_STARTED
    ) -> tuple[str, T]:
        """Try a round once: under an id of its own that is stored before anything is sent.

        A hospital that has left sits out the whole attempt; one that leaves during it finishes it.
        """
        attempt = self._store.begin_attempt(number)
        self._left = self._store.left()
        play = Play(
            run=self._run,
            round=number,
            attempt=attempt,
            options=self._options,
            order=self._order,
            notary=self._notary,
            new_board=partial(self._boards, attempt),
            blame=partial(self._blame, attempt, number),
        )
        self._tell(kind, number, {"attempt": attempt})
        try:
            return attempt, self._converse(play, conversation(play))
        except (Interrupted, RoundFailed) as ended:
            failed = isinstance(ended, RoundFailed)
            self._store.end_attempt(attempt, AttemptOutcome.FAILED if failed else AttemptOutcome.ABANDONED)
            self._tell(EventKind.ATTEMPT_ABANDONED, number, {"attempt": attempt})
            raise

    def _converse(self, play: Play, conversation: Conversation[T]) -> T:
        """Put the conversation's questions to the parties until it has its result."""
        answers: Mapping[str, Reply] | None = None
        while True:
            self._heed_wishes()
            try:
                question = next(conversation) if answers is None else conversation.send(answers)
            except StopIteration as done:
                return done.value
            answers = self._put(play, question)

    def _put(self, play: Play, question: Ask[Reply]) -> Mapping[str, Reply]:
        """Ask, collect the proper answers, and hold the quorum.

        Where too many have left, nobody is asked: the others would work for nothing.
        """
        answers: dict[str, Reply] = {}
        left = [party for party in question.requests if party in self._left]
        failures = dict.fromkeys(left, FailureCode.LEFT)
        for party in left:
            self._blame(play.attempt, play.round, party, FailureCode.LEFT, question.step)
        here = {party: request for party, request in question.requests.items() if party not in failures}
        if len(here) < min(question.quorum, len(question.requests)):
            raise RoundFailed(_too_few(play.round, question, left), waits=True)
        for party, outcome in self._exchange(play, replace(question, requests=here) if left else question):
            if isinstance(outcome, Reply):
                answers[party] = outcome
            else:
                failures |= outcome
        self._heed_wishes()
        if len(answers) < question.quorum:
            reason = _reason(play.round, question, len(answers), failures) + question.explain()
            raise RoundFailed(reason, waits=FailureCode.LEFT in failures.values())
        return dict(sorted(answers.items()))

    def _exchange(self, play: Play, question: Ask[Reply]) -> Iterator[tuple[str, Reply | dict[str, FailureCode]]]:
        """Send the question; yield each party's reply, or whose fault it is that there is none."""
        crl = self._directory.crl()
        self._notary.hear(crl)
        briefing = Briefing(order=self._order, crl=crl, group=self._group) if question.briefed else Briefing(crl=crl)
        certificates = self._certificates(question.certificates)
        sent: dict[str, int] = {}

        header = self._header(play, question)
        shared: tuple[Request, bool, list[bytes], bytes] | None = None

        def letters() -> Iterator[tuple[str, bytes]]:
            nonlocal shared
            for party, request in question.requests.items():
                wanted = question.attached is None or party in question.attached
                needed = certificates(party)
                if shared is None or shared[:3] != (request, wanted, needed):
                    attachment = question.attachment if wanted else NO_ATTACHMENT
                    told = briefing.model_copy(update={"certificates": needed})
                    letter = pack(header, request, notary=self._notary, briefing=told, attachment=attachment)
                    shared = request, wanted, needed, letter
                sent[party] = len(shared[3])
                yield party, shared[3]

        for delivery in self._transport.exchange(letters(), deadline_s=question.deadline_s):
            party = delivery.party
            facts: dict[str, Any] = {
                "step": question.step.value,
                "attempt": play.attempt,
                "bytes_out": sent.get(party, 0),
                "bytes_in": len(delivery.data or b""),
            }
            reply = self._read(delivery, header, question, facts)
            refused = {} if isinstance(reply, FailureCode) else self._refused_by(party, reply)
            for member, code in refused.items():
                self._fail(play.round, member, code, {"step": question.step.value, "refused_by": party})
            if isinstance(reply, Reply) and not isinstance(reply, Refusal):
                self._note(play, party, reply, facts)
                yield party, reply
            else:
                code = reply if isinstance(reply, FailureCode) else _code(reply.code)
                self._fail(play.round, party, code, facts)
                yield party, {party: code, **refused}

    def _certificates(self, whose: Whose) -> Callable[[str], list[bytes]]:
        """Return which sealing certificates a party is sent."""
        everybodys = self._directory.certificates() if whose is not Whose.NOBODY else []
        if whose is not Whose.READERS:
            return lambda _party: everybodys
        of = by_party(everybodys)
        return lambda party: [der for reader in (AUTHORITY, APP, party) for der in of.get(reader, [])]

    def _read(
        self, delivery: Delivery, header: Header, question: Ask[Reply], facts: dict[str, Any]
    ) -> Reply | FailureCode:
        """Verify a delivery; return the reply or refusal in it, or why there is none to use. Notes an attachment."""
        if delivery.data is None:
            return delivery.failure or FailureCode.DROPPED_OUT
        try:
            message = unpack(delivery.data, notary=self._notary)
            if message.header == header.answered(Kind.REFUSAL, delivery.party):
                return message.parse(Refusal)
            if message.header == header.answered(Kind.REPLY, delivery.party):
                reply = message.parse(question.reply)
                if len(message.attachment):
                    facts["attached"] = [len(message.attachment), message.attachment_sha256.hex()[:SHOWN_DIGITS]]
                question.absorb(delivery.party, reply, message)
                return reply
        except (Refused, SecurityError) as error:
            return code_of(error)
        return FailureCode.MESSAGE

    def _header(self, play: Play, question: Ask[Reply]) -> Header:
        return Header(
            run=play.run,
            round=play.round,
            attempt=play.attempt,
            step=question.step.value,
            kind=Kind.REQUEST.value,
            sender=self._notary.party,
            recipient=EVERYBODY,
        )

    def _note(self, play: Play, party: str, reply: Reply, facts: Mapping[str, Any]) -> None:
        seconds = {task.value: reply.seconds[task] for task in Task if _is_duration(reply.seconds.get(task))}
        own = getattr(reply, "own", None)
        sealed = own if isinstance(own, bytes) and len(own) <= MAX_OWN_BYTES else None
        self._store.record(
            self._event(EventKind.ANSWERED, play.round, {**facts, "seconds": seconds}, party=party, sealed=sealed)
        )

    def _fail(self, number: int, party: str, code: FailureCode, facts: Mapping[str, Any]) -> None:
        self._store.record(self._event(EventKind.FAILED, number, {**facts, "code": code.value}, party=party))

    def _blame(self, attempt: str, number: int, party: str, code: FailureCode, step: Step) -> None:
        self._fail(number, party, code, {"step": step.value, "attempt": attempt})

    def _refused_by(self, party: str, reply: Reply) -> dict[str, FailureCode]:
        """Whom `party` refused; members do not judge each other."""
        members = self._options.parties
        if party in members:
            return {}
        return {member: _code(code) for member, code in sorted(reply.refused.items()) if member in members}

    def _own_seconds(self) -> dict[str, float]:
        """The coordinator's own share of a round: its cryptography; the rest of its time is waiting."""
        return {Task.CRYPTOGRAPHY.value: self._notary.watch.lap()[Task.CRYPTOGRAPHY]}

    def _heed_wishes(self) -> None:
        wish = self._store.wish()
        if wish is not Wish.GO:
            raise Interrupted(wish)

    def _tell(self, kind: EventKind, number: int, payload: Mapping[str, Any] | None = None) -> None:
        self._store.record(self._event(kind, number, payload))

    def _event(
        self,
        kind: EventKind,
        number: int,
        payload: Mapping[str, Any] | None = None,
        *,
        party: str = "",
        sealed: bytes | None = None,
    ) -> Event:
        return Event(kind=kind, round=number, party=party or self._notary.party, payload=payload or {}, sealed=sealed)


def _code(text: str) -> FailureCode:
    return FailureCode(text) if text in set(FailureCode) else FailureCode.MESSAGE


def _is_duration(seconds: float | None) -> bool:
    return seconds is not None and math.isfinite(seconds) and seconds >= 0


def _too_few(number: int, question: Ask[Reply], left: Sequence[str]) -> str:
    """The sentence that people read when a round cannot begin because hospitals have left."""
    asked = len(question.requests)
    return (
        f"Round {number} asks {asked} hospitals and needs {question.quorum}; {asked - len(left)} are left in the run. "
        f"Left, as their hospitals decided: {', '.join(sorted(left))}."
    )


def _reason(number: int, question: Ask[Reply], answered: int, failures: Mapping[str, FailureCode]) -> str:
    """The sentence that people read when a round fails."""
    if question.quorum == len(question.requests) == 1:
        what = f"the step '{question.step}' was refused"
    else:
        what = f"{answered} of {len(question.requests)} members finished the step '{question.step}'"
        what += f" and {question.quorum} are needed"
    why = "; ".join(f"{party}: {code.text}" for party, code in sorted(failures.items()))
    return f"Round {number}: {what}. {why}."
