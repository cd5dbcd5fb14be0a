"""How the app is served: over TLS of its own, behind a proxy that ends TLS, or in clear to this computer alone."""

import ssl
import sys
from collections.abc import Mapping
from ipaddress import ip_address

from core.errors import SettingsError
from core.settings import Mode, Settings

TRUSTED_PROXIES = "FORWARDED_ALLOW_IPS"
"""Environment variable in which uvicorn is told whose X-Forwarded-For counts; by itself it trusts this computer."""
HOW = "start it with: python -m core serve"


def check_transport(settings: Settings) -> None:
    """Refuse a way of serving over which sessions could be read.

    Raises:
        SettingsError: certificate and key are not both there or do not fit; production without TLS or a declared
            proxy; in clear to other computers than this one.
    """
    certificate, key = settings.tls_cert, settings.tls_key
    if (certificate is None) != (key is None):
        raise SettingsError("HEMASEAL_TLS_CERT and HEMASEAL_TLS_KEY go together")
    if certificate is not None and key is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: b"")
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"{certificate} and {key} are no certificate (PEM) with its key, or cannot be read"
            ) from error
    if settings.over_tls:
        return
    if settings.mode is Mode.PRODUCTION:
        raise SettingsError(
            "serve it over TLS only: with HEMASEAL_TLS_CERT and HEMASEAL_TLS_KEY, or behind a proxy that ends TLS, "
            "declared by HEMASEAL_BEHIND_TLS=true; else sessions can be read"
        )
    if not _is_here(settings.address):
        raise SettingsError("HEMASEAL_ADDRESS: without TLS it is served to this computer alone (127.0.0.1)")


def command(settings: Settings, port: int) -> list[str]:
    """Return the command that serves the app."""
    words = [sys.executable, "-m", "streamlit", "run", "asgi.py"]
    words += ["--server.port", str(port), "--server.address", settings.address]
    if settings.tls_cert is not None:
        words += ["--server.sslCertFile", str(settings.tls_cert), "--server.sslKeyFile", str(settings.tls_key)]
    return words


def environment(settings: Settings, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of that command: the address of a client is a proxy's word only where one is declared."""
    return {**inherited, TRUSTED_PROXIES: settings.proxies if settings.behind_tls else ""}


def check_started(settings: Settings, *, certificate: str | None, inherited: Mapping[str, str]) -> None:
    """Refuse a process that serves otherwise than the settings say.

    Args:
        settings: of the installation.
        certificate: file of the certificate under which the process serves, or None.
        inherited: its environment.

    Raises:
        SettingsError: another certificate, or none; in production also another word on proxies.
    """
    if (certificate or None) != (str(settings.tls_cert) if settings.tls_cert else None):
        raise SettingsError(f"it does not serve under the certificate of HEMASEAL_TLS_CERT; {HOW}")
    told = environment(settings, {})[TRUSTED_PROXIES]
    if settings.mode is Mode.PRODUCTION and inherited.get(TRUSTED_PROXIES) != told:
        raise SettingsError(f"whose word on a client's address counts was not set; {HOW}")


def _is_here(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"
