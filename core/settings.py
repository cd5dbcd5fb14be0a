"""Settings from the environment (``HEMASEAL_…``) or ``.env``; refuses unsafe combinations outside demo mode."""

import os
from enum import StrEnum
from functools import cached_property
from pathlib import Path

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.errors import SettingsError

ROOT = Path(__file__).resolve().parent.parent
MAX_PORT = 65535
SECRETS = "HEMASEAL_SECRETS_DIR"
"""Environment variable that names a folder with a file for each secret, as containers are given them."""


class Mode(StrEnum):
    """How strict the installation is."""

    DEMO = "demo"
    PRODUCTION = "production"


def host_and_port(text: str) -> tuple[str, int]:
    """Read ``host:port``; an IPv6 address stands in brackets.

    Raises:
        SettingsError: it is none.
    """
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not host or not port.isascii() or not port.isdigit() or int(port) > MAX_PORT:
        raise SettingsError(f"'host:port' expected, got '{text}'")
    return host, int(port)


class Settings(BaseSettings):
    """All settings of an installation. A file of a setting's name in the folder of `SECRETS` counts as well.

    Attributes:
        mode: ``demo`` seeds accounts and keeps the master key in a file; ``production`` refuses both.
        data_dir: everything the installation writes lives below it.
        runtime_dir: where the processes of one machine find each other, and their logs; ``run`` below `data_dir` by
            default. Machines that share a data directory need one each.
        database_url: SQLAlchemy URL; SQLite below `data_dir` by default, ``mysql+pymysql://`` for MySQL/MariaDB.
        master_key: 64 hex digits; required in production, otherwise the key file is used.
        master_key_file: the demo's key file (mode 0600).
        vault_dir: the keys of patients (`security.vault`); below `data_dir` by default. Keep it out of every backup of
            the database, or erasure does not reach that.
        max_upload_bytes: largest accepted file.
        max_pixels: largest accepted picture, width times height.
        session_hours: life of a sign-in.
        second_factor: whether the authority and doctors must have a second factor for dangerous acts and for signing;
            when not set, they must outside demo mode. Who has one needs it in every mode.
        uploads_per_hour: how many cases a patient may send in an hour.
        enclave_timeout_s: how long a diagnosis may take before the fallback hospital is asked.
        admin_user: name of the first authority account, which set-up makes in production; read by set-up only.
        admin_password: that account's first password.
        tls_cert: file with the app's TLS certificate (PEM, its chain included): the app then serves https itself.
        tls_key: that certificate's private key (PEM, without a passphrase).
        behind_tls: a proxy in front of the app ends TLS. Production needs this or a certificate.
        proxies: addresses of that proxy, with commas between: whose ``X-Forwarded-For`` says where a client is.
        address: where the app listens; others than this computer's need TLS.
        enclaves: enclaves on other machines, ``north.serving=enclave-north:7443``, with commas between; several of a
            party are replicas, as are the addresses of a name. Enclaves of parties that are not named start here.
        start_worker: the app starts a worker when a run is queued; ``false`` where workers are on other machines.
        flower_socket: local socket of Flower's server app; where it is set, the worker reaches a run's parties over
            Flower (docs/how-to/several-machines.md) and hosts none of them.
        mail_host: the mail server (SMTP) that patients who agreed to it are told of news through; empty: no e-mails.
        mail_port: the mail server's port.
        mail_starttls: the connection is encrypted (STARTTLS, the server's certificate checked); required in production.
        mail_from: the sender's address, with or without a name; required with a mail server.
        mail_user: name to sign in to the mail server with; empty for a server that asks for none.
        mail_password: that name's password.
        import_root: data sets can be imported by path from below this folder; without it only the demo can do that.
    """

    model_config = SettingsConfigDict(
        env_prefix="HEMASEAL_",
        env_file=".env",
        secrets_dir=os.environ.get(SECRETS) or None,
        extra="ignore",
        populate_by_name=True,
    )

    mode: Mode = Mode.DEMO
    data_dir: Path = ROOT / "var"
    database_url: str = Field(
        default="", validation_alias=AliasChoices("database_url", "DATABASE_URL", "HEMASEAL_DATABASE_URL")
    )
    runtime_dir: Path | None = None
    master_key: SecretStr | None = None
    vault_dir: Path | None = None
    max_upload_bytes: int = 20 * 2**20
    max_pixels: int = 40_000_000
    session_hours: float = 12.0
    second_factor: bool | None = None
    uploads_per_hour: int = Field(default=60, ge=1)
    enclave_timeout_s: float = 20.0
    tls_cert: Path | None = None
    tls_key: Path | None = None
    behind_tls: bool = False
    proxies: str = "127.0.0.1,::1"
    address: str = "127.0.0.1"
    enclaves: str = ""
    start_worker: bool = True
    flower_socket: Path | None = None
    mail_host: str = ""
    mail_port: int = Field(default=587, ge=1, le=65535)
    mail_starttls: bool = True
    mail_from: str = ""
    mail_user: str = ""
    mail_password: SecretStr | None = None
    import_root: Path | None = None
    admin_user: str = ""
    admin_password: SecretStr | None = None

    @cached_property
    def database(self) -> str:
        """The SQLAlchemy URL in use."""
        return self.database_url or f"sqlite:///{self.data_dir / 'hemaseal.db'}"

    @property
    def over_tls(self) -> bool:
        """Whether browsers reach the app over TLS only: cookies are then ``Secure``."""
        return self.behind_tls or self.tls_cert is not None

    @property
    def second_factor_required(self) -> bool:
        """Whether dangerous acts and signing are refused to an account without a second factor."""
        return self.mode is not Mode.DEMO if self.second_factor is None else self.second_factor

    @property
    def master_key_file(self) -> Path:
        """The demo's key file."""
        return self.data_dir / "master.key"

    @property
    def keys_dir(self) -> Path:
        """One folder per party, each with that party's encrypted private keys and nothing of the others'."""
        return self.data_dir / "keys"

    @property
    def vault(self) -> Path:
        """The folder of the patients' keys in use."""
        return self.vault_dir or self.data_dir / "vault"

    @property
    def remote_enclaves(self) -> dict[str, tuple[tuple[str, int], ...]]:
        """Party -> host and port of each replica of its enclave on another machine.

        Raises:
            SettingsError: `enclaves` cannot be read.
        """
        found: dict[str, tuple[tuple[str, int], ...]] = {}
        for one in filter(None, map(str.strip, self.enclaves.split(","))):
            party, _, place = one.partition("=")
            if not party.strip().endswith(".serving"):
                raise SettingsError(f"HEMASEAL_ENCLAVES: 'north.serving=host:port' expected, got '{one}'")
            found[party.strip()] = (*found.get(party.strip(), ()), host_and_port(place.strip()))
        return found

    @property
    def hospitals_dir(self) -> Path:
        """One folder per hospital: its sealed data sets."""
        return self.data_dir / "hospitals"

    @property
    def rollover_dir(self) -> Path:
        """What is noted of new keys that are on their way (`core.services.rollover_plan`)."""
        return self.data_dir / "rollover"

    @property
    def evaluation_dir(self) -> Path:
        """One folder per evaluation: its steps, tables and report."""
        return self.data_dir / "evaluation"

    @property
    def run_dir(self) -> Path:
        """Where enclaves and the worker say how they are reached (ports, process ids, logs)."""
        return self.runtime_dir or self.data_dir / "run"
