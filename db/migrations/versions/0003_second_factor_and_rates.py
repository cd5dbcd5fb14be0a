"""Second factors, recovery codes, how long a session is stepped up, and how often somebody did what is limited."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

BINARY = sa.LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb")
TIME = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


def _table(name: str, *items: sa.schema.SchemaItem) -> None:
    op.create_table(name, *items, mysql_engine="InnoDB", mysql_charset="utf8mb4", mysql_collate="utf8mb4_bin")


def upgrade() -> None:
    op.add_column("user_account", sa.Column("second_factor", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("user_session", sa.Column("stepped_up_until", TIME, nullable=True))

    _table(
        "second_factor",
        sa.Column("user_id", sa.String(32), nullable=False),
        sa.Column("secret", BINARY, nullable=False),
        sa.Column("last_step", sa.Integer(), nullable=False),
        sa.Column("confirmed_at", TIME, nullable=True),
        sa.Column("mac", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user_account.id"]),
        sa.PrimaryKeyConstraint("user_id"),
    )

    _table(
        "recovery_code",
        sa.Column("code_hash", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(32), nullable=False),
        sa.Column("mac", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user_account.id"]),
        sa.PrimaryKeyConstraint("code_hash"),
    )
    op.create_index("ix_recovery_code_user_id", "recovery_code", ["user_id"])

    _table(
        "rate_limit",
        sa.Column("subject_mac", sa.String(64), nullable=False),
        sa.Column("spent_until", TIME, nullable=False),
        sa.PrimaryKeyConstraint("subject_mac"),
    )
    op.create_index("ix_rate_limit_spent_until", "rate_limit", ["spent_until"])
