"""How an upload is protected on its way from a node to the aggregation: all in which `plain` and `sealed` differ."""

from typing import Protocol

from federated.notary import Notary
from security.certificates import Certificate
from security.context import Context


class Protection(Protocol):
    """Closes and opens uploads."""

    def close(self, body: bytes, *, notary: Notary, recipient: Certificate, context: Context) -> bytes:
        """Return `body` for `recipient`, bound to `context` and signed by `notary`'s party."""
        ...

    def open(self, data: bytes, *, notary: Notary, context: Context) -> bytes:
        """Return the body that `context.sender` closed for `notary`'s party in exactly this context.

        Raises:
            SecurityError: it did not.
        """
        ...


class SignedOnly:
    """Signed, and readable by everybody who carries it."""

    def close(self, body: bytes, *, notary: Notary, recipient: Certificate, context: Context) -> bytes:  # noqa: ARG002
        """See `Protection.close`."""
        return notary.sign(body, context)

    def open(self, data: bytes, *, notary: Notary, context: Context) -> bytes:
        """See `Protection.open`."""
        return notary.verify(data, context)


class SealedAndSigned:
    """Sealed to the aggregation's key; whoever carries it sees its size."""

    def close(self, body: bytes, *, notary: Notary, recipient: Certificate, context: Context) -> bytes:
        """See `Protection.close`."""
        return notary.seal(body, [recipient], context)

    def open(self, data: bytes, *, notary: Notary, context: Context) -> bytes:
        """See `Protection.open`."""
        return notary.open(data, context)
