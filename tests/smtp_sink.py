"""A mail server for tests, on loopback: keeps what it is given, or refuses it, or offers STARTTLS with its own root."""

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass
class Sink:
    """What the server has taken.

    Attributes:
        port: where it listens.
        taken: e-mails, in the order in which they came.
        encrypted: for each whether it came over TLS.
        recipients: for each to whom.
        refuse: recipients are refused with 550.
        tls: for STARTTLS; None offers none.
        came: set when an e-mail has come.
    """

    port: int = 0
    taken: list[EmailMessage] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    refuse: bool = False
    tls: ssl.SSLContext | None = None
    came: threading.Event = field(default_factory=threading.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak SMTP (RFC 5321) with one client."""
        secure, recipient = False, ""
        writer.write(b"220 sink\r\n")
        while line := (await reader.readline()).decode().strip():
            command = line[:8].upper()
            if command.startswith("EHLO"):
                writer.write(b"250-sink\r\n250 STARTTLS\r\n" if self.tls and not secure else b"250 sink\r\n")
            elif command == "STARTTLS" and self.tls:
                writer.write(b"220 go\r\n")
                await writer.drain()
                await writer.start_tls(self.tls)
                secure = True
            elif command.startswith("RCPT"):
                recipient = line.partition(":")[2].strip("<> ")
                writer.write(b"550 no\r\n" if self.refuse else b"250 ok\r\n")
            elif command == "DATA":
                writer.write(b"354 go\r\n")
                await writer.drain()
                data = (await reader.readuntil(b"\r\n.\r\n")).removesuffix(b".\r\n").replace(b"\r\n..", b"\r\n.")
                parsed = message_from_bytes(data, policy=default)
                assert isinstance(parsed, EmailMessage)
                self.taken.append(parsed)
                self.encrypted.append(secure)
                self.recipients.append(recipient)
                self.came.set()
                writer.write(b"250 taken\r\n")
            elif command == "QUIT":
                writer.write(b"221 bye\r\n")
                break
            else:
                writer.write(b"250 ok\r\n")
            await writer.drain()
        writer.close()


@contextmanager
def smtp_sink(tls: ssl.SSLContext | None = None) -> Iterator[Sink]:
    """Run a mail server in a thread, on a free port."""
    sink, ready, loop = Sink(tls=tls), threading.Event(), asyncio.new_event_loop()
    stopped = asyncio.Event()

    async def main() -> None:
        server = await asyncio.start_server(sink.serve, "127.0.0.1", 0)
        sink.port = server.sockets[0].getsockname()[1]
        ready.set()
        async with server:
            await stopped.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(main(),))
    thread.start()
    assert ready.wait(10)
    try:
        yield sink
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join()
        loop.close()


def own_certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Return a server's TLS context for 127.0.0.1, and the file of the root that vouches for it: itself."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sink")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    root, both = folder / "root.pem", folder / "server.pem"
    root.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    both.write_bytes(plain + root.read_bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    return context, root
