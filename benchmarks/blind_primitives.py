"""How fast the primitives of blind sums are, and what the hash finds: ``python -m benchmarks.blind_primitives``.

Definitions. One thread (BLAS too), vectors of D uniformly random uint32 words unless said otherwise. A time is the
median of `--runs` runs (at least 30) after one that does not count; what a run needs is prepared outside its time.
Bytes per second: bytes of keystream made, or of words hashed, divided by that median.

  masks                11 keystreams added to one vector (ten pairwise or own masks and the group mask)
  group mask           a multiple of one keystream subtracted from one vector
  hash, first vector   table of powers and hash of one vector; next vector: the table is there
  hash of a sum        low words (uint32) and carries (uint8), the table is there
  split, combine       one secret; "new points": the Lagrange weights are computed, otherwise they are there
  agree, box           "new peer": the peer's point is decoded and checked, otherwise it is loaded already

The statement about changes: in each of `--trials` trials, `--trial-nodes` vectors of `--trial-words` uniformly random
words are added without reduction and the point is drawn from 32 random bytes of each. The hashes of the vectors must
add up to that of the sum (otherwise: a false alarm). Then one coordinate of one of the vectors or of the sum's low
words, all chosen uniformly, is changed by a uniformly random non-zero amount modulo 2^32, and the hashes must no longer
add up (otherwise: not found). The seed of the trials is fixed and printed.
"""

import json
import os
import platform
import secrets
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from security import shamir
from security.keystream import SEED_BYTES, apply_masks, subtract_multiple
from security.masking import MaskKey, TransportKey
from security.point_hash import PRIME, PointHash, draw_point

MASKS = 11


@dataclass(frozen=True)
class Timing:
    """One measured operation; `bytes_per_s` is None where no stream of bytes is worked on."""

    name: str
    runs: int
    median_ms: float
    bytes_per_s: float | None


@dataclass(frozen=True)
class Outcome:
    """What became of a number of trials."""

    trials: int
    words: int
    nodes: int
    seed: int
    found: int
    false_alarms: int


def change_trials(trials: int, *, words: int, nodes: int, seed: int) -> Outcome:
    """Change one coordinate in each trial, as the module's docstring defines, and count how often it is found."""
    rng = np.random.default_rng(seed)
    found = false_alarms = 0
    for _ in range(trials):
        vectors = rng.integers(0, 2**32, (nodes, words), dtype=np.uint32)
        total = vectors.sum(axis=0, dtype=np.uint64)
        low, carry = total.astype(np.uint32), (total >> np.uint64(32)).astype(np.uint8)
        point_hash = PointHash(draw_point(rng.bytes(32) for _ in range(nodes)), words)
        hashes = [point_hash.of(vector) for vector in vectors]
        sum_hash = point_hash.of_sum(low, carry)
        false_alarms += sum(hashes) % PRIME != sum_hash
        victim, coordinate = rng.integers(nodes + 1), rng.integers(words)
        amount = rng.integers(1, 2**32, dtype=np.uint32)
        if victim == nodes:
            low[coordinate : coordinate + 1] += amount
            sum_hash = point_hash.of_sum(low, carry)
        else:
            vectors[victim, coordinate : coordinate + 1] += amount
            hashes[victim] = point_hash.of(vectors[victim])
        found += sum(hashes) % PRIME != sum_hash
    return Outcome(trials, words, nodes, seed, found, false_alarms)


def measure(name: str, prepare: Callable[[], Callable[[], object]], *, runs: int, size: int | None = None) -> Timing:
    """Time what `prepare` returns, `runs` times; `size` is the number of bytes that it works on."""
    seconds = []
    for _ in range(runs + 1):
        act = prepare()
        start = time.perf_counter()
        act()
        seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds[1:])
    return Timing(name, runs, 1000 * median, None if size is None else size / median)


def vector_timings(words: int, runs: int) -> list[Timing]:
    """Measure masks and hashes of vectors of `words` words."""
    rng = np.random.default_rng(1)
    narrow = rng.integers(0, 2**32, words, dtype=np.uint32)
    wide = rng.integers(0, 2**64, words, dtype=np.uint64)
    carry = rng.integers(0, 10, words, dtype=np.uint8)
    seeds = [secrets.token_bytes(SEED_BYTES) for _ in range(MASKS)]
    point = draw_point(seeds)
    ready = PointHash(point, words)
    ready.of(narrow)
    ready.of(wide)
    size, label = narrow.nbytes, f"{words:,} words"
    cases: list[tuple[str, Callable[[], object], int]] = [
        (f"{MASKS} masks, {label}", lambda: apply_masks(narrow, plus=seeds[:6], minus=seeds[6:]), MASKS * size),
        (f"{MASKS} masks, {label} of 64 bits", lambda: apply_masks(wide, plus=seeds), 2 * MASKS * size),
        (f"group mask, {label}", lambda: subtract_multiple(narrow, seeds[0], 10), size),
        (f"hash, first vector, {label}", lambda: PointHash(point, words).of(narrow), size),
        (f"hash, next vector, {label}", lambda: ready.of(narrow), size),
        (f"hash, next vector, {label} of 64 bits", lambda: ready.of(wide), 2 * size),
        (f"hash of a sum, {label}", lambda: ready.of_sum(narrow, carry), size + words),
    ]
    return [measure(name, lambda act=act: act, runs=runs, size=size) for name, act, size in cases]  # type: ignore[misc]


