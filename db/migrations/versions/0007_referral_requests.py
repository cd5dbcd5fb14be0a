"""Requests of doctors to refer a case to another hospital, and what the patient said to each."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TIME = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
BODY = sa.LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb")


def upgrade() -> None:
    op.create_table(
        "case_referral",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("case_id", sa.String(32), nullable=False),
        sa.Column("doctor_id", sa.String(32), nullable=False),
        sa.Column("from_hospital_id", sa.String(32), nullable=False),
        sa.Column("to_hospital_id", sa.String(32), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("live_key", sa.String(32), nullable=True),
        sa.Column("body", BODY, nullable=False),
        sa.Column("text_version", sa.String(16), nullable=False),
        sa.Column("asked_at", TIME, nullable=False),
        sa.Column("answered_at", TIME, nullable=True),
        sa.Column("ended_at", TIME, nullable=True),
        sa.Column("seen_at", TIME, nullable=True),
        sa.Column("mac", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["clinical_case.id"]),
        sa.ForeignKeyConstraint(["doctor_id"], ["user_account.id"]),
        sa.ForeignKeyConstraint(["from_hospital_id"], ["hospital.id"]),
        sa.ForeignKeyConstraint(["to_hospital_id"], ["hospital.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("live_key"),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
    )
    for column in ("case_id", "from_hospital_id", "to_hospital_id"):
        op.create_index(f"ix_case_referral_{column}", "case_referral", [column])
