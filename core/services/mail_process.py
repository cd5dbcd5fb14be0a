"""The process that sends e-mails: started with the app where a mail server is set, and ended with it.

It ends by itself when the app is gone, since its standard input closes then. A second one on this host waits
until the first is gone.
"""

import os
import select
import subprocess
import sys
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
_SETTINGS = ("mail_host", "mail_port", "mail_starttls", "mail_from", "mail_user", "mail_password", "vault_dir")


def start(settings: Settings) -> "subprocess.Popen[bytes] | None":
    """Start the sender and return it; None where no mail server is set. Does not wait for it."""
    if not settings.mail_host:
        return None
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


def stop(process: "subprocess.Popen[bytes] | None") -> None:
    """Let the sender finish the e-mail in hand and end."""
    if process is None:
        return
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


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
