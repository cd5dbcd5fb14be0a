"""Global weights, with the server optimiser's moments, on their way: sealed, opened, checked.

Who trains, evaluates or exports opens the weights only; who applies the next round opens the whole state.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from core.errors import CheckpointRefused
from core.learning.lineage import Lineage, checkpoint_context, read_lineage, sealer_of
from core.learning.orders import AGGREGATION
from core.learning.weights import (
    Weights,
    checkpoint_sha256,
    decode_arrays,
    encode_arrays,
    sha256_of,
    sha256_of_moments,
    shapes_of,
)
from federated.aggregation.server import ServerState
from federated.messages import Model
from federated.notary import Notary
from federated.timing import Task
from security.certificates import Certificate
from security.errors import SealBroken

_FIRST = "server/first/"
_SECOND = "server/second/"


def encode_state(state: ServerState) -> bytes:
    """Return a state as safetensors bytes: the weights by their names, then each moment, float64, by its weight's."""
    return encode_arrays({**state.weights, **_moments(state)}, {})


def decode_state(data: bytes) -> ServerState:
    """Read what `encode_state` wrote.

    Raises:
        CheckpointRefused: damaged, of other number types, or with moments that are not those of the weights.
    """
    arrays, _ = decode_arrays(data)
    first = {name.removeprefix(_FIRST): arrays[name] for name in arrays if name.startswith(_FIRST)}
    second = {name.removeprefix(_SECOND): arrays[name] for name in arrays if name.startswith(_SECOND)}
    weights = {name: array for name, array in arrays.items() if not name.startswith((_FIRST, _SECOND))}
    types = (weights, np.float32), (first, np.float64), (second, np.float64)
    if any(array.dtype != kind for group, kind in types for array in group.values()):
        raise CheckpointRefused("its number types are not those of weights and moments")
    if (first or second) and not shapes_of(weights) == shapes_of(first) == shapes_of(second):
        raise CheckpointRefused("its moments are not those of its weights")
    return ServerState(weights=weights, first=first, second=second)


def moments_sha256(state: ServerState) -> str:
    """Return the hash (hex) of a state's moments; empty when it has none."""
    return sha256_of_moments(_moments(state))


def sha256_of_state(state: ServerState) -> str:
    """Return the name (hex) of a state, which its lineage signs: a hash of weights and moments."""
    return checkpoint_sha256(sha256_of(state.weights), moments_sha256(state))


def _moments(state: ServerState) -> dict[str, NDArray[np.float64]]:
    first = {f"{_FIRST}{name}": array for name, array in state.first.items()}
    return first | {f"{_SECOND}{name}": array for name, array in state.second.items()}


def seal_state(
    notary: Notary, state: ServerState, *, run: str, round_number: int, recipients: Iterable[Certificate]
) -> tuple[bytes, str]:
    """Return the state sealed by `notary`'s party for `recipients`, and its name (`sha256_of_state`)."""
    with notary.watch.measuring(Task.CRYPTOGRAPHY):
        sha256 = sha256_of_state(state)
    context = checkpoint_context(
        study=notary.study, run=run, round_number=round_number, weights_sha256=sha256, sender=notary.party
    )
    return notary.seal(encode_state(state), recipients, context), sha256


def open_weights(
    notary: Notary, sealed: bytes, *, run: str, round_number: int, weights_sha256: str, sender: str = AGGREGATION
) -> Weights:
    """Open the weights of a sealed state of exactly this run and round; its moments are checked and left aside.

    Raises:
        CheckpointRefused: damaged, changed, sealed for another run, round or study, or not by `sender`.
    """
    return _open(
        notary, sealed, run=run, round_number=round_number, weights_sha256=weights_sha256, sender=sender
    ).weights


def _open(
    notary: Notary, sealed: bytes, *, run: str, round_number: int, weights_sha256: str, sender: str
) -> ServerState:
    context = checkpoint_context(
        study=notary.study, run=run, round_number=round_number, weights_sha256=weights_sha256, sender=sender
    )
    try:
        state = decode_state(notary.open(sealed, context, stored=True))
    except SealBroken as error:
        raise CheckpointRefused("its seal does not hold for this run and round") from error
    with notary.watch.measuring(Task.CRYPTOGRAPHY):
        if sha256_of_state(state) != weights_sha256:
            raise CheckpointRefused("the weights or moments are not those that were announced")
    return state


def open_model(notary: Notary, model: Model, *, run: str, round_number: int) -> tuple[Weights, Lineage]:
    """Open the weights of a global model as `open_state` does."""
    state, lineage = open_state(notary, model, run=run, round_number=round_number)
    return state.weights, lineage


def verify_model(notary: Notary, model: Model, *, run: str, round_number: int) -> Lineage:
    """Verify the lineage of a global model without opening it.

    Raises:
        CheckpointRefused: it is not the model of this run and round, or its lineage does not hold.
    """
    if (model.run, model.round) != (run, round_number):
        raise CheckpointRefused("it belongs to another run or round")
    with notary.watch.measuring(Task.CRYPTOGRAPHY):
        lineage = read_lineage(
            model.lineage,
            study=notary.study,
            weights_sha256=model.weights_sha256,
            trust=notary.trust.for_stored(),
            at=notary.clock.now(),
        )
    if (lineage.run, lineage.round) != (run, round_number):
        raise CheckpointRefused("its lineage states another run or round")
    return lineage


def open_state(notary: Notary, model: Model, *, run: str, round_number: int) -> tuple[ServerState, Lineage]:
    """Open a global model with its moments and verify its lineage.

    Raises:
        CheckpointRefused: it is not the model of this run and round, or its seal or lineage does not hold.
    """
    lineage = verify_model(notary, model, run=run, round_number=round_number)
    state = _open(
        notary,
        model.sealed,
        run=run,
        round_number=round_number,
        weights_sha256=model.weights_sha256,
        sender=sealer_of(model.lineage),
    )
    return state, lineage
