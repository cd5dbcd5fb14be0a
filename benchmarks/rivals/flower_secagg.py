"""One SecAgg+ round with Flower's own code: `SecAggPlusWorkflow` on the server, `secaggplus_mod` in every client app.

    python -m benchmarks.rivals.flower_secagg --inputs FILE.npz --json FILE

No SuperLink, no SuperNode: `InProcessGrid` hands each message to the client app of its node, after carrying it as the
bytes that Flower would send (replies count as uploaded; the time to make and read the bytes is `carrying_s`, outside
`total_s`). All nodes are neighbours and share with everybody, the threshold is two thirds of them and one more,
quantisation is Flower's default (2^22 steps over -8..8, modulus 2^32) and `max_weight` is the most images of a node,
the best for its precision. Clients return the arrays they were given; the global model that goes out has one parameter.
"""

import os

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"  # read when flwr is imported

import logging
import time
from collections.abc import Iterable
from importlib.metadata import version

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.client import Client, NumPyClient
from flwr.client.mod import secaggplus_mod
from flwr.clientapp import ClientApp
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, Key
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.server import LegacyContext, ServerConfig, SimpleClientManager
from flwr.server.compat.grid_client_proxy import GridClientProxy
from flwr.server.strategy import FedAvg
from flwr.server.workflow import SecAggPlusWorkflow
from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD, MAIN_PARAMS_RECORD
from flwr.server.workflow.constant import Key as WorkflowKey
from flwr.supercore.task_identity import TaskIdentity
from numpy.typing import NDArray

from benchmarks.rivals.measuring import SERVER, Answer, Inputs, Stopwatch, arguments, largest_error, read, write

CLIPPING_RANGE, STEPS, MODULUS = 8.0, 2**22, 2**32
SERVER_ID, RUN_ID = 1, 1

FitReply = tuple[list[NDArray[np.float32]], int, dict[str, object]]


class GivenUpdate(NumPyClient):  # type: ignore[misc]
    """A client whose training is over: it returns the array that it was given."""

    def __init__(self, update: NDArray[np.float32], images: int) -> None:
        self.reply: FitReply = ([update], images, {})

    def fit(self, parameters: list[NDArray[np.float32]], config: dict[str, object]) -> FitReply:  # noqa: ARG002
        """Return update, number of images and no metrics."""
        return self.reply


def client_app(update: NDArray[np.float32], images: int) -> ClientApp:
    """Return the app of one node, with SecAgg+ around its client."""
    client = GivenUpdate(update, images).to_client()

    def client_fn(context: Context) -> Client:  # noqa: ARG001
        return client

    return ClientApp(client_fn, mods=[secaggplus_mod])


class InProcessGrid:
    """Hands messages to client apps and times everybody; the time between two calls of it is the server's."""

    def __init__(self, inputs: Inputs, watch: Stopwatch) -> None:
        self.watch, self.uploaded, self.carrying_s = watch, 0, 0.0
        self.apps: dict[int, tuple[ClientApp, Context]] = {}
        for node, (update, images) in enumerate(zip(inputs.updates, inputs.images, strict=True), start=SERVER_ID + 1):
            context = Context(run_id=RUN_ID, node_id=node, node_config={}, state=RecordDict(), run_config={})
            self.apps[node] = client_app(update, int(images)), context
        self.server_since = time.process_time()

    def server_paused(self, step: str) -> None:
        """Count what the server did since it went on."""
        self.watch.laps[step][SERVER] += time.process_time() - self.server_since

    def carried(self, message: Message) -> tuple[Message, int]:
        """Return the message after a way through bytes, and how many they were."""
        start = time.process_time()
        data = message_to_proto(message).SerializeToString()
        arrived = message_from_proto(ProtoMessage.FromString(data))
        self.carrying_s += time.process_time() - start
        return arrived, len(data)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:  # noqa: ARG002
        """Let every addressed node answer, one after another."""
        requests, replies = list(messages), []
        stage = str(requests[0].content.config_records[RECORD_KEY_CONFIGS][Key.STAGE])
        self.server_paused(f"server before {stage}")
        for request in requests:
            arrived, _ = self.carried(request)
            node = request.metadata.dst_node_id
            app, context = self.apps[node]
            with self.watch.lap(f"nodes: {stage}", f"node {node}"):
                answered = app(arrived, context)
            reply, size = self.carried(answered)
            self.uploaded += size
            replies.append(reply)
        self.server_since = time.process_time()
        return replies


def server_context(grid: InProcessGrid) -> LegacyContext:
    """Return the server's side of round 1: FedAvg over all nodes and a global model of one parameter."""
    nodes, manager = len(grid.apps), SimpleClientManager()
    for node in grid.apps:
        manager.register(GridClientProxy(node, grid, RUN_ID))
    context = LegacyContext(
        Context(run_id=RUN_ID, node_id=SERVER_ID, node_config={}, state=RecordDict(), run_config={}),
        config=ServerConfig(num_rounds=1),
        strategy=FedAvg(fraction_fit=1.0, min_fit_clients=nodes, min_available_clients=nodes),
        client_manager=manager,
    )
    context.state.config_records[MAIN_CONFIGS_RECORD] = ConfigRecord({WorkflowKey.CURRENT_ROUND: 1})
    context.state.array_records[MAIN_PARAMS_RECORD] = ArrayRecord([np.zeros(1, np.float32)])
    return context


def aggregate(inputs: Inputs) -> Answer:
    """Run one round of all parties in this process and time them."""
    nodes = len(inputs.images)
    watch = Stopwatch()
    grid = InProcessGrid(inputs, watch)
    context = server_context(grid)
    workflow = SecAggPlusWorkflow(
        num_shares=1.0,
        reconstruction_threshold=2 * nodes // 3 + 1,
        max_weight=float(inputs.images.max()),
        clipping_range=CLIPPING_RANGE,
        quantization_range=STEPS,
        modulus_range=MODULUS,
    )
    start, grid.server_since = time.perf_counter(), time.process_time()
    workflow(grid, context)
    grid.server_paused("server: unmask and aggregate")
    wall = time.perf_counter() - start
    (found,) = context.state.array_records[MAIN_PARAMS_RECORD].to_numpy_ndarrays()
    return Answer(
        total_s=sum(watch.phases().values()),
        critical_s=watch.critical(),
        wall_s=wall,
        carrying_s=grid.carrying_s,
        phases=watch.phases(),
        bytes_per_parameter=grid.uploaded / inputs.updates.size,
        largest_error=largest_error(inputs, found),
        package=f"flwr {version('flwr')}",
        settings={"clipping_range": CLIPPING_RANGE, "steps": STEPS, "modulus": MODULUS, "shares": nodes},
    )


def main() -> None:
    """Warm up on a short vector, then measure once."""
    chosen = arguments(__doc__ or "").parse_args()
    inputs = read(chosen.inputs)
    logging.getLogger("flwr").setLevel(logging.WARNING)
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = RUN_ID, SERVER_ID, 0
    aggregate(inputs.head(1000))
    write(aggregate(inputs), chosen.json)


if __name__ == "__main__":
    main()
