"""Changes of what is stored: sealed pictures, and an exported audit log. Does any of them open, or verify?"""

import tempfile
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np

from core.clock import SystemClock
from core.diagnosis.wire import image_context
from core.evaluation.attacks.bench import Bench
from core.evaluation.attacks.result import Attacked, Figure, View
from core.imaging.decode import encode_png
from core.learning.orders import APP
from federated.throwaway import ThrowAwayKeys
from security.audit import Entry, LogState, sign_head
from security.audit_export import export_lines
from security.errors import SealBroken
from security.identity import Identity
from security.sealed_format import front_length
from security.sealing import open_sealed, seal
from security.verify_audit import AuditBroken, verify_export

NAME = "objects"
_PICTURES = 20
_ENTRIES = 40
_ENCLAVE = "north.serving"
Lines = list[bytes]
Change = Callable[[bytes, bytes, np.random.Generator], bytes]
"""A sealed object, another one, draws -> what lies in the first one's place."""


def flipped(data: bytes, start: int, end: int, rng: np.random.Generator) -> bytes:
    """Return data with one bit between two places changed."""
    changed = bytearray(data)
    changed[int(rng.integers(start, end))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


OBJECT_CHANGES: dict[str, Change] = {
    "bit of the front": lambda one, _, rng: flipped(one, 0, front_length(one), rng),
    "bit of the body": lambda one, _, rng: flipped(one, front_length(one), len(one), rng),
    "end cut off": lambda one, _, rng: one[: int(rng.integers(1, len(one)))],
    "bytes added": lambda one, _, rng: one + rng.bytes(int(rng.integers(1, 64))),
    "another object in its place": lambda _, other, __: other,
    "front of one, body of another": lambda one, other, _: one[: front_length(one)] + other[front_length(other) :],
}


def _exchanged(lines: Lines, rng: np.random.Generator) -> Lines:
    one, other = rng.permutation(len(lines) - 1)[:2]
    changed = [*lines]
    changed[one], changed[other] = lines[other], lines[one]
    return changed


def _edited(lines: Lines, rng: np.random.Generator) -> Lines:
    place = int(rng.integers(len(lines) - 1))
    changed = lines[place].replace(b"case.read", b"case.list").replace(b"doctor", b"nobody")
    return [*lines[:place], changed, *lines[place + 1 :]]


def _byte(lines: Lines, rng: np.random.Generator) -> Lines:
    place = int(rng.integers(len(lines) - 1))
    return [*lines[:place], flipped(lines[place], 0, len(lines[place]) - 1, rng), *lines[place + 1 :]]


def _left_out(lines: Lines, rng: np.random.Generator) -> Lines:
    place = int(rng.integers(len(lines) - 1))
    return [*lines[:place], *lines[place + 1 :]]


def _twice(lines: Lines, rng: np.random.Generator) -> Lines:
    place, where = (int(rng.integers(len(lines) - 1)) for _ in range(2))
    return [*lines[:where], lines[place], *lines[where:]]


def _cut(lines: Lines, rng: np.random.Generator) -> Lines:
    return [*lines[: int(rng.integers(1, len(lines) - 1))], lines[-1]]


LOG_CHANGES: dict[str, Callable[[Lines, np.random.Generator], Lines]] = {
    "bit of a line": _byte,
    "words of an entry": _edited,
    "entry left out": _left_out,
    "entry twice": _twice,
    "entries exchanged": _exchanged,
    "end cut off": _cut,
}


def attack(bench: Bench) -> list[Attacked]:
    """Change sealed pictures, then a log."""
    with tempfile.TemporaryDirectory(prefix="hemaseal-attacks-") as folder:
        keys = ThrowAwayKeys(Path(folder), clock=SystemClock())
        app = keys.enrol(APP)
        return [_objects(bench, keys, app), _log(bench, keys, app)]


def _objects(bench: Bench, keys: ThrowAwayKeys, app: Identity) -> Attacked:
    clock, rng = SystemClock(), np.random.default_rng([bench.seed, 6])
    enclave = keys.enrol(_ENCLAVE)
    contexts = [image_context(study=bench.study.name, case_id=f"case-{number}") for number in range(_PICTURES)]
    pictures = [encode_png(bench.own.images[number]) for number in range(_PICTURES)]
    stored = [
        seal(picture, sender=app, recipients=[keys.certificate(_ENCLAVE)], context=context)
        for picture, context in zip(pictures, contexts, strict=True)
    ]

    def opens(data: bytes, number: int) -> bool:
        try:
            open_sealed(
                data, recipient=enclave, trust=keys.trust(), context=contexts[number], sender=APP, at=clock.now()
            )
        except SealBroken:
            return False
        return True

    opened, tried = Counter[str](), Counter[str]()
    for trial in range(bench.profile.objects):
        bench.say("changing sealed objects", trial, bench.profile.objects)
        name = list(OBJECT_CHANGES)[trial % len(OBJECT_CHANGES)]
        one, other = (int(place) for place in rng.permutation(_PICTURES)[:2])
        opened[name] += opens(OBJECT_CHANGES[name](stored[one], stored[other], rng), one)
        tried[name] += 1
    control = sum(opens(data, number) for number, data in enumerate(stored))
    return _counted(bench, "objects", opened, tried, f"{control} of {_PICTURES} unchanged ones open")


def _log(bench: Bench, keys: ThrowAwayKeys, app: Identity) -> Attacked:
    clock, rng = SystemClock(), np.random.default_rng([bench.seed, 7])
    state, entries, begun = LogState(), list[tuple[bytes, str]](), clock.now()
    for number in range(1, _ENTRIES + 1):
        entry = Entry(
            number=number,
            time=begun + timedelta(seconds=number),
            actor=f"user-{number % 7}",
            role="doctor",
            action="case.read",
            object=f"case-{number}",
            outcome="done",
        ).encode()
        state = state.append(entry)
        entries.append((entry, state.chain_hash.hex()))
    root = keys.trust().root
    head = sign_head(state, time=clock.now(), signer=app)
    lines = list(export_lines(entries, head=head, root=root))

    def verifies(changed: Lines) -> bool:
        try:
            verify_export(b"".join(changed).splitlines(keepends=True), root=root.parsed)
        except AuditBroken:
            return False
        return True

    passed, tried = Counter[str](), Counter[str]()
    for trial in range(bench.profile.logs):
        bench.say("changing an audit log", trial, bench.profile.logs)
        name = list(LOG_CHANGES)[trial % len(LOG_CHANGES)]
        passed[name] += verifies(LOG_CHANGES[name](lines, rng))
        tried[name] += 1
    control = "the unchanged one verifies" if verifies(lines) else "the unchanged one does not verify"
    return _counted(bench, "audit-log", passed, tried, control)


def _counted(bench: Bench, name: str, missed: Counter[str], tried: Counter[str], control: str) -> Attacked:
    return Attacked(
        attack=name,
        adversary="whoever writes where it is stored",
        view=View.STORED,
        figure=Figure.INTEGRITY,
        trials=tried.total(),
        successes=missed.total(),
        figures={
            "found of injected": {kind: [count - missed[kind], count] for kind, count in tried.items()},
            "control": control,
        },
        seed=bench.seed,
    )
