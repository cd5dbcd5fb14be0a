"""A case holds several images: each image and its result move to a row of their own."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

MOVED = ("image_blob_id", "result_blob_id")


def upgrade() -> None:
    op.create_table(
        "case_image",
        sa.Column("case_id", sa.String(32), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("image_blob_id", sa.String(32), nullable=False),
        sa.Column("result_blob_id", sa.String(32), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["clinical_case.id"]),
        sa.ForeignKeyConstraint(["image_blob_id"], ["blob.id"]),
        sa.ForeignKeyConstraint(["result_blob_id"], ["blob.id"]),
        sa.PrimaryKeyConstraint("case_id", "number"),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
    )
    op.execute(
        "INSERT INTO case_image (case_id, number, image_blob_id, result_blob_id) "
        "SELECT id, 0, image_blob_id, result_blob_id FROM clinical_case"
    )
    connection = op.get_bind()
    if connection.dialect.name != "sqlite":
        for key in sa.inspect(connection).get_foreign_keys("clinical_case"):
            if set(key["constrained_columns"]) & set(MOVED):
                op.drop_constraint(key["name"], "clinical_case", type_="foreignkey")
    with op.batch_alter_table("clinical_case") as table:
        for column in MOVED:
            table.drop_column(column)
