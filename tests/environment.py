"""`make test`: finds or sets up a browser and a MySQL, then runs the linter, the type checker and the tests.

What cannot be had is named in one line, together with the tests that are left out for it.
"""

import base64
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pymysql

from tests.nginx import find_nginx

ROOT = Path(__file__).resolve().parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
IMAGES = ROOT.parent / "shared" / "data"
AXE_VERSION = "4.14.1"
AXE_SHA512 = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
"""Of the package, as npm states it; checked before anything in it is read."""
NGINX = Path(sys.prefix) / "nginx" / "usr" / "sbin" / "nginx"
AXE = Path(sys.prefix) / f"axe-core-{AXE_VERSION}" / "axe.min.js"


def _apt_install(package: str) -> bool:
    """Install a Debian package when this user may; return whether it worked."""
    if shutil.which("apt-get") is None:
        return False
    prefix = [] if os.geteuid() == 0 else ["sudo", "-n"]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    print(f"installing Debian's package {package} ...", flush=True)
    for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", package]):
        try:
            done = subprocess.run([*prefix, *command], env=environment, capture_output=True, check=False)
        except OSError:
            return False
    return done.returncode == 0


def find_browser() -> str | None:
    """Return the path of a Chromium, installing Debian's package if none is there, or None."""
    named = os.environ.get("CHROMIUM")
    found = named or next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None and _apt_install("chromium"):
        found = shutil.which("chromium")
    return found


def find_axe() -> Path | None:
    """Return the script of axe-core, the checker of accessibility, taking its package from npm if need be, or None.

    Only the package's file is fetched and one script taken out of it; nothing of it is run, here or at installation.
    """
    if AXE.exists():
        return AXE
    npm = shutil.which("npm") or (_apt_install("npm") and shutil.which("npm")) or None
    if npm is None:
        return None
    with tempfile.TemporaryDirectory(prefix="hemaseal-axe-") as folder:
        command = [npm, "pack", "--silent", f"axe-core@{AXE_VERSION}"]
        done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
        package = Path(folder, f"axe-core-{AXE_VERSION}.tgz")
        if done.returncode or not package.exists():
            return None
        digest = hashlib.sha512(package.read_bytes()).digest()
        if base64.b64encode(digest).decode() != AXE_SHA512:
            sys.exit(f"the package axe-core {AXE_VERSION} is not the one whose hash stands in tests/environment.py")
        with tarfile.open(package) as archive:
            script = archive.extractfile(f"package/{AXE.name}")
            assert script is not None
            AXE.parent.mkdir(exist_ok=True)
            AXE.write_bytes(script.read())
    return AXE


def unpacked_nginx() -> Path | None:
    """Return an nginx out of Debian's package, or None; the package is not installed, which would start a server."""
    try:
        if not NGINX.exists():
            with tempfile.TemporaryDirectory(prefix="hemaseal-nginx-") as folder:
                subprocess.run(["apt-get", "download", "-qq", "nginx"], cwd=folder, capture_output=True, check=True)
                (package,) = Path(folder).glob("nginx_*.deb")
                subprocess.run(["dpkg", "-x", package, NGINX.parents[2]], capture_output=True, check=True)
        subprocess.run([NGINX, "-v"], capture_output=True, check=True)
    except (OSError, ValueError, subprocess.CalledProcessError):
        return None
    return NGINX


def _answers(port: int) -> bool:
    try:
        pymysql.connect(host="127.0.0.1", port=port, user="root", connect_timeout=3).close()
    except pymysql.MySQLError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _server_binary() -> str | None:
    """Return the path of a MariaDB or MySQL server program (they often live in sbin), or None."""
    places = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
    return shutil.which("mariadbd", path=places)


@contextmanager
def mysql_server() -> Iterator[str | None]:
    """Yield the URL of a MySQL (named, on the default port, or a throw-away server), or None."""
    if named := os.environ.get("TEST_DATABASE_URL"):
        yield named
        return
    if _answers(3306):
        yield "mysql+pymysql://root@127.0.0.1:3306/"
        return
    binary = _server_binary() or (_apt_install("mariadb-server") and _server_binary()) or None
    if binary is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="hemaseal-mysql-") as folder:
        user = ["--user=root"] if os.geteuid() == 0 else []
        data = ["--no-defaults", *user, f"--datadir={folder}/data"]
        subprocess.run(
            ["mariadb-install-db", *data, "--auth-root-authentication-method=normal"], check=True, capture_output=True
        )
        port = _free_port()
        with Path(folder, "log").open("wb") as log:
            server = subprocess.Popen(
                [binary, *data, f"--socket={folder}/s", f"--port={port}", "--bind-address=127.0.0.1"],
                stdout=log,
                stderr=log,
            )
        try:
            deadline = time.monotonic() + 60
            while not _answers(port) and time.monotonic() < deadline:
                time.sleep(0.2)
            yield f"mysql+pymysql://root@127.0.0.1:{port}/" if _answers(port) else None
        finally:
            server.terminate()
            server.wait(30)


def main(arguments: list[str]) -> int:
    """Run every check; return the first failing exit status."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    if browser := find_browser():
        environment["CHROMIUM"] = browser
    else:
        print("no Chromium here and none could be installed: tests/browser is left out")
    if browser and find_axe() is None:
        print(f"no axe-core {AXE_VERSION} here and npm gave none: the look at every page in tests/browser is left out")
    if proxy := find_nginx() or unpacked_nginx():
        environment["NGINX"] = str(proxy)
    else:
        print("no nginx here and Debian's package could not be had: the tests of the proxy are left out")
    if "HEMASEAL_TEST_IMAGES" not in environment and IMAGES.is_dir():
        environment["HEMASEAL_TEST_IMAGES"] = str(IMAGES)
    with mysql_server() as url:
        if url:
            environment["TEST_DATABASE_URL"] = url
        else:
            print("no MySQL here and none could be installed: the [mysql] half of tests/integration is left out")
        for check in (
            ["ruff", "check", "."],
            ["ruff", "format", "--check", "."],
            ["mypy"],
            ["pytest", "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder", *arguments],
        ):
            print("$", *check, flush=True)
            status = subprocess.run([sys.executable, "-m", *check], cwd=ROOT, env=environment, check=False).returncode
            if status:
                return status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
