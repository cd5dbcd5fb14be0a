"""First tables: accounts, members, sealed objects, federated runs, cases, appointments, audit log.

Written out in literal types: a later change of the models must not change what this revision does. Text is compared
byte by byte on both engines (MySQL would otherwise hold "a" and "A" to be the same).
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BINARY = sa.LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb")
TIME = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
TABLES = (
    "audit_entry",
    "audit_head",
    "blob",
    "certificate",
    "hospital",
    "revocation_list",
    "sign_in_failures",
    "blob_part",
    "dataset",
    "user_account",
    "consent",
    "login_code",
    "run",
    "slot",
    "user_session",
    "checkpoint",
    "run_attempt",
    "run_event",
    "run_member",
    "clinical_case",
    "appointment",
    "case_message",
    "case_review",
)


def _table(name: str, *items: sa.schema.SchemaItem) -> None:
    op.create_table(name, *items, mysql_engine="InnoDB", mysql_charset="utf8mb4", mysql_collate="utf8mb4_bin")


def upgrade() -> None:
    _table(
        "audit_entry",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("entry", BINARY, nullable=False),
        sa.Column("chain_hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )

    _table(
        "audit_head",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("chain_hash", sa.String(64), nullable=False),
        sa.Column("root", sa.String(64), nullable=False),
        sa.Column("frontier", sa.JSON(), nullable=False),
        sa.Column("signer", sa.String(64), nullable=False),
        sa.Column("signature", BINARY, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )

    _table(
        "blob",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )

    _table(
        "certificate",
        sa.Column("serial", sa.String(40), nullable=False),
        sa.Column("party", sa.String(64), nullable=False),
        sa.Column("key_use", sa.String(8), nullable=False),
        sa.Column("pem", sa.Text(), nullable=False),
        sa.Column("not_after", TIME, nullable=False),
        sa.Column("issued_at", TIME, nullable=False),
        sa.Column("revoked_at", TIME, nullable=True),
        sa.Column("revocation_reason", sa.String(64), nullable=True),
        sa.PrimaryKeyConstraint("serial"),
    )
    op.create_index("ix_certificate_party", "certificate", ["party"])

    _table(
        "hospital",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("slug", sa.String(32), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("city", sa.String(64), nullable=False),
        sa.Column("latitude", sa.Double(), nullable=False),
        sa.Column("longitude", sa.Double(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("slug"),
    )

    _table(
        "revocation_list",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("der", BINARY, nullable=False),
        sa.Column("issued_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )

    _table(
        "sign_in_failures",
        sa.Column("name_mac", sa.String(64), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_at", TIME, nullable=False),
        sa.Column("locked_until", TIME, nullable=True),
        sa.PrimaryKeyConstraint("name_mac"),
    )
    op.create_index("ix_sign_in_failures_last_at", "sign_in_failures", ["last_at"])

    _table(
        "blob_part",
        sa.Column("blob_id", sa.String(32), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("data", BINARY, nullable=False),
        sa.ForeignKeyConstraint(["blob_id"], ["blob.id"]),
        sa.PrimaryKeyConstraint("blob_id", "number"),
    )

    _table(
        "dataset",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("hospital_id", sa.String(32), nullable=False),
        sa.Column("study_code", sa.String(8), nullable=False),
        sa.Column("name", BINARY, nullable=False),
        sa.Column("provenance", sa.String(16), nullable=False),
        sa.Column("images", sa.Integer(), nullable=False),
        sa.Column("patients", sa.Integer(), nullable=False),
        sa.Column("class_counts", sa.JSON(), nullable=False),
        sa.Column("rejected", sa.JSON(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["hospital_id"], ["hospital.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_dataset_hospital_id", "dataset", ["hospital_id"])

    _table(
        "user_account",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("username", sa.String(64), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("password_hash", sa.String(128), nullable=False),
        sa.Column("profile", BINARY, nullable=False),
        sa.Column("hospital_id", sa.String(32), nullable=True),
        sa.Column("is_demo", sa.Boolean(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("mac", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(["hospital_id"], ["hospital.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_user_account_hospital_id", "user_account", ["hospital_id"])
    op.create_index("ix_user_account_role", "user_account", ["role"])
    op.create_index("ix_user_account_username", "user_account", ["username"], unique=True)

    _table(
        "consent",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("user_id", sa.String(32), nullable=False),
        sa.Column("purpose", sa.String(32), nullable=False),
        sa.Column("text_version", sa.String(16), nullable=False),
        sa.Column("given_at", TIME, nullable=False),
        sa.Column("withdrawn_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["user_account.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_consent_user_id", "consent", ["user_id"])

    _table(
        "login_code",
        sa.Column("code_hash", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(32), nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("used_at", TIME, nullable=True),
        sa.Column("mac", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user_account.id"]),
        sa.PrimaryKeyConstraint("code_hash"),
    )

    _table(
        "run",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("study_code", sa.String(8), nullable=False),
        sa.Column("mode", sa.String(8), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("wish", sa.String(8), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("rounds", sa.Integer(), nullable=False),
        sa.Column("rounds_done", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(512), nullable=True),
        sa.Column("requested_by", sa.String(32), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("started_at", TIME, nullable=True),
        sa.Column("finished_at", TIME, nullable=True),
        sa.Column("worker", sa.String(64), nullable=True),
        sa.Column("lease_until", TIME, nullable=True),
        sa.ForeignKeyConstraint(["requested_by"], ["user_account.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_run_status", "run", ["status"])

    _table(
        "slot",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("doctor_id", sa.String(32), nullable=False),
        sa.Column("starts_at", TIME, nullable=False),
        sa.Column("ends_at", TIME, nullable=False),
        sa.Column("live_key", sa.String(64), nullable=True),
        sa.ForeignKeyConstraint(["doctor_id"], ["user_account.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("live_key"),
    )
    op.create_index("ix_slot_doctor_id", "slot", ["doctor_id"])
    op.create_index("ix_slot_starts_at", "slot", ["starts_at"])

    _table(
        "user_session",
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(32), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("revoked_at", TIME, nullable=True),
        sa.Column("mac", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user_account.id"]),
        sa.PrimaryKeyConstraint("token_hash"),
    )
    op.create_index("ix_user_session_user_id", "user_session", ["user_id"])

    _table(
        "checkpoint",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("study_code", sa.String(8), nullable=False),
        sa.Column("run_id", sa.String(32), nullable=True),
        sa.Column("round_number", sa.Integer(), nullable=False),
        sa.Column("parent_id", sa.String(32), nullable=True),
        sa.Column("weights_sha256", sa.String(64), nullable=False),
        sa.Column("weights_blob_id", sa.String(32), nullable=False),
        sa.Column("serving_blob_id", sa.String(32), nullable=True),
        sa.Column("serving_sender", sa.String(64), nullable=True),
        sa.Column("lineage", BINARY, nullable=False),
        sa.Column("exports", BINARY, nullable=True),
        sa.Column("promotion", BINARY, nullable=True),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("promoted_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(["parent_id"], ["checkpoint.id"]),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"]),
        sa.ForeignKeyConstraint(["serving_blob_id"], ["blob.id"]),
        sa.ForeignKeyConstraint(["weights_blob_id"], ["blob.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_checkpoint_run_id", "checkpoint", ["run_id"])
    op.create_index("ix_checkpoint_status", "checkpoint", ["status"])
    op.create_index("ix_checkpoint_study_code", "checkpoint", ["study_code"])

    _table(
        "run_attempt",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("run_id", sa.String(32), nullable=False),
        sa.Column("round_number", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("outcome", sa.String(16), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_run_attempt_run_id", "run_attempt", ["run_id"])

    _table(
        "run_event",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.String(32), nullable=False),
        sa.Column("round_number", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(24), nullable=False),
        sa.Column("party", sa.String(64), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("sealed", BINARY, nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_run_event_run_id_number", "run_event", ["run_id", "id"])

    _table(
        "run_member",
        sa.Column("run_id", sa.String(32), nullable=False),
        sa.Column("hospital_id", sa.String(32), nullable=False),
        sa.Column("dataset_id", sa.String(32), nullable=False),
        sa.Column("drop_requested", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"]),
        sa.ForeignKeyConstraint(["hospital_id"], ["hospital.id"]),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"]),
        sa.PrimaryKeyConstraint("run_id", "hospital_id"),
    )

    _table(
        "clinical_case",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("patient_id", sa.String(32), nullable=False),
        sa.Column("study_code", sa.String(8), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("hospital_id", sa.String(32), nullable=False),
        sa.Column("fallback_hospital_id", sa.String(32), nullable=True),
        sa.Column("answered_by_hospital_id", sa.String(32), nullable=True),
        sa.Column("routing", sa.JSON(), nullable=False),
        sa.Column("image_blob_id", sa.String(32), nullable=False),
        sa.Column("result_blob_id", sa.String(32), nullable=True),
        sa.Column("checkpoint_id", sa.String(32), nullable=True),
        sa.Column("summary", BINARY, nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("answered_at", TIME, nullable=True),
        sa.Column("mac", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(["answered_by_hospital_id"], ["hospital.id"]),
        sa.ForeignKeyConstraint(["checkpoint_id"], ["checkpoint.id"]),
        sa.ForeignKeyConstraint(["fallback_hospital_id"], ["hospital.id"]),
        sa.ForeignKeyConstraint(["hospital_id"], ["hospital.id"]),
        sa.ForeignKeyConstraint(["image_blob_id"], ["blob.id"]),
        sa.ForeignKeyConstraint(["patient_id"], ["user_account.id"]),
        sa.ForeignKeyConstraint(["result_blob_id"], ["blob.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_clinical_case_hospital_id", "clinical_case", ["hospital_id"])
    op.create_index("ix_clinical_case_patient_id", "clinical_case", ["patient_id"])
    op.create_index("ix_clinical_case_status", "clinical_case", ["status"])

    _table(
        "appointment",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("slot_id", sa.String(32), nullable=False),
        sa.Column("live_key", sa.String(32), nullable=True),
        sa.Column("patient_id", sa.String(32), nullable=False),
        sa.Column("case_id", sa.String(32), nullable=True),
        sa.Column("booked_by", sa.String(32), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("cancelled_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(["booked_by"], ["user_account.id"]),
        sa.ForeignKeyConstraint(["case_id"], ["clinical_case.id"]),
        sa.ForeignKeyConstraint(["patient_id"], ["user_account.id"]),
        sa.ForeignKeyConstraint(["slot_id"], ["slot.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("live_key"),
    )
    op.create_index("ix_appointment_patient_id", "appointment", ["patient_id"])
    op.create_index("ix_appointment_slot_id", "appointment", ["slot_id"])

    _table(
        "case_message",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("case_id", sa.String(32), nullable=False),
        sa.Column("sender_id", sa.String(32), nullable=False),
        sa.Column("body", BINARY, nullable=False),
        sa.Column("sent_at", TIME, nullable=False),
        sa.Column("read_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["clinical_case.id"]),
        sa.ForeignKeyConstraint(["sender_id"], ["user_account.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_case_message_case_id", "case_message", ["case_id"])

    _table(
        "case_review",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("case_id", sa.String(32), nullable=False),
        sa.Column("doctor_id", sa.String(32), nullable=False),
        sa.Column("live_key", sa.String(32), nullable=True),
        sa.Column("body", BINARY, nullable=False),
        sa.Column("signature", BINARY, nullable=False),
        sa.Column("signed_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["clinical_case.id"]),
        sa.ForeignKeyConstraint(["doctor_id"], ["user_account.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("live_key"),
    )
    op.create_index("ix_case_review_case_id", "case_review", ["case_id"])


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)
