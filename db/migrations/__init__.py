"""Alembic environment and the explicit schema revisions."""
