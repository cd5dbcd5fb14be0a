"""Weekly times and absences of doctors; slots that several patients can book."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TIME = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
TABLE = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}


def upgrade() -> None:
    op.create_table(
        "availability",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("doctor_id", sa.String(32), nullable=False),
        sa.Column("weekday", sa.Integer(), nullable=False),
        sa.Column("start_minute", sa.Integer(), nullable=False),
        sa.Column("end_minute", sa.Integer(), nullable=False),
        sa.Column("minutes", sa.Integer(), nullable=False),
        sa.Column("capacity", sa.Integer(), nullable=False),
        sa.Column("zone", sa.String(64), nullable=False),
        sa.Column("first_day", sa.Date(), nullable=False),
        sa.Column("last_day", sa.Date(), nullable=True),
        sa.Column("ended_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(["doctor_id"], ["user_account.id"]),
        sa.PrimaryKeyConstraint("id"),
        **TABLE,
    )
    op.create_index("ix_availability_doctor_id", "availability", ["doctor_id"])
    op.create_table(
        "absence",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("doctor_id", sa.String(32), nullable=False),
        sa.Column("first_day", sa.Date(), nullable=False),
        sa.Column("last_day", sa.Date(), nullable=False),
        sa.Column("zone", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(["doctor_id"], ["user_account.id"]),
        sa.PrimaryKeyConstraint("id"),
        **TABLE,
    )
    op.create_index("ix_absence_doctor_id", "absence", ["doctor_id"])
    op.add_column("slot", sa.Column("capacity", sa.Integer(), nullable=False, server_default="1"))
    op.add_column("slot", sa.Column("availability_id", sa.String(32), nullable=True))
    op.create_index("ix_slot_availability_id", "slot", ["availability_id"])
    with op.batch_alter_table("appointment") as table:
        table.alter_column("live_key", existing_type=sa.String(32), type_=sa.String(64), existing_nullable=True)
