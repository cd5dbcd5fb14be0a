"""Network weights as plain data: a dictionary of float32 arrays in a fixed order, or safetensors bytes.

Nothing here needs Keras, so that coordinator, aggregation and enclaves can read weights without TensorFlow.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from core.errors import CheckpointRefused

Array = NDArray[np.float32]
Weights = dict[str, Array]
"""Name of a variable -> float32 array, in the order of the model's variables."""

_ORDER_KEY = "hemaseal.order"
_HEADER_LENGTH = 8
_MAX_HEADER = 1 << 20
_NUMBERS = (np.dtype(np.float32), np.dtype(np.float16))


def shapes_of(weights: Weights) -> dict[str, tuple[int, ...]]:
    """Return the shape of each variable, in order."""
    return {name: array.shape for name, array in weights.items()}


def check_weights(weights: Weights, like: Weights) -> None:
    """Check that `weights` fit `like` (same names, order and shapes) and are finite.

    Raises:
        CheckpointRefused: they do not.
    """
    if list(weights) != list(like) or shapes_of(weights) != shapes_of(like):
        raise CheckpointRefused("the weights belong to another architecture")
    if not all(np.isfinite(array).all() for array in weights.values()):
        raise CheckpointRefused("the weights are not finite")


def rounded_to_half(weights: Weights) -> Weights:
    """Return the weights rounded to what float16 holds, still float32."""
    return {name: array.astype(np.float16).astype(np.float32) for name, array in weights.items()}


def encode_weights(weights: Weights, metadata: Mapping[str, str], *, half: bool = False) -> bytes:
    """Return the weights and `metadata` in the safetensors format; keys must not start with ``hemaseal.``.

    With `half` they are kept as float16, in half the bytes: whoever decodes them has what `rounded_to_half` returns.
    """
    kept = np.float16 if half else np.float32
    return encode_arrays({name: np.asarray(array, kept) for name, array in weights.items()}, metadata)


def encode_arrays(arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> bytes:
    """Return arrays of any number type as `encode_weights` does."""
    if any(key.startswith("hemaseal.") for key in metadata):
        raise ValueError("metadata keys must not start with 'hemaseal.'")
    if any("\n" in name for name in arrays):
        raise ValueError("names of variables must not hold a line break")
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    return bytes(save_safetensors(whole, metadata={**metadata, _ORDER_KEY: "\n".join(arrays)}))


def decode_weights(data: bytes) -> tuple[Weights, dict[str, str]]:
    """Read what `encode_weights` wrote.

    Returns:
        The weights, float32 in their order, and the metadata.

    Raises:
        CheckpointRefused: the bytes are damaged or hold something else.
    """
    arrays, metadata = decode_arrays(data)
    if any(array.dtype not in _NUMBERS for array in arrays.values()):
        raise CheckpointRefused("the weights are not what their header says")
    return {name: array.astype(np.float32, copy=False) for name, array in arrays.items()}, metadata


def decode_arrays(data: bytes) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Read what `encode_arrays` wrote, as `decode_weights` does."""
    import json  # noqa: PLC0415  only this reader looks at the header itself: the library does not hand out metadata

    try:
        arrays = load_safetensors(data)
        length = int.from_bytes(data[:_HEADER_LENGTH], "little")
        if length > _MAX_HEADER:
            raise CheckpointRefused("the header is too long")
        metadata = dict(json.loads(data[_HEADER_LENGTH : _HEADER_LENGTH + length])["__metadata__"])
        order = metadata.pop(_ORDER_KEY).split("\n")
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CheckpointRefused("the weights cannot be read") from error
    if sorted(order) != sorted(arrays):
        raise CheckpointRefused("the weights are not what their header says")
    return {name: arrays[name] for name in order}, metadata


def sha256_of(weights: Weights) -> str:
    """Return the canonical hash (hex) of names, shapes and little-endian float32 values, in order."""
    return _sha256(b"hemaseal weights 1\n", weights, "<f4")


def sha256_of_moments(moments: Mapping[str, NDArray[np.float64]]) -> str:
    """Return the canonical hash (hex) of a server optimiser's moments, as of weights but float64; empty for none."""
    return _sha256(b"hemaseal moments 1\n", moments, "<f8") if moments else ""


def checkpoint_sha256(weights_sha256: str, moments_sha256: str) -> str:
    """Return the name (hex) of weights together with moments; without moments it is the hash of the weights.

    Whoever has the weights and the hash of the moments can tell by it that just these weights are in a checkpoint.
    """
    if not moments_sha256:
        return weights_sha256
    return hashlib.sha256(f"hemaseal checkpoint 1\n{weights_sha256}\n{moments_sha256}\n".encode()).hexdigest()


def _sha256(title: bytes, arrays: Mapping[str, NDArray[Any]], number_type: str) -> str:
    digest = hashlib.sha256(title)
    for name, array in arrays.items():
        digest.update(f"{name}\0{','.join(map(str, array.shape))}\0".encode())
        digest.update(np.ascontiguousarray(array, number_type).reshape(-1).data)
    return digest.hexdigest()
