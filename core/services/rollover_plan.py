"""New keys that are on their way, as a file that outlives a stop: for whom, why, by what stored objects hold so far.

While it is there, `core.services.rollover` goes on where it stopped. It lies with the key folders and holds nothing
secret; who can change it can change those.
"""

import json
import shutil
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from core.errors import SettingsError
from core.settings import Settings
from security.certificates import Certificate, Trust
from security.errors import CertificateRefused
from security.private_files import write_private

_PLAN, _ROOT, _LIST, _NEXT = "plan.json", "root.crt", "list.crl", "next.crl"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Whose keys are exchanged.

    Attributes:
        parties: who gets new keys, sorted.
        former: serials (hex) of their certificates so far, which are revoked at the end if they are not yet.
        reason: why (`security.authority.RevocationReason`).
        new_root: whether the root key is exchanged as well.
        whole: whether this is the whole federation: runs are voided and sessions ended.
        begun: when it began.
    """

    parties: tuple[str, ...]
    former: tuple[str, ...]
    reason: str
    new_root: bool
    whole: bool
    begun: str

    @classmethod
    def read(cls, settings: Settings) -> Self | None:
        """Return the plan that is on its way, or None.

        Raises:
            SettingsError: its file cannot be read.
        """
        try:
            values = json.loads((settings.rollover_dir / _PLAN).read_text(encoding="utf-8"))
            return cls(**{**values, "parties": tuple(values["parties"]), "former": tuple(values["former"])})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise SettingsError(f"{settings.rollover_dir / _PLAN} cannot be read") from error

    def begin(self, settings: Settings, before: Trust) -> None:
        """Write the plan down, with the root and the list of before; from now on it is finished sooner or later."""
        folder = settings.rollover_dir
        shutil.rmtree(folder, ignore_errors=True)  # of a beginning that was cut off
        write_private(folder / _ROOT, before.root.pem, exclusive=False)
        write_private(folder / _LIST, before.crl_der or b"", exclusive=False)
        write_private(folder / _PLAN, json.dumps(asdict(self), sort_keys=True).encode(), exclusive=False)

    @staticmethod
    def before(settings: Settings) -> Trust:
        """Return the root and the list of before.

        Raises:
            SettingsError: they cannot be read.
        """
        return _trust(settings.rollover_dir / _ROOT, settings.rollover_dir / _LIST)

    @staticmethod
    def following(settings: Settings, root: Certificate) -> Trust | None:
        """Return `root` with the list that will be in force, or None before it was made."""
        file = settings.rollover_dir / _NEXT
        return Trust(root, file.read_bytes()) if file.exists() else None

    @staticmethod
    def keep_list(settings: Settings, der: bytes) -> None:
        """Keep the list that will be in force."""
        write_private(settings.rollover_dir / _NEXT, der, exclusive=False)

    @staticmethod
    def end(settings: Settings) -> None:
        """Forget the plan: all of it is done."""
        (settings.rollover_dir / _PLAN).unlink(missing_ok=True)
        shutil.rmtree(settings.rollover_dir, ignore_errors=True)

    @property
    def at(self) -> datetime:
        """When it began."""
        return datetime.fromisoformat(self.begun)


def _trust(root: Path, crl: Path) -> Trust:
    try:
        return Trust(Certificate.from_pem(root.read_bytes()), crl.read_bytes() or None)
    except (OSError, CertificateRefused) as error:
        raise SettingsError(f"{root.parent} is damaged") from error
