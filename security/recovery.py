"""Getting the authority's root key back: its key file encrypted once more, under a secret that m of n people hold.

The secret is drawn for this one file and shared by `security.shamir`, whose arithmetic is not constant-time: it is
split once here and put together where the key is lost, with nobody timing it. A share is a line of text that can be
printed and typed: its number, how many are needed, which root it belongs to, and a check sum against slips, which
proves nothing; whether shares are right shows when the file opens.
"""

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from security import shamir
from security.errors import KeyMissing, ShareBroken
from security.keys import KeyStore, KeyUse

FILE = "issue.recovery.p8"
LEAST, MOST = 2, 15
_GROUP, _CHECK_DIGITS, _ROOT_DIGITS = 6, 4, 8
_TEXT = re.compile(r"HEMASEAL ROOT ([0-9a-f]{8}) SHARE (\d{1,2}) OF ANY (\d{1,2}) ([0-9a-f ]+) ([0-9a-f]{4})")


@dataclass(frozen=True, repr=False)
class RecoveryShare:
    """One person's share.

    Attributes:
        root: first digits of the root certificate's fingerprint.
        number: of the share, from 1.
        needed: how many shares open the file.
        value: 33 bytes.
    """

    root: str
    number: int
    needed: int
    value: bytes

    def to_text(self) -> str:
        """Return the line that the person keeps."""
        digits = self.value.hex()
        groups = " ".join(digits[at : at + _GROUP] for at in range(0, len(digits), _GROUP))
        head = f"HEMASEAL ROOT {self.root} SHARE {self.number} OF ANY {self.needed} {groups}"
        return f"{head} {_check_sum(head)}"

    @classmethod
    def of_text(cls, text: str) -> Self:
        """Read what a person typed; spaces and capitals do not matter.

        Raises:
            ShareBroken: it is no share, or was mistyped.
        """
        words = text.split()
        line = " ".join(
            [word.upper() if place in {0, 1, 3, 5, 6} else word.lower() for place, word in enumerate(words)]
        )
        found = _TEXT.fullmatch(line)
        if found is None:
            raise ShareBroken("this is not a recovery share")
        root, number, needed, groups, check = found.groups()
        if _check_sum(line.rpartition(" ")[0]) != check:
            raise ShareBroken(f"share {number} was mistyped: its check sum does not fit")
        return cls(root, int(number), int(needed), bytes.fromhex(groups.replace(" ", "")))


def prepare(store: KeyStore, root_fingerprint: str, *, needed: int, people: int) -> list[RecoveryShare]:
    """Write the recovery file of the root key in `store`'s folder and return a share for each person.

    An earlier recovery file is replaced: its shares open nothing any more.

    Raises:
        ValueError: not 2 <= needed <= people <= 15.
        KeyMissing: the store holds no root key.
    """
    if not LEAST <= needed <= people <= MOST:
        raise ValueError(f"{LEAST} to {MOST} people expected, and as many or fewer shares that are needed")
    secret = secrets.token_bytes(shamir.SECRET_BYTES)
    store.write(FILE, store.escrowed(KeyUse.ISSUE, secret))
    shares = shamir.split(secret, threshold=needed, points=range(1, people + 1))
    root = root_fingerprint[:_ROOT_DIGITS]
    return [RecoveryShare(root, number, needed, share) for number, share in shares.items()]


def recover(store: KeyStore, shares: Sequence[RecoveryShare]) -> None:
    """Put the root key back into `store`, under its present master key.

    Raises:
        ShareBroken: too few shares, of different roots, or not those of the recovery file.
        KeyMissing: there is no recovery file.
        SecurityError: the store has a root key already.
    """
    if len({(share.root, share.needed) for share in shares}) != 1 or not shares[0].needed:
        raise ShareBroken("the shares do not belong together")
    try:
        escrowed = (store.folder / FILE).read_bytes()
    except OSError:
        raise KeyMissing(f"{store.party} has no recovery file {FILE}") from None
    secret = shamir.combine({share.number: share.value for share in shares}, threshold=shares[0].needed)
    try:
        store.restore(KeyUse.ISSUE, escrowed, secret)
    except ValueError:
        raise ShareBroken("these are not the shares of this recovery file") from None


def _check_sum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_CHECK_DIGITS]
