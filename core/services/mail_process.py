"""The process that sends e-mails: started with the app where a mail server is set, and ended with it.

It ends by itself when the app is gone, since its standard input closes then; when it dies, the app starts another one.
A second one on this host waits until the first is gone.
"""

import logging
import os
import select
import subprocess
import sys
import threading
from contextlib import suppress

from filelock import FileLock, Timeout

from core.errors import SettingsError
from core.services.app import App
from core.services.mail_sender import PAUSE_S, SmtpServer, run
from core.services.processes import environment
from core.settings import ROOT, Settings

LOCK_NAME = "mail.lock"
LOG_NAME = "mail.log"
END_S = 30.0
AGAIN_S = 10.0
_SETTINGS = ("mail_host", "mail_port", "mail_starttls", "mail_from", "mail_user", "mail_password", "vault_dir")
_LOG = logging.getLogger(__name__)


class Sender:
    """The process, for the length of the app's life. Where no mail server is set there is none."""

    def __init__(self, settings: Settings, *, again_after_s: float = AGAIN_S) -> None:
        """Start nothing yet; one that died is followed by another after `again_after_s`."""
        self._settings, self._again_after_s = settings, again_after_s
        self._ending, self._lock = threading.Event(), threading.Lock()
        self._keeper: threading.Thread | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> "subprocess.Popen[bytes] | None":
        """The one that sends now; None before the start and where no mail server is set."""
        return self._process

    def start(self) -> None:
        """Start it and watch over it; does not wait for it."""
        if self._settings.mail_host:
            self._process = _spawn(self._settings)
            self._keeper = threading.Thread(target=self._keep, args=(self._process,), name="mail", daemon=True)
            self._keeper.start()

    def stop(self) -> None:
        """Let it finish the e-mail in hand and end."""
        with self._lock:
            self._ending.set()
        if self._process is None or self._keeper is None:
            return
        _close(self._process)
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._keeper.join()

    def _keep(self, process: "subprocess.Popen[bytes]") -> None:
        while True:
            status = process.wait()
            _close(process)
            if self._ending.wait(self._again_after_s):
                return
            _LOG.warning("the process that sends e-mails ended with status %d and is started again", status)
            with self._lock:
                if self._ending.is_set():
                    return
                self._process = process = _spawn(self._settings)


def _close(process: "subprocess.Popen[bytes]") -> None:
    """Close its standard input, which tells it to end."""
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()


def _spawn(settings: Settings) -> "subprocess.Popen[bytes]":
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    with (settings.run_dir / LOG_NAME).open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "core", "send-mail", "--attached"],
            cwd=ROOT,
            env=_environment(settings),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
        )


def main(settings: Settings, *, attached: bool) -> None:
    """Send e-mails until told to end (by SIGINT or, `attached`, by the end of standard input).

    Where another sender of this installation is at work on this host, wait until it is gone.

    Raises:
        SettingsError: no mail server is set, or the installation cannot start.
    """
    if not settings.mail_host:
        raise SettingsError("HEMASEAL_MAIL_HOST is not set")
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    lock, pause = FileLock(settings.run_dir / LOCK_NAME), _input_closed if attached else _wait
    with suppress(KeyboardInterrupt):
        while not _taken(lock):
            if pause(PAUSE_S):
                return
        try:
            app = App.start(settings)
            run(app, SmtpServer(settings), pause=pause)
            app.engine.dispose()
        finally:
            lock.release()


def _taken(lock: FileLock) -> bool:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    return True


def _input_closed(seconds: float) -> bool:
    readable, _, _ = select.select([sys.stdin], [], [], seconds)
    return bool(readable) and os.read(sys.stdin.fileno(), 1) == b""


def _wait(seconds: float) -> bool:
    select.select([], [], [], seconds)
    return False


def _environment(settings: Settings) -> dict[str, str]:
    """What the process gets to know: what a worker does, and how e-mails are sent."""
    values = environment(settings) | {"HEMASEAL_BEHIND_TLS": str(settings.behind_tls).lower()}
    for name in _SETTINGS:
        value = getattr(settings, name)
        if value is not None and value != "":
            plain = value.get_secret_value() if name == "mail_password" else str(value)
            values[f"HEMASEAL_{name.upper()}"] = plain
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        if name in os.environ:
            values[name] = os.environ[name]
    return values
