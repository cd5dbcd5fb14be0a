"""Second readings of reviewed cases."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

BINARY = sa.LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb")
TIME = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


def upgrade() -> None:
    op.create_table(
        "second_reading",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("case_id", sa.String(32), nullable=False),
        sa.Column("asked_by", sa.String(32), nullable=True),
        sa.Column("asked_at", TIME, nullable=False),
        sa.Column("live_key", sa.String(32), nullable=True),
        sa.Column("reader_id", sa.String(32), nullable=True),
        sa.Column("body", BINARY, nullable=True),
        sa.Column("signature", BINARY, nullable=True),
        sa.Column("signed_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["clinical_case.id"]),
        sa.ForeignKeyConstraint(["asked_by"], ["user_account.id"]),
        sa.ForeignKeyConstraint(["reader_id"], ["user_account.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("live_key"),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
    )
    op.create_index("ix_second_reading_case_id", "second_reading", ["case_id"])
