"""Sealed objects in files: the same format as in memory, whole or not at all, and no byte that was not vouched for."""

import errno
import os
import random
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from security import sealed_files
from security.context import Context
from security.errors import SealBroken, SecurityError
from security.sealed_core import CHUNK_BYTES, TAG_BYTES, Body, nonce
from security.sealed_files import KEPT_CHUNKS, SealedFile, replace_front, seal_file
from security.sealed_format import front_length
from security.sealing import handed_over, open_sealed, renewed, rewrap, seal
from tests.unit.security.conftest import NOW, World

NODE = "north.training"
SIZES = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 3 * CHUNK_BYTES + 5]


def in_pieces(body: bytes, most: int, seed: int = 0) -> Iterator[bytes]:
    """A body in pieces of any size, of none too."""
    draw, place = random.Random(seed), 0
    while place < len(body):
        size = draw.randrange(most)
        yield body[place : place + size]
        place += size


@pytest.fixture
def asked(world: World, context: Context) -> dict[str, Any]:
    return {"recipient": world[NODE], "trust": world.trust, "context": context, "sender": "app", "at": NOW}


@pytest.fixture
def sealed(world: World, context: Context, tmp_path: Path) -> Callable[[bytes], Path]:
    """Seal a body into a file."""

    def sealed(body: bytes) -> Path:
        file = tmp_path / "folder" / "object.sealed"
        pieces = in_pieces(body, 300_000)
        seal_file(file, pieces, sender=world["app"], recipients=world.box(NODE, "authority"), context=context)
        return file

    return sealed


@pytest.mark.parametrize("size", SIZES)
def test_what_is_sealed_into_a_file_opens_in_memory_and_the_other_way_round(
    sealed: Callable[[bytes], Path], world: World, context: Context, asked: dict[str, Any], size: int
) -> None:
    body = random.Random(size).randbytes(size)
    file = sealed(body)
    assert open_sealed(file.read_bytes(), **asked) == body
    assert [path.name for path in file.parent.iterdir()] == ["object.sealed"]
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    for made in (file.read_bytes(), seal(body, sender=world["app"], recipients=world.box(NODE), context=context)):
        file.write_bytes(made)
        opened = SealedFile.open(file, **asked)
        assert opened.length == size
        assert opened.read(0, size) == body
        draw = random.Random(1)
        for _ in range(50):
            start = draw.randint(0, size)
            count = draw.randint(0, size - start)
            assert opened.read(start, count) == body[start : start + count]
        for start, count in ((-1, 1), (0, size + 1), (size, 1), (0, -1)):
            with pytest.raises(ValueError, match=f"of {size}"):
                opened.read(start, count)


def test_a_file_that_was_handed_over_opens_for_its_new_recipients_alone(
    sealed: Callable[[bytes], Path], world: World, context: Context, asked: dict[str, Any]
) -> None:
    file = sealed(bytes(CHUNK_BYTES + 3))
    again = rewrap(
        file.read_bytes(),
        holder=world["authority"],
        recipients=world.box("north.serving"),
        trust=world.trust,
        context=context,
        sender="app",
        at=NOW,
    )
    file.write_bytes(again)
    assert SealedFile.open(file, **{**asked, "recipient": world["north.serving"]}).length == CHUNK_BYTES + 3
    with pytest.raises(SealBroken):
        SealedFile.open(file, **asked)


