"""The Flower transport: its pieces against a grid in memory, and the whole of it over a real SuperLink with TLS."""

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from flwr.app import ArrayRecord, Context, Error, Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

from core.clock import SystemClock
from core.learning.orders import AggregationMode, RunOptions
from core.learning.run_events import FailureCode
from federated.answering import Answering, Answers
from federated.coordinator import Coordinator
from federated.transport.base import TransportClosed
from federated.transport.flower import clientapp
from federated.transport.flower.carrier import Carrier
from federated.transport.flower.desk import Desk
from federated.transport.flower.lines import END, Line, Listener, Parcel
from federated.transport.flower.network import Network
from federated.transport.flower.records import answer, data_of, letter
from federated.transport.flower.roster import ANSWER_S, JOINING_S
from federated.transport.flower.transport import FlowerTransport
from security.authority import CertificateAuthority
from security.keys import KeyStore, MasterKey
from tests.federation import RUN, Federation, options_for

LARGE = 20 * 2**20


class Echo(Answering):
    """A party that sends each letter back, once it may."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.may_answer = threading.Event()
        self.may_answer.set()

    @property
    def party(self) -> str:
        """Its name."""
        return self.name

    def answer(self, data: bytes) -> bytes:
        """The letter, backwards."""
        self.may_answer.wait()
        if data == b"fail":
            raise ValueError(data)
        return data[::-1]

    def _answers(self, _options: RunOptions) -> Answers:
        return {}


@dataclass
class MemoryGrid(Grid):
    """Flower's grid without Flower: each message runs the client app at once; a silent node's messages lie there."""

    nodes: dict[int, dict[str, str]]
    silent: set[int] = field(default_factory=set)
    broken: set[int] = field(default_factory=set)
    strange: dict[int, RecordDict] = field(default_factory=dict)
    replies: dict[str, Message] = field(default_factory=dict)
    pushed: list[Message] = field(default_factory=list)

    def set_run(self, run: object) -> None:
        """Nothing to do."""

    @property
    def run(self) -> object:
        """None."""
        return None

    def create_message(self, *_arguments: object, **_options: object) -> Message:
        """Old; nobody calls it."""
        raise NotImplementedError

    def get_node_ids(self) -> Iterable[int]:
        """Who is there."""
        return list(self.nodes)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Deliver at once."""
        numbers = []
        for message in messages:
            node, number = message.metadata.dst_node_id, f"m{len(self.pushed)}"
            message.metadata.__dict__["_message_id"] = number
            self.pushed.append(message)
            numbers.append(number)
            if node in self.broken:
                self.replies[number] = Message(Error(code=8, reason="it broke"), reply_to=message)
            elif node in self.strange and data_of(message.content):
                self.replies[number] = Message(self.strange[node], reply_to=message)
            elif node not in self.silent:
                context = Context(1, node, dict(self.nodes[node]), RecordDict(), {})
                self.replies[number] = clientapp.app(message, context)
        return numbers

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Answers that are there."""
        return [self.replies.pop(number) for number in message_ids if number in self.replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Flower's own loop; nobody calls it."""
        raise NotImplementedError


@pytest.fixture(autouse=True)
def _inside_a_flower_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flower numbers messages by the process that makes them; here the test is that process."""
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


@contextmanager
def at_desk(party: Answering, path: Path) -> Iterator[None]:
    """The party's own process, as a thread."""
    desk = Desk()
    thread = threading.Thread(target=desk.serve, args=(party, path))
    thread.start()
    while not path.exists():
        time.sleep(0.01)
    try:
        yield
    finally:
        desk.ending.set()
        thread.join()


@contextmanager
def carried(carrier: Carrier, path: Path) -> Iterator[FlowerTransport]:
    """The server app's loop, for one exchange."""
    with Listener(path) as listener:

        def serve() -> None:
            line = listener.accept(wait_s=30)
            assert line is not None
            with line:
                carrier.carry(line)

        thread = threading.Thread(target=serve)
        thread.start()
        yield FlowerTransport(path)
        thread.join()


