"""MariaDB servers of a test's own, one a semi-synchronous replica of the other: what a switch to another one needs."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pymysql
import pytest

SCHEMA, ACCOUNT = "hemaseal", "hemaseal"
START_S = 60.0


class DatabaseServer:
    """One server on loopback, in a folder of its own."""

    def __init__(self, folder: Path, number: int) -> None:
        """Start it in a data directory, with a number that tells servers apart, and wait until it answers."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._socket, log = f"{folder}.sock", Path(f"{folder}.log")
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                [
                    *("mariadbd", "--no-defaults", f"--datadir={folder}", f"--socket={self._socket}", *_account()),
                    *("--bind-address=127.0.0.1", f"--port={self.port}", f"--server-id={number}"),
                    *("--skip-name-resolve", "--log-bin", "--log-slave-updates", "--performance-schema=OFF"),
                    *("--innodb-buffer-pool-size=16M", "--innodb-flush-log-at-trx-commit=2"),
                ],
                stdout=out,
                stderr=out,
            )
        deadline = time.monotonic() + START_S
        while not self._listens():
            assert self._process.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def run(self, *statements: str) -> str:
        """Run statements as the server's administrator; return the first value of the last one's answer, or ""."""
        line = pymysql.connect(unix_socket=self._socket, user="root", autocommit=True)
        with line as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            row = cursor.fetchone()
            return str(row[0]) if row else ""

    def catch_up_with(self, other: "DatabaseServer") -> None:
        """Wait until this replica has all that the other has written, and take no more from it."""
        position = other.run("SELECT @@gtid_binlog_pos")
        assert self.run(f"SELECT MASTER_GTID_WAIT('{position}', 30)") == "0"
        self.run("STOP SLAVE")

    def take_over(self) -> None:
        """Write down all that has arrived, and take no more: the other server is dead."""
        self.run("STOP SLAVE IO_THREAD")
        deadline = time.monotonic() + START_S
        while self.run("SELECT @@gtid_slave_pos") != self._received():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        self.run("STOP SLAVE")

    def kill(self) -> None:
        """End it without a word."""
        self._process.kill()
        self._process.wait()

    def _listens(self) -> bool:
        with socket.socket() as asking:
            return asking.connect_ex(("127.0.0.1", self.port)) == 0

    def _received(self) -> str:
        kind = pymysql.cursors.DictCursor
        with pymysql.connect(unix_socket=self._socket, user="root") as connection, connection.cursor(kind) as cursor:
            cursor.execute("SHOW SLAVE STATUS")
            row = cursor.fetchone()
            assert row
            return str(row["Gtid_IO_Pos"])


def made_folder(folder: Path) -> Path:
    """Return an empty data directory, made anew; the test is left out where no server is installed."""
    if shutil.which("mariadbd") is None or shutil.which("mariadb-install-db") is None:
        pytest.skip("no MariaDB server is installed here: switches to another server left out")
    options = [f"--datadir={folder}", "--auth-root-authentication-method=normal", *_account()]
    subprocess.run(["mariadb-install-db", "--no-defaults", *options], check=True, capture_output=True)
    return folder


def _account() -> list[str]:
    """Return the option without which root starts no server."""
    return ["--user=root"] if os.geteuid() == 0 else []


@contextmanager
def primary_and_replica(made: Path, folder: Path) -> Iterator[tuple[DatabaseServer, DatabaseServer]]:
    """Two servers with an empty schema; what the first has confirmed the second has received.

    Args:
        made: as `made_folder` returned it.
        folder: where both work.
    """
    servers: list[DatabaseServer] = []
    try:
        for number in (1, 2):
            shutil.copytree(made, folder / str(number))
            servers.append(DatabaseServer(folder / str(number), number))
        first, second = servers
        first.run("CREATE USER 'copy'@'127.0.0.1'", "GRANT REPLICATION SLAVE ON *.* TO 'copy'@'127.0.0.1'")
        second.run(
            f"CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={first.port}, MASTER_USER='copy', "
            "MASTER_USE_GTID=slave_pos",
            "SET GLOBAL rpl_semi_sync_slave_enabled=1",
            "START SLAVE",
        )
        first.run(
            "SET GLOBAL rpl_semi_sync_master_wait_point=AFTER_SYNC",
            "SET GLOBAL rpl_semi_sync_master_timeout=60000",
            "SET GLOBAL rpl_semi_sync_master_enabled=1",
            f"CREATE DATABASE {SCHEMA} CHARACTER SET utf8mb4",
            f"CREATE USER '{ACCOUNT}'@'127.0.0.1'",
            f"GRANT ALL PRIVILEGES ON {SCHEMA}.* TO '{ACCOUNT}'@'127.0.0.1'",
        )
        yield first, second
    finally:
        for server in servers:
            server.kill()