@pytest.mark.parametrize("size", SIZES)
def test_another_front_leaves_the_body_where_it_is_and_little_in_memory(
    sealed: Callable[[bytes], Path], world: World, context: Context, asked: dict[str, Any], size: int
) -> None:
    body = random.Random(size).randbytes(size)
    file = sealed(body)

    def for_authority(front: bytes, rest: Body) -> bytes:
        to = world.box("authority")
        block = handed_over(
            front,
            holder=world[NODE],
            recipients=to,
            trust=world.trust,
            context=context,
            sender="app",
            at=NOW,
            body=rest,
        )
        return renewed(front, block, signer=world["app"], recipients=to, context=context)

    before = file.read_bytes()
    replace_front(file, lambda _front, _body: None)
    assert file.read_bytes() == before

    def while_it_is_changed(front: bytes, rest: Body) -> bytes:
        made = for_authority(front, rest)
        with file.open("r+b") as other:
            other.seek(-1, os.SEEK_END)
            other.write(bytes((before[-1] ^ 1,)))
        return made

    with pytest.raises(SealBroken):
        replace_front(file, while_it_is_changed)
    assert len(file.read_bytes()) == len(before)
    with pytest.raises(SealBroken):
        replace_front(file, for_authority)
    file.write_bytes(before)

    tracemalloc.start()
    replace_front(file, for_authority)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 3 * CHUNK_BYTES
    assert [path.name for path in file.parent.iterdir()] == ["object.sealed"]
    assert file.stat().st_mode & 0o777 == 0o600
    assert open_sealed(file.read_bytes(), **{**asked, "recipient": world["authority"]}) == body
    with pytest.raises(SealBroken):
        open_sealed(file.read_bytes(), **asked)


def test_it_opens_for_nobody_else_and_in_no_other_context(
    sealed: Callable[[bytes], Path], world: World, impostor: World, asked: dict[str, Any]
) -> None:
    file = sealed(b"body")
    other = Context(purpose=asked["context"].purpose, study="leukemia", sender="app", object_id="case-2")
    for wrong in (
        {"recipient": world["north.serving"]},
        {"recipient": impostor[NODE]},
        {"trust": impostor.trust},
        {"context": other},
        {"sender": "authority"},
    ):
        with pytest.raises(SealBroken) as refused:
            SealedFile.open(file, **{**asked, **wrong})
        assert refused.value.__cause__ is None
        assert refused.value.__context__ is None
    with pytest.raises(ValueError, match="zone"):
        SealedFile.open(file, **{**asked, "at": NOW.replace(tzinfo=None)})
    with pytest.raises(FileNotFoundError):
        SealedFile.open(file.with_name("none"), **asked)


def test_no_changed_bit_and_no_other_length_is_opened(sealed: Callable[[bytes], Path], asked: dict[str, Any]) -> None:
    body = random.Random(3).randbytes(2 * CHUNK_BYTES + 100)
    file = sealed(body)
    whole = file.read_bytes()
    front, draw = front_length(whole), random.Random(4)
    places = [*draw.sample(range(front), 60), *draw.sample(range(front, len(whole)), 60), len(whole) - 1, front]
    for place in places:
        changed = bytearray(whole)
        changed[place] ^= 1 << draw.randrange(8)
        file.write_bytes(changed)
        with pytest.raises(SealBroken):
            SealedFile.open(file, **asked)
    size, (first, second) = CHUNK_BYTES + TAG_BYTES, (front, front + CHUNK_BYTES + TAG_BYTES)
    exchanged = whole[:first] + whole[second : second + size] + whole[first:second] + whole[second + size :]
    for other in (whole[:-1], whole + b"\0", whole[:second], whole[:front], whole[:40], b"", exchanged):
        file.write_bytes(other)
        with pytest.raises(SealBroken):
            SealedFile.open(file, **asked)


def test_what_is_changed_while_it_is_open_is_found_and_what_is_replaced_or_deleted_is_not_missed(
    sealed: Callable[[bytes], Path], asked: dict[str, Any]
) -> None:
    body = random.Random(3).randbytes(2 * CHUNK_BYTES + 100)
    file = sealed(body)
    front, size = front_length(file.read_bytes()), CHUNK_BYTES + TAG_BYTES
    opened = SealedFile.open(file, **asked)
    with file.open("r+b") as stream:
        stream.seek(front)
        first = stream.read(size)
        stream.seek(front + size)
        stream.write(first)  # a chunk of the same object, at another place
    with pytest.raises(SealBroken):
        opened.read(CHUNK_BYTES, 1)
    assert opened.read(0, CHUNK_BYTES) == body[:CHUNK_BYTES]
    os.truncate(file, front + size)
    with pytest.raises(SealBroken):
        opened.read(2 * CHUNK_BYTES, 1)
    opened = SealedFile.open(sealed(body), **asked)
    file.unlink()
    sealed(bytes(10))
    assert opened.read(0, len(body)) == body


