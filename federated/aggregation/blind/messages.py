"""What the steps of a blind round ask and answer. A step of either sum (update, figures) has the same messages.

Envelopes in them are statements of members (`federated.aggregation.blind.statements`) that other members read.
"""

from pydantic import Field

from federated.aggregation.blind.statements import Coin
from federated.messages import Model, Reply, Request


class BeginRequest(Request):
    """Asks a node for the run's model of round 0: drawn from the order's seed, or a finished model."""

    parent: Model | None = None
    at: str


class LineageReply(Reply):
    """The signed lineage of the weights that the node holds now."""

    weights_sha256: str
    metrics: dict[str, float]
    lineage: bytes


class AdvertiseRequest(Request):
    """Asks for two ephemeral public keys."""


class AdvertiseReply(Reply):
    """The `Advert`, signed; SHA-256 of what the node stated of weights it made; whom an earlier attempt opened."""

    advert: bytes
    holds: str = ""
    settled: list[str] = Field(default=[])


class DealRequest(Request):
    """Hands out the neighbours' adverts (party -> envelope) and asks for shares."""

    adverts: dict[str, bytes]


class DealReply(Reply):
    """The `Dealing`, signed, and for each neighbour its encrypted shares."""

    dealing: bytes
    boxes: dict[str, bytes]


class UploadRequest(Request):
    """Hands out the shares for this node, with the commitments to them; asks for the masked vector.

    `commitments` names the neighbours that dealt, each with its two commitments (of mask key and seed, SHA-256) to this
    node's shares; `boxes` holds the encrypted shares of those that sent some.

    For updates the node trains from `model` first, whose sealed weights are the attachment where the node does not hold
    them yet; for figures it evaluates the weights that it has applied.
    """

    commitments: dict[str, bytes]
    boxes: dict[str, bytes]
    model: Model | None = None


class UploadReply(Reply):
    """The `Upload`, signed; its vector is the attachment. The node's own figures as in `TrainReply`."""

    upload: bytes
    own: bytes


class AgreeRequest(Request):
    """States the survivors: party -> SHA-256 of the vector that it uploaded."""

    survivors: dict[str, bytes]


class AgreeReply(Reply):
    """The `Agreement`, signed."""

    agreement: bytes


class UnmaskRequest(Request):
    """Hands out enough agreements of the committee; asks for shares."""

    agreements: dict[str, bytes]


class UnmaskReply(Reply):
    """Shares by dealer: of the own-mask seed of survivors, of the mask key of those who dropped out.

    Each is the share's value and then the salt of its commitment (`seeds.Share`).
    """

    seeds: dict[str, bytes]
    keys: dict[str, bytes]


class RevealRequest(Request):
    """Hands out the signed `Sum` (its vector is the attachment) and the committee's agreements; asks for the coin."""

    sum: bytes
    agreements: dict[str, bytes]


class RevealReply(Reply):
    """The random value that the node has committed to."""

    coin: Coin


class HashRequest(Request):
    """Hands out the committee's coins, which make the point; asks for the hash of the node's own vector there."""

    coins: dict[str, bytes]


class HashReply(Reply):
    """The `Digest`, signed."""

    digest: bytes


class Dropped(Request):
    """The mask key of a member that dropped out before its upload, with the advert that it belongs to."""

    advert: bytes
    scalar: bytes


class Departed(Request):
    """A member that left after its upload: what anybody needs to hash it in its place; the vector is attached."""

    upload: bytes
    advert: bytes
    dealing: bytes
    seed: bytes


class ApplyRequest(Request):
    """Hands out all digests; asks to check the sum and to apply it.

    Vectors of departed members follow each other in the attachment, sorted by party. `at` is the time that the lineage
    will state.
    """

    digests: dict[str, bytes]
    departed: dict[str, Departed] = Field(default={})
    dropped: dict[str, Dropped] = Field(default={})
    at: str = ""


class ApplyReply(Reply):
    """Hash of the new global weights."""

    weights_sha256: str


class SealRequest(Request):
    """Asks one node to seal the weights that it holds for members and authority."""


class SealReply(Reply):
    """The sealed weights are the attachment."""


class OpenRequest(Request):
    """Asks a second node whether the sealed weights (the attachment) are those that it holds itself."""

    model: Model


class OpenReply(Reply):
    """They are."""
