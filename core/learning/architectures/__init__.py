"""The registry of network architectures; written with `keras.ops` only, so that any Keras backend can train them.

An architecture's network has three outputs: logits float32 [n, classes], class activation map float32
[n, h, w, classes] and features float32 [n, f]. The head is one Dense layer applied at every position of the last
feature map, and the logits are the mean of its answers, so that the map shows exactly the numbers that made the
decision (Zhou et al. 2016, equation 2). Softmax and cross-entropy (second paper, equations 2 and 3) are the
trainer's, on logits.

With a *trunk*, a frozen lower part that is shipped (`efficientnet.Trunk`), the network proper starts where the trunk
ends: its inputs are the trunk's maps, and only it is trained, federated, sealed and stored as weights.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.learning.architectures import attention, convolutional, efficientnet
from core.learning.architectures.efficientnet import Trunk
from core.learning.weights import Weights

__all__ = [
    "ARCHITECTURES",
    "DEFAULT_ARCHITECTURE",
    "Architecture",
    "Trunk",
    "build",
    "find",
    "initial",
]

Builder = Callable[[int, int], Any]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """An entry of the registry.

    Attributes:
        purpose: what it is for, in a few words.
        builder: function of input size and number of classes that returns the untrained `keras.Model`: from image
            float32 [n, s, s, 3] in 0..1, or from the trunk's maps, to (logits, cam, features).
        trunk: the frozen part below, or None.
        jit: whether XLA makes it faster on a processor (depthwise convolutions become slower).
        private: whether it can be trained with differential privacy: it must be a chain of layers whose gradient of
            each example is known (`core.learning.example_gradients`).
        half: whether it is served with weights rounded to float16, for half the size.
    """

    purpose: str
    builder: Builder
    trunk: Trunk | None = None
    jit: bool = True
    private: bool = False
    half: bool = True


_LITE0_TOP = Trunk(cut="top")
_LITE0_BLOCK14 = Trunk(cut="block14")
_LITE0_SHALLOW = Trunk(cut="block10", taps=("block2", "block4", "block7"))
_LITE0_BLOCK7 = Trunk(cut="block7")
_LITE0_DEPTHS = Trunk(cut="block14", taps=("block7", "block10"))

ARCHITECTURES: dict[str, Architecture] = {
    "groupnorm-small": Architecture(
        purpose="plain convolutions, 0.30 million weights; fast on two cores and fit for differential privacy",
        builder=convolutional.groupnorm_small,
        private=True,
        half=False,
    ),
    "residual-small": Architecture(
        purpose="residual convolutions, 1.0 million weights; the stronger network for single cells",
        builder=convolutional.residual_small,
    ),
    "vit-small": Architecture(
        purpose="vision transformer, 1.0 million weights; for comparison",
        builder=attention.vit_small,
    ),
    "hybrid-small": Architecture(
        purpose="convolutions, then a transformer, 0.9 million weights; for comparison",
        builder=attention.hybrid_small,
    ),
    "efficientnet-lite0": Architecture(
        purpose="ImageNet features; only the layers after block 14 are trained",
        builder=efficientnet.upper_builder(_LITE0_BLOCK14),
        trunk=_LITE0_BLOCK14,
        jit=False,
    ),
    "efficientnet-lite0-depths": Architecture(
        purpose="ImageNet features of three depths; only block 15 and the head are trained, 0.61 million weights",
        builder=efficientnet.upper_builder(_LITE0_DEPTHS, last="block15"),
        trunk=_LITE0_DEPTHS,
        jit=False,
    ),
    "efficientnet-lite0-deep": Architecture(
        purpose="ImageNet features; blocks 8 to 14 and the head are trained, 2.09 million weights",
        builder=efficientnet.upper_builder(_LITE0_BLOCK7, last="block14", joined=("block10",)),
        trunk=_LITE0_BLOCK7,
        jit=False,
    ),
    "efficientnet-lite0-shallow": Architecture(
        purpose="ImageNet features up to block 10 under one mixing layer: 34,000 weights, for textures and stains",
        builder=efficientnet.upper_builder(_LITE0_SHALLOW, last="block10", width=128),
        trunk=_LITE0_SHALLOW,
        jit=False,
    ),
    "efficientnet-lite0-linear": Architecture(
        purpose="ImageNet features under a linear head: a few thousand weights, fit for differential privacy",
        builder=efficientnet.upper_builder(_LITE0_TOP),
        trunk=_LITE0_TOP,
        private=True,
    ),
}
DEFAULT_ARCHITECTURE = "groupnorm-small"


def find(name: str) -> Architecture:
    """Return an entry of the registry.

    Raises:
        ValueError: unknown name.
    """
    if name not in ARCHITECTURES:
        raise ValueError(f"unknown architecture {name!r}; known are {sorted(ARCHITECTURES)}")
    return ARCHITECTURES[name]


def initial(name: str, shapes: Mapping[str, tuple[int, ...]], rng: np.random.Generator) -> Weights:
    """Return fresh weights for the variables of an architecture.

    What the trunk's file holds above the cut starts from there. Kernels are normal with He's deviation (He et al.
    2015), those of the head and of linear layers (name ending in ``_linear``) with half its variance; gains are one,
    those at the end of a residual branch (``_last_norm``) zero, so that a deep network starts as a shallow one;
    biases are zero.
    """
    trunk = find(name).trunk
    shipped = trunk.file.read() if trunk else {}
    weights: Weights = {}
    for path, shape in shapes.items():
        layer, _, kind = path.rpartition("/")
        if path in shipped:
            weights[path] = shipped[path].copy()
        elif kind == "kernel":
            gain = 1.0 if layer == "head" or layer.endswith("_linear") else 2.0
            weights[path] = rng.normal(0.0, math.sqrt(gain / math.prod(shape[:-1])), shape).astype(np.float32)
        else:
            weights[path] = np.full(shape, float(kind == "gamma" and not layer.endswith("_last_norm")), np.float32)
    return weights


def build(name: str, *, input_size: int, classes: int) -> Any:
    """Return a new, untrained `keras.Model`.

    Args:
        name: a key of `ARCHITECTURES`.
        input_size: side of the square picture in pixels.
        classes: number of classes.

    Returns:
        A model with the outputs (logits [n, classes], cam [n, h, w, classes], features [n, f]), all float32. Its
        inputs are float32 [n, side, side, 3] in 0..1, or the maps that the architecture's trunk makes of that.

    Raises:
        ValueError: unknown name, or sizes that cannot be built.
    """
    architecture = find(name)
    if input_size < 16 or classes < 2:  # noqa: PLR2004  four halvings of 16 leave one position; one class decides nothing
        raise ValueError(f"input_size must be at least 16 and classes at least 2, got {input_size} and {classes}")
    return architecture.builder(input_size, classes)
