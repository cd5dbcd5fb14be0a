"""Global weights on their way: sealed by the aggregation for nodes, aggregation and authority; opened and checked."""

from collections.abc import Iterable

from core.errors import CheckpointRefused
from core.learning.lineage import Lineage, checkpoint_context, read_lineage, sealer_of
from core.learning.orders import AGGREGATION
from core.learning.weights import Weights, decode_weights, encode_weights, sha256_of
from federated.messages import Model
from federated.notary import Notary
from federated.timing import Task
from security.certificates import Certificate
from security.errors import SealBroken


def seal_weights(
    notary: Notary, weights: Weights, *, run: str, round_number: int, recipients: Iterable[Certificate]
) -> tuple[bytes, str]:
    """Return the weights sealed by `notary`'s party for `recipients`, and their canonical SHA-256 (hex)."""
    with notary.watch.measuring(Task.CRYPTOGRAPHY):
        sha256 = sha256_of(weights)
    context = checkpoint_context(
        study=notary.study, run=run, round_number=round_number, weights_sha256=sha256, sender=notary.party
    )
    return notary.seal(encode_weights(weights, {}), recipients, context), sha256


def open_weights(
    notary: Notary, sealed: bytes, *, run: str, round_number: int, weights_sha256: str, sender: str = AGGREGATION
) -> Weights:
    """Open sealed weights of exactly this run and round.

    Raises:
        CheckpointRefused: damaged, changed, sealed for another run, round or study, or not by `sender`.
    """
    context = checkpoint_context(
        study=notary.study, run=run, round_number=round_number, weights_sha256=weights_sha256, sender=sender
    )
    try:
        weights, _ = decode_weights(notary.open(sealed, context))
    except SealBroken as error:
        raise CheckpointRefused("its seal does not hold for this run and round") from error
    with notary.watch.measuring(Task.CRYPTOGRAPHY):
        if sha256_of(weights) != weights_sha256:
            raise CheckpointRefused("the weights are not those that were announced")
    return weights


def open_model(notary: Notary, model: Model, *, run: str, round_number: int) -> tuple[Weights, Lineage]:
    """Open a global model and verify its lineage.

    Raises:
        CheckpointRefused: it is not the model of this run and round, or its seal or lineage does not hold.
    """
    if (model.run, model.round) != (run, round_number):
        raise CheckpointRefused("it belongs to another run or round")
    with notary.watch.measuring(Task.CRYPTOGRAPHY):
        lineage = read_lineage(
            model.lineage,
            study=notary.study,
            weights_sha256=model.weights_sha256,
            trust=notary.trust,
            at=notary.clock.now(),
        )
    if (lineage.run, lineage.round) != (run, round_number):
        raise CheckpointRefused("its lineage states another run or round")
    weights = open_weights(
        notary,
        model.sealed,
        run=run,
        round_number=round_number,
        weights_sha256=model.weights_sha256,
        sender=sealer_of(model.lineage),
    )
    return weights, lineage
