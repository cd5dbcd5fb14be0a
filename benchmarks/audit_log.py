"""What the audit log costs: entries verified and appended per second, and the memory that verifying takes.

    python -m benchmarks.audit_log --json FILE [--entries 1000000] [--appends 2000]

Appends go through `core.services.audit_log.append` into an SQLite file that is synchronised to disk at each commit
(WAL, synchronous=FULL), in transactions as services open them: one entry in each, which is what a look at data costs,
and several, which is what a busy act writes. Bare commits of one number into another SQLite file stand beside them,
since no transaction is faster than the disk. Then a log of `--entries` entries is verified in the database, as the
authority's page does, and as an export by `security/verify_audit.py` in a process of its own, as anybody does.
"""

import hashlib
import json
import os
import platform
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import delete, insert
from sqlmodel import select

from core.clock import SystemClock
from core.services import setup
from core.services.access_log import accesses
from core.services.app import APP_PARTY, App
from core.services.audit_log import append, entry_row
from core.services.audit_rows import entries_until, signed_end, verified
from core.services.sessions import actor_of
from core.settings import Mode, Settings
from db.engine import read_scope, session_scope
from db.models import AuditEntry, AuditHead, User
from security import verify_audit
from security.audit import Entry, LogState, sign_head
from security.audit_export import export_lines
from security.merkle import Frontier, leaf_hash
from security.verify_audit import Log, grow

START = datetime(2035, 1, 5, 9, tzinfo=UTC)  # after the accounts were made: any entry may concern them
ACTIONS = ("image.view", "result.read", "case.list", "message.read", "worklist.read")
BATCH = 5000
ALONE = """
import runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""  # runs a script, then prints the most memory that this process has had, in KiB (Linux)


@dataclass(frozen=True)
class Measured:
    """How long something took.

    Attributes:
        what: in words.
        entries: how many it handled.
        wall_s: by the clock on the wall, whatever else the machine did.
        cpu_s: of the processor, for this alone.
        peak_mb: the most memory of the process, where it ran in one of its own; else 0.
    """

    what: str
    entries: int
    wall_s: float
    cpu_s: float
    peak_mb: float = 0.0

    @property
    def row(self) -> str:
        """A row of the table."""
        rates = f"{self.entries / self.wall_s:,.0f} | {self.entries / self.cpu_s:,.0f}"
        return (
            f"| {self.what} | {self.entries:,} | {self.wall_s:.2f} | {self.cpu_s:.2f} | {rates} | {self.peak_mb:.0f} |"
        )


def timed(what: str, count: int, act: Callable[[], object]) -> Measured:
    """Time `act`, which handles `count` entries in this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    act()
    return Measured(what, count, time.perf_counter() - wall, time.process_time() - cpu)


def entries(count: int) -> Iterator[Entry]:
    """Yield entries such as services write."""
    for number in range(1, count + 1):
        yield Entry(
            number=number,
            time=START + timedelta(milliseconds=137 * number),
            actor=f"{number % 97:032x}",
            role="doctor",
            action=ACTIONS[number % len(ACTIONS)],
            object=f"{number % 1009:032x}",
            outcome="done",
            details={"image": number % 50 + 1},
        )


def chained(log: Log, made: Iterator[Entry]) -> Iterator[dict[str, object]]:
    """Yield rows of the database for entries that continue `log`."""
    for entry in made:
        encoded = entry.encode()
        leaf = leaf_hash(encoded)
        grow(log.roots, log.size, leaf)
        log.chain_hash = hashlib.sha256(log.chain_hash + leaf).digest()
        log.size += 1
        yield entry_row(entry, encoded, log.chain_hash)


def batched(rows: Iterator[dict[str, object]]) -> Iterator[list[dict[str, object]]]:
    """Yield lists of up to `BATCH` rows."""
    while some := list(islice(rows, BATCH)):
        yield some


def fill(app: App, made: Iterator[Entry]) -> None:
    """Put a log of these entries into the database in place of the one that is there, signed by the app."""
    log = Log()
    with session_scope(app.engine) as session:
        connection = session.connection()
        connection.execute(delete(AuditEntry))
        for some in batched(chained(log, made)):
            connection.execute(insert(AuditEntry), some)
        end = LogState(log.chain_hash, Frontier(log.size, tuple(log.roots)))
        head = session.get_one(AuditHead, 1)
        head.size, head.chain_hash, head.root = end.size, end.chain_hash.hex(), end.frontier.root().hex()
        head.frontier, head.signer = end.frontier.to_hex(), app.identity.party
        head.signature = sign_head(end, time=app.clock.now(), signer=app.identity)


