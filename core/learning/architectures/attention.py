"""Vision transformers of a million weights, for pictures of 96 to 224 pixels and a few thousand examples.

After Beyer et al. 2022 ("Better plain ViT baselines"): positions are fixed waves instead of learned ones, and the
answer is the mean over tokens instead of a class token; so the logits are the mean of an activation map here too.
Layers are normalised before attention and before the perceptron (Xiong et al. 2020).
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.learning.architectures.convolutional import normed, with_head

WIDTH, HEADS, EXPANSION = 128, 4, 3
_VIT_BLOCKS, _HYBRID_BLOCKS = 6, 4
_MOST_TOKENS = 14
"""A side: the patches of 224 px are 16 px wide, those of 96 px 8 px."""


def vit_small(input_size: int, classes: int) -> Any:
    """Patches of 8 (16 from 120 px on) pixels, six transformer blocks of width 128: 1.0 million weights."""
    import keras  # noqa: PLC0415

    patch = 8 if input_size <= 8 * _MOST_TOKENS else 16
    image = keras.Input((input_size, input_size, 3), name="image")
    x = keras.layers.Conv2D(WIDTH, patch, patch, name="patches_linear")(image)
    return with_head(image, _transformed(x, _VIT_BLOCKS), classes, "vit-small")


def hybrid_small(input_size: int, classes: int) -> Any:
    """Convolutions down to an eighth (a sixteenth from 120 px on), then four transformer blocks: 0.9 million weights.

    Early convolutions give what a transformer lacks with few examples (Xiao et al. 2021).
    """
    import keras  # noqa: PLC0415

    image = keras.Input((input_size, input_size, 3), name="image")
    x = normed(image, "stem", 32, 2)
    x = normed(x, "stage1_down", 48, 2)
    x = normed(x, "stage1", 48, 1)
    x = normed(x, "stage2_down", 96, 2)
    x = normed(x, "stage2", 96, 1)
    if input_size > 8 * _MOST_TOKENS:
        x = normed(x, "stage3_down", WIDTH, 2)
    x = keras.layers.Conv2D(WIDTH, 1, name="tokens_linear")(x)
    return with_head(image, _transformed(x, _HYBRID_BLOCKS), classes, "hybrid-small")


def waves(rows: int, columns: int, width: int) -> NDArray[np.float32]:
    """Return positions as sines and cosines of geometric frequencies, float32 [rows * columns, width]."""
    frequencies = 1 / 10_000 ** (np.arange(width // 4) / (width // 4 - 1))
    y, x = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    angles = [axis.reshape(-1, 1) * frequencies for axis in (x, y)]
    return np.concatenate([wave(angle) for angle in angles for wave in (np.sin, np.cos)], 1).astype(np.float32)


def _transformed(x: Any, blocks: int) -> Any:
    """Return a map of the same grid after positions, transformer blocks and a last normalisation."""
    import keras  # noqa: PLC0415

    rows, columns, width = x.shape[1:]
    x = keras.layers.Reshape((rows * columns, width), name="as_tokens")(x)
    x = x + waves(rows, columns, width)[None]
    for number in range(blocks):
        name = f"block{number}"
        x = x + _attended(keras.layers.LayerNormalization(name=f"{name}_attention_norm")(x), name)
        inner = keras.layers.LayerNormalization(name=f"{name}_perceptron_norm")(x)
        inner = keras.layers.Dense(width * EXPANSION, activation="gelu", name=f"{name}_in_linear")(inner)
        x = x + keras.layers.Dense(width, name=f"{name}_out_linear")(inner)
    x = keras.layers.LayerNormalization(name="tokens_norm")(x)
    return keras.layers.Reshape((rows, columns, width), name="as_map")(x)


def _attended(x: Any, name: str) -> Any:
    """Return multi-head self-attention (Vaswani et al. 2017) over tokens [n, t, width]."""
    import keras  # noqa: PLC0415

    tokens, width = x.shape[1:]
    joint = keras.layers.Dense(3 * width, name=f"{name}_qkv_linear")(x)
    joint = keras.ops.reshape(joint, (-1, tokens, 3, HEADS, width // HEADS))
    query, key, value = (keras.ops.transpose(joint[:, :, part], (0, 2, 1, 3)) for part in range(3))
    alike = keras.ops.matmul(query, keras.ops.transpose(key, (0, 1, 3, 2))) / math.sqrt(width // HEADS)
    mixed = keras.ops.matmul(keras.ops.softmax(alike, -1), value)
    mixed = keras.ops.reshape(keras.ops.transpose(mixed, (0, 2, 1, 3)), (-1, tokens, width))
    return keras.layers.Dense(width, name=f"{name}_mixed_linear")(mixed)
