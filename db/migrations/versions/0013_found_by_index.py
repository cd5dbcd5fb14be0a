"""Lists of a clinic that has many cases, and a long log, are found by indexes."""

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

NAMED = ("actor", "action", "object")
BATCH = 5000
CASES = {
    "hospital": ["hospital_id", "status", "created_at"],
    "answered_by": ["answered_by_hospital_id", "status", "created_at"],
    "patient": ["patient_id", "created_at"],
    "created_at": ["created_at"],
    "answered_at": ["answered_at"],
}


def upgrade() -> None:
    for name, columns in CASES.items():
        op.create_index(f"ix_clinical_case_{name}", "clinical_case", columns)
    for column in ("patient_id", "hospital_id"):  # MySQL wants one for each reference: the new ones serve
        op.drop_index(f"ix_clinical_case_{column}", "clinical_case")
    for column in ("sent_at", "read_at"):
        op.create_index(f"ix_case_message_{column}", "case_message", [column])
    for column in NAMED:
        op.add_column("audit_entry", sa.Column(column, sa.String(64), nullable=False, server_default=""))
    _take_names_out_of_entries()
    for column in NAMED:
        op.create_index(f"ix_audit_entry_{column}", "audit_entry", [column])


def _take_names_out_of_entries() -> None:
    """Fill the new columns; one that is no entry gets none, and whoever verifies the log finds it as before."""
    entries = sa.table("audit_entry", sa.column("number"), sa.column("entry"), *map(sa.column, NAMED))
    connection, done = op.get_bind(), 0
    change = (
        sa.update(entries)
        .where(entries.c.number == sa.bindparam("of"))
        .values({column: sa.bindparam(f"its_{column}") for column in NAMED})
    )
    while rows := connection.execute(
        sa.select(entries.c.number, entries.c.entry)
        .where(entries.c.number > done)
        .order_by(entries.c.number)
        .limit(BATCH)
    ).all():
        connection.execute(change, [{"of": number, **_names_in(entry)} for number, entry in rows])
        done = rows[-1].number


def _names_in(entry: bytes) -> dict[str, str]:
    try:
        value: dict[str, Any] = json.loads(entry)
        found = {column: value[column] for column in NAMED}
    except (ValueError, KeyError, TypeError):
        found = {}
    return {
        f"its_{column}": found[column] if isinstance(found.get(column), str) and len(found[column]) <= 64 else ""
        for column in NAMED
    }
