"""What can go wrong in `security`. Services translate these into the public errors that people see.

A failed check always raises; nothing here returns False for "not authentic".
"""


class SecurityError(Exception):
    """Base of all errors of this package."""


class SealBroken(SecurityError):
    """A sealed object could not be opened. Deliberately one error, one text and no cause for every reason."""

    def __init__(self) -> None:
        super().__init__("the sealed object could not be opened")


class SignatureBroken(SecurityError):
    """A signed envelope is damaged, was changed, or was signed by another key or for another context."""

    def __init__(self) -> None:
        super().__init__("the signature does not hold")


class CertificateRefused(SecurityError):
    """A certificate is not acceptable; the message says why (certificates are public, so the reason may be too)."""


class KeyMissing(SecurityError):
    """A key or secret is absent, unreadable, or does not open under this master key."""


class KeyDestroyed(KeyMissing):
    """A key was destroyed on purpose: what it protected is erased."""

    def __init__(self) -> None:
        super().__init__("the key was destroyed")


class ShareBroken(SecurityError):
    """Shares of a secret are too few, malformed, or not those committed to; the message says which, never a value."""


class CiphertextRefused(SecurityError):
    """Something of encrypted inference is malformed, of another shape, or holds no number of the expected range."""


class SelfTestFailed(SecurityError):
    """The power-on self-test found two libraries that disagree, or a known answer that does not come out."""
