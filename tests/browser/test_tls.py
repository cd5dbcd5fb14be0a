"""The app over TLS of its own, under a certificate of the authority, and behind nginx as docs/how-to/tls.md has it."""

import http.client
import re
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from playwright.sync_api import expect

from tests.browser.conftest import NewPage
from tests.browser.harness import (
    ROOT,
    SESSION_COOKIE,
    Server,
    by_key,
    environment,
    free_port,
    sign_in,
    sign_out,
    visit,
)
from tests.nginx import nginx

DEMO_CONTENTS = False
NAMES = ("127.0.0.1", "localhost", "app.example.org")


@pytest.fixture(scope="module")
def tls(data_dir: Path) -> Path:
    """A folder with app.key, app.crt and root.crt: the key made here, the certificate by ``issue-tls``."""
    folder = data_dir.parent / "tls"
    folder.mkdir()
    key = ec.generate_private_key(ec.SECP256R1())
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "app.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, *plain))
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    (folder / "app.csr").write_bytes(request.public_bytes(serialization.Encoding.PEM))
    hosts = [word for name in NAMES for word in ("--host", name)]
    command = [sys.executable, "-m", "core", "issue-tls", "--request", str(folder / "app.csr"), *hosts]
    command += ["--out", str(folder), "--name", "app"]
    done = subprocess.run(command, cwd=ROOT, env=environment(data_dir, {}), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def server(data_dir: Path, tls: Path) -> Iterator[Server]:
    """The application with a certificate among its settings, started as ``make run`` does."""
    settings = {"tls_cert": str(tls / "app.crt"), "tls_key": str(tls / "app.key")}
    running = Server(data_dir, settings=settings, root=tls / "root.crt")
    try:
        yield running.start()
    finally:
        running.stop()


def cookies_of(port: int, root: Path, host: str) -> tuple[http.client.HTTPResponse, list[str]]:
    """Fetch the first page over TLS whose certificate must hold for `host`, and return it with all its cookies."""
    context = ssl.create_default_context(cafile=root)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        connection = http.client.HTTPSConnection(host, port, context=context, timeout=10)
        connection.sock = context.wrap_socket(plain, server_hostname=host)
        connection.request("GET", "/")
        answer = connection.getresponse()
        answer.read()
        connection.close()
    return answer, answer.headers.get_all("Set-Cookie") or []


def test_the_authoritys_certificate_holds_for_the_apps_names_and_every_cookie_is_secure(
    server: Server, tls: Path
) -> None:
    for host in NAMES:
        answer, cookies = cookies_of(server.port, tls / "root.crt", host)
        assert answer.status == 200
        assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
        assert cookies
        assert all("; secure" in cookie.lower() for cookie in cookies), cookies
    with pytest.raises(ssl.SSLCertVerificationError):
        cookies_of(server.port, tls / "root.crt", "other.example.org")


def test_plain_http_is_refused(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("GET", "/healthz")
    with pytest.raises((http.client.HTTPException, OSError)):
        connection.getresponse()
    connection.close()


def test_versions_of_tls_before_1_2_are_refused(server: Server) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as plain, pytest.raises(ssl.SSLError):
        old.wrap_socket(plain)


def test_a_person_signs_in_over_tls_with_a_cookie_that_is_never_sent_in_clear(
    server: Server, new_page: NewPage
) -> None:
    page = new_page(ignore_https_errors=True)
    sign_in(page, server, "demo-authority", path="/enclaves")
    expect(page.get_by_role("heading", name="Enclaves")).to_be_visible()
    assert page.url == f"{server.url}/enclaves"
    cookies = {cookie["name"]: cookie for cookie in page.context.cookies()}
    assert cookies[SESSION_COOKIE]["secure"]
    assert all(cookie["secure"] for cookie in cookies.values()), cookies
    visit(page, server)
    expect(by_key(page, "who")).to_contain_text("demo-authority")
    sign_out(page)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"mode": "production", "master_key": "0123456789abcdef" * 4}, "HEMASEAL_TLS_CERT"),
        ({"address": "192.0.2.7"}, "HEMASEAL_ADDRESS"),
        ({"tls_cert": "missing.crt", "tls_key": "missing.key"}, "missing.crt"),
    ],
)
def test_an_unsafe_way_of_serving_does_not_start(data_dir: Path, settings: dict[str, str], said: str) -> None:
    command = [sys.executable, "-m", "core", "serve", "--port", str(free_port())]
    env = environment(data_dir, settings)
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert said in done.stderr
    assert "[APP-SETTINGS]" in done.stderr


