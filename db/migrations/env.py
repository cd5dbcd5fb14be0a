"""Alembic's entry point: runs the revisions on the connection that `db.migrate` hands over."""

from alembic import context
from sqlmodel import SQLModel

import db.models

assert db.models.__all__  # noqa: S101 (the import registers the tables)


def run() -> None:
    """Run the requested revisions on the given connection."""
    connection = context.config.attributes["connection"]
    context.configure(
        connection=connection,
        target_metadata=SQLModel.metadata,
        compare_type=True,
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()


run()