def share_timings(threshold: int, members: int, runs: int) -> list[Timing]:
    """Measure sharing one secret to `members` points and putting it together from `threshold` shares."""
    secret, salt = secrets.token_bytes(shamir.SECRET_BYTES), secrets.token_bytes(shamir.SALT_BYTES)
    shares = shamir.split(secret, threshold=threshold, points=range(1, members + 1))
    commitment = shamir.commit(shares[1], salt=salt, point=1, context=salt)

    def elsewhere() -> Callable[[], bytes]:
        first = secrets.randbelow(2**16) + 1
        moved = shamir.split(secret, threshold=threshold, points=range(first, first + members))
        return lambda: shamir.combine(moved, threshold=threshold)

    label = f"{threshold} of {members}"
    return [
        measure(
            f"split {label}",
            lambda: lambda: shamir.split(secret, threshold=threshold, points=range(1, members + 1)),
            runs=runs,
        ),
        measure(f"combine {label}", lambda: lambda: shamir.combine(shares, threshold=threshold), runs=runs),
        measure(f"combine {label}, new points", elsewhere, runs=runs),
        measure("commit", lambda: lambda: shamir.commit(shares[1], salt=salt, point=1, context=salt), runs=runs),
        measure(
            "check", lambda: lambda: shamir.check(shares[1], commitment, salt=salt, point=1, context=salt), runs=runs
        ),
    ]


def key_timings(runs: int) -> list[Timing]:
    """Measure making keys, agreeing, and sealing two shares with their salts."""
    mask, peer = MaskKey.generate(), MaskKey.generate()
    transport, other = TransportKey.generate(), TransportKey.generate()
    scalar, info, shares = mask.scalar(), secrets.token_bytes(64), secrets.token_bytes(2 * 49)
    box, back = transport.box(other.public, info=info), other.box(transport.public, info=info)
    sealed = box.seal(shares, context=info)

    def new_peer() -> Callable[[], bytes]:
        point = MaskKey.generate().public
        return lambda: mask.agree(point, info=info)

    def new_box() -> Callable[[], object]:
        point = TransportKey.generate().public
        return lambda: transport.box(point, info=info)

    return [
        measure("generate a key pair", lambda: MaskKey.generate, runs=runs),
        measure("key pair from its scalar", lambda: lambda: MaskKey.from_scalar(scalar), runs=runs),
        measure("agree", lambda: lambda: mask.agree(peer.public, info=info), runs=runs),
        measure("agree, new peer", new_peer, runs=runs),
        measure("box, new peer", new_box, runs=runs),
        measure("seal two shares", lambda: lambda: box.seal(shares, context=info), runs=runs),
        measure("open two shares", lambda: lambda: back.open(sealed, context=info), runs=runs),
    ]


def main(
    *,
    words: Annotated[int, typer.Option(min=1, help="D, words of a vector; measured at D and at ten times D.")] = 10**6,
    runs: Annotated[int, typer.Option(min=30, help="Runs of each operation.")] = 101,
    trials: Annotated[int, typer.Option(min=0, help="Trials of the statement about changes.")] = 10_000,
    trial_words: Annotated[int, typer.Option(min=1, help="Words of a trial's vectors.")] = 10_000,
    trial_nodes: Annotated[int, typer.Option(min=1, max=255, help="Vectors of a trial.")] = 4,
    seed: Annotated[int, typer.Option(help="Seed of the trials.")] = 20_260_101,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write everything to this file too.")] = None,
) -> None:
    """Print a line per operation, then the outcome of the trials."""
    with threadpool_limits(1):
        timings = vector_timings(words, runs) + vector_timings(10 * words, max(30, runs // 3))
        timings += share_timings(7, 10, runs)[:3] + share_timings(60, 80, runs) + key_timings(runs)
        outcome = change_trials(trials, words=trial_words, nodes=trial_nodes, seed=seed)
    for timing in timings:
        rate = "" if timing.bytes_per_s is None else f"{timing.bytes_per_s / 1e9:8.2f} GB/s"
        print(f"{timing.name:44} {timing.median_ms:10.4f} ms  ({timing.runs} runs) {rate}")
    print(
        f"one changed coordinate found in {outcome.found} of {outcome.trials} trials, "
        f"{outcome.false_alarms} false alarms ({outcome.nodes} vectors of {outcome.words} words, seed {outcome.seed})"
    )
    if json_file:
        report: dict[str, Any] = {
            "python": platform.python_version(),
            "processors": os.cpu_count(),
            "versions": {name: version(name) for name in ("numpy", "cryptography")},
            "timings": [asdict(timing) for timing in timings],
            "changes": asdict(outcome),
        }
        json_file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
