"""The gradient of each example of a batch in one backward pass, for networks that are a chain of layers.

One pass gives the gradient at each layer's output; the gradient of an example's weights follows from that and from the
layer's input (Goodfellow 2015). A convolution's is one product of its patches with it, which a batched matrix
multiplication does for all examples at once. Nothing may be shared between examples, so batch statistics are refused.
TensorFlow only, inside functions.
"""

from collections.abc import Collection
from typing import Any


def check_chain(network: Any) -> None:
    """Refuse networks whose per-example gradients are not known here.

    Args:
        network: a functional `keras.Model` with one input and one output.

    Raises:
        ValueError: it is not a chain, or has a layer with weights other than Conv2D without bias, Dense, and
            GroupNormalization over the last axis.
    """
    for before, layer in zip(network.layers, network.layers[1:], strict=False):
        if layer.input is not before.output:
            raise ValueError(
                f"per-example gradients need a chain of layers; {layer.name} breaks it after {before.name}"
            )
        kind = type(layer).__name__
        if layer.weights and kind not in _RULES:
            raise ValueError(f"no per-example gradient is known for {layer.name} ({kind})")
        if kind == "Conv2D" and (layer.use_bias or layer.groups != 1 or set(layer.dilation_rate) != {1}):
            raise ValueError(
                f"per-example gradients need convolutions without bias, groups and dilation; {layer.name} is none"
            )
        if kind == "Dense" and not layer.use_bias:
            raise ValueError(f"per-example gradients need dense layers with a bias; {layer.name} has none")
        if kind == "GroupNormalization" and not (layer.scale and layer.center and layer.axis == -1):
            raise ValueError(
                f"per-example gradients need gain and bias over the last axis in normalisation; not so {layer.name}"
            )


def gradients_by_example(network: Any, layers: Collection[Any], images: Any, targets: Any) -> list[Any]:
    """Return the gradient of the cross-entropy of each example, one tensor a variable of `layers`, in their order.

    Args:
        network: as `check_chain` accepts it; its output are logits.
        layers: layers of the network with trainable variables.
        images: float32 tensor [b, s, s, 3] with b known.
        targets: float32 tensor [b, classes], each row a distribution.

    Returns:
        Tensors float32 [b, size of the variable].
    """
    import tensorflow as tf  # noqa: PLC0415

    seen: list[tuple[Any, Any, Any]] = []
    with tf.GradientTape() as tape:
        tape.watch(images)
        signal = images
        for layer in network.layers[1:]:
            given, signal = signal, layer(signal, training=True)
            if layer in layers:
                seen.append((layer, given, signal))
        loss = tf.reduce_sum(tf.nn.softmax_cross_entropy_with_logits(targets, signal))
    arriving = tape.gradient(loss, [after for _, _, after in seen])
    return [
        tf.reshape(gradient, (images.shape[0], -1))
        for (layer, given, _), at_output in zip(seen, arriving, strict=True)
        for gradient in _RULES[type(layer).__name__](layer, given, at_output)
    ]


def _convolution(layer: Any, given: Any, at_output: Any) -> list[Any]:
    """Kernel gradient [b, k * k * in, out]: patches, transposed, times the gradient at the output."""
    import tensorflow as tf  # noqa: PLC0415

    batch, rows, columns, filters = at_output.shape
    (down, right), (high, wide) = layer.strides, layer.kernel_size
    if layer.padding == "same":
        margins = [
            max((out - 1) * stride + kernel - size, 0)
            for out, stride, kernel, size in zip(
                (rows, columns), layer.strides, layer.kernel_size, given.shape[1:3], strict=True
            )
        ]
        given = tf.pad(given, ((0, 0), *((margin // 2, margin - margin // 2) for margin in margins), (0, 0)))
    shifted = [
        given[:, i : i + (rows - 1) * down + 1 : down, j : j + (columns - 1) * right + 1 : right, :]
        for i in range(high)
        for j in range(wide)
    ]
    patches = tf.reshape(tf.concat(shifted, -1), (batch, rows * columns, -1))
    return [tf.matmul(patches, tf.reshape(at_output, (batch, rows * columns, filters)), transpose_a=True)]


def _group_norm(layer: Any, given: Any, at_output: Any) -> list[Any]:
    """Gradients of gain and bias [b, channels]."""
    import tensorflow as tf  # noqa: PLC0415

    batch, rows, columns, channels = given.shape
    grouped = tf.reshape(given, (batch, rows, columns, layer.groups, channels // layer.groups))
    mean, variance = tf.nn.moments(grouped, (1, 2, 4), keepdims=True)
    normal = tf.reshape((grouped - mean) * tf.math.rsqrt(variance + layer.epsilon), given.shape)
    return [tf.reduce_sum(at_output * normal, (1, 2)), tf.reduce_sum(at_output, (1, 2))]


def _dense(_layer: Any, given: Any, at_output: Any) -> list[Any]:
    """Gradients of kernel [b, in, out] and bias [b, out], added over all positions at which the layer is applied."""
    import tensorflow as tf  # noqa: PLC0415

    before = tf.reshape(given, (given.shape[0], -1, given.shape[-1]))
    after = tf.reshape(at_output, (given.shape[0], -1, at_output.shape[-1]))
    return [tf.matmul(before, after, transpose_a=True), tf.reduce_sum(after, 1)]


_RULES = {"Conv2D": _convolution, "GroupNormalization": _group_norm, "Dense": _dense}
