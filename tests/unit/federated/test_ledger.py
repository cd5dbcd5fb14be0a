"""A party answers no step of an attempt twice, also not after a crash."""

import errno
from pathlib import Path

import pytest

from core.learning.run_events import FailureCode
from federated.failures import Refused
from federated.ledger import FileLedger, Ledger, MemoryLedger


@pytest.fixture(params=["memory", "file"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Ledger:
    return MemoryLedger() if request.param == "memory" else FileLedger(tmp_path / "node" / "answered.log")


def test_a_step_is_claimed_once_in_each_attempt(ledger: Ledger) -> None:
    ledger.claim("a", "train")
    ledger.claim("a", "evaluate")
    ledger.claim("b", "train")
    with pytest.raises(Refused) as refused:
        ledger.claim("a", "train")
    assert refused.value.code is FailureCode.REPLAYED


def test_a_claim_outlives_the_process(tmp_path: Path) -> None:
    FileLedger(tmp_path / "answered.log").claim("a", "train")
    with pytest.raises(Refused):
        FileLedger(tmp_path / "answered.log").claim("a", "train")


def test_a_line_that_was_torn_by_a_crash_does_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "answered.log"
    FileLedger(file).claim("a", "train")
    with file.open("a") as torn:
        torn.write("bbbb")
    again = FileLedger(file)
    again.claim("c", "train")
    with pytest.raises(Refused):
        FileLedger(file).claim("c", "train")


def test_a_round_is_summed_over_one_set_of_members_only_also_after_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "answered.log"
    FileLedger(file).settle("run", 1, ["b", "a", "c"])
    again = FileLedger(file)
    again.settle("run", 1, ["a", "b", "c"])
    again.settle("run", 2, ["a", "b"])
    again.settle("other", 1, ["a", "b"])
    for ledger in (again, FileLedger(file)):
        with pytest.raises(Refused) as refused:
            ledger.settle("run", 1, ["a", "b"])
        assert refused.value.code is FailureCode.ROSTER


def test_a_roster_that_a_full_disk_did_not_take_binds_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = FileLedger(tmp_path / "answered.log")
    with monkeypatch.context() as full:
        full.setattr(FileLedger, "_write", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "")))
        with pytest.raises(OSError, match=str(errno.ENOSPC)):
            ledger.settle("run", 1, ["a", "b", "c"])
        with pytest.raises(OSError, match=str(errno.ENOSPC)):
            ledger.claim("attempt", "train")
    ledger.settle("run", 1, ["a", "b", "d"])
    with pytest.raises(Refused):
        ledger.claim("attempt", "train")


def test_a_torn_roster_binds_nobody(tmp_path: Path) -> None:
    file = tmp_path / "answered.log"
    FileLedger(file).settle("run", 1, ["a", "b", "c"])
    file.write_text(file.read_text().replace(",c settled\n", ""))
    FileLedger(file).settle("run", 1, ["a", "b", "c"])
