"""How the app may be served, what starts it, and whose word on a client's address counts."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr
from starlette.types import Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from core.errors import SettingsError
from core.services.serving import TRUSTED_PROXIES, check_started, check_transport, command, environment
from core.settings import Mode, Settings

NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "app.example.org")])


def settings(**values: object) -> Settings:
    plain: dict[str, object] = {"mode": Mode.DEMO, "database_url": "", "master_key": None}
    return Settings(**{**plain, **values})  # type: ignore[arg-type]


def production(**values: object) -> Settings:
    return settings(mode=Mode.PRODUCTION, master_key=SecretStr("0123456789abcdef" * 4), **values)


def write_key(file: Path, *, passphrase: bytes = b"") -> ec.EllipticCurvePrivateKey:
    key = ec.generate_private_key(ec.SECP256R1())
    locked = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    file.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, locked))
    return key


@pytest.fixture
def pair(tmp_path: Path) -> dict[str, Path]:
    """A certificate and its key, as the settings name them."""
    certificate, key = tmp_path / "app.crt", tmp_path / "app.key"
    private, now = write_key(key), datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(NAME).issuer_name(NAME).public_key(private.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    certificate.write_bytes(builder.sign(private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return {"tls_cert": certificate, "tls_key": key}


def test_production_is_served_under_a_certificate_or_behind_a_declared_proxy_and_not_otherwise(
    pair: dict[str, Path],
) -> None:
    check_transport(production(**pair))
    check_transport(production(behind_tls=True))
    assert settings(**pair).over_tls
    assert settings(behind_tls=True).over_tls
    assert not settings().over_tls
    with pytest.raises(SettingsError, match="HEMASEAL_TLS_CERT"):
        check_transport(production())


def test_a_demo_in_clear_is_served_to_its_own_computer_alone(pair: dict[str, Path]) -> None:
    for here in ("127.0.0.1", "::1", "localhost"):
        check_transport(settings(address=here))
    for away in ("::", "192.0.2.7", "demo.example.org"):
        with pytest.raises(SettingsError, match="HEMASEAL_ADDRESS"):
            check_transport(settings(address=away))
        check_transport(settings(address=away, **pair))


def test_a_certificate_without_its_own_readable_key_is_refused(pair: dict[str, Path], tmp_path: Path) -> None:
    for alone in ({"tls_cert": pair["tls_cert"]}, {"tls_key": pair["tls_key"]}):
        with pytest.raises(SettingsError, match="go together"):
            check_transport(settings(**alone))
    other, locked, junk = tmp_path / "other.key", tmp_path / "locked.key", tmp_path / "junk.key"
    write_key(other)
    write_key(locked, passphrase=b"secret")
    junk.write_text("no key")
    for key in (other, locked, junk, tmp_path / "missing.key"):
        with pytest.raises(SettingsError, match=key.name):
            check_transport(settings(tls_cert=pair["tls_cert"], tls_key=key))


def test_the_command_serves_under_the_certificate_where_the_settings_say(pair: dict[str, Path]) -> None:
    words = command(settings(address="192.0.2.7", **pair), 8443)
    told = dict(zip(words[5::2], words[6::2], strict=True))
    assert words[1:5] == ["-m", "streamlit", "run", "asgi.py"]
    assert told == {
        "--server.port": "8443",
        "--server.address": "192.0.2.7",
        "--server.sslCertFile": str(pair["tls_cert"]),
        "--server.sslKeyFile": str(pair["tls_key"]),
    }
    assert not [word for word in command(settings(), 8501) if "ssl" in word]


def test_a_process_that_serves_otherwise_than_the_settings_say_does_not_start(pair: dict[str, Path]) -> None:
    under, ours = settings(**pair), str(pair["tls_cert"])
    check_started(under, certificate=ours, inherited={})
    check_started(settings(), certificate=None, inherited={})
    for made, served in ((under, None), (under, "other.crt"), (settings(), ours)):
        with pytest.raises(SettingsError, match="core serve"):
            check_started(made, certificate=served, inherited={})
    proxied = production(behind_tls=True)
    check_started(proxied, certificate=None, inherited=environment(proxied, {}))
    for inherited in ({}, {TRUSTED_PROXIES: "*"}, {TRUSTED_PROXIES: ""}):
        with pytest.raises(SettingsError, match="core serve"):
            check_started(proxied, certificate=None, inherited=inherited)


@pytest.mark.parametrize(
    ("made", "peer", "seen"),
    [
        (settings(), "127.0.0.1", "127.0.0.1"),
        (settings(behind_tls=True), "127.0.0.1", "203.0.113.9"),
        (settings(behind_tls=True), "198.51.100.4", "198.51.100.4"),
        (settings(behind_tls=True, proxies="198.51.100.4"), "198.51.100.4", "203.0.113.9"),
        (settings(behind_tls=True, proxies="198.51.100.4"), "127.0.0.1", "127.0.0.1"),
        (settings(proxies="198.51.100.4"), "198.51.100.4", "198.51.100.4"),
    ],
)
def test_a_client_is_where_a_proxy_says_only_if_that_proxy_is_declared(made: Settings, peer: str, seen: str) -> None:
    found: list[object] = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        found.append(scope["client"][0])

    async def nothing(*_: object) -> None:
        raise AssertionError("nothing is read or sent")

    scope = {"type": "http", "client": (peer, 1234), "headers": [(b"x-forwarded-for", b"203.0.113.9")]}
    told = environment(made, {TRUSTED_PROXIES: "*"})[TRUSTED_PROXIES]
    with suppress(StopIteration):  # nothing in it waits, so it needs no loop: a browser test's may be running here
        ProxyHeadersMiddleware(app, trusted_hosts=told)(scope, nothing, nothing).__await__().send(None)  # type: ignore[arg-type]
    assert found == [seen]
