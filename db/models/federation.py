"""Data sets, federated runs, their events and checkpoints. Study codes, never study names, are stored."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import JSON, Column, Index
from sqlmodel import Field, SQLModel

from db.types import UtcDateTime, blob_column_type, enum_type, new_id


class Provenance(StrEnum):
    """Where images come from; `plain` aggregation is refused for clinical ones."""

    SYNTHETIC = "synthetic"
    PUBLIC = "public"
    CLINICAL = "clinical"


class RunStatus(StrEnum):
    """States of a federated run."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"
    ABORTED = "aborted"
    FAILED = "failed"


class RunWish(StrEnum):
    """What the authority asks of a run that is under way."""

    GO = "go"
    PAUSE = "pause"
    ABORT = "abort"


class LeaveReason(StrEnum):
    """Why a hospital has left a run. A code, since a free text would be one more place for what nobody should write."""

    MAINTENANCE = "maintenance"
    DATA = "data"
    PRIVACY = "privacy"
    TERMS = "terms"
    OTHER = "other"


class CheckpointStatus(StrEnum):
    """States of a global model."""

    CANDIDATE = "candidate"
    IN_SERVICE = "in_service"
    RETIRED = "retired"
    ROLLED_BACK = "rolled_back"


class Dataset(SQLModel, table=True):
    """A data set of one hospital. The images are in a sealed file in the hospital's own folder, never here.

    `name` is sealed; people name data sets after diseases. So is `looks`: how light, sharp and coloured the training
    images are, as percentiles over all of them (`core.imaging.drift`).
    `class_counts` lists images per class index, in the study's order, by part:
    ``{"training": [..], "validation": [..], "test": [..]}``.
    """

    id: str = Field(default_factory=new_id, primary_key=True, max_length=32)
    hospital_id: str = Field(foreign_key="hospital.id", max_length=32, index=True)
    study_code: str = Field(max_length=8)
    name: bytes = Field(sa_column=Column(blob_column_type(), nullable=False))
    provenance: Provenance = Field(sa_type=enum_type(Provenance, 16))
    images: int
    patients: int
    class_counts: dict[str, list[int]] = Field(sa_column=Column(JSON, nullable=False))
    looks: bytes | None = Field(default=None, sa_column=Column(blob_column_type(), nullable=True))
    rejected: list[list[str]] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    created_at: datetime = Field(sa_type=UtcDateTime)


class Run(SQLModel, table=True):
    """One federated run. `options` is the JSON of `federated.options.RunOptions`."""

    id: str = Field(default_factory=new_id, primary_key=True, max_length=32)
    study_code: str = Field(max_length=8)
    mode: str = Field(max_length=8)
    status: RunStatus = Field(default=RunStatus.QUEUED, sa_type=enum_type(RunStatus, 16), index=True)
    wish: RunWish = Field(default=RunWish.GO, sa_type=enum_type(RunWish, 8))
    options: dict[str, object] = Field(sa_column=Column(JSON, nullable=False))
    rounds: int
    rounds_done: int = 0
    attempts: int = 0
    reason: str | None = Field(default=None, max_length=512)
    requested_by: str = Field(foreign_key="user_account.id", max_length=32)
    created_at: datetime = Field(sa_type=UtcDateTime)
    started_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    worker: str | None = Field(default=None, max_length=64)
    lease_until: datetime | None = Field(default=None, sa_type=UtcDateTime)


class RunMember(SQLModel, table=True):
    """A hospital in a run; `drop_requested` makes its node drop out (for demonstrations).

    `left_at` and `left_reason` are set while the hospital sits out by its own decision.
    """

    __tablename__ = "run_member"

    run_id: str = Field(foreign_key="run.id", primary_key=True, max_length=32)
    hospital_id: str = Field(foreign_key="hospital.id", primary_key=True, max_length=32)
    dataset_id: str = Field(foreign_key="dataset.id", max_length=32)
    drop_requested: bool = False
    left_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    left_reason: LeaveReason | None = Field(default=None, sa_type=enum_type(LeaveReason, 16))


class RunAttempt(SQLModel, table=True):
    """One try of one round, persisted before anything is sent; never sent twice."""

    __tablename__ = "run_attempt"

    id: str = Field(default_factory=new_id, primary_key=True, max_length=32)
    run_id: str = Field(foreign_key="run.id", max_length=32, index=True)
    round_number: int
    number: int
    started_at: datetime = Field(sa_type=UtcDateTime)
    outcome: str | None = Field(default=None, max_length=16)


class RunEvent(SQLModel, table=True):
    """One event of a run, for the live page.

    `payload` holds only what the cloud may see (bytes, seconds, names of steps). A node's own metrics are in
    `sealed`, which the cloud cannot open.
    """

    __tablename__ = "run_event"
    __table_args__ = (Index("ix_run_event_run_id_number", "run_id", "id"),)

    id: int | None = Field(default=None, primary_key=True)
    run_id: str = Field(foreign_key="run.id", max_length=32)
    round_number: int
    kind: str = Field(max_length=24)
    party: str = Field(max_length=64)
    at: datetime = Field(sa_type=UtcDateTime)
    payload: dict[str, object] = Field(sa_column=Column(JSON, nullable=False))
    sealed: bytes | None = Field(default=None, sa_column=Column(blob_column_type(), nullable=True))


class Checkpoint(SQLModel, table=True):
    """A global model of one round: sealed weights for the nodes, and, for a finished run, a sealed serving model.

    `lineage` is the signed statement (canonical bytes) of run, round, parent, hash of the weights and members.
    `serving_sender` is the party that sealed the serving model: the exporting node, or after promotion the authority.
    `exports` are the signed statements of the members that exported it (`core.diagnosis.exports`).
    `promotion` is the authority's signed statement that this model serves; `status` alone proves nothing.
    """

    id: str = Field(default_factory=new_id, primary_key=True, max_length=32)
    study_code: str = Field(max_length=8, index=True)
    run_id: str | None = Field(default=None, foreign_key="run.id", max_length=32, index=True)
    round_number: int
    parent_id: str | None = Field(default=None, foreign_key="checkpoint.id", max_length=32)
    weights_sha256: str = Field(max_length=64)
    weights_blob_id: str = Field(foreign_key="blob.id", max_length=32)
    serving_blob_id: str | None = Field(default=None, foreign_key="blob.id", max_length=32)
    serving_sender: str | None = Field(default=None, max_length=64)
    lineage: bytes = Field(sa_column=Column(blob_column_type(), nullable=False))
    exports: bytes | None = Field(default=None, sa_column=Column(blob_column_type(), nullable=True))
    promotion: bytes | None = Field(default=None, sa_column=Column(blob_column_type(), nullable=True))
    metrics: dict[str, object] = Field(sa_column=Column(JSON, nullable=False))
    status: CheckpointStatus = Field(
        default=CheckpointStatus.CANDIDATE, sa_type=enum_type(CheckpointStatus, 16), index=True
    )
    created_at: datetime = Field(sa_type=UtcDateTime)
    promoted_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
