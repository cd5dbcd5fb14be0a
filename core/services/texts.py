"""What people write to each other, as it is taken: plain text without what cannot be shown or misleads the eye."""

import unicodedata

from core.errors import InvalidInput

REORDERING = frozenset("\u202d\u202e")  # overrides of the reading direction make a text look like another


def clean(text: str, *, most: int, least: int = 1) -> str:
    """Return a text without the blanks around it.

    Raises:
        InvalidInput: shorter than `least` or longer than `most` characters, or with control characters.
    """
    body = text.replace("\r\n", "\n").strip()
    if not body:
        raise InvalidInput("write something first")
    if len(body) < least:
        raise InvalidInput(f"at least {least} characters, this has {len(body)}")
    if len(body) > most:
        raise InvalidInput(f"at most {most} characters, this has {len(body)}")
    if not is_showable(body):
        raise InvalidInput("the text has characters that cannot be shown")
    return body


def is_showable(text: str) -> bool:
    """Tell whether a text has neither control characters nor overrides of the reading direction."""
    return not any(
        (unicodedata.category(letter) in {"Cc", "Cs"} and letter not in "\n\t") or letter in REORDERING
        for letter in text
    )