def append_many(app: App, count: int, each: int) -> None:
    """Append entries, `each` in a transaction."""
    for _ in range(count // each):
        with session_scope(app.engine) as session:
            for number in range(each):
                append(app, session, APP_PARTY, "image.view", object_id="0" * 32, details={"image": number})


def bare_commits(file: Path, count: int) -> None:
    """Commit one number at a time into an SQLite file with the same settings."""
    connection = sqlite3.connect(file, isolation_level=None)
    for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "CREATE TABLE bare (number INTEGER)"):
        connection.execute(statement)
    for number in range(count):
        connection.execute("INSERT INTO bare VALUES (?)", (number,))
    connection.close()


def verify_database(app: App) -> None:
    """Verify the log as the authority's page does."""
    with read_scope(app.engine) as session:
        verified(session, app.trust(session))


def export(app: App, file: Path) -> None:
    """Write the log of the database as an export, verified on the way."""
    with read_scope(app.engine) as session, file.open("wb") as out:
        end = signed_end(session, app.trust(session))
        out.writelines(export_lines(entries_until(session, end.head), head=end.envelope, root=app.root))


def verify_alone(file: Path, root: Path, count: int) -> Measured:
    """Verify an export in a process of its own, which may import nothing of the project."""
    command = [sys.executable, "-I", "-c", ALONE, verify_audit.__file__, str(file), "--root", str(root)]
    wall, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    wall, after = time.perf_counter() - wall, resource.getrusage(resource.RUSAGE_CHILDREN)
    if not done.stdout.startswith(f"Verified: {count} entries"):
        raise RuntimeError(done.stdout)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return Measured("verified as an export, by the one file", count, wall, cpu, int(done.stdout.split()[-1]) / 1024)


def measure(folder: Path, count: int, appends: int) -> list[Measured]:
    """Return all measurements of an installation that is made in `folder`."""
    settings = Settings(data_dir=folder / "data", database_url="", master_key=None, mode=Mode.DEMO)
    setup.run(settings, clock=SystemClock(), demo_contents=False, rounds=4)
    app = App.start(settings)
    append_many(app, 20, 1)
    found = [
        timed("bare commits, the disk's limit", appends, lambda: bare_commits(folder / "bare.db", appends)),
        timed("appended, one in a transaction", appends, lambda: append_many(app, appends, 1)),
        timed("appended, ten in a transaction", appends, lambda: append_many(app, appends, 10)),
        timed("appended, a hundred in a transaction", appends, lambda: append_many(app, appends, 100)),
    ]
    fill(app, entries(count))
    file, root = folder / "audit.jsonl", folder / "root.pem"
    root.write_bytes(app.root.pem)
    found.append(timed("verified in the database", count, lambda: verify_database(app)))
    export(app, file)
    found.append(verify_alone(file, root, count))
    with read_scope(app.engine) as session:
        patient = actor_of(app, session.exec(select(User).where(User.username == "demo-patient")).one())
    found.append(timed("searched for one patient's entries", count, lambda: accesses(app, patient)))
    app.engine.dispose()
    return found


def main(
    out: Annotated[Path, typer.Option("--json", help="Where all figures are written.")],
    count: Annotated[int, typer.Option("--entries", min=1)] = 1_000_000,
    appends: Annotated[int, typer.Option(min=100)] = 2000,
) -> None:
    """Measure and print a table."""
    with tempfile.TemporaryDirectory() as name:
        found = measure(Path(name), count, appends)
    machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    answer = {"machine": machine, "load": os.getloadavg()[0], "measured": [asdict(one) for one in found]}
    out.write_text(json.dumps(answer, indent=1), encoding="utf-8")
    print("| | entries | seconds | processor seconds | a second | a processor second | peak MB |")
    print("|---|---|---|---|---|---|---|")
    for one in found:
        print(one.row)


if __name__ == "__main__":
    typer.run(main)
