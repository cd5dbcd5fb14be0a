"""A hospital's own decision to sit out of a run, and how the training images of a data set look."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

TIME = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
BINARY = sa.LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb")


def upgrade() -> None:
    op.add_column("run_member", sa.Column("left_at", TIME, nullable=True))
    op.add_column("run_member", sa.Column("left_reason", sa.String(16), nullable=True))
    op.add_column("dataset", sa.Column("looks", BINARY, nullable=True))
