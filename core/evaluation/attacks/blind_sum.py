"""What a cloud can make of a blind sum: from what it holds itself, the hospitals' terms, and other sums of them.

The terms still bear the group mask and the masks between hospitals; none of them can be read.
"""

import numpy as np
from numpy.typing import NDArray

from federated.aggregation.blind.record import Record
from federated.aggregation.blind.record_check import Opened
from federated.aggregation.blind.statements import Upload
from federated.board import MemoryBoard
from federated.notary import Notary
from security.keystream import apply_masks

Integers = NDArray[np.int64]
_WORD = 32


class WatchedBoard(MemoryBoard):
    """A board that remembers all that is published on it."""

    def __init__(self) -> None:
        super().__init__()
        self._statements: dict[str, bytes] = {}
        self._record = b""

    def publish(self, party: str, statement: bytes, vector: memoryview) -> None:
        """See `Board.publish`."""
        self._statements[party] = statement
        super().publish(party, statement, vector)

    def close(self, record: bytes, total: memoryview) -> None:
        """See `Board.close`."""
        self._record = record
        super().close(record, total)

    def terms(self, notary: Notary) -> dict[str, Integers]:
        """Return what each hospital contributes to the sum that was closed, as integers of up to 32 bits."""
        record = Record.from_bytes(self._record)
        opened = Opened(record, notary.trust, notary.clock.now())
        terms = {}
        for party in record.survivors:
            upload = opened.read(Upload, self._statements[party], party)
            words = np.frombuffer(self.vector(party), "<u4").copy()
            plus, minus = opened.masks_of(party, upload.base_sha256)
            apply_masks(words, plus=minus, minus=plus)
            terms[party] = words.astype(np.int64)
        return terms


def integers_of(data: bytes | memoryview) -> Integers:
    """Read an unreduced sum of fewer than 257 vectors of 32-bit words: low words, then carries."""
    count = len(data) // 5
    low = np.frombuffer(data, "<u4", count).astype(np.int64)
    return low + (np.frombuffer(data, "u1", count, 4 * count).astype(np.int64) << _WORD)


def bytes_of(total: Integers) -> bytes:
    """Write what `integers_of` reads."""
    return (total & (2**_WORD - 1)).astype("<u4").tobytes() + (total >> _WORD).astype("u1").tobytes()
