"""Encrypted heads, and which queries their keys have read."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TIME = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
TABLE = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}


def upgrade() -> None:
    op.create_table(
        "encrypted_head",
        sa.Column("checkpoint_id", sa.String(32), nullable=False),
        sa.Column("blob_id", sa.String(32), nullable=False),
        sa.Column("spent", sa.Integer(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["checkpoint_id"], ["checkpoint.id"]),
        sa.ForeignKeyConstraint(["blob_id"], ["blob.id"]),
        sa.PrimaryKeyConstraint("checkpoint_id"),
        **TABLE,
    )
    op.create_table(
        "head_query",
        sa.Column("checkpoint_id", sa.String(32), nullable=False),
        sa.Column("query_id", sa.String(32), nullable=False),
        sa.ForeignKeyConstraint(["checkpoint_id"], ["encrypted_head.checkpoint_id"]),
        sa.PrimaryKeyConstraint("checkpoint_id", "query_id"),
        **TABLE,
    )
