"""The in-process transport: who is late, and what happens to letters and parties when nobody waits any more."""

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import pytest

from core.learning.run_events import FailureCode
from federated.transport.base import Delivery, TransportClosed
from federated.transport.inprocess import InProcessHost, InProcessTransport, Lines

DEADLINE_S = 60.0


@dataclass
class Time:
    """Seconds that pass only when told to."""

    at: float = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.at

    def pass_deadline(self) -> None:
        """Let more time pass than anybody has."""
        self.at += 2 * DEADLINE_S


def at_once() -> None:
    """Hold nothing back."""


@dataclass
class Party:
    """Notes what it is asked, does `first` and answers with its name and the letter."""

    party: str
    asked: list[bytes] = field(default_factory=list)
    first: Callable[[], object] = at_once

    def answer(self, data: bytes) -> bytes:
        """See `Answering.answer`."""
        self.asked.append(data)
        self.first()
        return self.party.encode() + data


def host_of(parties: list[Party], lines: Lines) -> InProcessHost:
    return InProcessHost(parties, lines=lines)  # type: ignore[arg-type]  # it needs a party's name and answer only


def letters_to(names: Iterable[str], data: bytes = b"1") -> list[tuple[str, bytes]]:
    return [(name, data) for name in names]


def of(deliveries: list[Delivery]) -> dict[str, bytes | FailureCode | None]:
    assert len({one.party for one in deliveries}) == len(deliveries), "a party is delivered once"
    return {one.party: one.data or one.failure for one in deliveries}


def test_more_letters_than_may_wait_are_all_answered() -> None:
    parties = [Party(f"{number}") for number in range(50)]
    with host_of(parties, Lines()) as host:
        answered = of(list(host.transport.exchange((one.party, b"x") for one in parties)))
    assert answered == {one.party: one.party.encode() + b"x" for one in parties}


def test_letters_that_wait_stay_unread_when_the_coordinator_gives_up() -> None:
    lines = Lines()
    parties = [Party("a"), Party("b", first=lines.leaving.wait), Party("c"), Party("d")]
    with host_of(parties, lines) as host:
        for delivery in host.transport.exchange(letters_to("abcd")):
            assert delivery.party == "a"
            break  # as when the database does not take the event
    assert [len(one.asked) for one in parties[2:]] == [0, 0]


def test_after_the_deadline_the_rest_is_late_once_and_never_asked_and_answers_go_to_nobody() -> None:
    time = Time()
    lines, told = Lines(now=time), threading.Event()

    def until_given_up() -> None:
        time.pass_deadline()
        while not lines.given_up():
            told.wait(0.001)
        told.set()

    parties = [Party("a"), Party("b", first=until_given_up), Party("c")]
    with host_of(parties, lines) as host:
        transport = host.transport
        first = of(list(transport.exchange(letters_to("abc"), deadline_s=DEADLINE_S)))
        assert told.wait(10), "the party at work learns that nobody waits for it"
        parties[1].first = at_once
        second = of(list(transport.exchange(letters_to("abc", b"2"))))
    assert first == {"a": b"a1", "b": FailureCode.LATE, "c": FailureCode.LATE}
    assert second == {"a": b"a2", "b": b"b2", "c": b"c2"}
    assert [one.asked for one in parties] == [[b"1", b"2"], [b"1", b"2"], [b"2"]]


def test_letters_that_were_not_sent_when_the_deadline_passed_are_late_too() -> None:
    time, given_up = Time(), threading.Event()
    lines = Lines(now=time)
    parties = [Party(f"{number:02}") for number in range(40)]

    def hold_back() -> None:
        time.pass_deadline()
        given_up.wait(10)

    parties[0].first = hold_back
    with host_of(parties, lines) as host:
        outcome = of(list(host.transport.exchange(((one.party, b"x") for one in parties), deadline_s=DEADLINE_S)))
        given_up.set()
        assert of(list(host.transport.exchange(letters_to(["39"], b"y")))) == {"39": b"39y"}
    assert set(outcome.values()) == {FailureCode.LATE}
    assert len(outcome) == 40
    assert [one.asked for one in parties[1:39]] == [[]] * 38


def test_answers_that_came_while_the_coordinator_was_busy_are_in_time() -> None:
    time = Time()
    lines = Lines(now=time)
    parties = [Party("a"), Party("b")]
    with host_of(parties, lines) as host:
        exchange = host.transport.exchange(letters_to("ab"), deadline_s=DEADLINE_S)
        taken = [next(exchange)]
        in_time = lines.deliveries.get(timeout=10)
        lines.deliveries.put(in_time)
        time.pass_deadline()  # as when the database takes its time with an event
        taken += exchange
    assert of(taken) == {"a": b"a1", "b": b"b1"}


def test_no_party_is_given_up_while_its_answer_is_waited_for() -> None:
    lines, seen = Lines(), []
    parties = [Party("a", first=lambda: seen.append(lines.given_up()))]
    with host_of(parties, lines) as host:
        for _ in range(3):
            list(host.transport.exchange(letters_to("a")))
    assert seen == [False] * 3


def test_an_exchange_with_a_host_that_has_ended_is_refused() -> None:
    lines = Lines()
    with host_of([Party("a")], lines):
        pass
    with pytest.raises(TransportClosed):
        next(InProcessTransport(lines).exchange(letters_to("a")))


def test_a_party_that_fails_or_whose_machine_is_off_is_a_delivery_like_any_other() -> None:
    def fails() -> None:
        raise RuntimeError

    off: Iterator[bool] = iter([False, True])  # on when asked, off when it has answered
    parties = [Party("a", first=fails), Party("b")]
    host = InProcessHost(parties, is_down=lambda party: party == "b" and next(off))  # type: ignore[arg-type]
    with host:
        outcome = of(list(host.transport.exchange(letters_to("abx"))))
    assert outcome == {"a": FailureCode.CRASHED, "b": FailureCode.DROPPED_OUT, "x": FailureCode.DROPPED_OUT}
