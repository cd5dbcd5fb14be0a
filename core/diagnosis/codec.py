"""Frozen dataclasses to canonical CBOR and back: unknown, missing and mistyped fields are refused."""

from collections.abc import Collection
from dataclasses import fields
from typing import Any, Generic, TypeVar

from pydantic import ConfigDict, TypeAdapter

from security.encoding import decode, encode

T = TypeVar("T")

TRAVELS = ConfigDict(extra="forbid", allow_inf_nan=False)
"""Set as ``__pydantic_config__`` of dataclasses that travel."""


class Codec(Generic[T]):
    """Canonical CBOR of one dataclass of numbers, text, bytes, times, tuples, dictionaries and dataclasses."""

    def __init__(self, kind: type[T], *, later: Collection[str] = ()) -> None:
        """Take the dataclass; `later` are fields with a default that what was stored before does not have."""
        self._kind = kind
        self._later = frozenset(later)
        self._names = {field.name for field in fields(kind)}  # type: ignore[arg-type]  # a dataclass by contract
        self._adapter: TypeAdapter[T] = TypeAdapter(kind)

    def encode(self, value: T) -> bytes:
        """Return the canonical CBOR of `value`."""
        return encode(self._adapter.dump_python(value))

    def decode(self, data: bytes | memoryview) -> T:
        """Read what `encode` wrote.

        Raises:
            ValueError: not canonical CBOR, or not the fields of this dataclass.
        """
        value: Any = decode(data)
        if not isinstance(value, dict) or not self._names - self._later <= set(value) <= self._names:
            raise ValueError(f"the fields of {self._kind.__name__} expected")
        return self._adapter.validate_python(value)