def test_a_chunk_that_its_sender_did_not_sign_is_refused_although_it_was_made_with_the_right_key(
    sealed: Callable[[bytes], Path], asked: dict[str, Any]
) -> None:
    file = sealed(bytes(3 * CHUNK_BYTES))
    front, size = front_length(file.read_bytes()), CHUNK_BYTES + TAG_BYTES
    opened = SealedFile.open(file, **asked)
    forged = opened._cipher.encrypt(nonce(opened._prefix, 1, last=False), b"\1" * CHUNK_BYTES, None)
    with file.open("r+b") as stream:
        stream.seek(front + size)
        stream.write(forged)
    with pytest.raises(SealBroken):
        opened.read(CHUNK_BYTES, 1)


def test_a_file_of_another_length_is_refused_before_it_is_read(
    sealed: Callable[[bytes], Path], asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = sealed(b"body")
    read: list[object] = []

    def note(*what: object) -> bytes:
        read.append(what)
        return b""

    monkeypatch.setattr(os, "pread", note)
    os.truncate(file, 2**40)  # a hole, which costs no disk
    with pytest.raises(SealBroken):
        SealedFile.open(file, **asked)
    assert read == []


def test_a_disk_that_fails_is_not_taken_for_tampering(
    sealed: Callable[[bytes], Path], asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = sealed(bytes(2 * CHUNK_BYTES))
    opened = SealedFile.open(file, **asked)

    def broken(*_: object) -> bytes:
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(os, "pread", broken)
    with pytest.raises(OSError, match="input/output"):
        SealedFile.open(file, **asked)
    with pytest.raises(OSError, match="input/output"):
        opened.read(CHUNK_BYTES, 1)


def test_memory_holds_few_chunks_and_threads_read_what_one_reads(
    sealed: Callable[[bytes], Path], asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealed_files, "KEPT_CHUNKS", 2)
    body = random.Random(5).randbytes(5 * CHUNK_BYTES)
    opened = SealedFile.open(sealed(body), **asked)
    places = random.Random(6).choices(range(len(body) - 1000), k=400)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda place: opened.read(place, 1000), places)) == [
            body[place : place + 1000] for place in places
        ]
    assert len(opened._kept) == 2
    assert KEPT_CHUNKS > 2


def test_a_file_is_closed_when_nobody_holds_it(sealed: Callable[[bytes], Path], asked: dict[str, Any]) -> None:
    file = sealed(b"body")

    def held() -> int:
        links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        return sum(os.path.realpath(link) == str(file) for link in links)

    opened = SealedFile.open(file, **asked)
    assert held() == 1
    del opened
    assert held() == 0


def test_what_ends_early_leaves_the_former_file_and_nothing_else(
    sealed: Callable[[bytes], Path], world: World, context: Context, asked: dict[str, Any]
) -> None:
    file = sealed(b"former")

    def broken() -> Iterator[bytes]:
        yield bytes(2 * CHUNK_BYTES)
        raise OSError(28, "no space left")

    with pytest.raises(OSError, match="no space"):
        seal_file(file, broken(), sender=world["app"], recipients=world.box(NODE), context=context)
    with pytest.raises(ValueError, match="recipient"):
        seal_file(file, [b"new"], sender=world["app"], recipients=[], context=context)
    with pytest.raises(ValueError, match="sender"):
        seal_file(file, [b"new"], sender=world[NODE], recipients=world.box(NODE), context=context)
    signing = [world[NODE].signing_certificate]
    with pytest.raises(SecurityError):
        seal_file(file, [b"new"], sender=world["app"], recipients=signing, context=context)
    assert SealedFile.open(file, **asked).read(0, 6) == b"former"
    assert [path.name for path in file.parent.iterdir()] == ["object.sealed"]
