"""A real nginx with one of this project's configurations, on ports of its own."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

START_S = 20.0


def find_nginx() -> str | None:
    """Return the path of nginx: the one of ``NGINX``, else the first on the path or where Debian keeps it, or None."""
    places = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
    return os.environ.get("NGINX") or shutil.which("nginx", path=places)


@contextmanager
def nginx(folder: Path, http: str, port: int) -> Iterator[None]:
    """Run it until the block ends; skips with one line where there is none.

    Args:
        folder: empty, for its files.
        http: what stands in the block ``http`` of its configuration.
        port: one of those on which it listens then.
    """
    program = find_nginx()
    if program is None:
        pytest.skip("no nginx found: a proxy's configuration was not tried")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;\n"
        f"events {{}}\nhttp {{ access_log off; {places}\n{http}\n}}\n"
    )
    process = subprocess.Popen([program, "-p", str(folder), "-c", str(folder / "nginx.conf")], stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + START_S
        while not answers(port):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.communicate(timeout=20)


def answers(port: int) -> bool:
    """Tell whether somebody listens on this port of the loopback interface."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
