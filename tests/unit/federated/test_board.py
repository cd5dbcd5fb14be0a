"""Which published uploads stay on disk."""

from pathlib import Path

from federated.board import FileBoard, file_board, published_attempts

EAST, NORTH = "east.training", "north.training"


def publish(run: Path, attempt: str, *, last: str = "", **vectors: bytes) -> FileBoard:
    board = file_board(run, attempt, "update", last=last)
    for party, vector in vectors.items():
        board.publish(f"{party}.training", f"{party} in {attempt}".encode(), memoryview(vector))
    return board


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_last_finished_attempt_and_the_one_in_hand_stay(tmp_path: Path) -> None:
    for attempt, last in (("first", ""), ("second", "first"), ("third", "first"), ("fourth", "first")):
        publish(tmp_path, attempt, last=last, north=attempt.encode())
    assert published_attempts(tmp_path) == {"first", "fourth"}
    assert files(tmp_path / "first" / "update")[f"{NORTH}.vector"] == b"first"


def test_an_attempt_that_goes_leaves_its_files_and_nothing_of_what_they_said(tmp_path: Path) -> None:
    publish(tmp_path, "first", east=b"longer than the other", north=b"gone").close(b"record", memoryview(b"a sum"))
    place = (tmp_path / "first" / "update" / f"{EAST}.vector").stat().st_ino
    board = publish(tmp_path, "second", east=b"short")
    folder = tmp_path / "second" / "update"
    assert (folder / f"{EAST}.vector").stat().st_ino == place
    assert not {"record.cbor", f"{NORTH}.statement"} & set(files(folder))
    board.close(b"new record", memoryview(b"sum"))
    assert files(folder) == {
        f"{EAST}.statement": b"east in second",
        f"{EAST}.vector": b"short",
        "sum.vector": b"sum",
        "record.cbor": b"new record",
    }


def test_the_second_sum_of_an_attempt_takes_nothing_from_the_first(tmp_path: Path) -> None:
    publish(tmp_path, "first", north=b"vector")
    file_board(tmp_path, "first", "figures", last="").publish(NORTH, b"", memoryview(b"figures"))
    assert files(tmp_path / "first" / "update")[f"{NORTH}.vector"] == b"vector"


def test_a_board_that_keeps_little_in_memory_reads_vectors_back(tmp_path: Path) -> None:
    board = FileBoard(tmp_path, keep=3)
    board.publish("east.training", b"", memoryview(b"abc"))
    board.publish("north.training", b"", memoryview(b"def"))
    board.close(b"record", memoryview(b"sum"))
    assert [bytes(board.vector(party)) for party in ("east.training", "north.training")] == [b"abc", b"def"]
    assert (tmp_path / "sum.vector").read_bytes() == b"sum"
    assert (tmp_path / "record.cbor").read_bytes() == b"record"
