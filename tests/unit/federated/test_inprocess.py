"""The in-process transport: what happens to letters when the coordinator's end gives up."""

from dataclasses import dataclass, field

from federated.transport.inprocess import InProcessHost


@dataclass
class Party:
    """Answers at once, or (the second one) not before the host is about to end."""

    party: str
    answered: list[str]
    hosts: list[InProcessHost] = field(default_factory=list)

    def answer(self, data: bytes) -> bytes:
        """Note that it was asked."""
        self.answered.append(self.party)
        for host in self.hosts:
            host._leaving.wait()
        return data


def test_letters_that_wait_stay_unread_when_the_coordinator_gives_up() -> None:
    answered: list[str] = []
    hosts: list[InProcessHost] = []
    parties = [Party("a", answered), Party("b", answered, hosts), Party("c", answered), Party("d", answered)]
    host = InProcessHost(parties)  # type: ignore[arg-type]  # it needs a party's name and answer only
    hosts.append(host)
    with host:
        for delivery in host.transport.exchange([(party, b"letter") for party in "abcd"]):
            assert delivery.party == "a"
            break  # as when the database does not take the event
    assert set(answered) <= {"a", "b"}
