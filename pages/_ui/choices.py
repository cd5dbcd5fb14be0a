"""What is written on the options of a select box: Streamlit tells them apart by that alone, so no two may be alike."""

from collections import Counter
from collections.abc import Mapping
from typing import TypeVar

Key = TypeVar("Key")


def distinct(titles: Mapping[Key, str]) -> dict[Key, str]:
    """Return the titles, with a number after each that was there before: the second "A" becomes "A (2)"."""
    seen: Counter[str] = Counter()
    told = {}
    for key, title in titles.items():
        seen[title] += 1
        told[key] = title if seen[title] == 1 else f"{title} ({seen[title]})"
    return told