def test_a_server_that_was_started_past_the_settings_ends(data_dir: Path, tls: Path) -> None:
    env = environment(data_dir, {"tls_cert": str(tls / "app.crt"), "tls_key": str(tls / "app.key")})
    command = [sys.executable, "-m", "streamlit", "run", "asgi.py", "--server.port", str(free_port())]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    assert "does not serve under the certificate of HEMASEAL_TLS_CERT" in done.stderr + done.stdout


def documented() -> str:
    """Return nginx's configuration as docs/how-to/tls.md prints it."""
    page = ROOT / "docs" / "how-to" / "tls.md"
    found = re.search(r"```nginx\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    return found.group(1)


@pytest.fixture(scope="module")
def behind(data_dir: Path) -> Iterator[Server]:
    """The application as it is served behind a declared proxy, in clear to its own computer."""
    running = Server(data_dir, settings={"behind_tls": "true"})
    try:
        yield running.start()
    finally:
        running.stop()


@contextmanager
def proxied(folder: Path, tls: Path, app_port: int) -> Iterator[tuple[int, int]]:
    """An nginx with the documented configuration before what listens on `app_port`: its https and its http port."""
    secure, plain, site = free_port(), free_port(), documented()
    for written, real in {
        "127.0.0.1:8501": f"127.0.0.1:{app_port}",
        "listen 443 ssl": f"listen 127.0.0.1:{secure} ssl",
        "listen 80": f"listen 127.0.0.1:{plain}",
        "/etc/hemaseal/": f"{tls}/",
    }.items():
        assert written in site
        site = site.replace(written, real)
    with nginx(folder, site, secure):
        yield secure, plain


@pytest.fixture(scope="module")
def proxy(behind: Server, tls: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """The documented nginx before the application."""
    with proxied(tmp_path_factory.mktemp("nginx"), tls, behind.port) as ports:
        yield ports


def fetch(port: int, root: Path, path: str, **headers: str) -> http.client.HTTPResponse:
    context = ssl.create_default_context(cafile=root)
    connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=10)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer


def test_behind_the_documented_proxy_headers_cookies_and_closed_paths_are_as_without_it(
    proxy: tuple[int, int], tls: Path
) -> None:
    secure, plain = proxy
    first = fetch(secure, tls / "root.crt", "/")
    assert first.status == 200
    assert first.headers.get_all("Strict-Transport-Security") == ["max-age=31536000"]
    assert len(first.headers.get_all("Content-Security-Policy") or []) == 1
    cookies = first.headers.get_all("Set-Cookie") or []
    assert cookies
    assert all("; secure" in cookie.lower() for cookie in cookies), cookies
    assert fetch(secure, tls / "root.crt", "/_stcore/metrics").status == 404
    assert fetch(secure, tls / "root.crt", "/media/x.png").status == 403
    connection = http.client.HTTPConnection("127.0.0.1", plain, timeout=10)
    connection.request("GET", "/enclaves", headers={"Host": "app.example.org"})
    moved = connection.getresponse()
    assert (moved.status, moved.headers["Location"]) == (301, "https://app.example.org/enclaves")
    connection.close()


def test_a_person_signs_in_through_the_documented_proxy(
    proxy: tuple[int, int], behind: Server, new_page: NewPage
) -> None:
    page = new_page(ignore_https_errors=True)
    front = Server(behind.data_dir, settings={"tls_cert": "of the proxy"}, port=proxy[0])
    sign_in(page, front, "demo-authority", path="/audit")
    expect(page.get_by_role("heading", name="Audit log")).to_be_visible()
    assert all(cookie["secure"] for cookie in page.context.cookies())


class _Echo(BaseHTTPRequestHandler):
    """Answers with the headers that it got."""

    def do_GET(self) -> None:
        self.send_response(200)
        for name, value in self.headers.items():
            self.send_header(f"Got-{name}", value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_the_documented_proxy_says_itself_where_a_client_is_whatever_the_client_claims(
    tls: Path, tmp_path: Path
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Echo) as echo:
        threading.Thread(target=echo.serve_forever, daemon=True).start()
        with proxied(tmp_path, tls, echo.server_address[1]) as (secure, _):
            claim = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "http", "Host": "app.example.org"}
            got = fetch(secure, tls / "root.crt", "/", **claim).headers
            closed = fetch(secure, tls / "root.crt", "/_stcore/metrics")
        echo.shutdown()
    assert got.get_all("Got-X-Forwarded-For") == ["127.0.0.1"]
    assert got.get_all("Got-X-Forwarded-Proto") == ["https"]
    assert got["Got-Host"] == "app.example.org"
    assert closed.status == 404
