"""What a sealed or signed object is for. All seals and signatures bind it: an object moved elsewhere does not open."""

from dataclasses import dataclass
from enum import StrEnum

from security.encoding import encode_sorted


class Purpose(StrEnum):
    """The kinds of object that are sealed or signed."""

    AUDIT_HEAD = "audit-head"
    CHECKPOINT = "checkpoint"
    CLIENT_UPDATE = "client-update"
    DATASET = "dataset"
    DATASET_LOOKS = "dataset-looks"
    DATASET_NAME = "dataset-name"
    DATASET_PART = "dataset-part"
    ENCLAVE_REPLY = "enclave-reply"
    ENCLAVE_REQUEST = "enclave-request"
    ENCRYPTED_HEAD = "encrypted-head"
    FEDERATED_MESSAGE = "federated-message"
    GROUP_KEY = "group-key"
    HEAD_ANSWER = "head-answer"
    HEAD_QUERY = "head-query"
    IMAGE = "image"
    LINEAGE = "lineage"
    MEASUREMENT = "measurement"
    MESSAGE = "message"
    NODE_METRICS = "node-metrics"
    PROFILE = "profile"
    PROMOTION = "promotion"
    REFERRAL = "referral"
    RESULT = "result"
    REVIEW = "review"
    SECOND_FACTOR = "second-factor"
    SECOND_READING = "second-reading"
    SERVING_MODEL = "serving-model"
    SUMMARY = "summary"
    VAULT_KEY = "vault-key"
    VAULT_OBJECT = "vault-object"
    VIEW = "view"


@dataclass(frozen=True, kw_only=True)
class Context:
    """The circumstances that an object is bound to; both sides state them, none of them travels in the envelope.

    Attributes:
        purpose: what the object is for (`Purpose`).
        study: name of the study, or "" where the object belongs to none.
        sender: the party that seals or signs.
        object_id: the object's own id, unique within its purpose.
        run: federated run id, or "".
        round: round within the run, from 0.
        attempt: id of one try of one round, or "".
    """

    purpose: Purpose
    study: str
    sender: str
    object_id: str
    run: str = ""
    round: int = 0
    attempt: str = ""

    def __post_init__(self) -> None:
        """Refuse what would make two contexts look alike."""
        if type(self.purpose) is not Purpose:
            object.__setattr__(self, "purpose", Purpose(self.purpose))
        for text in (self.study, self.sender, self.object_id, self.run, self.attempt):
            if not isinstance(text, str):
                raise TypeError(f"study, sender, object id, run and attempt must be text, got {type(text).__name__}")
        if type(self.round) is not int or self.round < 0:
            raise ValueError(f"round must be a whole number from 0, got {self.round!r}")
        if not self.sender or not self.object_id:
            raise ValueError("a context needs a sender and an object id")

    def encode(self) -> bytes:
        """Return the canonical CBOR that seals and signatures cover."""
        return encode_sorted(
            {
                "run": self.run,
                "round": self.round,
                "study": self.study,
                "object": self.object_id,
                "sender": self.sender,
                "attempt": self.attempt,
                "purpose": self.purpose.value,
            }
        )
