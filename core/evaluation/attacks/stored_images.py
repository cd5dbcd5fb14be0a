"""A thief of stored uploads: what do the bytes of a sealed picture tell of it?"""

import math
import tempfile
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.clock import SystemClock
from core.diagnosis.wire import image_context
from core.errors import HemaSealError
from core.evaluation.attacks.bench import Bench
from core.evaluation.attacks.inversion import Tried, draw, likeness
from core.evaluation.attacks.metrics import Ranking, rank
from core.evaluation.attacks.pictures import Pictures
from core.evaluation.attacks.result import Attacked, Figure, View
from core.imaging.decode import decode_upload, encode_png
from core.learning.orders import APP
from federated.numpy_learner import pooled
from federated.throwaway import ThrowAwayKeys
from security.sealed_format import front_length
from security.sealing import seal

NAME = "stored-images"
SIDE = 8
_ENCLAVE = "north.serving"
_BYTES = 4096
"""So many of an object's first bytes are looked at by the regression."""
_STRENGTH = 1e4
_MAX_BYTES, _MAX_PIXELS = 2**24, 2**24
Floats = NDArray[np.float64]


def attack(bench: Bench) -> list[Attacked]:
    """Attack sealed pictures, and the same files in clear."""
    own, theirs = (_taken(one, bench.profile.stored, bench.seed) for one in (bench.own, bench.theirs))
    files = [[encode_png(picture) for picture in one.images] for one in (own, theirs)]
    with tempfile.TemporaryDirectory(prefix="hemaseal-attacks-") as folder:
        keys = ThrowAwayKeys(Path(folder), clock=SystemClock())
        sender, _ = keys.enrol(APP), keys.enrol(_ENCLAVE)

        def body(number: int, file: bytes) -> bytes:
            context = image_context(study=bench.study.name, case_id=f"case-{number}")
            sealed = seal(file, sender=sender, recipients=[keys.certificate(_ENCLAVE)], context=context)
            return sealed[front_length(sealed) :]

        bodies = [[body(number, file) for number, file in enumerate(some)] for some in files]
    seen = {View.STORED: bodies, View.STORED_CLEAR: files}
    return [_in_view(bench, view, (own, theirs), *both) for view, both in seen.items()]


def _taken(pictures: Pictures, count: int, seed: int) -> Pictures:
    """Draw pictures, without any twice."""
    which = np.random.default_rng([seed, 8]).permutation(len(pictures.labels))[:count]
    return Pictures(pictures.images[which], pictures.labels[which], pictures.looks[which])


def _in_view(
    bench: Bench, view: View, sides: tuple[Pictures, Pictures], own: Sequence[bytes], theirs: Sequence[bytes]
) -> Attacked:
    bench.say(f"attacking pictures, {view.value}", 0, 1)
    pool = bench.study.input_size // SIDE
    known, truths = (pooled(side.images, pool).astype(np.float64) + 0.5 for side in sides)
    guesses = _regressed(own, known, theirs)
    found = [_decoded(data, pool) for data in theirs]
    tried = [
        Tried(true, guess if one is None else one, known.mean(axis=0))
        for one, true, guess in zip(found, truths, guesses, strict=True)
    ]
    positive = np.isin(sides[1].labels, bench.study.positive_indices)
    lengths = rank(np.array([float(len(data)) for data in theirs]), positive)
    random = _against_random([*own, *theirs], bench.seed)
    return Attacked(
        attack=NAME,
        adversary="thief of stored objects",
        view=view,
        figure=Figure.PRIVACY,
        trials=len(tried),
        successes=sum(one.is_recovered for one in tried),
        figures=likeness(tried)
        | {
            "bits a byte": float(np.mean([_entropy(data) for data in theirs])),
            "zlib, bytes after by before": float(np.mean([len(zlib.compress(data, 9)) / len(data) for data in theirs])),
            "auc against random bytes": [random.auc, random.low, random.high],
            "auc of the length for the label": [lengths.auc, lengths.low, lengths.high],
        },
        seed=bench.seed,
        picture=draw(tried, bench.out / "attacks" / f"{NAME}-{view.value}.png"),
    )


def _decoded(data: bytes, pool: int) -> Floats | None:
    """Return the picture that the bytes are a file of, if they are."""
    try:
        pixels = decode_upload(data, max_bytes=_MAX_BYTES, max_pixels=_MAX_PIXELS).pixels
    except HemaSealError:
        return None
    return pooled(pixels[None], pool)[0].astype(np.float64) + 0.5


def _regressed(own: Sequence[bytes], pictures: Floats, theirs: Sequence[bytes]) -> Floats:
    """Learn small pictures from bytes of one's own objects; return them for others' objects."""
    from sklearn.linear_model import Ridge  # noqa: PLC0415  slow to import

    model = Ridge(alpha=_STRENGTH).fit(_numbers(own), pictures.reshape(len(pictures), -1))
    return np.asarray(model.predict(_numbers(theirs)), np.float64).reshape(-1, *pictures.shape[1:])


def _numbers(objects: Sequence[bytes]) -> Floats:
    rows = np.zeros((len(objects), _BYTES))
    for row, data in zip(rows, objects, strict=True):
        first = np.frombuffer(data[:_BYTES], np.uint8)
        row[: first.size] = first / 127.5 - 1
    return rows


def _against_random(objects: Sequence[bytes], seed: int) -> Ranking:
    """Learn from half of the objects to tell them from random bytes by counts of bytes; judge on the other half."""
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415  slow to import
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

    rng = np.random.default_rng([seed, 9])
    both = [*objects, *(rng.bytes(len(data)) for data in objects)]
    counts = np.stack([np.bincount(np.frombuffer(data, np.uint8), minlength=256) / len(data) for data in both])
    genuine, learned = np.arange(len(both)) < len(objects), rng.random(len(both)) < 0.5  # noqa: PLR2004 - a half
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
    model.fit(counts[learned], genuine[learned])
    return rank(np.asarray(model.decision_function(counts[~learned]), np.float64), genuine[~learned])


def _entropy(data: bytes) -> float:
    """Shannon entropy of the bytes' frequencies, in bits."""
    return -sum(count / len(data) * math.log2(count / len(data)) for count in Counter(data).values())
