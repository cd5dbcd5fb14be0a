"""What revisions do with the rows of an earlier installation, on both engines."""

from decimal import Decimal

from alembic import command
from sqlalchemy import Connection, Engine, MetaData, Table, insert, select, text

from core.clock import FixedClock
from db import migrate
from security.audit import Entry


def test_what_an_earlier_installation_holds_is_still_there_in_its_new_place(engine: Engine) -> None:
    try:
        _make_earlier(engine)
        assert migrate.upgrade(engine)
        with engine.connect() as connection:
            tables = _tables(connection)
            rows = connection.execute(select(tables["case_image"])).all()
            cases = connection.execute(select(tables["clinical_case"])).mappings().all()
            accounts = connection.execute(select(tables["user_account"])).mappings().all()
            slots = connection.execute(select(tables["slot"])).mappings().all()
            booked = connection.execute(select(tables["appointment"])).mappings().all()
            log = connection.execute(select(tables["audit_entry"])).mappings().all()
    finally:  # other tests use the same MySQL schema
        with engine.connect() as connection:
            _drop_everything(connection)
        migrate.upgrade(engine)
    assert [tuple(row) for row in rows] == [("c1", 0, "image", "result")]
    assert [case["id"] for case in cases] == ["c1"]
    assert not {"image_blob_id", "result_blob_id"} & set(cases[0])
    assert [(account["id"], bool(account["second_factor"])) for account in accounts] == [("u1", False)]
    assert [(slot["id"], slot["capacity"], slot["availability_id"]) for slot in slots] == [("t1", 1, None)]
    assert [(row["id"], row["live_key"], row["cancelled_by"]) for row in booked] == [("a1", "t1", None)]
    assert [(row["actor"], row["action"], row["object"]) for row in log] == [("u1", "case.submit", "c1"), ("", "", "")]


def _make_earlier(engine: Engine) -> None:
    """Bring the database to the first revision, with a case in it."""
    config = migrate._config()
    with engine.connect() as connection:
        _drop_everything(connection)
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        _an_earlier_case(connection)
        connection.commit()


def _tables(connection: Connection) -> dict[str, Table]:
    metadata = MetaData()
    metadata.reflect(connection)
    return dict(metadata.tables)


def _drop_everything(connection: Connection) -> None:
    mysql = connection.dialect.name == "mysql"
    connection.execute(text("SET FOREIGN_KEY_CHECKS=0" if mysql else "PRAGMA foreign_keys=OFF"))
    metadata = MetaData()
    metadata.reflect(connection)
    metadata.drop_all(connection)
    connection.execute(text("SET FOREIGN_KEY_CHECKS=1" if mysql else "PRAGMA foreign_keys=ON"))
    connection.commit()


def _an_earlier_case(connection: Connection) -> None:
    now, tables = FixedClock().now().replace(tzinfo=None), _tables(connection)

    def put(table: str, /, **values: object) -> None:
        connection.execute(insert(tables[table]).values(**values))

    for name in ("image", "result"):
        put("blob", id=name, kind=name, size=0, sha256="0" * 64, created_at=now)
    put("hospital", **_filled(tables["hospital"], id="h1", slug="x", name="X", city="X"))
    put("user_account", **_filled(tables["user_account"], id="u1", username="somebody", role="patient"))
    put(
        "clinical_case",
        id="c1",
        patient_id="u1",
        study_code="s01",
        status="answered",
        hospital_id="h1",
        routing="{}",
        image_blob_id="image",
        result_blob_id="result",
        created_at=now,
        mac="",
    )
    act = Entry(
        number=1, time=FixedClock().now(), actor="u1", role="patient", action="case.submit", object="c1", outcome="done"
    )
    put("audit_entry", number=1, entry=act.encode(), chain_hash="0" * 64)
    put("audit_entry", number=2, entry=b"no entry", chain_hash="0" * 64)
    put("slot", id="t1", doctor_id="u1", starts_at=now, ends_at=now, live_key="u1:t1")
    booked = _filled(
        tables["appointment"], id="a1", slot_id="t1", live_key="t1", patient_id="u1", booked_by="u1", status="booked"
    )
    put("appointment", **booked)


def _filled(table: Table, **values: object) -> dict[str, object]:
    """Give every column that must have a value one of its kind."""
    empty = {str: "", int: 0, float: 0.0, Decimal: 0, bool: False, bytes: b""}
    now = FixedClock().now().replace(tzinfo=None)
    needed = {
        column.name: empty.get(column.type.python_type, now)
        for column in table.columns
        if not column.nullable and column.server_default is None
    }
    return {**needed, **values}
