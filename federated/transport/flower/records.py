"""Letters and answers as records of Flower: bytes in an `Array`, which Flower sends in pieces of a few MB."""

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

_BYTES = "bytes"
_NOTE = "note"
_PARTY = "party"
_FAILURE = "failure"


def question() -> RecordDict:
    """Ask a SuperNode whose it is."""
    return RecordDict()


def letter(data: bytes) -> RecordDict:
    """A letter for the party behind a SuperNode."""
    array = Array(dtype="uint8", shape=(len(data),), stype=_BYTES, data=data)
    return RecordDict({_BYTES: ArrayRecord({_BYTES: array})})


def answer(party: str, *, data: bytes = b"", failure: str = "") -> RecordDict:
    """What a SuperNode sends back: its party's name, and the party's answer or why there is none."""
    records = letter(data) if data else RecordDict()
    records[_NOTE] = ConfigRecord({_PARTY: party, _FAILURE: failure})
    return records


def data_of(records: RecordDict) -> bytes:
    """Return the bytes of a letter or answer; empty where there are none."""
    array = records.array_records.get(_BYTES, {}).get(_BYTES)
    return b"" if array is None else bytes(array.data)


def party_of(records: RecordDict) -> str:
    """Return the party that a SuperNode says it works for; empty if it does not say."""
    return _text(records, _PARTY)


def failure_of(records: RecordDict) -> str:
    """Return why there is no answer, or nothing."""
    return _text(records, _FAILURE)


def _text(records: RecordDict, key: str) -> str:
    note = records.config_records.get(_NOTE)
    value = "" if note is None else note.get(key, "")
    return value if isinstance(value, str) else ""
