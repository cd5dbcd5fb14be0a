"""What a cloud could do with the messages of a run: keep what it carries, lose a hospital, change a sum.

Each stands between coordinator and parties as a `federated.transport.base.Transport`, with the coordinator's own keys:
exactly what somebody has who has taken over the cloud, and no more.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from core.learning.run_events import FailureCode
from federated.aggregation.blind.messages import RevealRequest
from federated.aggregation.blind.statements import Label, Sum
from federated.messages import Attachment, Kind, Message, Step, TrainReply, Wire, pack, unpack
from federated.notary import Notary
from federated.transport.base import Delivery, Transport
from security.encoding import decode
from security.signing import claims_of

__all__ = ["Keeping", "Losing", "Rewriting", "Seen", "Tampering", "with_sum"]


@dataclass(frozen=True)
class Seen:
    """What a hospital handed to the cloud.

    Attributes:
        party: whose it is.
        step: what it answered.
        data: the update as it came: signed safetensors (`plain`), a sealed object (`sealed`), masked words (`blind`).
    """

    party: str
    step: Step
    data: bytes


class Keeping:
    """Carries everything faithfully and keeps a copy of each hospital's update."""

    def __init__(self, transport: Transport, notary: Notary, keep: Callable[[Seen], None]) -> None:
        self._transport = transport
        self._notary = notary
        self._keep = keep

    def exchange(self, letters: Iterable[tuple[str, bytes]], *, deadline_s: float = 0.0) -> Iterator[Delivery]:
        """See `Transport.exchange`."""
        for delivery in self._transport.exchange(letters, deadline_s=deadline_s):
            if delivery.data is not None:
                self._look(delivery.party, unpack(delivery.data, notary=self._notary))
            yield delivery

    def _look(self, party: str, message: Message) -> None:
        if message.header.kind != Kind.REPLY:
            return
        if message.header.step == Step.TRAIN:
            self._keep(Seen(party, Step.TRAIN, message.parse(TrainReply).update))
        if message.header.step == Step.UPLOAD:
            self._keep(Seen(party, Step.UPLOAD, bytes(message.attachment)))


class Losing:
    """Loses a hospital's line from a step on, for good."""

    def __init__(self, transport: Transport, notary: Notary, *, party: str, before: Step) -> None:
        self._transport = transport
        self._notary = notary
        self._party = party
        self._before = before
        self._cut = False

    def exchange(self, letters: Iterable[tuple[str, bytes]], *, deadline_s: float = 0.0) -> Iterator[Delivery]:
        """See `Transport.exchange`."""
        lost: list[str] = []

        def carried() -> Iterator[tuple[str, bytes]]:
            for party, letter in letters:
                self._cut = self._cut or unpack(letter, notary=self._notary).header.step == self._before
                if self._cut and party == self._party:
                    lost.append(party)
                else:
                    yield party, letter

        yield from self._transport.exchange(carried(), deadline_s=deadline_s)
        for party in lost:
            yield Delivery(party=party, failure=FailureCode.DROPPED_OUT)


Rewrite = Callable[[str, Message], tuple[Wire, bytes] | None]
"""Party and the letter that it is about to get -> body and attachment of what it gets instead; None changes nothing."""


class Rewriting:
    """Writes letters anew before their parties see them, and signs what it wrote."""

    def __init__(self, transport: Transport, notary: Notary, rewrite: Rewrite) -> None:
        self._transport = transport
        self._notary = notary
        self._rewrite = rewrite

    def exchange(self, letters: Iterable[tuple[str, bytes]], *, deadline_s: float = 0.0) -> Iterator[Delivery]:
        """See `Transport.exchange`."""
        changed = ((party, self._changed(party, letter)) for party, letter in letters)
        return self._transport.exchange(changed, deadline_s=deadline_s)

    def _changed(self, party: str, letter: bytes) -> bytes:
        message = unpack(letter, notary=self._notary)
        new = self._rewrite(party, message)
        if new is None:
            return letter
        attachment = Attachment.of(new[1])
        return pack(message.header, new[0], notary=self._notary, briefing=message.briefing, attachment=attachment)


class Tampering(Rewriting):
    """Adds something to one coordinate of the sum of updates before the hospitals see it, and signs that sum."""

    def __init__(self, transport: Transport, notary: Notary, *, coordinate: int, by: int) -> None:
        super().__init__(transport, notary, self._add)
        self._coordinate = coordinate
        self._by = by

    def _add(self, _party: str, message: Message) -> tuple[Wire, bytes] | None:
        if message.header.step != Step.REVEAL:
            return None
        data = bytearray(message.attachment)
        place = slice(4 * self._coordinate, 4 * self._coordinate + 4)  # the sum's low words come first, little endian
        word = int.from_bytes(data[place], "little")
        data[place] = ((word + self._by) % 2**32).to_bytes(4, "little")
        return with_sum(message, bytes(data), self._notary)


def with_sum(message: Message, data: bytes, notary: Notary) -> tuple[Wire, bytes]:
    """Return a request to reveal that hands out another sum of updates, signed by `notary`, the cloud."""
    request = message.parse(RevealRequest)
    sha256 = Attachment.of(data).sha256
    stated = Sum.parse(decode(claims_of(request.sum)[1])).model_copy(update={"sha256": sha256})
    return request.model_copy(update={"sum": stated.sign(notary, message.header, Label.UPDATE)}), data
