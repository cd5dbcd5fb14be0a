"""The proxy of deploy/nginx.conf, run before two processes that say which one they are: a browser stays with one."""

import http.client
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from core.settings import ROOT
from pages._ui.cookies import BROWSER_COOKIE
from tests.browser.harness import free_port
from tests.nginx import nginx

BROWSERS = [f"mark-of-browser-{number}" for number in range(20)]


class _Says(BaseHTTPRequestHandler):
    """Answers with the port that it listens on, and with how it was asked to go on."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Upgrade-Asked", f"{self.headers['Connection']} {self.headers['Upgrade']}")
        self.end_headers()
        self.wfile.write(str(self.connection.getsockname()[1]).encode())

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def replica(port: int = 0) -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", port), _Says) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.shutdown()


def site(port: int, apps: list[int]) -> str:
    """Return what stands in the block ``http`` of the configuration; TLS, which has tests of its own, taken away."""
    text = (ROOT / "deploy" / "nginx.conf").read_text(encoding="utf-8")
    text = re.sub(r"ssl_\w+ [^;]+;", "", text)
    for written, real in {
        "listen 443 ssl": f"listen 127.0.0.1:{port}",
        "listen 80": f"listen 127.0.0.1:{free_port()}",
        "app-1:8501": f"127.0.0.1:{apps[0]}",
        "app-2:8501": f"127.0.0.1:{apps[1]}",
    }.items():
        assert written in text
        text = text.replace(written, real)
    return text.partition("http {")[2].rpartition("}")[0]


def ask(port: int, browser: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    """Return which replica answered a browser, and how the proxy asked it to go on."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    body = b"x" * 100_000 if method == "PUT" else None
    connection.request(method, "/", body=body, headers={"Cookie": f"{BROWSER_COOKIE}={browser}", **headers})
    answer = connection.getresponse()
    assert answer.status == 200
    said = answer.read()
    connection.close()
    return int(said), answer.headers["Upgrade-Asked"]


def test_a_browser_stays_with_one_process_until_that_is_gone(tmp_path: Path) -> None:
    port = free_port()
    with replica() as first, replica() as second:
        ports = [first.server_address[1], second.server_address[1]]
        with nginx(tmp_path, site(port, ports), port):
            chosen = {browser: ask(port, browser)[0] for browser in BROWSERS}
            assert set(chosen.values()) == set(ports)
            for browser, replica_port in chosen.items():
                assert ask(port, browser, "PUT")[0] == replica_port
                socket = ask(port, browser, Upgrade="websocket", Connection="Upgrade")
                assert socket == (replica_port, "upgrade websocket")
            second.shutdown()
            second.server_close()
            for browser in BROWSERS:
                assert ask(port, browser)[0] == ports[0]
