"""How far apart two pictures look: by what a network that knows photographs makes of them (Zhang et al. 2018, LPIPS).

Without learned weights for its channels, and with the trunk that ships in place of theirs: docs/results.md defines it.
"""

from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from core.learning.architectures.efficientnet import Trunk
from core.learning.backend import load_keras
from core.learning.trunk_runner import Runner, runner

SIDE = 64
TRUNK = Trunk(cut="block10", taps=("block0", "block2", "block4"))
_LEAST = 1e-10
Floats = NDArray[np.float64]


def looks_of(pictures: Sequence[Floats]) -> list[Floats]:
    """Return each layer's map of pictures [h, w, 3] from 0 to 1, scaled to length 1 at each position: [n, h, w, c]."""
    larger = [cv2.resize(np.clip(one, 0, 1).astype(np.float32), (SIDE, SIDE)) for one in pictures]
    maps = [one.astype(np.float64) for one in _trunk()(np.stack(larger).astype(np.float32))]
    return [one / np.maximum(np.linalg.norm(one, axis=-1, keepdims=True), _LEAST) for one in maps]


def apart(looks: Sequence[Floats], others: Sequence[Floats]) -> Floats:
    """Return the distances between pictures whose looks are given: float64[n], from 0 to 4.

    Squared differences are added over channels, and averaged over positions and then layers.
    """
    layers = [((one - other) ** 2).sum(axis=-1).mean(axis=(1, 2)) for one, other in zip(looks, others, strict=True)]
    return np.asarray(np.mean(layers, axis=0), np.float64)


@cache
def _trunk() -> Runner:
    load_keras()
    return runner(TRUNK, SIDE, jit=False)