@dataclass
class Ticking:
    """A clock that stands still but for what is slept."""

    now: float = 0.0
    slept: Callable[[], object] = lambda: None

    def __call__(self) -> float:
        """Tell the time."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.slept()


def outcome(transport: FlowerTransport, letters: Iterable[tuple[str, bytes]], **options: float) -> dict[str, object]:
    return {one.party: one.data or one.failure for one in transport.exchange(letters, **options)}


def node(folder: Path, party: str) -> dict[str, str]:
    return {"party": party, "socket": str(folder / f"{party}.sock")}


def test_every_party_gets_its_letter_and_its_answer_comes_back(tmp_path: Path) -> None:
    grid = MemoryGrid({7: node(tmp_path, "east"), 8: node(tmp_path, "west")})
    with (
        at_desk(Echo("east"), tmp_path / "east.sock"),
        at_desk(Echo("west"), tmp_path / "west.sock"),
        carried(Carrier(grid), tmp_path / "post") as transport,
    ):
        found = outcome(transport, [("west", b"to the west"), ("east", b"to the east")])

    assert found == {"west": b"tsew eht ot", "east": b"tsae eht ot"}


def test_a_party_that_fails_that_is_down_or_whose_node_breaks_is_a_delivery_with_a_code(tmp_path: Path) -> None:
    nodes = {1: "east", 2: "north", 3: "west", 4: "south"}
    grid = MemoryGrid({number: node(tmp_path, party) for number, party in nodes.items()})
    carrier = Carrier(grid)
    grid.broken.add(4)
    with (
        at_desk(Echo("east"), tmp_path / "east.sock"),
        at_desk(Echo("other"), tmp_path / "west.sock"),
        carried(carrier, tmp_path / "post") as transport,
    ):
        found = outcome(transport, [(party, b"fail") for party in nodes.values()])

    assert found == {
        "east": FailureCode.CRASHED,
        "north": FailureCode.DROPPED_OUT,
        "west": FailureCode.MESSAGE,
        "south": FailureCode.DROPPED_OUT,
    }


@pytest.mark.parametrize("what", ["no array", "another array", "a long failure", "an unknown failure", "no note"])
def test_a_node_that_answers_with_something_else_fails_alone_and_stops_nobody(tmp_path: Path, what: str) -> None:
    """A hospital's SuperNode is its own: what it sends back must not end the server app, which is everybody's."""
    array = letter(b"abc").array_records["bytes"]["bytes"]
    contents = {
        "no array": RecordDict({"bytes": ArrayRecord({})}),
        "another array": RecordDict({"bytes": ArrayRecord({"other": array})}),
        "a long failure": answer("east", failure="x" * 70_000),
        "an unknown failure": answer("east", failure="unheard-of"),
        "no note": RecordDict(),
    }
    grid = MemoryGrid({1: node(tmp_path, "east"), 2: node(tmp_path, "west")}, strange={1: contents[what]})
    with at_desk(Echo("west"), tmp_path / "west.sock"), carried(Carrier(grid), tmp_path / "post") as transport:
        found = outcome(transport, [("east", b"abc"), ("west", b"abc")])
    assert found["west"] == b"cba"
    assert not isinstance(found["east"], bytes) or not found["east"]


def test_a_node_that_flower_sees_no_longer_is_a_drop_out_and_its_successor_gets_the_next_letter(tmp_path: Path) -> None:
    grid = MemoryGrid({1: node(tmp_path, "east")})
    clock = Ticking()
    carrier = Carrier(grid, clock=clock, sleep=clock.sleep)
    grid.silent.add(1)
    clock.slept = lambda: grid.nodes.pop(1, None)
    with at_desk(Echo("east"), tmp_path / "east.sock"):
        with carried(carrier, tmp_path / "post") as transport:
            assert outcome(transport, [("east", b"abc")]) == {"east": FailureCode.DROPPED_OUT}
        grid.nodes[2] = node(tmp_path, "east")
        with carried(carrier, tmp_path / "post") as transport:
            assert outcome(transport, [("east", b"abc")]) == {"east": b"cba"}


def test_a_party_without_a_node_is_waited_for_at_the_start_and_then_no_more(tmp_path: Path) -> None:
    grid, clock = MemoryGrid({}), Ticking()
    carrier = Carrier(grid, clock=clock, sleep=clock.sleep)
    with carried(carrier, tmp_path / "post") as transport:
        assert outcome(transport, [("east", b"abc")]) == {"east": FailureCode.DROPPED_OUT}
    assert JOINING_S <= clock.now < JOINING_S + 1

    with carried(carrier, tmp_path / "post") as transport:
        assert outcome(transport, [("east", b"abc")]) == {"east": FailureCode.DROPPED_OUT}
    assert clock.now < JOINING_S + 1


def test_a_node_that_never_says_whose_it_is_is_not_waited_for_longer_than_stated(tmp_path: Path) -> None:
    grid, clock = MemoryGrid({1: node(tmp_path, "east")}, silent={1}), Ticking()
    carrier = Carrier(grid, clock=clock, sleep=clock.sleep)
    with carried(carrier, tmp_path / "post") as transport:
        assert outcome(transport, [("east", b"abc")]) == {"east": FailureCode.DROPPED_OUT}
    assert ANSWER_S <= clock.now < ANSWER_S + 1


def test_of_two_nodes_that_claim_a_party_the_first_keeps_it_while_it_is_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    grid = MemoryGrid({1: node(tmp_path, "east")})
    clock = Ticking()
    carrier = Carrier(grid, clock=clock, sleep=clock.sleep)
    grid.nodes[2] = {"party": "east", "socket": str(tmp_path / "impostor.sock")}
    clock.now += 10
    carrier.refresh()
    assert "SuperNode 2 claims east, which SuperNode 1 has" in caplog.text

    with at_desk(Echo("east"), tmp_path / "east.sock"), carried(carrier, tmp_path / "post") as transport:
        assert outcome(transport, [("east", b"abc")]) == {"east": b"cba"}
    del grid.nodes[1]
    clock.now += 10
    carrier.refresh()
    with carried(carrier, tmp_path / "post") as transport:
        assert outcome(transport, [("east", b"abc")]) == {"east": FailureCode.DROPPED_OUT}
    assert grid.pushed[-1].metadata.dst_node_id == 2


def test_who_has_not_answered_at_the_deadline_is_late_and_is_told_to_stop(tmp_path: Path) -> None:
    slow, desk, stopped = Echo("slow"), Desk(), threading.Event()
    slow.may_answer.clear()

    def notice() -> None:
        while not desk.given_up():
            time.sleep(0.01)
        stopped.set()
        slow.may_answer.set()
        desk.ending.set()

    server = threading.Thread(target=desk.serve, args=(slow, tmp_path / "slow.sock"))
    with Listener(tmp_path / "post") as listener:
        server.start()

        def relay() -> None:
            line = listener.accept(wait_s=30)
            assert line is not None
            with line:
                line.receive_seconds()
                with Line.to(tmp_path / "slow.sock") as onward:
                    onward.send(line.receive())
                    assert line.receive() == END
                    while not line.has_ended():
                        time.sleep(0.01)

        between, watching = threading.Thread(target=relay), threading.Thread(target=notice)
        while not (tmp_path / "slow.sock").exists():
            time.sleep(0.01)
        between.start()
        watching.start()
        found = outcome(FlowerTransport(tmp_path / "post"), [("slow", b"abc")], deadline_s=0.3)
        for thread in (between, watching, server):
            thread.join()

    assert found == {"slow": FailureCode.LATE}
    assert stopped.is_set()


def test_without_a_server_app_or_when_it_ends_the_transport_is_closed(tmp_path: Path) -> None:
    with pytest.raises(TransportClosed):
        outcome(FlowerTransport(tmp_path / "post"), [("east", b"abc")])

    with Listener(tmp_path / "post") as listener:

        def vanish() -> None:
            line = listener.accept(wait_s=30)
            assert line is not None
            with line:
                line.receive_seconds()

        thread = threading.Thread(target=vanish)
        thread.start()
        with pytest.raises(TransportClosed):
            outcome(FlowerTransport(tmp_path / "post"), [("east", b"abc")])
        thread.join()


def test_two_processes_cannot_listen_at_one_place_but_a_dead_ones_place_is_free(tmp_path: Path) -> None:
    with Listener(tmp_path / "post"), pytest.raises(OSError, match="another process listens"):
        Listener(tmp_path / "post")
    (tmp_path / "post").touch()  # what a killed process leaves
    with Listener(tmp_path / "post") as listener:
        assert listener.accept(wait_s=0.01) is None


def test_parcels_come_through_a_line_as_they_were_sent(tmp_path: Path) -> None:
    parcels = [Parcel(party="east", data=b"x" * size, failure="é" * (size % 3)) for size in (0, 1, 2**20, 2**22 + 7)]
    got: list[Parcel] = []
    with Listener(tmp_path / "post") as listener:

        def read() -> None:
            line = listener.accept(wait_s=30)
            assert line is not None
            with line:
                got.extend(line.receive() for _ in parcels)

        thread = threading.Thread(target=read)
        thread.start()
        with Line.to(tmp_path / "post") as line:
            for parcel in parcels:
                line.send(parcel)
            thread.join()

    assert got == parcels


@dataclass
class Played:
    """What a real SuperLink carried.

    Attributes:
        ending: how the run ended.
        weights: SHA-256 of the weights of each round's checkpoint.
        reference: the same over the in-process transport.
        large: whether the answer to a letter of 20 MB was the right one.
        dead: what an exchange with a killed SuperNode gave.
        left: processes that are left after the end.
    """

    ending: str
    weights: list[str]
    reference: list[str]
    large: bool
    dead: dict[str, object]
    left: list[str]


def three_hospitals(folder: Path) -> Federation:
    federation = Federation(folder, mode=AggregationMode.PLAIN, rounds=1)
    del federation.data["west"], federation.nodes["west"]
    federation.options = options_for(federation.data, mode=federation.mode, rounds=1)
    return federation


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """A run of one round in `plain`, one large letter, and one letter to a dead node, over Flower with TLS."""
    folder = tmp_path_factory.mktemp("f")
    alone = three_hospitals(folder / "alone")
    alone.play()
    federation, clock = three_hospitals(folder / "flower"), SystemClock()
    office = CertificateAuthority.create(KeyStore(folder / "tls", "authority", MasterKey(bytes(32))), clock.now())
    with Network(folder=folder, binaries=Path(sys.executable).parent, authority=office, clock=clock) as network:
        with ExitStack() as desks:
            for party in (*federation.nodes.values(), federation.enclave):
                desks.enter_context(at_desk(party, network.socket_of(party.party)))
                network.supernode(party.party)
            network.submit()
            transport = FlowerTransport(network.post)
            ending = Coordinator(
                notary=federation.notary("coordinator"),
                run=RUN,
                order=federation.order(),
                transport=transport,
                store=federation.store,
                directory=federation.keys.board,
            ).play()
        large, name = bytes(range(256)) * (LARGE // 256), "north.training"
        with at_desk(Echo(name), network.socket_of(name)):
            (delivery,) = transport.exchange([(name, large)])
            network.kill(name)
            dead = outcome(transport, [(name, b"abc")], deadline_s=3.0)
    return Played(
        ending=ending.value,
        weights=[model.wire.weights_sha256 for model in federation.store.models],
        reference=[model.wire.weights_sha256 for model in alone.store.models],
        large=delivery.data == large[::-1],
        dead=dead,
        left=_left(folder),
    )


def _left(folder: Path) -> list[str]:
    """Return the command lines of processes that work in a folder, once they had time to end on a busy machine."""
    deadline = time.monotonic() + 20
    while (found := [line for line in _processes() if str(folder) in line]) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def _processes() -> list[str]:
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return lines


def test_over_a_real_superlink_the_checkpoint_equals_that_of_the_in_process_transport_bit_for_bit(
    played: Played,
) -> None:
    assert played.ending == "finished"
    assert len(played.weights) == 2
    assert played.weights == played.reference


def test_no_process_of_flower_is_left_at_the_end(played: Played) -> None:
    assert played.left == []


def test_a_letter_of_20_mb_and_its_answer_come_through_a_real_superlink(played: Played) -> None:
    assert played.large


def test_a_supernode_that_died_makes_its_party_late_or_dropped_out_and_never_hangs_the_round(played: Played) -> None:
    assert played.dead in ({"north.training": FailureCode.LATE}, {"north.training": FailureCode.DROPPED_OUT})
