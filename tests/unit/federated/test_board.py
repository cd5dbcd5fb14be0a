"""Which published uploads stay on disk."""

from pathlib import Path

from federated.board import FileBoard, keep_only, published_attempts


def test_only_the_named_attempts_stay(tmp_path: Path) -> None:
    for attempt in ("first", "second", "third"):
        for name in ("update", "figures"):
            FileBoard(tmp_path / attempt / name).publish("north.training", b"statement", memoryview(b"vector"))
    keep_only(tmp_path, {"third", "first", "fourth"})
    assert published_attempts(tmp_path) == {"first", "third"}
    assert (tmp_path / "first" / "update" / "north.training.vector").read_bytes() == b"vector"


def test_a_run_that_published_nothing_has_nothing_to_delete(tmp_path: Path) -> None:
    keep_only(tmp_path / "run", {"first"})
    assert published_attempts(tmp_path / "run") == set()
    assert not (tmp_path / "run").exists()


def test_a_board_that_keeps_little_in_memory_reads_vectors_back(tmp_path: Path) -> None:
    board = FileBoard(tmp_path, keep=3)
    board.publish("east.training", b"", memoryview(b"abc"))
    board.publish("north.training", b"", memoryview(b"def"))
    board.close(b"record", memoryview(b"sum"))
    assert [bytes(board.vector(party)) for party in ("east.training", "north.training")] == [b"abc", b"def"]
    assert (tmp_path / "sum.vector").read_bytes() == b"sum"
    assert (tmp_path / "record.cbor").read_bytes() == b"record"
