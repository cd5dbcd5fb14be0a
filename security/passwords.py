"""Password hashes by bcrypt, 12 rounds. bcrypt reads 72 bytes at most, so longer ones are refused, never cut."""

import bcrypt

ROUNDS = 12
MIN_CHARACTERS = 10
MAX_BYTES = 72
_DUMMY_HASH = b"$2b$12$kMSkDhHQPTtuMbGOf9USEut051ZQIlN.8e46ymmN4dLUox7n8lKqy"  # of a forgotten random text


def hash_password(password: str, *, rounds: int = ROUNDS) -> str:
    """Return the bcrypt hash of an acceptable password, of 2**`rounds` steps (tests ask for fewer).

    Raises:
        ValueError: too short or too long; the text says what is expected.
    """
    if len(password) < MIN_CHARACTERS:
        raise ValueError(f"The password needs at least {MIN_CHARACTERS} characters.")
    secret = password.encode()
    if len(secret) > MAX_BYTES:
        raise ValueError(f"The password may take at most {MAX_BYTES} bytes (about {MAX_BYTES} letters).")
    if b"\0" in secret:
        raise ValueError("The password contains a character that cannot be used.")
    return bcrypt.hashpw(secret, bcrypt.gensalt(rounds)).decode()


def verify_password(password: str, password_hash: str | None) -> bool:
    """Whether `password` is the one that was hashed; None (an unknown user) takes the same work and is False."""
    secret = password.encode("utf-8", "replace")
    usable = password_hash is not None and len(secret) <= MAX_BYTES and b"\0" not in secret
    expected = password_hash.encode() if password_hash is not None and usable else _DUMMY_HASH
    matches = bcrypt.checkpw(secret[:MAX_BYTES].replace(b"\0", b"?"), expected)
    return matches and usable
