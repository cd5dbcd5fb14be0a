"""A search for anything in clear: short pieces of secrets, in the forms in which a careless column would hold them."""

import base64
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from safetensors.numpy import load as load_tensors
from sqlalchemy import Engine
from sqlmodel import SQLModel

from core.diagnosis.bundle import ServingModel
from core.studies import STUDIES

PIECE = 24


def contents(engine: Engine) -> bytes:
    """Every value of every row, and on SQLite the raw file with its write-ahead log."""
    values: list[bytes] = []
    with engine.connect() as connection:
        for table in SQLModel.metadata.sorted_tables:
            for row in connection.execute(table.select()):
                values.extend(value if isinstance(value, bytes) else str(value).encode() for value in row)
    if engine.url.database and engine.dialect.name == "sqlite":
        file = Path(engine.url.database)
        values.extend(part.read_bytes() for part in sorted(file.parent.glob(f"{file.name}*")))
    return b"\0".join(values)


def pieces(secret: bytes) -> Iterator[bytes]:
    """Short pieces from all over a long secret, each of which would betray it; runs of one value betray nothing."""
    for start in range(0, len(secret) - PIECE, max(PIECE, len(secret) // 200)):
        piece = secret[start : start + PIECE]
        if len(set(piece)) > PIECE // 3:
            yield piece


def weights_of(model: ServingModel) -> Iterator[bytes]:
    """The bytes of every tensor, and of the serving network."""
    assert model.weights is not None
    yield from (np.ascontiguousarray(tensor).tobytes() for tensor in load_tensors(model.weights).values())
    yield model.litert


def names_of_diagnoses() -> set[str]:
    """Every word that names a disease ("normal" is also a word of its own)."""
    titles = {text for study in STUDIES.values() for label in study.classes for text in (label.title, label.plain)}
    names = {name for study in STUDIES.values() for name in (study.name, *study.class_names) if name != "normal"}
    return titles | names | {"blast"}


def found_in_clear(held: bytes, *, long: Iterable[bytes], texts: Iterable[str]) -> list[bytes]:
    """Return what of the secrets stands in `held`: pieces of the long ones; texts raw, in hex and in base64."""
    lower = held.lower()
    found = [piece for secret in long for piece in pieces(secret) if piece in held]
    for text in texts:
        raw = text.encode()
        forms = (raw, raw.hex().encode(), base64.b64encode(raw).rstrip(b"=")[:-1])
        found += [form for form in forms if form.lower() in lower]
    return found
