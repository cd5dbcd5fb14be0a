"""All tables. Importing this package registers every table with SQLModel's metadata."""

from db.models.accounts import (
    Consent,
    ConsentPurpose,
    LoginCode,
    RateLimit,
    RecoveryCode,
    Role,
    SecondFactor,
    SignInFailures,
    User,
    UserSession,
)
from db.models.audit import AuditEntry, AuditHead
from db.models.blobs import Blob, BlobPart
from db.models.clinic import Appointment, AppointmentStatus, Case, CaseImage, CaseMessage, CaseReview, CaseStatus, Slot
from db.models.federation import (
    Checkpoint,
    CheckpointStatus,
    Dataset,
    Provenance,
    Run,
    RunAttempt,
    RunEvent,
    RunMember,
    RunStatus,
    RunWish,
)
from db.models.inference import EncryptedHeadRecord, HeadQuery
from db.models.members import CertificateRecord, Hospital, RevocationList
from db.models.vault import PatientKey

__all__ = [
    "Appointment",
    "AppointmentStatus",
    "AuditEntry",
    "AuditHead",
    "Blob",
    "BlobPart",
    "Case",
    "CaseImage",
    "CaseMessage",
    "CaseReview",
    "CaseStatus",
    "CertificateRecord",
    "Checkpoint",
    "CheckpointStatus",
    "Consent",
    "ConsentPurpose",
    "Dataset",
    "EncryptedHeadRecord",
    "HeadQuery",
    "Hospital",
    "LoginCode",
    "PatientKey",
    "Provenance",
    "RateLimit",
    "RecoveryCode",
    "RevocationList",
    "Role",
    "Run",
    "RunAttempt",
    "RunEvent",
    "RunMember",
    "RunStatus",
    "RunWish",
    "SecondFactor",
    "SignInFailures",
    "Slot",
    "User",
    "UserSession",
]
