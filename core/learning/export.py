"""From trained weights to a LiteRT model in memory. Needs TensorFlow; nothing is written to disk.

A network that stands on a trunk is exported with it, as one graph. Where an architecture is served with float16
weights, trained ones are rounded before anything else is done, in the trainer's evaluation too, so that the conversion
loses nothing and thresholds fit; a trunk's are float16 from the start.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from core.errors import CheckpointRefused
from core.learning import architectures
from core.learning.backend import load_keras
from core.learning.orientations import WAYS
from core.learning.weights import Weights, check_weights, rounded_to_half
from core.studies import Study

TOLERANCE = 1e-4
_OUTPUTS = ("logits", "cam", "features")
_QUARTERS = 4


def export_backbone(weights: Weights, architecture: str, study: Study) -> bytes:
    """Return what `export_litert` does with the one output ``features``: the head's weights are not in it.

    Raises:
        CheckpointRefused: as `export_litert`.
    """
    return export_litert(weights, architecture, study, outputs=("features",))


def export_litert(weights: Weights, architecture: str, study: Study, *, outputs: tuple[str, ...] = _OUTPUTS) -> bytes:
    """Convert `weights` to a LiteRT flatbuffer for one image and check it against Keras.

    The signature ``serving_default`` takes ``image`` float32 [1, s, s, 3] in 0..1 and returns ``logits`` [1, classes],
    ``cam`` [1, h, w, classes] and ``features`` [1, f]; where the study averages over orientations, all three are the
    means (the map turned back first). The weights become constants of the graph, so that no variables and no files
    are involved.

    Raises:
        CheckpointRefused: the weights do not fit the architecture, or LiteRT's answers differ from Keras' by more
            than `TOLERANCE` (relative to the largest value).
    """
    load_keras()
    import keras  # noqa: PLC0415
    import tensorflow as tf  # noqa: PLC0415

    if keras.backend.backend() != "tensorflow":
        raise RuntimeError("export needs Keras on TensorFlow; set KERAS_BACKEND=tensorflow")
    side = study.input_size
    serve_all = _serve(weights, architecture, study)

    def serve(image: Any) -> dict[str, Any]:
        return {name: value for name, value in serve_all(image).items() if name in outputs}

    function = tf.function(serve, autograph=False)
    concrete = function.get_concrete_function(tf.TensorSpec([1, side, side, 3], tf.float32, name="image"))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], tf.Module())
    if architectures.find(architecture).half:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    flatbuffer = bytes(converter.convert())
    image = np.random.default_rng(0).random((1, side, side, 3), np.float32)
    _check(flatbuffer, image, {name: value.numpy() for name, value in serve(tf.constant(image)).items()})
    return flatbuffer


def _serve(weights: Weights, architecture: str, study: Study) -> Callable[[Any], dict[str, Any]]:
    """Return the served function of one image, with the weights as its constants."""
    import tensorflow as tf  # noqa: PLC0415

    model = architectures.build(architecture, input_size=study.input_size, classes=len(study.classes))
    check_weights(weights, {v.path: np.broadcast_to(np.float32(0), tuple(v.shape)) for v in model.weights})
    if model.non_trainable_variables:
        raise RuntimeError("an architecture with state besides its weights cannot be exported")
    entry = architectures.find(architecture)
    trunk = entry.trunk.build(study.input_size) if entry.trunk else None
    given = rounded_to_half(weights) if entry.half else weights
    constants = [tf.constant(given[variable.path]) for variable in model.trainable_variables]
    frozen = [tf.constant(variable.value) for variable in trunk.weights] if trunk else []

    def answer(images: Any) -> tuple[Any, ...]:
        maps = trunk.stateless_call([], frozen, images, training=False)[0] if trunk else images
        outputs, _state = model.stateless_call(constants, [], maps, training=False)
        return tuple(outputs)

    ways = WAYS[study.orientations]

    def serve(image: Any) -> dict[str, Any]:
        outputs = answer(tf.concat([_turned(image, way) for way in ways], 0))
        if len(ways) > 1:
            logits, cam, features = outputs
            turned_back = [_turned_back(one, way) for one, way in zip(tf.split(cam, len(ways)), ways, strict=True)]
            averaged = (logits, tf.concat(turned_back, 0), features)
            outputs = tuple(tf.reduce_mean(part, 0, keepdims=True) for part in averaged)
        return dict(zip(_OUTPUTS, outputs, strict=True))

    return serve


def _turned(image: Any, way: int) -> Any:
    """[1, s, s, c] in an orientation, as `core.learning.orientations.turn`."""
    turned = _quarter(image, way)
    return _mirrored(turned) if way >= _QUARTERS else turned


def _turned_back(turned: Any, way: int) -> Any:
    """The reverse."""
    return _quarter(_mirrored(turned) if way >= _QUARTERS else turned, -way)


def _quarter(x: Any, quarters: int) -> Any:
    """As `numpy.rot90` in the plane of axes 1 and 2, with operations that LiteRT knows."""
    import tensorflow as tf  # noqa: PLC0415

    match quarters % _QUARTERS:
        case 1:
            return tf.reverse(tf.transpose(x, (0, 2, 1, 3)), [1])
        case 2:
            return tf.reverse(x, [1, 2])
        case 3:
            return tf.transpose(tf.reverse(x, [1]), (0, 2, 1, 3))
        case _:
            return x


def _mirrored(x: Any) -> Any:
    import tensorflow as tf  # noqa: PLC0415

    return tf.reverse(x, [2])


def _check(flatbuffer: bytes, image: np.ndarray, expected: dict[str, np.ndarray]) -> None:
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415

    got = Interpreter(model_content=flatbuffer, num_threads=1).get_signature_runner()(image=image)
    for name, value in expected.items():
        difference = np.abs(got[name] - value).max() / max(1.0, np.abs(value).max())
        if not difference <= TOLERANCE:
            raise CheckpointRefused(f"LiteRT and Keras differ by {difference:.1e} in {name}")
